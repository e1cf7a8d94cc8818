"""How well the levels of one attribute are told apart within groups of the others.

The scores are those of the attribute's probe, fitted to all images; only images of one group are
compared with each other. So what is measured is whether the one direction that separates the
levels overall separates them in the group too, not what a probe of that group alone would find.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from bias_audit.analyses.analysis import Subject
from bias_audit.analyses.intersecting.measures import GroupMeasures, GroupValue, level_codes
from bias_audit.analyses.probing.probes import Scores
from bias_audit.analyses.probing.separability import Units, measured, widening_of
from bias_audit.analyses.small_groups import Treatments, independent_images, treat
from bias_audit.analyses.targets import INTERSECTION, Target
from bias_audit.arrays import IntArray
from bias_audit.config.schema import SmallGroups
from bias_audit.data.faces import FaceTable
from bias_audit.groups import Attribute, Group, intersection_codes, intersections
from bias_audit.results.blocks import GroupLedgerEntry
from bias_audit.statistics.inference import Measured, too_unequal, widening
from bias_audit.statistics.influence import Statistic, auc, macro_auc
from bias_audit.statistics.label_noise import Labels

METRIC = "one-vs-rest AUC"


@dataclass(frozen=True)
class Scored:
    """The out-of-fold scores of one probe, or why there are none."""

    scores: Scores | None
    not_measured: str | None


@dataclass(frozen=True)
class _Groups:
    """Groups over some attributes, and the probability of each that a probe gives every image."""

    groups: tuple[Group, ...]
    in_group: IntArray
    """Group per image of the subject, shape (n_images,)."""
    scored: Scored
    of_level: IntArray
    """Group of each level that the probe kept, shape (n_levels,)."""
    units: Units
    table: FaceTable

    def labels(self, index: int) -> Labels:
        """Of one group against all others: an error in any attribute makes it another group."""
        names, group = [name for name, _ in self.groups[index].levels], self.groups[index]
        right = [1 - self.table.disagreement_within(group, name) for name in names]
        share = float((self.in_group == index).mean())
        return Labels(1 - share, 1 - math.prod(right))


def depths(attributes: Sequence[Attribute]) -> Iterator[tuple[str, tuple[Attribute, ...]]]:
    """The sets of attributes whose groups are tested, each with the name of its family.

    As `families.declared_families` counts them.
    """
    yield from (("marginals", (attribute,)) for attribute in attributes)
    if len(attributes) > 2:  # noqa: PLR2004
        yield from (("pairs", pair) for pair in itertools.combinations(attributes, 2))
    yield "cells", tuple(attributes)


def group_aucs(
    subject: Subject, layer: str, over: tuple[Attribute, ...], scored: Scored
) -> GroupMeasures:
    """AUC of every group against all other images, by the probability of the group.

    Args:
        subject: The subject.
        layer: Of the scores.
        over: Attributes that span the groups.
        scored: The probe of that attribute, where it is one; else of the intersections, whose
            probabilities are summed over the attributes that are not named.
    """
    own = _groups(subject, over, scored)
    names = [attribute.name for attribute in over]
    every = len(over) == len(subject.faces.table.attributes)
    title = f"Each group by annotated {' and '.join(names)}, told apart from all others"
    counts = independent_images(own.in_group, subject.faces.clusters, len(own.groups))
    treatments = treat(own.groups, counts, subject.small_groups, title=title)
    return GroupMeasures(
        title=title,
        quantity="cell_auc",
        metric=METRIC,
        target=INTERSECTION if every else " and ".join(names),
        layer=layer,
        chance=0.5,
        given=tuple(names),
        codes=level_codes(over),
        values=tuple(_value(own, treatments, index) for index in range(len(own.groups))),
        pooled=_pooled(own, treatments),
        entries=treatments.ledger.entries,
    )


def _groups(subject: Subject, over: tuple[Attribute, ...], scored: Scored) -> _Groups:
    table = subject.faces.table
    names = [attribute.name for attribute in table.attributes]
    columns = [names.index(attribute.name) for attribute in over]
    in_group = intersection_codes(table.codes[:, columns], over)
    of_level = np.zeros(0, dtype=np.int64)
    if scored.scores is not None:
        levels = scored.scores.part.levels
        of_level = levels
        if len(over) > 1:
            of_level = intersection_codes(level_codes(table.attributes)[levels][:, columns], over)
    return _Groups(intersections(over), in_group, scored, of_level, Units.of(subject), table)


def _value(own: _Groups, treatments: Treatments, index: int) -> GroupValue:
    group, n = own.groups[index], int((own.in_group == index).sum())
    treatment = treatments.by_group[index]
    if own.scored.scores is None:
        return GroupValue(group, n, None, reason=own.scored.not_measured)
    if n == 0 or not treatment.is_measured:
        return GroupValue(group, n, None, reason=treatment.reason)
    value = _apart(own, own.scored.scores, np.array([index]))
    if value is None:
        return GroupValue(group, n, None, reason="too few images for every fold")
    if (reason := too_unequal(value)) is not None:
        return GroupValue(group, n, None, reason=reason)
    return GroupValue(group, n, value, value, treatment.reason, own.labels(index))


def _apart(own: _Groups, scores: Scores, chosen: npt.NDArray[np.integer]) -> Measured | None:
    """Both sides of the comparison train the probe, so the training counts in full."""
    levels = np.isin(own.of_level, chosen)
    if not levels.any():
        return None
    probability = scores.probabilities[:, levels].sum(axis=1)
    images = scores.part.images
    clusters = own.units.clusters[images]
    statistic = auc(probability, levels[scores.part.codes], scores.folds, clusters)
    if statistic is None:
        return None
    return measured(own.units, images, statistic, widened=widening_of(scores))


def _pooled(own: _Groups, treatments: Treatments) -> GroupValue | None:
    pooled, scores = treatments.pooled, own.scored.scores
    if pooled is None or scores is None:
        return None
    n = int(np.isin(own.in_group, pooled.members).sum())
    if pooled.reason is not None:
        return GroupValue(pooled.group, n, None, reason=pooled.reason)
    value = _apart(own, scores, np.array(pooled.members))
    reason = "none of its groups could be probed" if value is None else None
    return GroupValue(pooled.group, n, value, reason=reason)


_FEWEST = 2
"""Levels to compare, and images of a level that show any spread."""
_NO_PAIRS = "no fold has images of two levels"


@dataclass(frozen=True)
class Asked:
    """One attribute, told apart within the groups of some others."""

    subject: Subject
    target: Target
    layer: str
    scores: Scores | None
    """Of the attribute's probe; None where it cannot be measured."""
    not_measured: str | None
    """Why there are no scores."""
    given: tuple[Attribute, ...]

    @property
    def n_groups(self) -> int:
        """Groups of the other attributes, empty ones included."""
        return int(np.prod([len(attribute.levels) for attribute in self.given]))


