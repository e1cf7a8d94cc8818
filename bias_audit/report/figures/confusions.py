"""Which attributes change in a probe's confusions, against chance."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure, FigureBase

from bias_audit.report.figures.drawing import Drawing
from bias_audit.report.figures.marks import mark_row
from bias_audit.report.figures.style import (
    CONTROL,
    INK,
    PLAIN,
    WIDTH,
    Palette,
    grid_lines,
    shortened,
    styled,
)
from bias_audit.shapes.confusions import ConfusionClass, Confusions, matrix_of
from bias_audit.shapes.printed import count, percent, percent_interval
from bias_audit.shapes.shape import Arrays

_BAR = 0.36
_MATRIX = 3.3
"""Inches that the matrices are tall."""


@styled
def confusions(block: Confusions, arrays: Arrays, palette: Palette = PLAIN) -> Figure:
    """Draw the observed share of each class beside the expected one, and the matrices below.

    Raises:
        ValueError: An array does not belong to the block.
    """
    tall = 0.42 * len(block.classes) + 0.95
    below = _MATRIX if block.matrices else 0
    figure = Figure(figsize=(WIDTH, tall + below), layout="constrained")
    if block.matrices:
        grid = figure.add_gridspec(2, 1, height_ratios=(tall, below))
        _classes(figure.add_subfigure(grid[0]), block, palette)
        _matrices(figure.add_subfigure(grid[1]), block, arrays)
    else:
        _classes(figure, block, palette)
    return figure


def _classes(figure: FigureBase, block: Confusions, palette: Palette) -> None:
    axes = figure.subplots()
    grid_lines(axes, "x")
    place = np.arange(len(block.classes))
    shares = [entry.share for entry in block.classes]
    value = 100 * np.array([share.value for share in shares])
    reach = 100 * np.array([[s.value - s.lower, s.upper - s.value] for s in shares]).T
    colour = palette.colour("several attributes")
    axes.barh(
        place - _BAR / 2, value, _BAR, xerr=np.maximum(reach, 0), color=colour,
        error_kw={"ecolor": INK, "elinewidth": 1.0, "capsize": 2.5},
        label="observed, with interval",
    )  # fmt: skip
    axes.barh(
        place + _BAR / 2, [100 * entry.expected for entry in block.classes], _BAR,
        facecolor="#eceef1", edgecolor=CONTROL, hatch="////", linewidth=0.6,
        label="expected by chance",
    )  # fmt: skip
    labels = [shortened(" + ".join(entry.changed), 44) for entry in block.classes]
    for each, entry in enumerate(block.classes):
        key = " + ".join(entry.changed)
        mark_row(axes, each, key=key, text=_told(entry))
    axes.set_yticks(place, labels)
    axes.set_ylim(len(place) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.set_ylabel("attributes that changed")
    axes.set_xlabel("share of all confusions, in %")
    figure.legend(loc="outside upper center", ncols=2, frameon=False, fontsize=7.5)


def _matrices(figure: FigureBase, block: Confusions, arrays: Arrays) -> None:
    """Side by side, on one scale; the names are levels of the first attribute."""
    found = [np.ma.masked_invalid(matrix_of(block, m, arrays)) for m in block.matrices]
    highest = max(float(values.max()) for values in found)
    panels = figure.subplots(1, len(found), squeeze=False, sharey=True).ravel()
    firsts = [group.levels[0][1] for group in block.groups]
    starts = [i for i, name in enumerate(firsts) if i == 0 or firsts[i - 1] != name]
    ends = [*starts[1:], len(firsts)]
    middles = [(start + end - 1) / 2 for start, end in zip(starts, ends, strict=True)]
    names = [shortened(firsts[start], 14) for start in starts]
    for axes, matrix, values in zip(panels, block.matrices, found, strict=True):
        axes.set_facecolor("#f1f2f4")
        image = axes.imshow(values, cmap="cividis", vmin=0, vmax=highest, interpolation="nearest")
        for start in starts[1:]:
            axes.axhline(start - 0.5, color="white", linewidth=0.5)
            axes.axvline(start - 0.5, color="white", linewidth=0.5)
        axes.set_title(matrix.title, fontsize=8.5, loc="left", pad=3)
        axes.set_xticks(middles, names, rotation=90, fontsize=7)
        axes.set_yticks(middles, names, fontsize=7)
        axes.tick_params(length=0)
        axes.set_xlabel("predicted")
    panels[0].set_ylabel("annotated")
    bar = figure.colorbar(image, ax=list(panels), shrink=0.7, pad=0.02)
    bar.set_label("share of the annotated group")
    bar.outline.set_linewidth(0.5)


def _told(entry: ConfusionClass) -> str:
    """The numbers of a class, in words."""
    level = f"{100 * entry.share.level:.4g} %"
    return (
        f"{percent_interval(entry.share)} ({level}) of n = {count(entry.share.n)} confusions; "
        f"expected by chance {percent(entry.expected)}"
    )


DRAWING = Drawing(
    confusions,
    keys=lambda _: "attributes that changed",
    arrays=lambda block: tuple(matrix.values for matrix in block.matrices),
)
