"""How well groups can be recognised, and how well attributes can be read within each of them.

The scores are those of the attribute's probe, fitted to all images; within a group only its images
are compared with each other. So what is measured is whether the one direction that separates the
levels overall separates them in the group too, not what a probe of that group alone would find.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from bias_audit.analyses.analysis import Subject
from bias_audit.analyses.families import GroupTests
from bias_audit.analyses.probing.probes import (
    ProbeSettings,
    ProbeSpec,
    Scores,
    out_of_fold_scores,
    part_of,
)
from bias_audit.analyses.probing.separability import (
    AUC,
    Units,
    measure,
    measured,
    over_labels,
    widening_of,
)
from bias_audit.analyses.small_groups import Treatment, independent_images, treat
from bias_audit.analyses.targets import Target, targets_of
from bias_audit.arrays import BoolArray, IntArray
from bias_audit.groups import INTERSECTION, Attribute, Group, intersection_codes, intersections
from bias_audit.shapes.group_ledger import GroupLedgerEntry
from bias_audit.shapes.group_table import GroupRow, GroupTable
from bias_audit.shapes.printed import listed_all
from bias_audit.statistics.estimate import Estimate
from bias_audit.statistics.inference import Measured, estimate, too_unequal, widening
from bias_audit.statistics.influence import auc, macro_auc
from bias_audit.statistics.label_noise import GroupContrast, Labels
from bias_audit.statistics.shrinkage import shrink_estimates


@dataclass(frozen=True)
class GroupValue:
    """One group and its value."""

    group: Group
    n: int
    """Images the value is about, those without a value included."""
    value: Measured | None
    """None where there is none, and `reason` says why."""
    contrast: Measured | None = None
    """The same for differences between groups, in which errors that all groups share cancel."""
    reason: str | None = None
    labels: Labels = field(default_factory=Labels)
    """Behind the value, where there is one."""
    between: GroupContrast | None = None
    """What the value is made of, where it is a difference between groups."""

    @property
    def tested(self) -> Measured | None:
        """What of the value errors of annotators, as far as these disagree, leave to be tested."""
        return self.value if self.between is None else self.between.nearest

    def estimate(self, level: float) -> Estimate | None:
        """The value with its interval, which counts errors of annotators as `tested` does."""
        if self.between is not None:
            return self.between.estimate(level)
        return None if self.value is None else estimate(self.value, level=level)

    def allowing(self, choice: float) -> GroupValue:
        """With the share of the error rate that the choice of the layer left."""
        value, contrast = (
            None if each is None else replace(each, choice=choice)
            for each in (self.value, self.contrast)
        )
        return replace(self, value=value, contrast=contrast)


@dataclass(frozen=True)
class GroupMeasures:
    """A quantity of every group of a set of attributes."""

    title: str
    quantity: str
    metric: str
    target: str
    layer: str
    chance: float | None
    given: tuple[str, ...]
    """Attributes that span the groups."""
    codes: IntArray
    """Level of each group, shape (n_groups, n_attributes)."""
    values: tuple[GroupValue, ...]
    """Of each declared group."""
    pooled: GroupValue | None = None
    entries: tuple[GroupLedgerEntry, ...] = ()
    """For the ledger of small groups."""

    def allowing(self, choice: float) -> GroupMeasures:
        """With the share of the error rate that the choice of the layer left."""
        return replace(
            self,
            values=tuple(v.allowing(choice) for v in self.values),
            pooled=self.pooled and self.pooled.allowing(choice),
        )

    @property
    def known(self) -> dict[int, Measured]:
        """The values of the groups that have one, by the group's index."""
        return {i: v.value for i, v in enumerate(self.values) if v.value is not None}


def level_codes(attributes: Sequence[Attribute]) -> IntArray:
    """Level of each group as `groups.intersections` orders them, (n_groups, n_attributes)."""
    return np.argwhere(np.ones([len(attribute.levels) for attribute in attributes]))


