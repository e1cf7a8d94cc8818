"""A number for every pair of groups, as a heat map."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bias_audit.groups import Group
from bias_audit.report.figures.arrays import matrix_of
from bias_audit.report.figures.style import WIDTH, shortened, styled
from bias_audit.results.blocks import GroupMatrix

_FEW = 40


@styled
def group_matrix(block: GroupMatrix, arrays: Mapping[str, npt.NDArray[Any]]) -> Figure:
    """Draw the matrix; groups without images stay blank.

    Args:
        block: The matrix.
        arrays: Holds `block.values`, shape (n_groups, n_groups), NaN for empty groups.

    Raises:
        ValueError: The array does not belong to the block.
    """
    values = np.ma.masked_invalid(matrix_of(block, arrays))
    lowest, highest = float(values.min()), float(values.max())
    diverging = lowest < 0 < highest
    limit = max(-lowest, highest)
    figure = Figure(figsize=(WIDTH, 0.92 * WIDTH), layout="constrained")
    axes = figure.subplots()
    axes.set_facecolor("#f1f2f4")
    image = axes.imshow(
        values,
        cmap="RdBu_r" if diverging else "cividis",
        vmin=-limit if diverging else lowest,
        vmax=limit if diverging else highest,
        interpolation="nearest",
    )
    axes.spines[:].set_visible(False)
    _name(axes, block.groups)
    bar = figure.colorbar(image, ax=axes, shrink=0.6, pad=0.02)
    bar.set_label(block.metric)
    bar.outline.set_linewidth(0.5)
    return figure


def _name(axes: Axes, groups: Sequence[Group]) -> None:
    """Name every group, or blocks that share the first attribute's level where there are many."""
    axes.tick_params(length=0)
    if len(groups) <= _FEW:
        size = float(np.clip(330 / len(groups), 5.5, 7.5))
        labels = [shortened(group.label, 40) for group in groups]
        axes.set_xticks(np.arange(len(groups)), labels, fontsize=size, rotation=90)
        axes.set_yticks(np.arange(len(groups)), labels, fontsize=size)
        return
    places = range(len(groups))
    starts = [p for p in places if not p or _first(groups[p]) != _first(groups[p - 1])]
    ends = [*starts[1:], len(groups)]
    middles = [(start + end - 1) / 2 for start, end in zip(starts, ends, strict=True)]
    labels = [shortened(_first(groups[start]), 14) for start in starts]
    axes.set_xticks(middles, labels)
    axes.set_yticks(middles, labels)
    for start in starts[1:]:
        axes.axvline(start - 0.5, color="white", linewidth=0.8)
        axes.axhline(start - 0.5, color="white", linewidth=0.8)


def _first(group: Group) -> str:
    return group.levels[0][1]
