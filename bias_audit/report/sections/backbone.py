"""A backbone's section: what it is, and every block found on it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy.typing as npt
from markupsafe import Markup
from matplotlib.figure import Figure

from bias_audit.report.csv_text import packed
from bias_audit.report.elements import (
    BlockView,
    Fact,
    Failure,
    FigureView,
)
from bias_audit.report.figures.encode import data_uri
from bias_audit.report.figures.inline import inline_svg
from bias_audit.report.figures.style import PLAIN, Palette
from bias_audit.report.numbers import count, counted, duration
from bias_audit.report.sections.settings import overrides, plain, preprocessing
from bias_audit.report.sections.summary import failures_of
from bias_audit.report.shapes import Shape, shapes
from bias_audit.results.audit import (
    AnalysisResult,
    BackboneRecord,
    ControlRecord,
    SubjectResult,
)
from bias_audit.results.blocks import Block
from bias_audit.results.store import read_array


@dataclass(frozen=True)
class BackboneView:
    """One backbone."""

    anchor: str
    name: str
    facts: tuple[Fact, ...]
    layers: tuple[str, ...]
    """With their units, from input to output."""
    failures: tuple[Failure, ...]
    blocks: tuple[BlockView, ...]


def backbone(
    subject: SubjectResult, index: int, folder: Path, *, palette: Palette = PLAIN
) -> BackboneView:
    """Put one backbone's section together; figures are drawn when a template asks for them.

    Raises:
        OutputError: An array is missing or damaged.
        ValueError: An array does not belong to its block.
    """
    known = shapes()
    views: list[BlockView] = []
    for placed in placed_blocks(subject, index):
        first = not views or views[-1].shape != placed.block.block
        drawer = _Drawer(known[placed.block.block], placed, folder, palette)
        views.append(_block(drawer, is_first=first))
    return BackboneView(
        anchor=f"backbone-{index}",
        name=subject.backbone.name,
        facts=_facts(subject),
        layers=_layers(subject.backbone),
        failures=failures_of(subject),
        blocks=tuple(views),
    )


@dataclass(frozen=True)
class PlacedBlock:
    """A block, and where the report prints it."""

    anchor: str
    analysis: AnalysisResult
    block: Block

    @property
    def data_name(self) -> str:
        """Of the file with the figure's data."""
        return f"{self.anchor}-{self.block.block}.csv"


def placed_blocks(subject: SubjectResult, index: int) -> tuple[PlacedBlock, ...]:
    """A backbone's blocks in the order in which they are printed: by shape, then by analysis."""
    order = list(shapes())
    blocks = [(analysis, block) for analysis in subject.analyses for block in analysis.blocks]
    blocks.sort(key=lambda entry: order.index(entry[1].block))
    return tuple(
        PlacedBlock(f"backbone-{index}-{place}", analysis, block)
        for place, (analysis, block) in enumerate(blocks)
    )


_MOST_PACKED = 40_000
"""Numbers of a figure's arrays; a figure with more has its data in a file beside the page."""


@dataclass(frozen=True)
class _Drawer:
    """Draws a block's figure, reading its arrays at that time."""

    shape: Shape[Any]
    placed: PlacedBlock
    folder: Path
    palette: Palette

    def figure(self) -> Figure:
        """In the report's colours."""
        block = self.placed.block
        return self.shape.drawn(block, self._arrays(self.shape.needs(block)), self.palette)

    def source(self) -> str:
        """For paper."""
        return data_uri(self.figure(), form=self.shape.form)

    def inline(self, alt: str) -> Markup:
        """For the screen."""
        anchor, heading = self.placed.anchor, self.shape.keys(self.placed.block)
        return inline_svg(self.figure(), anchor=anchor, alt=alt, heading=heading)

    def packed(self) -> str | None:
        """Its numbers; None where there are too many."""
        if self.shape.data is None:
            return None
        arrays = self._arrays(self.shape.data_needs(self.placed.block))
        if sum(array.size for array in arrays.values()) > _MOST_PACKED:
            return None
        return packed(self.shape.data(self.placed.block, arrays))

    def _arrays(self, keys: tuple[str, ...]) -> dict[str, npt.NDArray[Any]]:
        return {key: read_array(self.folder, self.placed.analysis.arrays, key) for key in keys}


def _block(drawer: _Drawer, *, is_first: bool) -> BlockView:
    placed, shape = drawer.placed, drawer.shape
    text = shape.text(placed.block)
    figure = None
    if text.alt is not None:
        figure = FigureView(
            anchor=placed.anchor,
            alt=text.alt,
            caption=text.caption,
            draw=drawer.source,
            draw_inline=partial(drawer.inline, text.alt),
            pack=drawer.packed,
            data=f"figures/{placed.data_name}" if shape.data is not None else None,
        )
    return BlockView(
        shape=placed.block.block,
        anchor=placed.anchor,
        title=placed.block.title,
        analysis=placed.analysis.title,
        is_first=is_first,
        figure=figure,
        notes=text.notes,
        tables=text.tables,
        layer=getattr(placed.block, "layer", None),
    )


def _facts(subject: SubjectResult) -> tuple[Fact, ...]:
    record = subject.backbone
    return (
        Fact("Architecture", (f"{record.architecture} (read as {record.kind})",)),
        Fact("Parameters", (count(record.n_parameters),)),
        Fact("Weights", (record.weights,)),
        Fact("Weights SHA-256", (record.weights_sha256,), is_code=True),
        Fact("Licence", (record.licence,)),
        Fact("Preprocessing", preprocessing(record.preprocessing)),
        Fact("Changes after building", overrides(record.overrides) or ("none",)),
        Fact("Weights that did not fit", record.key_problems or ("none",)),
        Fact("Layers", (f"{counted(len(record.layers), 'layer')} audited, listed below",)),
        Fact("Activations", (_extraction(subject.extraction),)),
        Fact("Controls", controls_told(subject.controls)),
        Fact("Classification layer", (_head(subject),)),
    )


CONTROL_KINDS = ("random weights", "image quality", "pixels")


def controls_told(records: tuple[ControlRecord, ...]) -> tuple[str, ...]:
    """What else was probed besides activations, and why something was not."""
    told = [
        f"{record.name}: not had, because {record.absent}" if record.absent else record.name
        for record in records
    ]
    there = {record.kind for record in records}
    missing = [kind for kind in CONTROL_KINDS if kind not in there]
    return (*told, *([f"not asked for: {', '.join(missing)}"] if missing else []))


def _head(subject: SubjectResult) -> str:
    if subject.head is not None:
        return f"{subject.head}; its inputs were recorded"
    if subject.without_head is not None:
        return f"none: {subject.without_head}"
    return "not looked at: no analysis asks for it"


def _extraction(extraction: Mapping[str, Any]) -> str:
    seconds = extraction.get("seconds")
    details = [
        f"{name.replace('_', ' ')}: {plain(value)}"
        for name, value in extraction.items()
        if name != "seconds" and value is not None
    ]
    if isinstance(seconds, int | float):
        details.append(f"time: {duration(seconds)}")
    return "; ".join(details) or "not recorded"


def _layers(record: BackboneRecord) -> tuple[str, ...]:
    return tuple(f"{layer.name}: {counted(layer.n_units, 'unit')}" for layer in record.layers)