def table_of(
    measures: GroupMeasures, tests: GroupTests, *, level: float, detail: bool, shrunk: bool
) -> GroupTable:
    """The block of a quantity.

    With `shrunk`, values drawn towards what the attributes predict stand beside the raw ones.
    """
    estimates = [entry.estimate(level) for entry in measures.values]
    drawn: Sequence[Estimate | None] = [None] * len(estimates)
    shrinkage = None
    if shrunk:
        drawn, shrinkage = shrink_estimates(estimates, measures.codes, names=measures.given)
    rows = [
        GroupRow(
            group=entry.group,
            n=entry.n,
            estimate=estimates[i],
            reason=entry.reason,
            shrunk=drawn[i],
            p_value=tests.p_values[i],
            adjusted_p=tests.discovery[i],
        )
        for i, entry in enumerate(measures.values)
    ]
    if (pooled := measures.pooled) is not None:
        value, reason = pooled.estimate(level), pooled.reason
        rows.append(GroupRow(group=pooled.group, n=pooled.n, estimate=value, reason=reason))
    return GroupTable(
        detail=detail,
        title=measures.title,
        quantity=measures.quantity,
        metric=measures.metric,
        layer=measures.layer,
        target=measures.target,
        chance=measures.chance,
        rows=tuple(rows),
        shrinkage=shrinkage,
    )


@dataclass(frozen=True)
class Scored:
    """The out-of-fold scores of one probe, or why there are none."""

    target: Target
    scores: Scores | None
    not_measured: str | None
    overall: Measured | None
    """Macro AUC, where there is one."""


@dataclass(frozen=True)
class Probed:
    """The probes of one layer."""

    layer: str
    scored: dict[str, Scored]
    """By the target's name."""
    choice: float
    """Share of the error rate that the choice of the layer left."""


def probed(
    subject: Subject, layer: str, settings: ProbeSettings, *, choice: float = 1.0
) -> Probed:
    """The scores of every attribute and of their intersection.

    `choice` is the share of the error rate that the choice of the layer left.

    Raises:
        AnalysisError: The activations are not finite.
    """
    units, scored = Units.of(subject), {}
    for target in targets_of(subject.faces.table):
        reason = part_of(subject, target, settings).not_measured
        spec = ProbeSpec(target, layer, settings)
        scores = None if reason else out_of_fold_scores(subject, spec)
        overall = None if scores is None else measure(AUC, scores, units)
        overall = None if overall is None else replace(overall, choice=choice)
        scored[target.name] = Scored(target, scores, reason, overall)
    return Probed(layer, scored, choice)


def _groups_of(subject: Subject, over: tuple[Attribute, ...]) -> tuple[list[int], IntArray]:
    """Columns of some attributes, and the group over them of every image, shape (n_images,)."""
    table = subject.faces.table
    columns = [table.attributes.index(attribute) for attribute in over]
    return columns, intersection_codes(table.codes[:, columns], over)


def _no_value(scored: Scored, n: int, treatment: Treatment) -> str | None:
    """Why a group of n images is not measured; None where it is to be."""
    if scored.scores is None:
        return scored.not_measured
    if n == 0:
        return "no images"
    return None if treatment.is_measured else treatment.reason


def group_aucs(
    subject: Subject, layer: str, over: tuple[Attribute, ...], scored: Scored
) -> GroupMeasures:
    """AUC of every group against all other images, by the probability of the group.

    Both sides of the comparison train the probe, so the training counts in full. Where `over`,
    which spans the groups, is one attribute, `scored` is its probe; else it is that of the
    intersections, whose probabilities are summed over the attributes that are not named.
    """
    table, scores, units = subject.faces.table, scored.scores, Units.of(subject)
    groups, names = intersections(over), [attribute.name for attribute in over]
    columns, in_group = _groups_of(subject, over)
    title = f"How recognisable is each group by {listed_all(names)}?"
    counts = independent_images(in_group, subject.faces.clusters, len(groups))
    treatments = treat(groups, counts, subject.small_groups, title=title)
    of_level = np.zeros(0, dtype=np.int64) if scores is None else scores.part.levels
    if len(over) > 1:
        of_level = intersection_codes(level_codes(table.attributes)[of_level][:, columns], over)

    def value_of(chosen: Sequence[int]) -> Measured | None:
        levels = np.isin(of_level, chosen)
        if scores is None or not levels.any():
            return None
        return over_labels(_against_others(each, units, levels) for each in scores.labelled)

    values = []
    for index, (group, treatment) in enumerate(zip(groups, treatments.by_group, strict=True)):
        n = table.n_shown(in_group == index)
        value, reason, labels = None, _no_value(scored, n, treatment), Labels()
        if reason is None:
            value, reason = _usable(value_of([index]), "too few images for every fold")
        if value is not None:
            reason = treatment.reason
            # an error in any attribute makes it another group
            right = [1 - table.disagreement_within(group, name) for name in names]
            labels = Labels(1 - float((in_group == index).mean()), 1 - math.prod(right))
        values.append(GroupValue(group, n, value, value, reason, labels))
    pooled = None
    if treatments.pooled is not None and scores is not None:
        members, reason = treatments.pooled.members, treatments.pooled.reason
        value = None if reason else value_of(members)
        if value is None and reason is None:
            reason = "none of its groups could be probed"
        n = table.n_shown(np.isin(in_group, members))
        pooled = GroupValue(treatments.pooled.group, n, value, reason=reason)
    return GroupMeasures(
        title=title,
        quantity="cell_auc",
        metric="one-vs-rest AUC",
        target=INTERSECTION if len(over) == len(table.attributes) else " and ".join(names),
        layer=layer,
        chance=0.5,
        given=tuple(names),
        codes=level_codes(over),
        values=tuple(values),
        pooled=pooled,
        entries=treatments.ledger.entries,
    )


