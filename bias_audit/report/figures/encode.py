"""Figures as data URIs, so that a report is one file."""

from __future__ import annotations

import base64
import io
import warnings
from typing import Literal

import matplotlib as mpl
from matplotlib.figure import Figure

from bias_audit.report.figures.style import settings

_DPI = 150


def data_uri(figure: Figure, *, form: Literal["svg", "png"]) -> str:
    """Write a figure as a `data:` URI.

    The bytes depend on the figure alone: no date, no random identifiers.

    Args:
        figure: What to write.
        form: "svg" for lines, its text as outlines; "png" for maps.
    """
    buffer = io.BytesIO()
    metadata = {"Date": None, "Creator": None} if form == "svg" else {"Software": None}
    with mpl.rc_context(settings()), warnings.catch_warnings():
        # A level in a script the font lacks shows as a box here; the tables hold it in full.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure.savefig(buffer, format=form, dpi=_DPI, metadata=metadata)
    mime = "image/svg+xml" if form == "svg" else "image/png"
    return f"data:{mime};base64,{base64.b64encode(buffer.getvalue()).decode()}"
