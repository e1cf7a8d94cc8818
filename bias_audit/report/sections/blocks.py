"""The blocks of a report: where each stands, what paper shows, its figure and its numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Final

from matplotlib.figure import Figure

from bias_audit.files import write_derived
from bias_audit.report.csv_text import csv_text
from bias_audit.report.figures.drawing import drawing_of
from bias_audit.report.figures.saving import FigureView
from bias_audit.report.figures.style import PLAIN, Palette
from bias_audit.report.page import Shown
from bias_audit.results.audit import AnalysisResult, AuditResult
from bias_audit.results.store import read_array
from bias_audit.shapes.catalog import shape_of
from bias_audit.shapes.shape import Arrays, Block, Rows
from bias_audit.shapes.tables import BlockText

TOGETHER: Final = "together"
"""Anchor of the section about all backbones together."""

FOLDER: Final = "figures"

"""Of the files with the data of figures, in the run folder."""
_MOST_PACKED: Final = 10_000
"""Numbers behind a figure; with more, its data stay in a file beside the page."""


@dataclass(frozen=True)
class PlacedBlock:
    """A block, and where the report prints it."""

    anchor: str
    analysis: AnalysisResult
    block: Block

    @property
    def data_name(self) -> str:
        """Of the file with the figure's data."""
        return f"{self.anchor}-{self.block.name}.csv"


def backbone_anchor(index: int) -> str:
    """Of the section about a backbone, by its place in the audit."""
    return f"backbone-{index}"


def placed_blocks(analyses: Sequence[AnalysisResult], anchor: str) -> tuple[PlacedBlock, ...]:
    """A section's blocks in the order in which they are printed: of a backbone by shape."""
    blocks = [(analysis, block) for analysis in analyses for block in analysis.blocks]
    if anchor != TOGETHER:
        blocks.sort(key=lambda entry: shape_of(entry[1]).place)
    return tuple(
        PlacedBlock(f"{anchor}-{place}", analysis, block)
        for place, (analysis, block) in enumerate(blocks)
    )


def shown_blocks(
    analyses: Sequence[AnalysisResult],
    anchor: str,
    folder: Path | None,
    *,
    palette: Palette = PLAIN,
) -> tuple[Shown, ...]:
    """All blocks of a section; without a run folder, their figures are text alone."""
    all_placed = placed_blocks(analyses, anchor)
    numbers = {id(analysis): number for number, analysis in enumerate(analyses)}
    listed = details((numbers[id(placed.analysis)], placed.block) for placed in all_placed)
    views: list[Shown] = []
    printed: set[str] = set()
    for place, placed in enumerate(all_placed):
        view = _shown(placed, folder, palette, is_detail=place in listed)
        is_known = bool(views) and view.reading == views[-1].reading
        views.append(
            replace(
                view,
                explains=bool(view.reading) and not is_known,
                notes=view.notes if place in listed else new_notes(view.notes, printed),
            )
        )
    return tuple(views)


def _shown(
    placed: PlacedBlock, folder: Path | None, palette: Palette, *, is_detail: bool
) -> Shown:
    """A block as it is printed: with a figure where that says more than its tables."""
    block, analysis = placed.block, placed.analysis
    shape = shape_of(block)
    text = shape.text(block)
    is_drawn = not text.tables if is_detail else shape.is_drawn(block)
    return Shown(
        shape=block.name,
        anchor=placed.anchor,
        title=block.title,
        heading=shape.heading,
        reading=text.reading or shape.reading,
        in_short=shape.in_short,
        is_open=shape.is_open,
        has_notes_first=shape.has_notes_first,
        figure=_figure_of(placed, text, folder, palette) if is_drawn else None,
        notes=text.notes,
        tables=text.tables,
        is_detail=is_detail,
        question=analysis.question,
        layer=getattr(block, "layer", None),
    )


def details(blocks: Iterable[tuple[int, Block]]) -> frozenset[int]:
    """Places of the blocks that paper only lists.

    A block is shown if its analysis says so. Where it does not say (analyses of third parties),
    the first of each shape is. No analysis shows more of one shape than a few.

    Args:
        blocks: In the order in which they are printed, each with the number of its analysis.
    """
    shown: Counter[tuple[int, str]] = Counter()
    listed = set()
    for place, (analysis, block) in enumerate(blocks):
        key, shape = (analysis, block.name), shape_of(block)
        unsaid = shown[key] > 0 and not shape.printed
        is_detail = unsaid if block.detail is None else block.detail
        if is_detail or shown[key] >= shape.most_printed:
            listed.add(place)
        else:
            shown[key] += 1
    return frozenset(listed)


def new_notes(notes: Sequence[str], printed: set[str]) -> tuple[str, ...]:
    """The notes that are not among those printed before; adds them."""
    new = tuple(note for note in notes if note not in printed)
    printed.update(new)
    return new


def _figure_of(
    placed: PlacedBlock, text: BlockText, folder: Path | None, palette: Palette
) -> FigureView | None:
    """The figure of a block; None where there is nothing to draw.

    Raises:
        OutputError: Its text for readers who cannot see it is empty.
        ValueError: Its shape has a text for a figure, and no figure.
    """
    if text.alt is None:
        return None
    block = placed.block
    drawing = drawing_of(block.name)
    if drawing is None:
        raise ValueError(f"{block.name}: has no figure, so its text must have no alt")

    def make(folder: Path) -> Figure:
        arrays = _arrays(placed, folder, drawing.arrays(block))  # read only when it is drawn
        return drawing.draw(block, arrays, palette)

    return FigureView(
        make=partial(make, folder) if folder else None,
        rows=partial(figure_data, placed, folder or Path()),
        alt=text.alt,
        caption=text.caption,
        anchor=placed.anchor,
        heading=drawing.keys(block),
        form=drawing.form,
        is_landscape=drawing.is_landscape(block),
        data=f"{FOLDER}/{placed.data_name}",
        most_packed=_MOST_PACKED,
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


def write_figure_data(result: AuditResult, folder: Path) -> tuple[Path, ...]:
    """Write `figures/ANCHOR.csv` for every figure of the report that shows a block.

    Files of figures that the result no longer has are removed.

    Args:
        result: What the audit found.
        folder: The run folder.

    Raises:
        OutputError: An array is missing or damaged, or the disk refuses.
        ValueError: An array does not belong to its block.
    """
    written = []
    for name, rows in _tables(result, folder):
        path = folder / FOLDER / name
        write_derived(path, csv_text(rows).encode())
        written.append(path)
    for section in ("backbone", TOGETHER):
        for path in (folder / FOLDER).glob(f"{section}-*.csv"):
            if path not in written:
                path.unlink()
    return tuple(written)


def _tables(result: AuditResult, folder: Path) -> Iterator[tuple[str, Rows]]:
    sections = [(backbone_anchor(i), s.analyses) for i, s in enumerate(result.subjects)]
    for anchor, analyses in [*sections, (TOGETHER, result.together)]:
        for placed in placed_blocks(analyses, anchor):
            if shape_of(placed.block).text(placed.block).alt is not None:
                yield placed.data_name, figure_data(placed, folder)
