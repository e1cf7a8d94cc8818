"""Figures as data URIs, so that a report is one file."""

from __future__ import annotations

import base64
import io
from typing import Literal

from matplotlib.figure import Figure
from PIL import Image

from bias_audit.report.figures.saving import saved

_SMALLEST = 9
"""Compression of PNG: the slowest, for the fewest bytes."""


def data_uri(figure: Figure, *, form: Literal["svg", "png"]) -> str:
    """Write a figure as a `data:` URI.

    The bytes depend on the figure alone: no date, no random identifiers.

    Args:
        figure: What to write.
        form: "svg" for lines, its text as outlines; "png" for maps.
    """
    metadata = {"Date": None, "Creator": None} if form == "svg" else {"Software": None}
    mime, content = "image/svg+xml", saved(figure, form=form, metadata=metadata, more={})
    if form == "png":
        mime, content = "image/png", _opaque(content)
    return f"data:{mime};base64,{base64.b64encode(content).decode()}"


def _opaque(drawn: bytes) -> bytes:
    """The same colours without the transparency that no figure has, in fewer bytes."""
    buffer = io.BytesIO()
    with Image.open(io.BytesIO(drawn)) as image:
        image.convert("RGB").save(buffer, format="png", compress_level=_SMALLEST)
    return buffer.getvalue()
