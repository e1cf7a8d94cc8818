"""Which levels the groups of each cluster share, a panel for each attribute."""

from __future__ import annotations

from typing import Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from bias_audit.groups import Attribute
from bias_audit.report.figures.drawing import Drawing
from bias_audit.report.figures.marks import mark_row
from bias_audit.report.figures.style import (
    ON_MAP,
    PLAIN,
    WIDTH,
    Palette,
    name_rows,
    shortened,
    styled,
)
from bias_audit.shapes.group_clusters import GroupClusters, cluster_name, entropy_of, levels_of
from bias_audit.shapes.shape import Arrays

_ROW: Final = 0.21
"""Inches."""
_PALE: Final = "#f3f4f6"
_DARK: Final = 0.55
"""Share of a row from which its square is dark."""
_ENTROPY: Final = 1.8
"""Width of the column of relative entropies, in squares."""


@styled
def group_clusters(block: GroupClusters, _arrays: Arrays, palette: Palette = PLAIN) -> Figure:
    """Draw how many groups of each level are in each cluster."""
    longest = max(len(shortened(each)) for a in block.attributes for each in a.levels)
    height = _ROW * len(block.clusters) + 0.065 * longest + 0.55
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    widths = [len(attribute.levels) + _ENTROPY for attribute in block.attributes]
    grid = figure.subplots(1, len(widths), squeeze=False, width_ratios=widths, sharey=True)[0]
    for place, (axes, attribute) in enumerate(zip(grid, block.attributes, strict=True)):
        _draw(axes, block, place, palette.colour(attribute.name, place))
    names = [cluster_name(block, place) for place in range(len(block.clusters))]
    name_rows(grid[0], names, 7)
    return figure


def _draw(axes: Axes, block: GroupClusters, place: int, colour: str) -> None:
    attribute = block.attributes[place]
    counts = np.array([_counts(block, row, attribute) for row in range(len(block.clusters))])
    share = counts / counts.sum(axis=1, keepdims=True)
    ground = LinearSegmentedColormap.from_list(attribute.name, [_PALE, colour])
    image = axes.imshow(share, cmap=ground, vmin=0, vmax=1, aspect="auto", interpolation="nearest")
    # Identifiers of clips follow from all digits of a place, and the layout's last ones vary.
    image.set_clip_on(False)
    for (row, column), n in np.ndenumerate(counts):
        if n:
            ink = "white" if share[row, column] > _DARK else ON_MAP
            axes.text(column, row, str(n), ha="center", va="center", fontsize=6.5, color=ink)
    n_levels = len(attribute.levels)
    at = n_levels - 0.5 + _ENTROPY / 2
    for row, cluster in enumerate(block.clusters):
        said = entropy_of(cluster.entropies[place])
        axes.text(at, row, said.replace("one group", ""), ha="center", va="center", fontsize=6.5)
        name = cluster_name(block, row)
        text = f"{name}: {levels_of(cluster, attribute)}; relative entropy {said}"
        mark_row(axes, row, key=name, text=text)
    axes.set_xlim(-0.5, n_levels - 0.5 + _ENTROPY)
    labels = [*(shortened(level) for level in attribute.levels), "relative\nentropy"]
    axes.set_xticks([*range(n_levels), at], labels, rotation=90, fontsize=6.5)
    axes.set_title(shortened(attribute.name), fontsize=8.5, loc="left", pad=3)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def _counts(block: GroupClusters, row: int, attribute: Attribute) -> list[int]:
    found = block.clusters[row].counts(attribute.name)
    return [found[level] for level in attribute.levels]


DRAWING = Drawing(group_clusters, keys=lambda _: "cluster")
