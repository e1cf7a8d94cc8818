"""What linear probes measured, by key, with the contributions of single images."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from bias_audit.analyses.analysis import Subject
from bias_audit.analyses.probing.decodability import Decodability, LayerProbe, ProbedTarget
from bias_audit.analyses.probing.separability import Metric, Units, measured, widening_of
from bias_audit.results.blocks import GroupTable
from bias_audit.results.contributions import MeasureKey
from bias_audit.statistics.inference import Measured
from bias_audit.statistics.influence import average


def curve_measures(metric: Metric, results: Iterable[Decodability]) -> dict[MeasureKey, Measured]:
    """Every point of the curves of a metric, and its lift over the strongest control."""
    found: dict[MeasureKey, Measured] = {}
    for result in results:
        target = result.probed.target.name
        for comparison in result.comparisons:
            if comparison is None:
                continue
            key = MeasureKey(metric.quantity, target, comparison.layer)
            found[key] = comparison.probe
            lift = MeasureKey(metric.quantity, target, comparison.layer, of="lift")
            found[lift] = comparison.over_strongest
    return found


def recall_measures(
    subject: Subject, probed: ProbedTarget, probe: LayerProbe, table: GroupTable
) -> dict[MeasureKey, Measured]:
    """The rows of a recall table that have an estimate; a row for pooled groups is not among them.

    Args:
        subject: The subject.
        probed: The target.
        probe: Its probe at the table's layer.
        table: As `recalls.recall_table` made it.
    """
    units, part = Units.of(subject), probed.part
    levels = [probed.target.groups[index].levels for index in part.levels]
    wanted = {row.group.levels for row in table.rows if row.estimate is not None}
    found: dict[MeasureKey, Measured] = {}
    for place, level in enumerate(levels):
        members = np.flatnonzero(part.codes == place)
        if level not in wanted or not len(members):
            continue
        own = units.clusters[part.images[members]]
        hits = average(probe.scores.predicted[members] == place, own)
        found[MeasureKey("recall", probed.target.name, probe.layer, level)] = measured(
            units, part.images[members], hits, widened=widening_of(probe.scores)
        )
    return found
