"""Block shapes: how each is drawn, told and printed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar

import numpy.typing as npt
from matplotlib.figure import Figure

from bias_audit.report.blocks.attribution_maps import attribution_maps as attribution_maps_text
from bias_audit.report.blocks.attribution_trust import attribution_trust as attribution_trust_text
from bias_audit.report.blocks.backbone_comparison import (
    backbone_comparison as backbone_comparison_text,
)
from bias_audit.report.blocks.confusions import confusions as confusions_text
from bias_audit.report.blocks.difference_map import difference_map as difference_map_text
from bias_audit.report.blocks.ensemble_votes import ensemble_votes as ensemble_votes_text
from bias_audit.report.blocks.group_ledger import group_ledger as group_ledger_text
from bias_audit.report.blocks.group_matrix import group_matrix as group_matrix_text
from bias_audit.report.blocks.group_profiles import group_profiles as group_profiles_text
from bias_audit.report.blocks.group_table import group_table as group_table_text
from bias_audit.report.blocks.groups import group_heading
from bias_audit.report.blocks.hypothesis_families import (
    hypothesis_families as hypothesis_families_text,
)
from bias_audit.report.blocks.layer_curve import layer_curve as layer_curve_text
from bias_audit.report.blocks.layer_matrix import layer_matrix as layer_matrix_text
from bias_audit.report.blocks.method_comparison import method_comparison as method_comparison_text
from bias_audit.report.blocks.region_shares import region_shares as region_shares_text
from bias_audit.report.blocks.robustness_curves import robustness_curves as robustness_curves_text
from bias_audit.report.blocks.unit_map import unit_map as unit_map_text
from bias_audit.report.elements import BlockText
from bias_audit.report.figure_data import (
    Rows,
    attribution_maps_data,
    attribution_trust_data,
    backbone_comparison_data,
    confusions_data,
    difference_map_data,
    ensemble_votes_data,
    group_matrix_data,
    group_profiles_data,
    group_table_data,
    layer_curve_data,
    layer_matrix_data,
    region_shares_data,
    robustness_curves_data,
    unit_map_data,
)
from bias_audit.report.figures.attribution_maps import attribution_maps
from bias_audit.report.figures.attribution_trust import attribution_trust
from bias_audit.report.figures.backbone_comparison import backbone_comparison
from bias_audit.report.figures.confusions import confusions
from bias_audit.report.figures.difference_map import difference_map
from bias_audit.report.figures.ensemble_votes import ensemble_votes
from bias_audit.report.figures.group_matrix import group_matrix
from bias_audit.report.figures.group_profiles import group_profiles
from bias_audit.report.figures.group_table import group_table
from bias_audit.report.figures.layer_curve import layer_curve
from bias_audit.report.figures.layer_matrix import layer_matrix
from bias_audit.report.figures.region_shares import region_shares
from bias_audit.report.figures.robustness_curves import robustness_curves
from bias_audit.report.figures.style import Palette
from bias_audit.report.figures.unit_map import unit_map
from bias_audit.results.blocks import (
    AttributionMaps,
    DifferenceMap,
    GroupMatrix,
    GroupProfiles,
    GroupTable,
    RegionShares,
    UnitMap,
)

B = TypeVar("B")


def undrawn(block: object, arrays: Mapping[str, npt.NDArray[Any]]) -> Figure:  # noqa: ARG001
    """Stand in for the drawing of a shape that is text and tables alone.

    Raises:
        ValueError: Always; the text of such a shape has no `alt`, so it is never asked to draw.
    """
    raise ValueError(f"{type(block).__name__} has no figure, so its text must have no alt")


@dataclass(frozen=True)
class Shape(Generic[B]):
    """How blocks of one shape become text and a figure; `templates/blocks/` has the third part."""

    text: Callable[[B], BlockText]
    draw: Callable[[B, Mapping[str, npt.NDArray[Any]]], Figure] = undrawn
    """Called where the text has an `alt`."""
    form: Literal["svg", "png"] = "svg"
    needs: Callable[[B], tuple[str, ...]] = lambda _: ()
    """Keys of the arrays that are drawn."""
    data: Callable[[B, Mapping[str, npt.NDArray[Any]]], Rows] | None = None
    """The numbers behind the figure."""
    data_needs: Callable[[B], tuple[str, ...]] = lambda _: ()
    """Keys of the arrays that hold them."""
    is_coloured: bool = False
    """Whether `draw` takes a palette, since colours stand for attributes."""

    keys: Callable[[B], str] = lambda _: "layer"
    """What the keys of the figure's marks are: "layer", or the attributes of groups."""

    def drawn(self, block: B, arrays: Mapping[str, npt.NDArray[Any]], palette: Palette) -> Figure:
        """The figure, in the colours of the report's attributes."""
        draw: Callable[..., Figure] = self.draw
        return draw(block, arrays, palette) if self.is_coloured else draw(block, arrays)


