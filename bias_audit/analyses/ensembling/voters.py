"""Who votes, how votes are counted, and in which groups."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Final

import numpy as np
import numpy.typing as npt

from bias_audit.analyses.analysis import Member
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
from bias_audit.analyses.small_groups import Levels, independent_images, levels_shown
from bias_audit.analyses.targets import Target
from bias_audit.arrays import BoolArray, FloatArray, IntArray
from bias_audit.config.schema import SmallGroups
from bias_audit.data.faces import Faces
from bias_audit.errors import AnalysisError
from bias_audit.groups import Group
from bias_audit.shapes.group_ledger import GroupLedger
from bias_audit.statistics.inference import Measured
from bias_audit.statistics.influence import Statistic, average, class_f1

ScoreArray = npt.NDArray[np.floating]

SOFT: Final = "soft vote"
MAJORITY: Final = "majority vote"


@dataclass(frozen=True)
class Majority:
    """The level that most members predict."""

    predicted: IntArray
    """Shape (n_images,)."""
    is_tied: BoolArray
    """Where several levels had the most votes, shape (n_images,)."""


def soft_vote(probabilities: ScoreArray) -> IntArray:
    """The level with the highest mean probability; the first of equals.

    From the probabilities of every member, (n_members, n_images, n_levels), to (n_images,).
    """
    return np.asarray(probabilities.mean(axis=0).argmax(axis=1), dtype=np.int64)


def majority_vote(probabilities: ScoreArray) -> Majority:
    """The level that most members hold most probable.

    Of levels with as many votes the one with the highest mean probability is taken. Probabilities
    are those of every member, (n_members, n_images, n_levels).
    """
    own = probabilities.argmax(axis=2)
    votes = (own[:, :, None] == np.arange(probabilities.shape[2])).sum(axis=0)
    leading = votes == votes.max(axis=1, keepdims=True)
    mean = np.where(leading, probabilities.mean(axis=0, dtype=np.float64), -1.0)
    return Majority(np.asarray(mean.argmax(axis=1), dtype=np.int64), leading.sum(axis=1) > 1)


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
    """The probe of every member at the layer that separates the target's levels best.

    One per member; or why there are none.

    Raises:
        AnalysisError: Members did not see the same images.
    """
    part = part_of(members[0].subject, target, settings)
    if part.not_measured is not None:
        return part.not_measured
    cast = []
    for subject in (member.subject for member in members):
        known = probed_layers(subject, target, settings)
        layer = max(known, key=lambda entry: entry[1].value)[0]
        scores = out_of_fold_scores(subject, ProbeSpec(target, layer, settings))
        cast.append(Ballot(subject.name, layer, scores, choice_of_layer(subject, target, known)))
    found = tuple(cast)
    first = found[0].scores
    for ballot in found[1:]:
        same = np.array_equal(ballot.scores.folds, first.folds)
        if not (same and np.array_equal(ballot.scores.codes, first.codes)):
            raise AnalysisError(
                f"expected {ballot.name} to be probed on the images and folds of {found[0].name}, "
                "got others; run the audit again"
            )
    return found


@dataclass(frozen=True)
class Rated:
    """A measure of one voter over some images."""

    shown: Measured
    """Widened for refitting."""
    raw: FloatArray
    """Influence of each independent unit, as it is, shape (n_units,)."""
    one_image: float
    """About what one image more or less changes."""


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
        part = self.ballots[0].scores.part
        votes = [soft_vote(self._probabilities)]
        votes += [] if self._majority is None else [self._majority.predicted]
        own = (ballot.scores.predicted for ballot in self.ballots)
        return (*(part.accepted(vote, self.codes) for vote in votes), *own)

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

    def micro(self, voter: int, chosen: BoolArray) -> Rated:
        """Share of some images that are right.

        At least one image is chosen, shape (n_images,).
        """
        right = self.predicted[voter][chosen] == self.codes[chosen]
        return self._rated(voter, average(right, self._clusters(chosen)), chosen)

    def macro(self, voter: int, levels: Sequence[int], chosen: BoolArray) -> Rated | None:
        """F1 averaged over some levels; None where none of them has an image.

        Levels are places among those kept, the images chosen have shape (n_images,).
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

    def _rated(self, voter: int, found: Statistic, chosen: BoolArray) -> Rated:
        images, widened = self.images[chosen], self.widest
        # A vote is taken to depend on the training images as much as its most dependent member.
        if voter >= len(self.votes):
            widened = widening_of(self.ballots[voter - len(self.votes)].scores)
        shown = measured(self.units, images, found, widened=widened)
        shown = replace(shown, choice=min(ballot.choice for ballot in self.ballots))
        return Rated(shown, shown.influence / widened, 1 / found.trials)

    def _clusters(self, chosen: BoolArray) -> IntArray:
        return self.units.clusters[self.images[chosen]]

    def by_guessing(self) -> tuple[float, ...]:
        """What naming the most frequent level for every image gives, by measure."""
        share = float(np.bincount(self.codes).max() / len(self.codes))
        return share, 2 * share / (1 + share) / len(self.levels)


