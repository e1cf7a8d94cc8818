"""How many images of each level a probe gives that level."""

from __future__ import annotations

from functools import partial

import numpy as np

from bias_audit.analyses.analysis import Subject
from bias_audit.analyses.probing.decodability import LayerProbe, ProbedTarget
from bias_audit.analyses.probing.separability import Units, measured, widening_of
from bias_audit.analyses.small_groups import independent_images, treat
from bias_audit.results.contributions import MeasureKey
from bias_audit.shapes.group_ledger import GroupLedger
from bias_audit.shapes.group_table import GroupRow, GroupTable
from bias_audit.statistics.inference import Measured, share_estimate, too_unequal
from bias_audit.statistics.influence import average
from bias_audit.statistics.shrinkage import shrink_estimates


def recall_table(
    subject: Subject, probed: ProbedTarget, probe: LayerProbe, level: float, *, choice: float = 1.0
) -> tuple[GroupTable, GroupLedger, dict[MeasureKey, Measured]]:
    """How many images of each declared level the probe gives that level.

    `choice` is the share of the error rate that the choice of the layer left. The table has shrunk
    values beside the raw ones; with it come the ledger of small groups, and what images contribute
    to the rows that have an estimate, but for a row of pooled groups.
    """
    target, part, scores = probed.target, probed.part, probe.probe.scores
    clusters = subject.faces.clusters
    predicted = scores.predicted
    # The probe is not balanced: it names some levels more often than others for any image.
    best = scores.probabilities.argmax(axis=1)
    by_chance = part.recall_by_chance(np.bincount(best, minlength=len(part.levels)) / len(best))
    share_of = partial(share_estimate, level=level, widened=widening_of(scores), choice=choice)
    title = (
        f"Which groups does the probe recognise? Recall of {target.described} at its best layer"
    )
    counts = independent_images(target.codes, clusters, len(target.groups))
    treatments = treat(
        target.groups,
        counts,
        subject.small_groups,
        title=f"Small groups: recall of {target.described}",
    )
    units, rows, measures = Units.of(subject), [], {}
    for index, (group, treatment) in enumerate(
        zip(target.groups, treatments.by_group, strict=True)
    ):
        n = target.n_images([index])
        left_out = part.reasons.get(index)
        if left_out is not None or not treatment.is_measured:
            reason = left_out or treatment.reason
            rows.append(GroupRow(group=group, n=n, estimate=None, reason=reason))
            continue
        place = int(np.searchsorted(part.levels, index))
        members = part.codes == place
        recall = share_of(predicted[members] == place, clusters[part.images][members])
        if recall is not None and (reason := too_unequal(recall)) is not None:
            rows.append(GroupRow(group=group, n=n, estimate=None, reason=reason))
            continue
        if recall is not None:
            images = part.images[members]
            hits = average(predicted[members] == place, units.clusters[images])
            key = MeasureKey("recall", target.name, probe.layer, group.levels)
            measures[key] = measured(units, images, hits, widened=widening_of(scores))
        rows.append(
            GroupRow(
                group=group,
                n=n,
                estimate=recall,
                by_chance=float(by_chance[place]),
                reason=treatment.reason,
            )
        )
    names = [name for name, _ in target.groups[0].levels]
    levels = np.array([[value for _, value in group.levels] for group in target.groups])
    codes = np.stack([np.unique(column, return_inverse=True)[1] for column in levels.T], axis=1)
    shrunk, shrinkage = shrink_estimates([row.estimate for row in rows], codes, names=names)
    rows = [
        row.model_copy(update={"shrunk": value}) for row, value in zip(rows, shrunk, strict=True)
    ]
    if (pooled := treatments.pooled) is not None:
        members, recall, reason = np.isin(part.levels[part.codes], pooled.members), None, None
        if pooled.reason is None:
            right = predicted[members] == part.codes[members]
            recall = share_of(right, clusters[part.images][members])
            reason = None if recall is not None else "none of its groups could be probed"
        rows.append(
            GroupRow(
                group=pooled.group, n=pooled.n, estimate=recall, reason=pooled.reason or reason
            )
        )
    table = GroupTable(
        detail=len(names) > 1,
        title=title,
        quantity="recall",
        metric="recall",
        layer=probe.layer,
        target=target.name,
        chance=None,
        rows=tuple(rows),
        shrinkage=shrinkage,
    )
    return table, treatments.ledger, measures
