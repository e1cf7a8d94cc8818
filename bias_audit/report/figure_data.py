"""The numbers behind each figure, as rows of a table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy.typing as npt

from bias_audit.groups import Group
from bias_audit.report.figures.arrays import attribution_maps_of, matrix_of
from bias_audit.results.blocks import (
    AttributionMaps,
    AttributionTrust,
    BackboneComparison,
    Confusions,
    DifferenceMap,
    EnsembleVotes,
    GroupMatrix,
    GroupProfiles,
    GroupTable,
    LayerCurve,
    LayerMatrix,
    RegionShares,
    RobustnessCurves,
    UnitMap,
)
from bias_audit.results.selftest import PowerCurve
from bias_audit.statistics.estimate import Estimate

Arrays = Mapping[str, npt.NDArray[Any]]
Cell = str | int | float | None
Rows = list[tuple[Cell, ...]]
"""The first one names the columns; None is an empty cell."""

ESTIMATE: Final = (
    "estimate",
    "lower",
    "upper",
    "level",
    "n",
    "effective_clusters",
    "freedom",
    "method",
)
"""Columns of `estimate_cells`, in every table; `level` is the coverage of the interval, `freedom`
the degrees of freedom of Student's t behind it (empty where it is a normal one), and `method` how
it was made, so that what else is called a method is `method_compared`."""


def layer_curve_data(block: LayerCurve, arrays: Arrays) -> Rows:  # noqa: ARG001
    """One row per target, layer and series: the estimate, each control, and the lift."""
    rows: Rows = [("target", "layer", "series", *ESTIMATE, "p", "adjusted_p")]
    for curve in block.curves:
        for point in curve.points:
            start = curve.target, point.layer
            tested = point.p_value, point.adjusted_p
            rows.append((*start, "estimate", *estimate_cells(point.estimate), *tested))
            rows += [
                (*start, control.name, *estimate_cells(control.estimate), None, None)
                for control in point.controls
            ]
            if point.lift is not None:
                name = f"lift over {point.strongest or 'guessing'}"
                rows.append((*start, name, *estimate_cells(point.lift), None, None))
    return rows


def group_table_data(block: GroupTable, arrays: Arrays) -> Rows:  # noqa: ARG001
    """One row per group."""
    shrunk = ("shrunk", "shrunk_lower", "shrunk_upper")
    rows: Rows = [
        ("group", "images", *ESTIMATE, *shrunk, "by_chance", "p", "adjusted_p", "reason")
    ]
    rows += [
        (
            level_names(row.group),
            row.n,
            *estimate_cells(row.estimate),
            *estimate_cells(row.shrunk)[:3],
            row.by_chance,
            row.p_value,
            row.adjusted_p,
            row.reason,
        )
        for row in block.rows
    ]
    return rows


def confusions_data(block: Confusions, arrays: Arrays) -> Rows:  # noqa: ARG001
    """The most frequent confusions, then all by the attributes that change."""
    rows: Rows = [("true", "predicted", "changed", "confusions", "images", "expected", *ESTIMATE)]
    rows += [
        (
            level_names(each.true),
            level_names(each.predicted),
            " + ".join(each.changed),
            each.count,
            each.n_true,
            None,
            *estimate_cells(each.share),
        )
        for each in block.most_frequent
    ]
    rows += [
        (
            "any",
            "any",
            " + ".join(each.changed),
            each.count,
            None,
            each.expected,
            *estimate_cells(each.share),
        )
        for each in block.classes
    ]
    return rows


def group_profiles_data(block: GroupProfiles, arrays: Arrays) -> Rows:  # noqa: ARG001
    """One row per group."""
    rows: Rows = [("group", "images", *ESTIMATE, "reason")]
    rows += [
        (level_names(r.group), r.n, *estimate_cells(r.deviation), r.reason) for r in block.rows
    ]
    return rows


def unit_map_data(block: UnitMap, arrays: Arrays) -> Rows:
    """One row per unit: its place, and its value for each group."""
    names = [level_names(group) for group in block.groups]
    return _by_unit(arrays[block.positions], [(names, arrays[block.values])])


def difference_map_data(block: DifferenceMap, arrays: Arrays) -> Rows:
    """One row per unit: its place, and for each comparison the difference and its region's p."""
    names = [f"{entry.attribute}: {entry.label}" for entry in block.differences]
    return _by_unit(
        arrays[block.positions],
        [
            ([f"{name}, difference" for name in names], arrays[block.values]),
            ([f"{name}, adjusted p of region" for name in names], arrays[block.p_values]),
        ],
    )


