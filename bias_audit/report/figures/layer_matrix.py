"""A number for every pair of layers, as a heat map."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from bias_audit.report.figures.drawing import Drawing
from bias_audit.report.figures.marks import add_mark
from bias_audit.report.figures.style import ON_MAP, PLAIN, WIDTH, Palette, shortened, styled
from bias_audit.shapes.layer_matrix import LayerMatrix
from bias_audit.shapes.printed import decimal, format_estimate
from bias_audit.shapes.shape import Arrays

_ANNOTATED = 20


@styled
def layer_matrix(block: LayerMatrix, _arrays: Arrays, _palette: Palette = PLAIN) -> Figure:
    """Draw the lower triangle; pairs that could not be compared stay blank."""
    n = len(block.layers)
    place = {layer: index for index, layer in enumerate(block.layers)}
    values = np.full((n, n), np.nan)
    cells = []
    for pair in block.pairs:
        values[place[pair.other], place[pair.one]] = pair.estimate.value
        across, down = place[pair.one], place[pair.other]
        cells.append((pair, (across - 0.5, down - 0.5, across + 0.5, down + 0.5)))
    side = float(np.clip(0.36 * n + 1.6, 3.2, WIDTH))
    figure = Figure(figsize=(side + 0.6, 0.92 * side), layout="constrained")
    axes = figure.subplots()
    lowest = min(0.0, float(np.nanmin(values)))
    image = axes.imshow(
        np.ma.masked_invalid(values), cmap="cividis", vmin=lowest, vmax=1, interpolation="nearest"
    )
    for pair, bounds in cells:
        key = f"{pair.one} / {pair.other}"
        add_mark(axes, axes.transData, bounds, key=key, text=format_estimate(pair.estimate))
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    size = float(np.clip(150 / n, 4.5, 7.5))
    labels = [shortened(layer, 24) for layer in block.layers]
    axes.set_xticks(np.arange(n), labels, fontsize=size, rotation=90)
    axes.set_yticks(np.arange(n), labels, fontsize=size)
    if n <= _ANNOTATED:
        for (row, column), value in np.ndenumerate(values):
            if np.isfinite(value):
                dark = (value - lowest) / (1 - lowest) < 0.55  # noqa: PLR2004
                axes.text(
                    column, row, decimal(float(value)), ha="center", va="center",
                    fontsize=0.85 * size, color="white" if dark else ON_MAP,
                )  # fmt: skip
    bar = figure.colorbar(image, ax=axes, shrink=0.6, pad=0.02)
    bar.set_label(block.metric, fontsize=7)
    bar.outline.set_linewidth(0.5)
    return figure


DRAWING = Drawing(layer_matrix, keys=lambda _: "layer / layer")
