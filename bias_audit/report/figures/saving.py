"""Figures as part of a page: written once, as images for paper and as SVG for the screen."""

from __future__ import annotations

import base64
import io
import math
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, Literal
from xml.etree import ElementTree as ET
from xml.sax.saxutils import quoteattr

import matplotlib as mpl
from markupsafe import Markup
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from PIL import Image

from bias_audit.errors import OutputError
from bias_audit.report.csv_text import packed
from bias_audit.report.figures.lettering import note_undrawn
from bias_audit.report.figures.marks import PlacedMark, placed_marks
from bias_audit.report.figures.style import settings
from bias_audit.report.figures.svg_reader import Drawing, element, number, text_of
from bias_audit.shapes.shape import Rows

Form = Literal["svg", "png"]

_SVG_DPI: Final = 72
"""At which matplotlib measures and draws vectors, whatever the figure says."""

_FASTEST = 1
"""Compression of PNG: the printed document is compressed again, whatever this is."""

_SCALE: Final = 1.25 * 4 / 3
"""CSS pixels per point: text of eight points is read on a screen, not on paper."""


@dataclass(frozen=True)
class FigureView:
    """A drawing, made when it is first needed, and its text.

    Raises:
        OutputError: There is no `alt`.
    """

    make: Callable[[], Figure] | None
    """Draws it; None where its text alone is wanted."""
    rows: Callable[[], Rows]
    """Its numbers."""
    alt: str
    caption: str
    anchor: str
    """Of its block; begins the identifiers within it."""
    heading: str
    """What its marks stand for: "layer", "backbone", or the attributes of groups."""
    form: Form = "svg"
    is_landscape: bool = False
    """Whether paper gives it a page of its own, turned to the side."""
    data: str | None = None
    """The file in the run folder that holds its numbers."""
    most_packed: float = math.inf
    """Numbers that a page takes in; with more, they stay in the file."""

    def __post_init__(self) -> None:
        if not self.alt.strip():
            raise OutputError(
                f"figure {self.anchor}: expected a text that describes it to readers who cannot "
                "see it, got none; give its block a BlockText.alt made from its numbers"
            )

    @cached_property
    def source(self) -> str:
        """For paper: a `data:` URI, drawn when first needed: paper shows only some figures."""
        return data_uri(self.make(), form=self.form) if self.make else "data:,"

    @cached_property
    def inline(self) -> Markup:
        """For the screen: an `svg` element."""
        if self.make is None:
            return Markup()
        return inline_svg(self.make(), anchor=self.anchor, alt=self.alt, heading=self.heading)

    @cached_property
    def packed(self) -> str | None:
        """For the screen: its numbers, deflated, in base64; None where they are too many."""
        rows = self.rows() if self.make else []
        fit = rows and len(rows) * len(rows[0]) <= self.most_packed
        return packed(rows) if fit else None


def saved(
    figure: Figure, *, form: Form, metadata: Mapping[str, Any], more: Mapping[str, Any]
) -> bytes:
    """Write a figure under the report's settings, and some more."""
    buffer = io.BytesIO()
    with mpl.rc_context(settings() | dict(more)), warnings.catch_warnings():
        # What no font has is kept below, in one sentence for the whole report.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        with _laid_out(figure, form):
            kept: dict[str, Any] = {}
            if form == "png":
                kept["pil_kwargs"] = {"compress_level": _FASTEST}
            figure.savefig(buffer, format=form, dpi="figure", metadata=dict(metadata), **kept)
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


def data_uri(figure: Figure, *, form: Literal["svg", "png"]) -> str:
    """Write a figure as a `data:` URI: "svg" for lines, its text as outlines; "png" for maps.

    The bytes depend on the figure alone: no date, no random identifiers.
    """
    metadata = {"Date": None, "Creator": None} if form == "svg" else {"Software": None}
    mime, content = "image/svg+xml", saved(figure, form=form, metadata=metadata, more={})
    if form == "png":
        mime, content = "image/png", _opaque(content)
    return f"data:{mime};base64,{base64.b64encode(content).decode()}"


def _opaque(drawn: bytes) -> bytes:
    """The same colours without the transparency that no figure has."""
    buffer = io.BytesIO()
    with Image.open(io.BytesIO(drawn)) as image:
        image.convert("RGB").save(buffer, format="png", compress_level=_FASTEST)
    return buffer.getvalue()


def inline_svg(figure: Figure, *, anchor: str, alt: str, heading: str) -> Markup:
    """Draw a figure as an `svg` element; the same figure gives the same bytes.

    Its own text and marks are for readers who see it; `alt` is for those who do not. Marks carry
    their numbers as a `title`, which browsers show without any script.
    """
    # Text stays text: browsers have the scripts that the font lacks.
    drawn = saved(figure, form="svg", metadata={"Date": None}, more={"svg.fonttype": "none"})
    root = ET.fromstring(drawn)  # matplotlib's own words
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
    body = f'<g aria-hidden="true">{drawing.written()}</g>'
    marks = _marks(placed_marks(figure), width, height)
    return Markup(f"{head}{defs}{body}{marks}</svg>")  # every label in it is escaped


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