def group_matrix_data(block: GroupMatrix, arrays: Arrays) -> Rows:
    """One row per ordered pair of groups."""
    values = matrix_of(block, arrays)
    bounds = arrays[block.bounds] if block.bounds else None
    rows: Rows = [("group", "other", *ESTIMATE[:3])]
    for row, one in enumerate(block.groups):
        for column, other in enumerate(block.groups):
            ends = (None, None) if bounds is None else tuple(bounds[:, row, column].tolist())
            rows.append((level_names(one), level_names(other), float(values[row, column]), *ends))
    return rows


def layer_matrix_data(block: LayerMatrix, arrays: Arrays) -> Rows:  # noqa: ARG001
    """One row per pair of layers."""
    rows: Rows = [("layer", "other", *ESTIMATE)]
    rows += [(pair.one, pair.other, *estimate_cells(pair.estimate)) for pair in block.pairs]
    return rows


def robustness_curves_data(block: RobustnessCurves, arrays: Arrays) -> Rows:  # noqa: ARG001
    """One row per disturbance, method and strength."""
    rows: Rows = [("disturbance", "method_compared", "rank", "strength", *ESTIMATE)]
    rows += [
        (panel.disturbance, curve.method, rank, point.strength, *estimate_cells(point.change))
        for panel in block.panels
        for rank, curve in enumerate(panel.curves, 1)
        for point in curve.points
    ]
    return rows


def attribution_maps_data(block: AttributionMaps, arrays: Arrays) -> Rows:
    """One row per cell of the input: its place, and its value for each method and group."""
    maps = attribution_maps_of(block, arrays)
    series = [
        (f"{method}, {level_names(group)}", maps[row, column])
        for row, method in enumerate(block.methods)
        for column, group in enumerate(block.groups)
        if block.reasons[column] is None
    ]
    rows: Rows = [("row", "column", *(name for name, _ in series))]
    side = maps.shape[-1]
    for y in range(side):
        rows += [(y, x, *(float(values[y, x]) for _, values in series)) for x in range(side)]
    return rows


def region_shares_data(block: RegionShares, arrays: Arrays) -> Rows:  # noqa: ARG001
    """One row per method, group and region."""
    rows: Rows = [
        ("method_compared", "group", "independent_images", "region", "area", *ESTIMATE, "reason")
    ]
    rows += [
        (
            row.method,
            level_names(row.group),
            row.n,
            region.name,
            region.area,
            *estimate_cells(share),
            row.reason,
        )
        for row in block.rows
        for region, share in zip(block.regions, row.shares, strict=True)
    ]
    return rows


def attribution_trust_data(block: AttributionTrust, arrays: Arrays) -> Rows:  # noqa: ARG001
    """One row per method and measure, then one per pair of methods."""
    rows: Rows = [("method_compared", "other", "measure", "standing", *ESTIMATE, "reason")]
    for method in block.methods:
        for measure, value in zip(block.measures, method.estimates, strict=True):
            start = (method.name, None, measure.name, method.standing)
            rows.append((*start, *estimate_cells(value), method.reason))
    rows += [
        (pair.one, pair.other, "agreement", None, *estimate_cells(pair.estimate), None)
        for pair in block.agreements
    ]
    return rows