def _against_others(scores: Scores, units: Units, levels: BoolArray) -> Measured | None:
    """AUC of some of the levels, shape (n_levels,), against the others."""
    probability, images = scores.probabilities[:, levels].sum(axis=1), scores.part.images
    clusters, pictures = units.clusters[images], scores.part.pictures
    statistic = auc(probability, levels[scores.codes], scores.folds, clusters, pictures)
    if statistic is None:
        return None
    return measured(units, images, statistic, widened=widening_of(scores))


def _usable(value: Measured | None, why_none: str) -> tuple[Measured | None, str | None]:
    """The value if it rests on people enough, else why there is none."""
    if value is None:
        return None, why_none
    reason = too_unequal(value)
    return (value, None) if reason is None else (None, reason)


_FEWEST = 2
"""Levels to compare, and images of a level that show any spread."""
_NO_PAIRS = "no fold has images of two groups"


def subsets(attributes: Sequence[Attribute], name: str) -> Iterator[tuple[Attribute, ...]]:
    """Every non-empty set of the attributes other than the named one, the smaller first."""
    others = [attribute for attribute in attributes if attribute.name != name]
    for size in range(1, len(others) + 1):
        yield from itertools.combinations(others, size)


def within_groups(
    subject: Subject, layer: str, given: tuple[Attribute, ...], scored: Scored
) -> GroupMeasures:
    """Macro AUC of an attribute within every group of others.

    Pairs of images of one fold and one group are compared. A fold in which a level has no pair
    adds none to that level's AUC; the AUC of a level rests on the folds that have pairs. Levels
    with fewer images in the group than the policy on small groups prints are left out of the mean
    and of the comparison; the fewest images of a level that is compared decide how the policy
    treats the group.
    """
    policy, scores, target = subject.small_groups, scored.scores, scored.target
    groups, (_, in_group) = intersections(given), _groups_of(subject, given)
    # A policy that prints nothing of small groups compares no small level.
    smallest = policy.minimum if policy.policy == "suppress" else policy.suppress_below
    fewest, within = max(_FEWEST, smallest), _Within.of(subject, scores, in_group, len(groups))
    # Images of the smallest level compared or, where none is, of the second largest.
    ordered = np.sort(within.counts, axis=1)[:, ::-1]
    n_compared = np.maximum((within.counts >= fewest).sum(axis=1), _FEWEST)
    deciding = ordered[np.arange(len(groups)), n_compared - 1]
    over = listed_all([attribute.name for attribute in given])
    title = f"How well can {target.name} be read in each group of {over}?"
    treatments = treat(groups, deciding, policy, title=title)
    values = []
    entries = [
        entry.model_copy(
            update={
                "reason": f"{target.name} within it, by its smallest group compared: "
                f"{entry.reason}"
            }
        )
        for entry in treatments.ledger.entries
    ]
    for index, (group, treatment) in enumerate(zip(groups, treatments.by_group, strict=True)):
        note = treatment.reason and f"in the smallest group: {treatment.reason}"
        n, plain, value, labels = (
            subject.faces.table.n_shown(in_group == index),
            None,
            None,
            Labels(),
        )
        reason = _no_value(scored, n, replace(treatment, reason=note))
        compared = np.flatnonzero(within.counts[index] >= fewest)
        if reason is None and scores is not None:
            members = np.flatnonzero(within.of_image == index)
            plain, value = _separated(scores, within, members, compared)
            value, reason = _usable(value, _NO_PAIRS)
        if value is not None and scores is not None:
            left_out = np.flatnonzero(within.counts[index] < fewest)
            notes = [
                note,
                f"{len(left_out)} groups of {target.name} left out" if len(left_out) else "",
            ]
            reason = "; ".join(filter(None, notes)) or None
            disagreement = subject.faces.table.disagreement_within(group, target.name)
            labels = Labels.among(within.counts[index][compared], disagreement)
            entries += [
                GroupLedgerEntry(
                    group=Group((*group.levels, *target.groups[scores.part.levels[place]].levels)),
                    n=int(within.counts[index, place]),
                    action="suppressed",
                    reason=f"fewer than {fewest} independent images",
                    effect=f"not compared where {target.name} is read within "
                    f"{group.label}; the mean there is over the other groups",
                )
                for place in left_out
            ]
        contrast = None if value is None else plain
        values.append(GroupValue(group, n, value, contrast, reason, labels))
    pooled = None
    if treatments.pooled is not None and scores is not None:
        # Only images of one group are compared with each other here, too.
        members = np.flatnonzero(np.isin(within.of_image, treatments.pooled.members))
        value, reason = None, treatments.pooled.reason
        if reason is None:
            counts = within.counts[list(treatments.pooled.members)].sum(axis=0)
            _, value = _separated(scores, within, members, np.flatnonzero(counts >= fewest))
            reason = _NO_PAIRS if value is None else None
        pooled = GroupValue(treatments.pooled.group, len(members), value, reason=reason)
    return GroupMeasures(
        title=title,
        quantity="within_auc",
        metric="macro one-vs-rest AUC within the group",
        target=target.name,
        layer=layer,
        chance=0.5,
        given=tuple(attribute.name for attribute in given),
        codes=level_codes(given),
        values=tuple(values),
        pooled=pooled,
        entries=tuple(entries),
    )


