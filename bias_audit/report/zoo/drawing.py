"""Figures of the overview, drawn when its template asks for them."""

from __future__ import annotations

from collections.abc import Callable

from markupsafe import Markup
from matplotlib.figure import Figure

from bias_audit.report.csv_text import packed
from bias_audit.report.elements import FigureView
from bias_audit.report.figures.inline import inline_svg
from bias_audit.shapes.shape import Rows


def figure_view(
    make: Callable[[], Figure], rows: Callable[[], Rows], *, alt: str, caption: str, anchor: str
) -> FigureView:
    """A figure whose marks stand for backbones.

    Args:
        make: Draws it.
        rows: Its numbers.
        alt: What it shows, for readers who cannot see it.
        caption: Below it.
        anchor: Begins the identifiers within it.
    """

    def inline() -> Markup:
        return inline_svg(make(), anchor=anchor, alt=alt, heading="backbone")

    return FigureView(
        draw=str,
        alt=alt,
        caption=caption,
        anchor=anchor,
        draw_inline=inline,
        pack=lambda: packed(rows()),
    )
