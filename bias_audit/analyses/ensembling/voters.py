"""The members of an ensemble and its votes, asked about one target."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Final

import numpy as np
import numpy.typing as npt

from bias_audit.analyses.analysis import Member, Subject
from bias_audit.analyses.ensembling.voting import (
    MAJORITY,
    SOFT,
    Majority,
    majority_vote,
    soft_vote,
)
from bias_audit.analyses.probing.probes import (
    ProbeSettings,
    ProbeSpec,
    Scores,
    out_of_fold_scores,
    part_of,
)
from bias_audit.analyses.probing.separability import (
    Units,
    choice_of_layer,
    measured,
    probed_layers,
    widening_of,
)
from bias_audit.analyses.targets import Target
from bias_audit.arrays import FloatArray, IntArray
from bias_audit.errors import AnalysisError
from bias_audit.statistics.inference import Measured
from bias_audit.statistics.influence import Statistic, average, class_f1

Mask = npt.NDArray[np.bool_]

MICRO: Final = "micro F1"
MACRO: Final = "macro F1"
MEASURES: Final = (MICRO, MACRO)
_FEWEST_FOR_MAJORITY: Final = 3


@dataclass(frozen=True)
class Ballot:
    """What one backbone's probe says of every image, out of fold."""

    name: str
    """The backbone's."""
    layer: str
    scores: Scores
    choice: float
    """Share of the error rate that the choice of the layer left."""


def ballots(
    members: Sequence[Member], target: Target, settings: ProbeSettings
) -> tuple[Ballot, ...] | str:
    """The probe of every member at the layer that tells the target's levels apart best.

    Returns:
        One per member; or why there are none.

    Raises:
        AnalysisError: Members did not see the same images.
    """
    part = part_of(members[0].subject, target, settings)
    if part.not_measured is not None:
        return part.not_measured
    found = tuple(_ballot(member.subject, target, settings) for member in members)
    first = found[0].scores
    for ballot in found[1:]:
        same = np.array_equal(ballot.scores.folds, first.folds)
        if not (same and np.array_equal(ballot.scores.codes, first.codes)):
            raise AnalysisError(
                f"expected {ballot.name} to be probed on the images and folds of "
                f"{found[0].name}, got others; run the audit anew"
            )
    return found


def _ballot(subject: Subject, target: Target, settings: ProbeSettings) -> Ballot:
    known = probed_layers(subject, target, settings)
    layer = max(known, key=lambda entry: entry[1].value)[0]
    scores = out_of_fold_scores(subject, ProbeSpec(target, layer, settings))
    return Ballot(subject.name, layer, scores, choice_of_layer(subject, target, known))


@dataclass(frozen=True)
class Rated:
    """A measure of one voter over some images."""

    shown: Measured
    """Widened for refitting."""
    raw: FloatArray
    """Influence of each independent unit, as it is, shape (n_units,)."""
    one_image: float
    """About what one image more or less changes."""

    @property
    def value(self) -> float:
        """In [0, 1]."""
        return self.shown.value


