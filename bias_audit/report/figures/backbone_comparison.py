"""Checks of backbones' attribution maps, a panel for each measure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy.typing as npt
from matplotlib.figure import Figure

from bias_audit.report.figures.attribution_trust import measure_title
from bias_audit.report.figures.dot_panels import Panel, dot_panels
from bias_audit.report.figures.style import styled
from bias_audit.results.blocks import BackboneComparison

_COLUMNS: Final = 3


@styled
def backbone_comparison(
    block: BackboneComparison,
    arrays: Mapping[str, npt.NDArray[Any]],  # noqa: ARG001
) -> Figure:
    """Draw every measure of every backbone."""
    panels = [
        Panel(
            measure_title(measure),
            tuple(backbone.estimates[place] for backbone in block.backbones),
            measure.reference,
        )
        for place, measure in enumerate(block.measures)
    ]
    return dot_panels(panels, [b.name for b in block.backbones], columns=_COLUMNS)