@dataclass(frozen=True)
class _Within:
    """The scored images of an attribute, by group."""

    of_image: IntArray
    """Group per scored image, shape (n,)."""
    counts: IntArray
    """Independent images by group and kept level, shape (n_groups, n_levels)."""
    units: Units

    @classmethod
    def of(
        cls, subject: Subject, scores: Scores | None, in_group: IntArray, n_groups: int
    ) -> _Within:
        if scores is None:
            none = np.zeros(0, dtype=np.int64)
            return cls(none, np.zeros((n_groups, _FEWEST), dtype=np.int64), Units.of(subject))
        part = scores.part
        of_image, n_levels = in_group[part.images], len(part.levels)
        counts = independent_images(
            of_image * n_levels + part.codes,
            subject.faces.clusters[part.images],
            n_groups * n_levels,
        ).reshape(n_groups, n_levels)
        return cls(of_image, counts, Units.of(subject))


def _separated(
    scores: Scores, within: _Within, members: IntArray, compared: IntArray
) -> tuple[Measured | None, Measured | None]:
    """The macro AUC over some images and levels, without and with the training's share of error.

    Two images of a group that are in different folds each help to predict the other; the share of
    an image's training images that are of its group is how much of the correction of Nadeau &
    Bengio 2003 applies. Pairs with images of other groups move all groups alike: that part cancels
    in differences between groups, which need no widening.
    """
    if len(compared) < _FEWEST:
        return None, None
    found = [_separated_by(each, within, members, compared) for each in scores.labelled]
    plain, wider = zip(*found, strict=True)
    return over_labels(plain), over_labels(wider)


def _separated_by(
    scores: Scores, within: _Within, members: IntArray, compared: IntArray
) -> tuple[Measured | None, Measured | None]:
    """The same by one set of labels."""
    inside = members[np.isin(scores.codes[members], compared)]
    codes = np.searchsorted(compared, scores.codes[inside])
    strata = scores.folds[inside] * len(within.counts) + within.of_image[inside]
    images = scores.part.images[inside]
    # by the probabilities that remain once only these levels are possible
    probabilities = scores.probabilities[inside][:, compared]
    total = np.maximum(probabilities.sum(axis=1, keepdims=True), np.finfo(np.float32).tiny)
    pictures = None if scores.part.pictures is None else scores.part.pictures[inside]
    clusters = within.units.clusters[images]
    statistic = macro_auc(probabilities / total, codes, strata, clusters, pictures)
    if statistic is None:
        return None, None
    share = len(inside) / len(scores.codes)
    wider = widening(int(scores.folds.max()) + 1, scores.dependence * share**2)
    plain = measured(within.units, images, statistic)
    return plain, measured(within.units, images, statistic, widened=wider)
