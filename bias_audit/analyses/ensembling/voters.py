"""The members of an ensemble and its votes, asked about one target."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
import numpy.typing as npt

from bias_audit.analyses.analysis import Member, Subject
from bias_audit.analyses.ensembling.voting import VOTES, majority_vote, soft_vote
from bias_audit.analyses.probing.probes import (
    ProbeSettings,
    ProbeSpec,
    Scores,
    out_of_fold_scores,
    part_of,
)
from bias_audit.analyses.probing.separability import Units, measured, probed_layers, widening_of
from bias_audit.analyses.targets import Target
from bias_audit.errors import AnalysisError
from bias_audit.groups import IntArray
from bias_audit.statistics.inference import Measured
from bias_audit.statistics.influence import average, class_f1, macro_f1

Mask = npt.NDArray[np.bool_]

MICRO: Final = "micro F1"
MACRO: Final = "macro F1"
MEASURES: Final = (MICRO, MACRO)


@dataclass(frozen=True)
class Ballot:
    """What one backbone's probe says of every image, out of fold."""

    name: str
    """The backbone's."""
    layer: str
    scores: Scores


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
    layer = max(known, key=lambda entry: entry[1])[0]
    scores = out_of_fold_scores(subject, ProbeSpec(target, layer, settings))
    return Ballot(subject.name, layer, scores)


@dataclass(frozen=True)
class Voters:
    """Votes first, then members; all over the same images."""

    target: Target
    ballots: tuple[Ballot, ...]
    units: Units

    @cached_property
    def _probabilities(self) -> npt.NDArray[np.float32]:
        return np.stack([ballot.scores.probabilities for ballot in self.ballots])

    @cached_property
    def predicted(self) -> tuple[IntArray, ...]:
        """Of every voter, shape (n_images,)."""
        majority = majority_vote(self._probabilities).predicted
        own = (ballot.scores.predicted for ballot in self.ballots)
        return (soft_vote(self._probabilities), majority, *own)

    @cached_property
    def n_tied(self) -> int:
        """Images at which the majority vote was tied."""
        return int(majority_vote(self._probabilities).is_tied.sum())

    @property
    def names(self) -> tuple[str, ...]:
        """Of every voter."""
        return (*VOTES, *(ballot.name for ballot in self.ballots))

    @property
    def layers(self) -> tuple[str | None, ...]:
        """Of every voter; None for votes."""
        return (*(None for _ in VOTES), *(ballot.layer for ballot in self.ballots))

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

    def widened(self, voter: int) -> float:
        """Factor on errors; a vote depends on training images no more than its worst member."""
        if voter < len(VOTES):
            return max(widening_of(ballot.scores) for ballot in self.ballots)
        return widening_of(self.ballots[voter - len(VOTES)].scores)

    def measured(self, voter: int, measure: str, chosen: Mask) -> Measured | None:
        """A measure of one voter over some of the images; None where it has no value.

        Args:
            voter: Place among the voters.
            measure: Of `MEASURES`.
            chosen: Which images, shape (n_images,).
        """
        if not chosen.any():
            return None
        predicted, codes = self.predicted[voter][chosen], self.codes[chosen]
        found = (
            average(predicted == codes)
            if measure == MICRO
            else macro_f1(predicted, codes, len(self.levels))
        )
        if found is None:
            return None
        return measured(self.units, self.images[chosen], found, widened=self.widened(voter))

    def of_level(self, voter: int, level: int) -> Measured | None:
        """F1 of one level against all others, over all images; None where it has no image."""
        found = class_f1(self.predicted[voter], self.codes, level)
        if found is None:
            return None
        return measured(self.units, self.images, found, widened=self.widened(voter))

    def by_guessing(self) -> tuple[float, ...]:
        """What naming the most frequent level for every image gives, by measure."""
        share = float(np.bincount(self.codes).max() / len(self.codes))
        return share, 2 * share / (1 + share) / len(self.levels)
