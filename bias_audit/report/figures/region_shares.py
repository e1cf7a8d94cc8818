"""Shares of attribution by region, a panel for each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy.typing as npt
from matplotlib.figure import Figure

from bias_audit.report.figures.dot_panels import Panel, dot_panels
from bias_audit.report.figures.style import styled
from bias_audit.results.blocks import RegionShares

_COLUMNS: Final = 5


@styled
def region_shares(block: RegionShares, arrays: Mapping[str, npt.NDArray[Any]]) -> Figure:  # noqa: ARG001
    """Draw the share of every region, with a dotted line at the region's share of the image."""
    drawn = block.rows[: block.n_drawn]
    panels = [
        Panel(f"{region.name}", tuple(row.shares[place] for row in drawn), region.area)
        for place, region in enumerate(block.regions)
    ]
    labels = [row.method if block.by == "method" else row.group.label for row in drawn]
    return dot_panels(panels, labels, columns=min(_COLUMNS, len(panels)))
