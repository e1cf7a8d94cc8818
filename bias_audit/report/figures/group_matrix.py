"""A number for every pair of groups, as a heat map."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations, pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from bias_audit.groups import Group
from bias_audit.report.figures.drawing import Drawing
from bias_audit.report.figures.marks import add_mark, mark_row
from bias_audit.report.figures.style import MUTED, ON_MAP, PLAIN, WIDTH, Palette, shortened, styled
from bias_audit.shapes.group_matrix import GroupMatrix, matrix_of, tree_of
from bias_audit.shapes.printed import count, decimal, format_estimate
from bias_audit.shapes.shape import Arrays

_FEW = 40
_ANNOTATED = 12
_MARKED = 30
"""So many groups have a mark for every pair."""


@styled
def group_matrix(block: GroupMatrix, arrays: Arrays, _palette: Palette = PLAIN) -> Figure:
    """Draw the matrix; groups without images stay blank.

    Args:
        block: The matrix.
        arrays: Holds `block.values`, shape (n_groups, n_groups), NaN for empty groups, and
            `block.tree` where there is one; `block.bounds`, (2, n_groups, n_groups), has the
            ends of the intervals, where there are any.

    Raises:
        ValueError: The array does not belong to the block.
    """
    values = np.ma.masked_invalid(matrix_of(block, arrays))
    lowest, highest = float(values.min()), float(values.max())
    diverging = lowest < 0 < highest
    limit = max(-lowest, highest)
    figure = Figure(figsize=(WIDTH, 0.92 * WIDTH), layout="constrained")
    axes = _beside_tree(figure, block, arrays)
    axes.set_facecolor("#f1f2f4")
    image = axes.imshow(
        values,
        cmap="RdBu_r" if diverging else "cividis",
        vmin=-limit if diverging else lowest,
        vmax=limit if diverging else highest,
        interpolation="nearest",
        aspect="auto" if block.tree else "equal",
    )
    _mark(axes, block, arrays)
    axes.spines[:].set_visible(False)
    _name(axes, block.groups)
    if len(block.groups) <= _ANNOTATED:
        _annotate(axes, image, values)
    bar = figure.colorbar(image, ax=figure.axes, shrink=0.6, pad=0.02)
    bar.set_label(block.metric)
    bar.outline.set_linewidth(0.5)
    return figure


def _mark(axes: Axes, block: GroupMatrix, arrays: Arrays) -> None:
    """A mark per pair of few groups, below the diagonal; a mark per row of many."""
    labels = [group.label for group in block.groups]
    if len(labels) <= _MARKED:
        known = {frozenset((p.one, p.other)): format_estimate(p.estimate) for p in block.pairs}
        for one, other in combinations(range(len(labels)), 2):
            text = known.get(frozenset((one, other))) or _value(block, arrays, other, one)
            bounds = (one - 0.5, other - 0.5, one + 0.5, other + 0.5)
            key = f"{labels[one]} and {labels[other]}"
            add_mark(axes, axes.transData, bounds, key=key, text=text)
        return
    others = arrays[block.values].copy()
    np.fill_diagonal(others, np.nan)
    for place, (label, row) in enumerate(zip(labels, others, strict=True)):
        text = f"no number for any of {count(len(labels) - 1)} others"
        if np.isfinite(row).any():
            ends = int(np.nanargmin(row)), int(np.nanargmax(row))
            low, high = (f"{labels[end]}, {_value(block, arrays, place, end)}" for end in ends)
            text = f"lowest: {low}; highest: {high}"
        mark_row(axes, place, key=label, text=text)


def _value(block: GroupMatrix, arrays: Arrays, row: int, column: int) -> str:
    """Such as "0.42 [0.40, 0.45]"; a number without an interval is left to the colour."""
    value = float(arrays[block.values][row, column])
    if not np.isfinite(value):
        return "not measured: no or too few images"
    bounds = arrays.get(block.bounds or "")
    if bounds is None:
        return "as coloured; no interval was computed for this pair"
    lower, upper = (decimal(float(end)) for end in bounds[:, row, column])
    return f"{decimal(value)} [{lower}, {upper}]"


def _beside_tree(figure: Figure, block: GroupMatrix, arrays: Arrays) -> Axes:
    """Axes for the matrix, below its dendrogram where it has one."""
    if block.tree is None:
        alone: Axes = figure.subplots()
        return alone
    axes: Axes
    above, axes = figure.subplots(2, 1, height_ratios=(0.16, 1), sharex=True)
    for xs, heights in _branches(tree_of(block, arrays)):
        above.plot(xs, heights, color=MUTED, linewidth=0.8, solid_joinstyle="miter")
    above.set_ylim(0, None)
    above.spines[["bottom", "left"]].set_visible(False)
    above.tick_params(bottom=False, labelbottom=False, left=False, labelleft=False)
    return axes


def _branches(tree: npt.NDArray[Any]) -> list[tuple[list[float], list[float]]]:
    """Each merge as a bracket: places across, and heights."""
    n_leaves = len(tree) + 1
    places = [float(place) for place in range(n_leaves)]
    heights = [0.0] * n_leaves
    lines = []
    for first, second, height, _ in tree.tolist():
        one, two = int(first), int(second)
        lines.append(
            (
                [places[one], places[one], places[two], places[two]],
                [heights[one], height, height, heights[two]],
            )
        )
        places.append((places[one] + places[two]) / 2)
        heights.append(height)
    return lines


def _annotate(axes: Axes, image: AxesImage, values: np.ma.MaskedArray[Any, Any]) -> None:
    """Every number, in the ink that can be read on its colour."""
    size = float(np.clip(72 / len(values), 5.5, 8.5))
    for (row, column), value in np.ndenumerate(values.filled(np.nan)):
        if row != column and np.isfinite(value):
            red, green, blue, _ = image.to_rgba(value)
            dark = 0.3 * red + 0.6 * green + 0.1 * blue < 0.5  # noqa: PLR2004
            axes.text(
                column, row, decimal(value), ha="center", va="center", fontsize=size,
                color="white" if dark else ON_MAP,
            )  # fmt: skip


def _name(axes: Axes, groups: Sequence[Group]) -> None:
    """Name every group, or blocks that share the first attribute's level where there are many."""
    axes.tick_params(length=0)
    if len(groups) <= _FEW:
        size = float(np.clip(330 / len(groups), 5.5, 7.5))
        labels = [shortened(group.label, 40) for group in groups]
        axes.set_xticks(np.arange(len(groups)), labels, fontsize=size, rotation=90)
        axes.set_yticks(np.arange(len(groups)), labels, fontsize=size)
        return
    # Names of runs say nothing where the order mixes first levels.
    name = _first if _in_runs(groups) else _nothing
    places = range(len(groups))
    starts = [p for p in places if not p or name(groups[p]) != name(groups[p - 1])]
    ends = [*starts[1:], len(groups)]
    middles = [(start + end - 1) / 2 for start, end in zip(starts, ends, strict=True)]
    labels = [shortened(name(groups[start]), 14) for start in starts]
    axes.set_xticks(middles, labels)
    axes.set_yticks(middles, labels)
    for start in starts[1:]:
        axes.axvline(start - 0.5, color="white", linewidth=0.8)
        axes.axhline(start - 0.5, color="white", linewidth=0.8)


def _in_runs(groups: Sequence[Group]) -> bool:
    """Whether groups of one first level stand together, as they do in their declared order."""
    firsts = [_first(group) for group in groups]
    runs = sum(one != other for one, other in pairwise(firsts)) + 1
    return runs == len(set(firsts))


def _first(group: Group) -> str:
    return group.levels[0][1]


def _nothing(_group: Group) -> str:
    return ""


DRAWING = Drawing(
    group_matrix,
    "png",
    arrays=lambda block: tuple(key for key in (block.values, block.tree, block.bounds) if key),
    keys=lambda _: "pair of groups",
)