def ensemble_votes_data(block: EnsembleVotes, arrays: Arrays) -> Rows:  # noqa: ARG001
    """One row per voter and measure, then the same for every group, then differences."""
    rows: Rows = [
        ("group", "images", "voter", "less", "measure", *ESTIMATE, "adjusted_p", "reason")
    ]
    for voted in voted_values(block):
        start = (voted.group, voted.n, voted.voter, voted.less, voted.measure)
        rows.append((*start, *estimate_cells(voted.value), voted.adjusted_p, voted.reason))
    return rows


@dataclass(frozen=True)
class Voted:
    """One number of a block of votes, with where it stands."""

    group: str | None
    """None: all images."""
    n: int | None
    voter: str
    layer: str | None
    less: str | None
    """Whose value is taken away; None where none is."""
    measure: str
    value: Estimate | None
    adjusted_p: float | None = None
    reason: str | None = None


def voted_values(block: EnsembleVotes) -> Iterator[Voted]:
    """Every number: of all images, of every group, then differences."""
    nothing = (None,) * len(block.measures)
    yield from _voted(block, None, block.n, block.estimates, nothing)
    for each in block.groups:
        yield from _voted(block, each.group, each.n, each.estimates, each.reasons)
    for found in block.differences:
        group = None if found.group is None else level_names(found.group)
        value, p = found.estimate, found.adjusted_p
        yield Voted(group, None, found.vote, None, found.member, found.measure, value, p)


def _voted(
    block: EnsembleVotes,
    group: Group | None,
    n: int,
    grid: tuple[tuple[Estimate | None, ...], ...],
    reasons: tuple[str | None, ...],
) -> Iterator[Voted]:
    name = None if group is None else level_names(group)
    for voter, values in zip(block.voters, grid, strict=True):
        for measure, value, reason in zip(block.measures, values, reasons, strict=True):
            yield Voted(name, n, voter.name, voter.layer, None, measure, value, None, reason)


def backbone_comparison_data(block: BackboneComparison, arrays: Arrays) -> Rows:  # noqa: ARG001
    """One row per backbone and measure."""
    rows: Rows = [("compared", "layer", "measure", "better", *ESTIMATE, "best_rank", "worst_rank")]
    for backbone in block.backbones:
        found = zip(block.measures, backbone.estimates, backbone.ranks, strict=True)
        for measure, value, rank in found:
            start = (backbone.name, backbone.layer, measure.name, measure.better)
            rows.append((*start, *estimate_cells(value), *(rank or (None, None))))
    return rows


def power_curve_data(curves: Sequence[PowerCurve]) -> Rows:
    """One row per number of images and strength."""
    rows: Rows = [("images_per_group", "auc", *ESTIMATE)]
    rows += [
        (curve.per_group, point.auc, *estimate_cells(point.claimed))
        for curve in curves
        for point in curve.points
    ]
    return rows


def _by_unit(
    positions: npt.NDArray[Any], series: list[tuple[list[str], npt.NDArray[Any]]]
) -> Rows:
    for names, values in series:
        if values.shape != (len(names), len(positions)):
            raise ValueError(
                f"expected values of shape {(len(names), len(positions))}, got {values.shape}"
            )
    rows: Rows = [("unit", "x", "y", *(name for names, _ in series for name in names))]
    for unit, place in enumerate(positions.tolist()):
        numbers = (float(x) for _, values in series for x in values[:, unit])
        rows.append((unit, *place, *numbers))
    return rows


def estimate_cells(estimate: Estimate | None) -> tuple[Cell, ...]:
    """Value, bounds, level, n, effective clusters, degrees of freedom and method.

    All are empty where nothing was measured.
    """
    if estimate is None:
        return (None,) * len(ESTIMATE)
    return (
        estimate.value,
        estimate.lower,
        estimate.upper,
        estimate.level,
        estimate.n,
        estimate.clusters,
        estimate.freedom,
        estimate.method,
    )


def level_names(group: Group) -> str:
    """Such as "age=20-29 / gender=Female"."""
    return " / ".join(f"{name}={level}" for name, level in group.levels)