Grid = tuple[tuple[Rated | None, ...], ...]


@dataclass(frozen=True)
class GroupVotes:
    """One group, with every measure of every voter."""

    group: Group
    n: int
    """Independent images."""
    found: Grid
    """By voter, then by measure."""
    reasons: tuple[str | None, ...] = field(default=(None,) * len(MEASURES))
    """Why a measure has no value, by measure."""


def votes_by_group(
    voters: Voters, faces: Faces, names: Sequence[str], policy: SmallGroups
) -> tuple[tuple[GroupVotes, ...], tuple[GroupLedger, ...]]:
    """Every level of some attributes, small ones without values.

    So many are left out that none follows from all images and the other levels. Macro F1 within a
    group needs as many images of every level voted on. Within a level of the target itself it
    would rest on that level alone; there it is the F1 of that level against all others, over all
    images (of an intersection: the mean over its cells). The minimum of the policy decides,
    whatever else it says.
    """
    title = f"Small groups: votes on {voters.target.described} by"
    clusters, left_out = faces.clusters[voters.images], voters.ballots[0].scores.part.reasons
    group_votes: list[GroupVotes] = []
    ledgers: list[GroupLedger] = []
    for each in levels_shown(faces, voters.images, names, policy, lambda name: f"{title} {name}"):
        own = left_out if each.attribute == voters.target.name else {}
        group_votes += _levels(voters, each, own, clusters, policy.minimum)
        ledgers += each.ledgers
    return tuple(group_votes), tuple(ledgers)


def _levels(
    voters: Voters, shown: Levels, left_out: dict[int, str], clusters: IntArray, minimum: int
) -> Iterator[GroupVotes]:
    """Small levels without values; macro F1 only where every level voted on has enough images."""
    voter_places, everything = range(len(voters.names)), np.ones(len(shown.codes), dtype=np.bool_)
    kept = [voters.target.groups[index] for index in voters.levels.tolist()]
    for level, (group, n) in enumerate(zip(shown.groups, shown.counts.tolist(), strict=True)):
        why = left_out.get(level, shown.reasons[level])
        if why is not None:
            nothing = (None,) * len(MEASURES)
            yield GroupVotes(
                group, n, tuple(nothing for _ in voter_places), (why,) * len(MEASURES)
            )
            continue
        chosen = shown.codes == level
        # The target's levels that the group consists of; none where it is of another attribute.
        own = [i for i, each in enumerate(kept) if set(group.levels) <= set(each.levels)]
        few, levels = None, (own, everything) if own else (range(len(kept)), chosen)
        if not own:
            counts = independent_images(voters.codes[chosen], clusters[chosen], len(kept))
            place = int(counts.argmin())
            if counts[place] < minimum:
                few = (
                    f"{counts[place]} independent images of {kept[place].label} here, fewer than "
                )
                few += f"{minimum}"
        macros = (None if few else voters.macro(voter, *levels) for voter in voter_places)
        found = tuple((voters.micro(i, chosen), macro) for i, macro in enumerate(macros))
        yield GroupVotes(group, n, found, (None, few))