def subsets(attributes: Sequence[Attribute], name: str) -> Iterator[tuple[Attribute, ...]]:
    """Every non-empty set of the attributes other than the named one, the smaller first."""
    others = [attribute for attribute in attributes if attribute.name != name]
    for size in range(1, len(others) + 1):
        yield from itertools.combinations(others, size)


def within_groups(asked: Asked) -> GroupMeasures:
    """Macro AUC of an attribute within every group of others.

    Pairs of images of one fold and one group are compared. A fold in which a level has no pair
    adds none to that level's AUC; the AUC of a level rests on the folds that have pairs. Levels
    with fewer images in the group than the policy on small groups prints are left out of the mean
    and of the comparison; the fewest images of a level that is compared decide how the policy
    treats the group.
    """
    title = f"Annotated {asked.target.name} within {_named(asked.given)}"
    groups = intersections(asked.given)
    within = _Within.of(asked)
    treatments = _treated(asked, within, groups, title)
    values = tuple(
        _value_within_groups(asked, within, group, index, treatments)
        for index, group in enumerate(groups)
    )
    return GroupMeasures(
        title=title,
        quantity="within_auc",
        metric="macro one-vs-rest AUC within the group",
        target=asked.target.name,
        layer=asked.layer,
        chance=0.5,
        given=tuple(attribute.name for attribute in asked.given),
        codes=level_codes(asked.given),
        values=values,
        pooled=_pooled_within_groups(asked, within, treatments),
        entries=(*treatments.ledger.entries, *_left_out(asked, within, groups, values)),
    )


