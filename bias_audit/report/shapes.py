"""Block shapes: how each is drawn, told and printed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar

import numpy.typing as npt
from matplotlib.figure import Figure

from bias_audit.report.blocks.confusions import confusions as confusions_text
from bias_audit.report.blocks.group_ledger import group_ledger as group_ledger_text
from bias_audit.report.blocks.group_matrix import group_matrix as group_matrix_text
from bias_audit.report.blocks.group_profiles import group_profiles as group_profiles_text
from bias_audit.report.blocks.group_table import group_table as group_table_text
from bias_audit.report.blocks.hypothesis_families import (
    hypothesis_families as hypothesis_families_text,
)
from bias_audit.report.blocks.layer_curve import layer_curve as layer_curve_text
from bias_audit.report.blocks.unit_map import unit_map as unit_map_text
from bias_audit.report.elements import BlockText
from bias_audit.report.figures.confusions import confusions
from bias_audit.report.figures.group_matrix import group_matrix
from bias_audit.report.figures.group_profiles import group_profiles
from bias_audit.report.figures.group_table import group_table
from bias_audit.report.figures.layer_curve import layer_curve
from bias_audit.report.figures.unit_map import unit_map
from bias_audit.results.blocks import GroupMatrix, UnitMap

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


def shapes() -> dict[str, Shape[Any]]:
    """Every shape by its block's name, in the order in which a report prints them."""
    return {
        "layer_curve": Shape(layer_curve_text, layer_curve, "svg"),
        "group_table": Shape(group_table_text, group_table, "svg"),
        "confusions": Shape(confusions_text, confusions, "svg"),
        "group_profiles": Shape(group_profiles_text, group_profiles, "svg"),
        "unit_map": Shape(unit_map_text, unit_map, "png", _rasters),
        "group_matrix": Shape(group_matrix_text, group_matrix, "png", _values),
        "test_families": Shape(hypothesis_families_text),
        "group_ledger": Shape(group_ledger_text),
    }


def _rasters(block: UnitMap) -> tuple[str, ...]:
    return (block.rasters,)


def _values(block: GroupMatrix) -> tuple[str, ...]:
    return (block.values,)
