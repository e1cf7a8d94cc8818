"""Figures of a report, drawn when a template asks for them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy.typing as npt
from markupsafe import Markup
from matplotlib.figure import Figure

from bias_audit.report.csv_text import packed
from bias_audit.report.elements import BlockText, FigureView
from bias_audit.report.figures.encode import data_uri
from bias_audit.report.figures.inline import inline_svg
from bias_audit.report.figures.style import Palette
from bias_audit.report.sections.placing import PlacedBlock
from bias_audit.report.shapes import Shape
from bias_audit.results.store import read_array

NOT_DRAWN: Final = "data:,"
"""Stands for a figure where only its text is wanted."""
_MOST_PACKED: Final = 10_000
"""Numbers in the arrays behind a figure; with more, its data stay in a file beside the page."""


def figure_of(
    shape: Shape[Any], placed: PlacedBlock, text: BlockText, folder: Path | None, palette: Palette
) -> FigureView | None:
    """The figure of a block; None where there is nothing to draw.

    Args:
        shape: Of the block.
        placed: The block and its place.
        text: The block in words.
        folder: The run folder, for arrays; None: nothing is drawn, and only its text is there.
        palette: Of the report's attributes.

    Raises:
        OutputError: Its text for readers who cannot see it is empty.
    """
    if text.alt is None:
        return None
    drawer = _Drawer(shape, placed, folder, palette)
    return FigureView(
        draw=drawer.source,
        alt=text.alt,
        caption=text.caption,
        data=f"figures/{placed.data_name}" if shape.data is not None else None,
        anchor=placed.anchor,
        draw_inline=partial(drawer.inline, text.alt),
        pack=drawer.packed,
    )


@dataclass(frozen=True)
class _Drawer:
    """Reads arrays only when something is drawn."""

    shape: Shape[Any]
    placed: PlacedBlock
    folder: Path | None
    palette: Palette

    def source(self) -> str:
        if self.folder is None:
            return NOT_DRAWN
        return data_uri(self._figure(self.folder), form=self.shape.form)

    def inline(self, alt: str) -> Markup:
        if self.folder is None:
            return Markup()
        heading = self.shape.keys(self.placed.block)
        return inline_svg(
            self._figure(self.folder), anchor=self.placed.anchor, alt=alt, heading=heading
        )

    def packed(self) -> str | None:
        if self.folder is None or self.shape.data is None:
            return None
        block = self.placed.block
        arrays = self._arrays(self.folder, self.shape.data_needs(block))
        if sum(array.size for array in arrays.values()) > _MOST_PACKED:
            return None
        return packed(self.shape.data(block, arrays))

    def _figure(self, folder: Path) -> Figure:
        block = self.placed.block
        return self.shape.drawn(block, self._arrays(folder, self.shape.needs(block)), self.palette)

    def _arrays(self, folder: Path, keys: tuple[str, ...]) -> dict[str, npt.NDArray[Any]]:
        name = self.placed.analysis.arrays
        return {key: read_array(folder, name, key) for key in keys}