@dataclass(frozen=True)
class _Within:
    """The scored images of an attribute, by group."""

    of_image: IntArray
    """Group per scored image, shape (n,)."""
    in_group: IntArray
    """Group per image of the subject, shape (n_images,)."""
    counts: IntArray
    """Independent images by group and kept level, shape (n_groups, n_levels)."""
    fewest: int
    """Images that a level must have in a group to be compared."""
    units: Units

    @classmethod
    def of(cls, asked: Asked) -> _Within:
        faces = asked.subject.faces
        names = [attribute.name for attribute in faces.table.attributes]
        columns = [names.index(attribute.name) for attribute in asked.given]
        in_group = intersection_codes(faces.table.codes[:, columns], asked.given)
        fewest, units = _fewest(asked.subject.small_groups), Units.of(asked.subject)
        if asked.scores is None:
            none = np.zeros(0, dtype=np.int64)
            counts = np.zeros((asked.n_groups, len(asked.target.groups)), dtype=np.int64)
            return cls(none, in_group, counts, fewest, units)
        part = asked.scores.part
        of_image, n_levels = in_group[part.images], len(part.levels)
        counts = independent_images(
            of_image * n_levels + part.codes,
            faces.clusters[part.images],
            asked.n_groups * n_levels,
        ).reshape(asked.n_groups, n_levels)
        return cls(of_image, in_group, counts, fewest, units)

    def compared(self, index: int) -> IntArray:
        """Kept levels that are compared in a group."""
        return np.flatnonzero(self.counts[index] >= self.fewest)

    @property
    def deciding(self) -> IntArray:
        """Images of the smallest level compared or, where none is, of the second largest."""
        ordered = np.sort(self.counts, axis=1)[:, ::-1]
        n_compared = np.maximum((self.counts >= self.fewest).sum(axis=1), _FEWEST)
        return np.asarray(ordered[np.arange(len(ordered)), n_compared - 1], dtype=np.int64)


def _fewest(policy: SmallGroups) -> int:
    """A policy that prints nothing of small groups compares no small level."""
    smallest = policy.minimum if policy.policy == "suppress" else policy.suppress_below
    return max(_FEWEST, smallest)


def _treated(asked: Asked, within: _Within, groups: tuple[Group, ...], title: str) -> Treatments:
    """The policy, with reasons that say which images were counted."""
    policy = asked.subject.small_groups
    treated = treat(groups, within.deciding, policy, title=title)
    about = f"{asked.target.name} within it, by the smallest level compared: "
    told = [
        entry.model_copy(update={"reason": f"{about}{entry.reason}"})
        for entry in treated.ledger.entries
    ]
    return Treatments(
        tuple(
            t if t.reason is None else replace(t, reason=f"in the smallest level: {t.reason}")
            for t in treated.by_group
        ),
        treated.pooled,
        treated.ledger.model_copy(update={"entries": tuple(told)}),
    )