def shapes() -> dict[str, Shape[Any]]:
    """Every shape by its block's name, in the order in which a report prints them."""
    return {
        "ensemble_votes": Shape(
            ensemble_votes_text, ensemble_votes, data=ensemble_votes_data, keys=lambda _: "voter"
        ),
        "backbone_comparison": Shape(
            backbone_comparison_text,
            backbone_comparison,
            data=backbone_comparison_data,
            keys=lambda _: "backbone",
        ),
        "layer_curve": Shape(
            layer_curve_text, layer_curve, data=layer_curve_data, is_coloured=True
        ),
        "group_table": Shape(
            group_table_text, group_table, data=group_table_data, is_coloured=True, keys=_of_rows
        ),
        "confusions": Shape(
            confusions_text,
            confusions,
            data=confusions_data,
            is_coloured=True,
            keys=lambda _: "attributes that changed",
        ),
        "group_profiles": Shape(
            group_profiles_text,
            group_profiles,
            data=group_profiles_data,
            is_coloured=True,
            keys=_of_rows,
        ),
        "unit_map": Shape(
            unit_map_text,
            unit_map,
            "png",
            _rasters,
            unit_map_data,
            _by_unit,
            keys=lambda block: group_heading(block.groups),
        ),
        "difference_map": Shape(
            difference_map_text,
            difference_map,
            "png",
            _difference_arrays,
            difference_map_data,
            _differences_by_unit,
            keys=lambda _: "comparison",
        ),
        "group_matrix": Shape(
            group_matrix_text,
            group_matrix,
            "png",
            _values,
            group_matrix_data,
            _values_and_bounds,
            keys=lambda _: "pair of groups",
        ),
        "layer_matrix": Shape(
            layer_matrix_text, layer_matrix, data=layer_matrix_data, keys=lambda _: "layer / layer"
        ),
        "method_comparison": Shape(method_comparison_text),
        "robustness_curves": Shape(
            robustness_curves_text,
            robustness_curves,
            data=robustness_curves_data,
            keys=lambda _: "strength",
        ),
        "attribution_maps": Shape(
            attribution_maps_text,
            attribution_maps,
            "png",
            _attributed,
            attribution_maps_data,
            _attributed,
            keys=lambda block: group_heading(block.groups[1:] or block.groups),
        ),
        "region_shares": Shape(
            region_shares_text, region_shares, data=region_shares_data, keys=_of_regions
        ),
        "attribution_trust": Shape(
            attribution_trust_text,
            attribution_trust,
            data=attribution_trust_data,
            keys=lambda _: "method",
        ),
        "test_families": Shape(hypothesis_families_text),
        "group_ledger": Shape(group_ledger_text),
    }


def _of_rows(block: GroupTable | GroupProfiles) -> str:
    return group_heading([row.group for row in block.rows])


def _attributed(block: AttributionMaps) -> tuple[str, ...]:
    return (block.maps,)


def _of_regions(block: RegionShares) -> str:
    if block.by == "method":
        return "method"
    return group_heading([row.group for row in block.rows[1:]])


def _rasters(block: UnitMap) -> tuple[str, ...]:
    return (block.rasters,)


def _difference_arrays(block: DifferenceMap) -> tuple[str, ...]:
    return (block.rasters, block.masks)


def _values(block: GroupMatrix) -> tuple[str, ...]:
    return tuple(key for key in (block.values, block.tree, block.bounds) if key)


def _by_unit(block: UnitMap) -> tuple[str, ...]:
    return (block.positions, block.values)


def _differences_by_unit(block: DifferenceMap) -> tuple[str, ...]:
    return (block.positions, block.values, block.p_values)


def _values_and_bounds(block: GroupMatrix) -> tuple[str, ...]:
    return (block.values, *((block.bounds,) if block.bounds else ()))
