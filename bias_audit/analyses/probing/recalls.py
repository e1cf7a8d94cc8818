"""How many images of each level a probe gives that level."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from bias_audit.analyses.analysis import Subject
from bias_audit.analyses.probing.decodability import LayerProbe, ProbedTarget
from bias_audit.analyses.probing.probes import Scores
from bias_audit.analyses.probing.separability import Units, measured, over_labels, widening_of
from bias_audit.analyses.small_groups import independent_images, treat
from bias_audit.arrays import FloatArray, IntArray
from bias_audit.results.contributions import MeasureKey
from bias_audit.shapes.group_ledger import GroupLedger
from bias_audit.shapes.group_table import GroupRow, GroupTable
from bias_audit.statistics.estimate import Estimate
from bias_audit.statistics.inference import Measured, estimate, too_unequal
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
    clusters, units = subject.faces.clusters, Units.of(subject)
    predicted = [(each, each.predicted) for each in scores.labelled]
    by_chance = np.mean([_by_chance(each) for each in scores.labelled], axis=0)
    recall_of = partial(_recall, predicted, units, level=level, choice=choice)
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
    rows, measures = [], {}
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
        hits, recall = recall_of([index])
        if recall is not None and (reason := too_unequal(recall)) is not None:
            rows.append(GroupRow(group=group, n=n, estimate=None, reason=reason))
            continue
        if hits is not None:
            measures[MeasureKey("recall", target.name, probe.layer, group.levels)] = hits
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
        recall, reason = None, None
        if pooled.reason is None:
            _, recall = recall_of(pooled.members)
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


def _by_chance(scores: Scores) -> FloatArray:
    """Recall of each level if predictions ignored the image: some are predicted more often."""
    best = scores.probabilities.argmax(axis=1)
    named = np.bincount(best, minlength=len(scores.part.levels)) / len(best)
    return scores.part.recall_by_chance(named)


def _recall(
    predicted: Sequence[tuple[Scores, IntArray]],
    units: Units,
    groups: Sequence[int],
    *,
    level: float,
    choice: float,
) -> tuple[Measured | None, Estimate | None]:
    """Share of right predictions in some groups of a target, over sets of labels."""

    def one(scores: Scores, best: IntArray) -> Measured | None:
        members = np.isin(scores.part.levels[scores.codes], groups)
        if not members.any():
            return None
        images = scores.part.images[members]
        right = average(best[members] == scores.codes[members], units.clusters[images])
        return measured(units, images, right, widened=widening_of(scores))

    found = over_labels(one(*each) for each in predicted)
    if found is None:
        return None, None
    # without clusters that it is not about, so that its last digits depend on no others
    own = (found.weight > 0) | (found.influence[: units.n_clusters] != 0)
    influence, weight = found.influence[: units.n_clusters][own], found.weight[own]
    alone = replace(found, influence=influence, weight=weight, choice=choice)
    return found, estimate(alone, level=level)
