"""Checks of attribution methods, a panel for each measure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy.typing as npt
from matplotlib.figure import Figure

from bias_audit.report.figures.dot_panels import Panel, dot_panels
from bias_audit.report.figures.style import styled
from bias_audit.results.blocks import AttributionTrust, TrustMeasure

_COLUMNS: Final = 4


@styled
def attribution_trust(block: AttributionTrust, arrays: Mapping[str, npt.NDArray[Any]]) -> Figure:  # noqa: ARG001
    """Draw every measure of every method that applies; hollow: it does not pass."""
    rows = [method for method in block.methods if method.standing != "does not apply"]
    panels = [
        Panel(
            measure_title(measure), tuple(row.estimates[place] for row in rows), measure.reference
        )
        for place, measure in enumerate(block.measures)
    ]
    faint = [row.standing != "passes" for row in rows]
    labels = [row.name for row in rows]
    return dot_panels(panels, labels, columns=min(_COLUMNS, len(panels)), faint=faint)


def measure_title(measure: TrustMeasure) -> str:
    """Its name, with an arrow in the better direction."""
    return f"{measure.name} ({'↑' if measure.better == 'higher' else '↓'})"
