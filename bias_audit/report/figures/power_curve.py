"""The power of an audit, from simulations."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

from bias_audit.errors import OutputError
from bias_audit.files import write_atomically, write_text
from bias_audit.report.csv_text import csv_text
from bias_audit.report.figures.style import COLOURS, DASHES, MARKERS, MUTED, RULE, settings, styled
from bias_audit.results.selftest import PowerCurve
from bias_audit.shapes.shape import ESTIMATE, Rows, estimate_cells

FORMATS = (".svg", ".png")
_ALPHA = 0.05


@styled
def power_curve(curves: Sequence[PowerCurve]) -> Figure:
    """Share of audits that claim decodability, by the strength of what is planted."""
    figure = Figure(figsize=(4.8, 2.8), layout="constrained")
    axes = figure.subplots()
    axes.axhline(_ALPHA, color=MUTED, linewidth=0.8, linestyle=(0, (4, 2)))
    axes.text(0.95, _ALPHA + 0.015, "5 %", color=MUTED, ha="right", va="bottom", fontsize=7)
    for index, curve in enumerate(curves):
        aucs = [point.auc for point in curve.points]
        shares = [point.claimed.value for point in curve.points]
        below = [point.claimed.value - point.claimed.lower for point in curve.points]
        above = [point.claimed.upper - point.claimed.value for point in curve.points]
        axes.errorbar(
            aucs,
            shares,
            yerr=(below, above),
            color=COLOURS[index % len(COLOURS)],
            marker=MARKERS[index % len(MARKERS)],
            linestyle=DASHES[index % len(DASHES)],
            markersize=4,
            elinewidth=0.7,
            label=f"{curve.per_group} images per group",
        )
    axes.set_xlabel("population AUC of the planted attribute (best direction of 24 units)")
    axes.set_ylabel("share of audits that claim decodability")
    axes.set_ylim(-0.02, 1.03)
    axes.grid(visible=True, color=RULE, linewidth=0.5)
    axes.legend(loc="upper left", frameon=False, fontsize=7.5)
    return figure


def write_power_curve(path: Path, curves: Sequence[PowerCurve]) -> Path:
    """Draw the curves into an .svg or .png file, with their numbers in a .csv file beside it.

    Returns:
        The .csv file.

    Raises:
        OutputError: The file's name ends otherwise, or the disk refuses.
    """
    form = path.suffix.lower()
    if form not in FORMATS:
        raise OutputError(f"{path}: expected a name that ends in .svg or .png, got {form or path}")
    buffer = io.BytesIO()
    with mpl.rc_context(settings()):
        power_curve(curves).savefig(buffer, format=form[1:], dpi="figure")
    write_atomically(path, lambda file: file.write(buffer.getvalue()))
    data = path.with_suffix(".csv")
    rows: Rows = [("images_per_group", "auc", *ESTIMATE)]
    rows += [
        (curve.per_group, point.auc, *estimate_cells(point.claimed))
        for curve in curves
        for point in curve.points
    ]
    write_text(data, csv_text(rows))
    return data
