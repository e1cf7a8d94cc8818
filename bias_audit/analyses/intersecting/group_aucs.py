"""How well each group is told apart from all other images: levels, pairs of levels, cells."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bias_audit.analyses.analysis import Subject
from bias_audit.analyses.intersecting.group_measures import GroupMeasures, GroupValue, level_codes
from bias_audit.analyses.probing.probes import Scores
from bias_audit.analyses.probing.separability import Units, measured, widening_of
from bias_audit.analyses.small_groups import Treatments, independent_images, treat
from bias_audit.analyses.targets import INTERSECTION
from bias_audit.arrays import IntArray
from bias_audit.data.faces import FaceTable
from bias_audit.groups import Attribute, Group, intersection_codes, intersections
from bias_audit.statistics.inference import Measured, too_unequal
from bias_audit.statistics.influence import auc
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