@dataclass(frozen=True)
class Voters:
    """Votes first, then members; all over the same images."""

    target: Target
    ballots: tuple[Ballot, ...]
    units: Units

    @property
    def votes(self) -> tuple[str, ...]:
        """Two members have no majority: wherever they disagree it is tied."""
        return (SOFT, MAJORITY) if len(self.ballots) >= _FEWEST_FOR_MAJORITY else (SOFT,)

    @cached_property
    def _probabilities(self) -> npt.NDArray[np.float32]:
        return np.stack([ballot.scores.probabilities for ballot in self.ballots])

    @cached_property
    def predicted(self) -> tuple[IntArray, ...]:
        """Of every voter, shape (n_images,)."""
        majority = () if self._majority is None else (self._majority.predicted,)
        own = (ballot.scores.predicted for ballot in self.ballots)
        return (soft_vote(self._probabilities), *majority, *own)

    @cached_property
    def _majority(self) -> Majority | None:
        return majority_vote(self._probabilities) if MAJORITY in self.votes else None

    @property
    def n_tied(self) -> int | None:
        """Images at which the majority vote was tied; None where there is no such vote."""
        return None if self._majority is None else int(self._majority.is_tied.sum())

    @property
    def names(self) -> tuple[str, ...]:
        """Of every voter."""
        return (*self.votes, *(ballot.name for ballot in self.ballots))

    @property
    def layers(self) -> tuple[str | None, ...]:
        """Of every voter; None for votes."""
        return (*(None for _ in self.votes), *(ballot.layer for ballot in self.ballots))

    @property
    def codes(self) -> IntArray:
        """Annotated level of every image, among those kept."""
        return self.ballots[0].scores.codes

    @property
    def images(self) -> IntArray:
        """Their numbers among the subject's."""
        return self.ballots[0].scores.part.images

    @property
    def levels(self) -> IntArray:
        """The levels kept, as indices into the target's groups."""
        return self.ballots[0].scores.part.levels

    @property
    def n(self) -> int:
        """Independent images."""
        return len(np.unique(self.units.clusters[self.images]))

    @cached_property
    def widest(self) -> float:
        """Factor on errors of the member that depends most on its training images."""
        return max(widening_of(ballot.scores) for ballot in self.ballots)

    def widened(self, voter: int) -> float:
        """Factor on errors; a vote is taken to depend as much as its most dependent member."""
        if voter < len(self.votes):
            return self.widest
        return widening_of(self.ballots[voter - len(self.votes)].scores)

    def micro(self, voter: int, chosen: Mask) -> Rated:
        """Share of some images that are right.

        Args:
            voter: Place among the voters.
            chosen: Which images, at least one, shape (n_images,).
        """
        right = self.predicted[voter][chosen] == self.codes[chosen]
        return self._rated(voter, average(right, self._clusters(chosen)), chosen)

    def macro(self, voter: int, levels: Sequence[int], chosen: Mask) -> Rated | None:
        """F1 averaged over some levels; None where none of them has an image.

        Args:
            voter: Place among the voters.
            levels: Places among those kept.
            chosen: Which images, shape (n_images,).
        """
        predicted, codes = self.predicted[voter][chosen], self.codes[chosen]
        clusters = self._clusters(chosen)
        found = [class_f1(predicted, codes, level, clusters) for level in levels]
        parts = [self._rated(voter, each, chosen) for each in found if each is not None]
        if not parts:
            return None
        shown = [part.shown for part in parts]
        return Rated(
            Measured(
                value=float(np.mean([one.value for one in shown])),
                influence=np.asarray(np.mean([one.influence for one in shown], axis=0)),
                n=len(np.unique(self.units.clusters[self.images[chosen]])),
                weight=np.asarray(np.mean([one.weight for one in shown], axis=0)),
                unit=shown[0].unit,
                trials=len(shown) ** 2 / sum(1 / one.trials for one in shown),
                choice=min(one.choice for one in shown),
            ),
            np.asarray(np.mean([part.raw for part in parts], axis=0)),
            float(np.sqrt(np.sum([part.one_image**2 for part in parts])) / len(parts)),
        )

    def _rated(self, voter: int, found: Statistic, chosen: Mask) -> Rated:
        images = self.images[chosen]
        widened = self.widened(voter)
        shown = measured(self.units, images, found, widened=widened)
        shown = replace(shown, choice=min(ballot.choice for ballot in self.ballots))
        return Rated(shown, shown.influence / widened, 1 / found.trials)

    def _clusters(self, chosen: Mask) -> IntArray:
        return self.units.clusters[self.images[chosen]]

    def by_guessing(self) -> tuple[float, ...]:
        """What naming the most frequent level for every image gives, by measure."""
        share = float(np.bincount(self.codes).max() / len(self.codes))
        return share, 2 * share / (1 + share) / len(self.levels)
