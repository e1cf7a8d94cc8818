"""What each block shape puts into the tables."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from bias_audit.report.exporting.columns import ESTIMATE, Kind
from bias_audit.report.figure_data import Cell, estimate_cells, level_names, voted_values
from bias_audit.results.blocks import (
    AttributionMaps,
    AttributionTrust,
    BackboneComparison,
    Confusions,
    DifferenceMap,
    EnsembleVotes,
    GroupDifference,
    GroupLedger,
    GroupMatrix,
    GroupProfiles,
    GroupTable,
    HypothesisFamilies,
    LayerCurve,
    LayerMatrix,
    MethodComparison,
    RegionShares,
    RobustnessCurves,
    UnitMap,
)

Row = tuple[Cell, ...]


@dataclass(frozen=True)
class BlockTable:
    """One table, and how blocks of one shape fill it."""

    name: str
    shape: str
    """The block's name."""
    about: str
    columns: dict[str, Kind]
    """After those that say where a row comes from."""
    rows: Callable[[Any], Iterator[Row]]


def curve_rows(block: LayerCurve) -> Iterator[Row]:
    """The estimate of every target and layer, each control, and lifts."""
    for curve in block.curves:
        refit_sd = curve.noise.sd if curve.noise else None
        for point in curve.points:
            start = (block.quantity, curve.target, point.layer)
            tested = (point.p_value, point.adjusted_p)
            if point.estimate is None:
                reason = curve.not_measured or "not measured"
                yield (*start, "estimate", *estimate_cells(None), *tested, reason, None)
                continue
            yield (*start, "estimate", *estimate_cells(point.estimate), *tested, None, refit_sd)
            for control in point.controls:
                named = f"control: {control.name}", f"lift over {control.name}"
                for series, value in zip(named, (control.estimate, control.lift), strict=True):
                    yield (*start, series, *estimate_cells(value), None, None, None, None)
            if point.lift is not None:
                series = f"lift over the strongest control, {point.strongest or 'guessing'}"
                yield (*start, series, *estimate_cells(point.lift), None, None, None, None)


def group_rows(block: GroupTable) -> Iterator[Row]:
    """The estimate of every group, and the shrunk one where there is one."""
    for row in block.rows:
        start = (block.quantity, block.target, block.layer, level_names(row.group), row.n)
        tested = (row.by_chance, row.p_value, row.adjusted_p, row.reason)
        yield (*start, "estimate", *estimate_cells(row.estimate), *tested)
        if row.shrunk is not None:
            yield (*start, "shrunk", *estimate_cells(row.shrunk), None, None, None, None)


def profile_rows(block: GroupProfiles) -> Iterator[Row]:
    """The distance of every group's profile from the mean over groups."""
    for row in block.rows:
        units = ", ".join(str(unit) for unit, _ in row.strongest_units)
        cells = estimate_cells(row.deviation)
        yield (block.layer, level_names(row.group), row.n, *cells, units, row.reason)


def confusion_rows(block: Confusions) -> Iterator[Row]:
    """The most frequent pairs, then all confusions by the attributes that change."""
    for pair in block.most_frequent:
        yield (
            block.layer,
            level_names(pair.true),
            level_names(pair.predicted),
            " + ".join(pair.changed),
            pair.count,
            pair.n_true,
            None,
            *estimate_cells(pair.share),
        )
    for each in block.classes:
        changed = " + ".join(each.changed)
        share = estimate_cells(each.share)
        yield (block.layer, None, None, changed, each.count, None, each.expected, *share)


def group_pair_rows(block: GroupMatrix) -> Iterator[Row]:
    """Pairs of groups that have an interval."""
    for pair in block.pairs:
        one, other = (level_names(block.groups[place]) for place in (pair.one, pair.other))
        yield (block.metric, block.layer, one, other, *estimate_cells(pair.estimate))


def layer_pair_rows(block: LayerMatrix) -> Iterator[Row]:
    """Pairs of layers."""
    for pair in block.pairs:
        yield (block.metric, pair.one, pair.other, *estimate_cells(pair.estimate))


def share_rows(block: UnitMap) -> Iterator[Row]:
    """How much of the differences between maps goes with each attribute."""
    for entry in block.shares:
        yield (block.layer, block.layout, entry.attribute, *estimate_cells(entry.share))


def region_rows(block: DifferenceMap) -> Iterator[Row]:
    """Every comparison with its strongest regions; one row without a region where none is."""
    for entry in block.differences:
        start = _compared(block, entry)
        for place, region in enumerate(entry.regions, start=1):
            yield (
                *start,
                place,
                region.n_units,
                "higher" if region.is_higher else "lower",
                ", ".join(map(str, region.units)),
                region.p_value,
                region.adjusted_p,
                *estimate_cells(region.effect),
                entry.reason,
            )
        if not entry.regions:
            nothing = estimate_cells(None)
            yield (*start, None, None, None, None, None, entry.adjusted_p, *nothing, entry.reason)


def _compared(block: DifferenceMap, entry: GroupDifference) -> Row:
    return (block.layer, entry.attribute, entry.one, entry.other, *entry.counts, *entry.tested)