def _value_within_groups(
    asked: Asked, within: _Within, group: Group, index: int, treatments: Treatments
) -> GroupValue:
    n = int((within.in_group == index).sum())
    treatment = treatments.by_group[index]
    if asked.scores is None:
        return GroupValue(group, n, None, reason=asked.not_measured)
    if n == 0:
        return GroupValue(group, n, None, reason="no images")
    if not treatment.is_measured:
        return GroupValue(group, n, None, reason=treatment.reason)
    members = np.flatnonzero(within.of_image == index)
    compared = within.compared(index)
    plain, widened = _told_apart(asked.scores, within, members, compared)
    if widened is None:
        return GroupValue(group, n, None, reason=_NO_PAIRS)
    if (reason := too_unequal(widened)) is not None:
        return GroupValue(group, n, None, reason=reason)
    left_out = len(within.counts[index]) - len(compared)
    reasons = [treatment.reason, f"{left_out} levels left out" if left_out else None]
    reason = "; ".join(reason for reason in reasons if reason) or None
    disagreement = asked.subject.faces.table.disagreement_within(group, asked.target.name)
    labels = Labels.among(within.counts[index][compared], disagreement)
    return GroupValue(group, n, widened, plain, reason, labels)


def _told_apart(
    scores: Scores, within: _Within, members: IntArray, compared: IntArray
) -> tuple[Measured | None, Measured | None]:
    """The macro AUC over some images and levels, without and with the training's share of error.

    Two images of a group that are in different folds each help to predict the other; the share of
    an image's training images that are of its group is how much of the correction of Nadeau &
    Bengio 2003 applies. Pairs with images of other groups move all groups alike: that part cancels
    in differences between groups, which need no widening.
    """
    inside = members[np.isin(scores.part.codes[members], compared)]
    if len(compared) < _FEWEST:
        return None, None
    codes = np.searchsorted(compared, scores.part.codes[inside])
    strata = scores.folds[inside] * len(within.counts) + within.of_image[inside]
    images = scores.part.images[inside]
    statistic = auc_among(
        scores.probabilities[inside][:, compared], codes, strata, within.units.clusters[images]
    )
    if statistic is None:
        return None, None
    share = len(inside) / len(scores.codes)
    wider = widening(int(scores.folds.max()) + 1, scores.dependence * share**2)
    plain = measured(within.units, images, statistic)
    return plain, measured(within.units, images, statistic, widened=wider)


def auc_among(
    probabilities: npt.NDArray[np.floating],
    codes: IntArray,
    folds: IntArray,
    clusters: IntArray | None = None,
) -> Statistic | None:
    """Macro AUC by the probabilities that remain once only these levels are possible."""
    total = probabilities.sum(axis=1, keepdims=True)
    smallest = np.finfo(np.float32).tiny
    return macro_auc(probabilities / np.maximum(total, smallest), codes, folds, clusters)


def _pooled_within_groups(
    asked: Asked, within: _Within, treatments: Treatments
) -> GroupValue | None:
    """All small groups together; only images of one group are compared with each other."""
    pooled, scores = treatments.pooled, asked.scores
    if pooled is None or scores is None:
        return None
    members = np.flatnonzero(np.isin(within.of_image, pooled.members))
    if pooled.reason is not None:
        return GroupValue(pooled.group, len(members), None, reason=pooled.reason)
    compared = np.flatnonzero(within.counts[list(pooled.members)].sum(axis=0) >= within.fewest)
    _, value = _told_apart(scores, within, members, compared)
    reason = _NO_PAIRS if value is None else None
    return GroupValue(pooled.group, len(members), value, reason=reason)


def _left_out(
    asked: Asked, within: _Within, groups: tuple[Group, ...], values: tuple[GroupValue, ...]
) -> Iterator[GroupLedgerEntry]:
    """Levels that are in no mean of their group, though the group has one."""
    if asked.scores is None:
        return
    for index, value in enumerate(values):
        if value.value is None:
            continue
        for place in np.flatnonzero(within.counts[index] < within.fewest):
            level = asked.target.groups[asked.scores.part.levels[place]]
            n = int(within.counts[index, place])
            yield GroupLedgerEntry(
                group=Group((*groups[index].levels, *level.levels)),
                n=n,
                action="suppressed",
                reason=f"fewer than {within.fewest} independent images",
                effect=f"not compared where {asked.target.name} is told apart within "
                f"{groups[index].label}; the mean there is over the other levels",
            )


def _named(attributes: Sequence[Attribute]) -> str:
    return " and ".join(f"annotated {attribute.name}" for attribute in attributes)
