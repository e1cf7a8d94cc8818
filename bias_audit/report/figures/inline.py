"""A figure as SVG that is part of a page: text is text, colours follow the reader's theme."""

from __future__ import annotations

from typing import Final
from xml.etree import ElementTree as ET
from xml.sax.saxutils import quoteattr

from markupsafe import Markup
from matplotlib.figure import Figure

from bias_audit.report.figures.marks import PlacedMark, placed_marks
from bias_audit.report.figures.saving import saved
from bias_audit.report.figures.svg_reader import Drawing
from bias_audit.report.figures.svg_text import element, number, text_of

_SCALE: Final = 1.25 * 4 / 3
"""CSS pixels per point: text of eight points is read on a screen, not on paper."""


def inline_svg(figure: Figure, *, anchor: str, alt: str, heading: str) -> Markup:
    """Draw a figure as an `svg` element; the same figure gives the same bytes.

    Its own text and marks are for readers who see it; `alt` is for those who do not. Marks carry
    their numbers as a `title`, which browsers show without any script.

    Args:
        figure: What to draw.
        anchor: Begins every identifier, which makes them unique on a page.
        alt: What the figure shows.
        heading: What the keys of its marks are: "layer", or the attributes of the groups.
    """
    root = ET.fromstring(_drawn(figure))  # matplotlib's own words
    width, height = (float(x) for x in root.attrib["viewBox"].split()[2:])
    drawing = Drawing(prefix=f"{anchor}s")
    for child in root:
        drawing.read(child)
    defs = f"<defs>{''.join(drawing.definitions)}</defs>" if drawing.definitions else ""
    head = (
        f'<svg class="chart" viewBox="0 0 {number(width)} {number(height)}" '
        f'width="{width * _SCALE:.0f}" height="{height * _SCALE:.0f}" role="img" '
        f"aria-label={quoteattr(alt)} data-h={quoteattr(heading)}>"
    )
    drawn = f'<g aria-hidden="true">{drawing.written()}</g>'
    marks = _marks(placed_marks(figure), width, height)
    return Markup(f"{head}{defs}{drawn}{marks}</svg>")  # every label in it is escaped


def _drawn(figure: Figure) -> bytes:
    """With text as text: browsers have the scripts that the font lacks."""
    return saved(figure, form="svg", metadata={"Date": None}, more={"svg.fonttype": "none"})


def _marks(marks: tuple[PlacedMark, ...], width: float, height: float) -> str:
    if not marks:
        return ""
    told = "".join(_mark(mark, width, height) for mark in marks)
    return f'<g class="marks">{told}</g>'


def _mark(mark: PlacedMark, width: float, height: float) -> str:
    left, lower, right, upper = mark.bounds
    places = {
        "x": left * width,
        "y": (1 - upper) * height,
        "width": max((right - left) * width, 1),
        "height": max((upper - lower) * height, 1),
    }
    at = " ".join(f'{key}="{number(value)}"' for key, value in places.items())
    title = f"<title>{text_of(mark.key)}\n{text_of(mark.text)}</title>"
    return element("rect", "", at, content=title)