def family_rows(block: HypothesisFamilies) -> Iterator[Row]:
    """The declared families of tests."""
    for family in block.families:
        yield (
            family.name,
            family.n_hypotheses,
            family.n_tested,
            family.method,
            family.controls,
            family.alpha,
            family.draws,
            family.smallest_p,
            family.rejected,
            "open" if family.is_open else "closed",
            family.gate,
        )


def ledger_rows(block: GroupLedger) -> Iterator[Row]:
    """Groups that are not reported like the others."""
    for entry in block.entries:
        yield (level_names(entry.group), entry.n, entry.action, entry.reason, entry.effect)


def comparison_rows(block: MethodComparison) -> Iterator[Row]:
    """Every measure of every method, and its mean rank."""
    for method in block.methods:
        start = (block.noun, block.layer, method.name, method.standing)
        yield (*start, "mean rank", "lower", *estimate_cells(method.mean_rank))
        for measure, value in zip(block.measures, method.estimates, strict=True):
            yield (*start, measure.name, measure.better, *estimate_cells(value))


def robustness_rows(block: RobustnessCurves) -> Iterator[Row]:
    """Every point of every method's curve."""
    for panel in block.panels:
        for curve in panel.curves:
            start = (block.metric, block.layer, panel.disturbance, curve.method)
            for point in curve.points:
                change = estimate_cells(point.change)
                yield (*start, point.strength, panel.strength, *change)


def attributed_rows(block: AttributionMaps) -> Iterator[Row]:
    """Every method and group, with the images behind its map or why there is none."""
    for method in block.methods:
        flag = "not passed" if method in block.flagged else "passed"
        for group, n, reason in zip(block.groups, block.counts, block.reasons, strict=True):
            yield (block.target, block.layer, method, flag, level_names(group), n, reason)


def region_share_rows(block: RegionShares) -> Iterator[Row]:
    """The share of every method, group and region, then the differences of groups."""
    for row in block.rows:
        start = (block.target, block.layer, "share", row.method, level_names(row.group), None)
        for region, share in zip(block.regions, row.shares, strict=True):
            values = estimate_cells(share)
            yield (*start, row.n, region.name, region.area, *values, None, row.reason)
    for each in block.differences:
        other = level_names(each.other) if each.other else "all others"
        compared = (block.target, block.layer, "difference", None, level_names(each.one), other)
        values = estimate_cells(each.estimate)
        yield (*compared, None, each.region, None, *values, each.adjusted_p, None)


def trust_rows(block: AttributionTrust) -> Iterator[Row]:
    """Every measure of every method, then the agreement of every pair."""
    for method in block.methods:
        for measure, value in zip(block.measures, method.estimates, strict=True):
            start = (block.target, block.layer, method.name, None, method.standing)
            values = estimate_cells(value)
            yield (*start, measure.name, measure.better, *values, method.reason)
    for pair in block.agreements:
        pairs = (block.target, block.layer, pair.one, pair.other, None)
        yield (*pairs, "agreement", "higher", *estimate_cells(pair.estimate), None)


def vote_rows(block: EnsembleVotes) -> Iterator[Row]:
    """Every measure of every voter, over all images and by group, then differences."""
    for voted in voted_values(block):
        start = (block.target, voted.group, voted.n, voted.voter, voted.less, voted.layer)
        values = estimate_cells(voted.value)
        yield (*start, voted.measure, *values, voted.adjusted_p, voted.reason)


def backbone_rows(block: BackboneComparison) -> Iterator[Row]:
    """Every measure of every backbone."""
    for backbone in block.backbones:
        for measure, value, rank in zip(
            block.measures, backbone.estimates, backbone.ranks, strict=True
        ):
            start = (block.target, backbone.layer, backbone.name, measure.name, measure.better)
            yield (*start, *estimate_cells(value), *(rank or (None, None)))


_TESTED: Final[dict[str, Kind]] = {"p": "number", "adjusted_p": "number", "reason": "text"}

