"""Recall of every group, with what is done about small ones."""

from __future__ import annotations

import numpy as np

from bias_audit.analyses.analysis import Subject
from bias_audit.analyses.probing.decodability import LayerProbe, ProbedTarget
from bias_audit.analyses.probing.separability import widening_of
from bias_audit.analyses.small_groups import Treatment, Treatments, independent_images, treat
from bias_audit.arrays import IntArray
from bias_audit.groups import Group
from bias_audit.results.blocks import GroupLedger, GroupRow, GroupTable
from bias_audit.statistics.inference import share_estimate, too_unequal
from bias_audit.statistics.shrunk_estimates import shrink_estimates


def recall_table(
    subject: Subject, probed: ProbedTarget, probe: LayerProbe, level: float, *, choice: float = 1.0
) -> tuple[GroupTable, GroupLedger]:
    """How many images of each declared level the probe gives that level.

    Args:
        subject: The subject.
        probed: The target.
        probe: Its probe at one layer.
        level: Coverage of the intervals.
        choice: Share of the error rate that the choice of the layer left.

    Returns:
        The table, with shrunk values beside the raw ones, and the ledger of small groups.
    """
    target = probed.target
    title = f"Recall of {target.described} at its most separable layer"
    counts = independent_images(target.codes, subject.faces.clusters, len(target.groups))
    treatments = treat(target.groups, counts, subject.small_groups, title=f"Small groups: {title}")
    rows = [
        _row(subject, probed, probe, (index, treatment), level=level, choice=choice)
        for index, treatment in enumerate(treatments.by_group)
    ]
    names = [name for name, _ in target.groups[0].levels]
    shrunk, said = shrink_estimates(
        [row.estimate for row in rows], _level_codes(target.groups), names=names
    )
    rows = [
        row.model_copy(update={"shrunk": value}) for row, value in zip(rows, shrunk, strict=True)
    ]
    table = GroupTable(
        detail=len(names) > 1,
        title=title,
        quantity="recall",
        metric="recall",
        layer=probe.layer,
        target=target.name,
        chance=None,
        rows=(*rows, *_pooled(subject, probed, probe, treatments, level=level, choice=choice)),
        shrinkage=said,
    )
    return table, treatments.ledger


def _row(
    subject: Subject,
    probed: ProbedTarget,
    probe: LayerProbe,
    treated: tuple[int, Treatment],
    *,
    level: float,
    choice: float,
) -> GroupRow:
    target, part = probed.target, probed.part
    index, treatment = treated
    group, n = target.groups[index], int((target.codes == index).sum())
    if index in part.reasons:
        return GroupRow(group=group, n=n, estimate=None, reason=part.reasons[index])
    if not treatment.is_measured:
        return GroupRow(group=group, n=n, estimate=None, reason=treatment.reason)
    place = int(np.searchsorted(part.levels, index))
    predicted = probe.scores.predicted
    members = part.codes == place
    recall = share_estimate(
        predicted[members] == place,
        subject.faces.clusters[part.images][members],
        level=level,
        widened=widening_of(probe.scores),
        choice=choice,
    )
    if recall is not None and (reason := too_unequal(recall)) is not None:
        return GroupRow(group=group, n=n, estimate=None, reason=reason)
    # The probe is not balanced: it names some levels more often than others for any image.
    named = float((predicted == place).mean())
    return GroupRow(group=group, n=n, estimate=recall, by_chance=named, reason=treatment.reason)


def _pooled(
    subject: Subject,
    probed: ProbedTarget,
    probe: LayerProbe,
    treatments: Treatments,
    *,
    level: float,
    choice: float,
) -> tuple[GroupRow, ...]:
    """One row for all small groups together, where the policy is to pool them."""
    pooled, part = treatments.pooled, probed.part
    if pooled is None:
        return ()
    if pooled.reason is not None:
        return (GroupRow(group=pooled.group, n=pooled.n, estimate=None, reason=pooled.reason),)
    members = np.isin(part.levels[part.codes], pooled.members)
    recall = share_estimate(
        probe.scores.predicted[members] == part.codes[members],
        subject.faces.clusters[part.images][members],
        level=level,
        widened=widening_of(probe.scores),
        choice=choice,
    )
    reason = None if recall is not None else "none of its groups could be probed"
    return (GroupRow(group=pooled.group, n=pooled.n, estimate=recall, reason=reason),)


def _level_codes(groups: tuple[Group, ...]) -> IntArray:
    """Level of each group in each attribute, shape (n_groups, n_attributes)."""
    columns = zip(*(tuple(level for _, level in group.levels) for group in groups), strict=True)
    return np.stack(
        [np.unique(column, return_inverse=True)[1] for column in columns], axis=1
    ).astype(np.int64)
