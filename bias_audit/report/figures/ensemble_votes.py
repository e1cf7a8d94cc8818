"""Votes beside single backbones, a panel for each measure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy.typing as npt
from matplotlib.figure import Figure

from bias_audit.report.figures.dot_panels import Panel, dot_panels
from bias_audit.report.figures.style import styled
from bias_audit.results.blocks import EnsembleVotes


@styled
def ensemble_votes(block: EnsembleVotes, arrays: Mapping[str, npt.NDArray[Any]]) -> Figure:  # noqa: ARG001
    """Draw every voter over all images; hollow: a single backbone."""
    panels = [
        Panel(
            measure,
            tuple(row[place] for row in block.estimates),
            block.guessing[place],
            has_zero=False,
        )
        for place, measure in enumerate(block.measures)
    ]
    labels = [voter.name for voter in block.voters]
    faint = [voter.layer is not None for voter in block.voters]
    return dot_panels(panels, labels, columns=len(panels), faint=faint)
