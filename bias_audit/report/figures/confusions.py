"""Which attributes change in a probe's confusions, against chance."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

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
from bias_audit.shapes.confusions import ConfusionClass, Confusions
from bias_audit.shapes.printed import count, percent, percent_interval
from bias_audit.shapes.shape import Arrays

_BAR = 0.36


@styled
def confusions(
    block: Confusions,
    arrays: Arrays,  # noqa: ARG001
    palette: Palette = PLAIN,
) -> Figure:
    """Draw the observed share of each class with its interval beside the expected one."""
    figure = Figure(figsize=(WIDTH, 0.42 * len(block.classes) + 0.95), layout="constrained")
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
    return figure


def _told(entry: ConfusionClass) -> str:
    """The numbers of a class, in words."""
    level = f"{100 * entry.share.level:.4g} %"
    return (
        f"{percent_interval(entry.share)} ({level}) of n = {count(entry.share.n)} confusions; "
        f"expected by chance {percent(entry.expected)}"
    )


DRAWING = Drawing(confusions, keys=lambda _: "attributes that changed")
