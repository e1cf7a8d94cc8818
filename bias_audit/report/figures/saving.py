"""Figures as bytes, drawn once."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final, Literal

import matplotlib as mpl
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from bias_audit.report.figures.lettering import note_undrawn
from bias_audit.report.figures.style import settings

Form = Literal["svg", "png"]

_SVG_DPI: Final = 72
"""At which matplotlib measures and draws vectors, whatever the figure says."""


def saved(
    figure: Figure, *, form: Form, metadata: Mapping[str, Any], more: Mapping[str, Any]
) -> bytes:
    """Write a figure under the report's settings.

    Args:
        figure: What to write.
        form: Of the file.
        metadata: As matplotlib takes them.
        more: Settings besides those of the report.
    """
    buffer = io.BytesIO()
    with mpl.rc_context(settings() | dict(more)), warnings.catch_warnings():
        # What no font has is kept below, in one sentence for the whole report.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        with _laid_out(figure, form):
            figure.savefig(buffer, format=form, dpi="figure", metadata=dict(metadata))
    note_undrawn(figure)
    return buffer.getvalue()


@contextmanager
def _laid_out(figure: Figure, form: Form) -> Iterator[None]:
    """Find the places of its parts, which matplotlib otherwise draws the whole figure for."""
    engine = figure.get_layout_engine()
    if engine is None:
        yield
        return
    resolution = figure.dpi
    if form == "svg":
        FigureCanvasSVG(figure)
        figure.dpi = _SVG_DPI
    else:
        FigureCanvasAgg(figure)
    engine.execute(figure)
    figure.dpi = resolution
    figure.set_layout_engine(None)
    try:
        yield
    finally:
        figure.set_layout_engine(engine)