BLOCK_TABLES: Final = (
    BlockTable(
        "layer_curves",
        "layer_curve",
        "a quantity of one target at one layer: the estimate, a control, or a lift (see series)",
        {
            "quantity": "text",
            "target": "text",
            "layer": "text",
            "series": "text",
            **ESTIMATE,
            **_TESTED,
            "refit_sd": "number",
        },
        curve_rows,
    ),
    BlockTable(
        "groups",
        "group_table",
        "a quantity of one group: the estimate, or the shrunk one (see series)",
        {
            "quantity": "text",
            "target": "text",
            "layer": "text",
            "group": "text",
            "images": "whole",
            "series": "text",
            **ESTIMATE,
            "by_chance": "number",
            **_TESTED,
        },
        group_rows,
    ),
    BlockTable(
        "profiles",
        "group_profiles",
        "the distance of one group's profile from the mean over groups",
        {
            "layer": "text",
            "group": "text",
            "images": "whole",
            **ESTIMATE,
            "strongest_units": "text",
            "reason": "text",
        },
        profile_rows,
    ),
    BlockTable(
        "confusions",
        "confusions",
        "a pair of groups, its share of the true group; or, without groups, all confusions that "
        "change the same attributes, their share of all",
        {
            "layer": "text",
            "true": "text",
            "predicted": "text",
            "changed": "text",
            "confusions": "whole",
            "images": "whole",
            "expected": "number",
            **ESTIMATE,
        },
        confusion_rows,
    ),
    BlockTable(
        "group_pairs",
        "group_matrix",
        "two groups; all pairs are in figures/",
        {"metric": "text", "layer": "text", "group": "text", "other": "text", **ESTIMATE},
        group_pair_rows,
    ),
    BlockTable(
        "layer_pairs",
        "layer_matrix",
        "two layers",
        {"metric": "text", "layer": "text", "other": "text", **ESTIMATE},
        layer_pair_rows,
    ),
    BlockTable(
        "attribute_shares",
        "unit_map",
        "the share of the differences between maps that goes with one attribute",
        {"layer": "text", "layout": "text", "attribute": "text", **ESTIMATE},
        share_rows,
    ),
    BlockTable(
        "map_regions",
        "difference_map",
        "a region of a difference map, its effect in standard deviations; or a map without one",
        {
            "layer": "text",
            "attribute": "text",
            "one": "text",
            "other": "text",
            "images_one": "whole",
            "images_other": "whole",
            "tested_one": "whole",
            "tested_other": "whole",
            "region": "whole",
            "units": "whole",
            "direction": "text",
            "strongest_units": "text",
            "p": "number",
            "adjusted_p": "number",
            **ESTIMATE,
            "reason": "text",
        },
        region_rows,
    ),
    BlockTable(
        "test_families",
        "test_families",
        "a family of tests that was declared",
        {
            "family": "text",
            "hypotheses": "whole",
            "tested": "whole",
            "adjustment": "text",
            "controls": "text",
            "alpha": "number",
            "draws": "whole",
            "smallest_p": "number",
            "rejected": "whole",
            "gate": "text",
            "gate_reason": "text",
        },
        family_rows,
    ),
    BlockTable(
        "small_groups",
        "group_ledger",
        "a group that is suppressed, pooled or shrunk",
        {
            "group": "text",
            "independent_images": "whole",
            "action": "text",
            "reason": "text",
            "effect": "text",
        },
        ledger_rows,
    ),
    BlockTable(
        "method_comparisons",
        "method_comparison",
        "a method by one measure",
        {
            "compared": "text",
            "layer": "text",
            "method_compared": "text",
            "standing": "text",
            "measure": "text",
            "better": "text",
            **ESTIMATE,
        },
        comparison_rows,
    ),
    BlockTable(
        "robustness",
        "robustness_curves",
        "what the pictures of a method lose at one strength of a disturbance",
        {
            "metric": "text",
            "layer": "text",
            "disturbance": "text",
            "method_compared": "text",
            "strength": "number",
            "strength_is": "text",
            **ESTIMATE,
        },
        robustness_rows,
    ),
    BlockTable(
        "attribution_maps",
        "attribution_maps",
        "a map of one method and group; its cells are in figures/",
        {
            "target": "text",
            "layer": "text",
            "method_compared": "text",
            "sanity_check": "text",
            "group": "text",
            "independent_images": "whole",
            "reason": "text",
        },
        attributed_rows,
    ),
    BlockTable(
        "attribution_regions",
        "region_shares",
        "the share of attribution of one region, or the difference of two groups' (see series)",
        {
            "target": "text",
            "layer": "text",
            "series": "text",
            "method_compared": "text",
            "group": "text",
            "other": "text",
            "independent_images": "whole",
            "region": "text",
            "area": "number",
            **ESTIMATE,
            "adjusted_p": "number",
            "reason": "text",
        },
        region_share_rows,
    ),
    BlockTable(
        "attribution_checks",
        "attribution_trust",
        "a check of one attribution method, or the agreement of two",
        {
            "target": "text",
            "layer": "text",
            "method_compared": "text",
            "other": "text",
            "standing": "text",
            "measure": "text",
            "better": "text",
            **ESTIMATE,
            "reason": "text",
        },
        trust_rows,
    ),
    BlockTable(
        "votes",
        "ensemble_votes",
        "a measure of a vote or of one backbone, or of a vote less a backbone (see less)",
        {
            "target": "text",
            "group": "text",
            "images": "whole",
            "voter": "text",
            "less": "text",
            "layer": "text",
            "measure": "text",
            **ESTIMATE,
            "adjusted_p": "number",
            "reason": "text",
        },
        vote_rows,
    ),
    BlockTable(
        "map_checks_by_backbone",
        "backbone_comparison",
        "a check of attribution maps on one backbone, as the mean over methods",
        {
            "target": "text",
            "layer": "text",
            "compared": "text",
            "measure": "text",
            "better": "text",
            **ESTIMATE,
            "best_rank": "whole",
            "worst_rank": "whole",
        },
        backbone_rows,
    ),
)
