"""Figures of a report, drawn when a template asks for them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from markupsafe import Markup
from matplotlib.figure import Figure

from bias_audit.report.csv_text import packed
from bias_audit.report.elements import FigureView
from bias_audit.report.figures.drawing import Drawing, drawing_of
from bias_audit.report.figures.encode import data_uri
from bias_audit.report.figures.inline import inline_svg
from bias_audit.report.figures.style import Palette
from bias_audit.report.sections.placing import PlacedBlock
from bias_audit.results.store import read_array
from bias_audit.shapes.catalog import shape_of
from bias_audit.shapes.shape import Arrays, Rows
from bias_audit.shapes.tables import BlockText

NOT_DRAWN: Final = "data:,"
"""Stands for a figure where only its text is wanted."""
_MOST_PACKED: Final = 10_000
"""Numbers behind a figure; with more, its data stay in a file beside the page."""


def figure_of(
    placed: PlacedBlock, text: BlockText, folder: Path | None, palette: Palette
) -> FigureView | None:
    """The figure of a block; None where there is nothing to draw.

    Args:
        placed: The block and its place.
        text: The block in words.
        folder: The run folder, for arrays; None: nothing is drawn, and only its text is there.
        palette: Of the report's attributes.

    Raises:
        OutputError: Its text for readers who cannot see it is empty.
        ValueError: Its shape has a text for a figure, and no figure.
    """
    if text.alt is None:
        return None
    drawing = drawing_of(placed.block.name)
    if drawing is None:
        raise ValueError(f"{placed.block.name}: has no figure, so its text must have no alt")
    drawer = _Drawer(drawing, placed, folder, palette)
    return FigureView(
        draw=drawer.source,
        alt=text.alt,
        caption=text.caption,
        data=f"figures/{placed.data_name}",
        anchor=placed.anchor,
        draw_inline=partial(drawer.inline, text.alt),
        pack=drawer.packed,
    )


def figure_data(placed: PlacedBlock, folder: Path) -> Rows:
    """The numbers behind a block's figure.

    Raises:
        OutputError: An array is missing or damaged.
        ValueError: An array does not belong to its block.
    """
    shape = shape_of(placed.block)
    return shape.data(placed.block, _arrays(placed, folder, shape.arrays(placed.block)))


def _arrays(placed: PlacedBlock, folder: Path, keys: tuple[str, ...]) -> Arrays:
    return {key: read_array(folder, placed.analysis.arrays, key) for key in keys}


@dataclass(frozen=True)
class _Drawer:
    """Reads arrays only when something is drawn."""

    drawing: Drawing
    placed: PlacedBlock
    folder: Path | None
    palette: Palette

    def source(self) -> str:
        if self.folder is None:
            return NOT_DRAWN
        return data_uri(self._figure(self.folder), form=self.drawing.form)

    def inline(self, alt: str) -> Markup:
        if self.folder is None:
            return Markup()
        heading = self.drawing.keys(self.placed.block)
        return inline_svg(
            self._figure(self.folder), anchor=self.placed.anchor, alt=alt, heading=heading
        )

    def packed(self) -> str | None:
        if self.folder is None:
            return None
        rows = figure_data(self.placed, self.folder)
        return packed(rows) if len(rows) * len(rows[0]) <= _MOST_PACKED else None

    def _figure(self, folder: Path) -> Figure:
        block = self.placed.block
        arrays = _arrays(self.placed, folder, self.drawing.arrays(block))
        return self.drawing.draw(block, arrays, self.palette)
