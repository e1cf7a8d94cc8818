"""A backbone's section, and that of all together: what it is, and every block found on it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bias_audit.durations import duration
from bias_audit.report.elements import BlockView, Fact, Failure
from bias_audit.report.figures.style import PLAIN, Palette, shortened
from bias_audit.report.sections.drawing import figure_of
from bias_audit.report.sections.findings import FindingsView, findings
from bias_audit.report.sections.paper import details, new_notes
from bias_audit.report.sections.placing import (
    TOGETHER,
    PlacedBlock,
    backbone_anchor,
    placed_blocks,
)
from bias_audit.report.sections.settings import overrides, plain, preprocessing
from bias_audit.report.sections.summary import failures_of
from bias_audit.results.audit import TOGETHER as AS_ONE
from bias_audit.results.audit import (
    AnalysisResult,
    AuditResult,
    BackboneRecord,
    ControlRecord,
    SubjectResult,
)
from bias_audit.shapes.catalog import shape_of
from bias_audit.shapes.printed import count, counted, sentence


@dataclass(frozen=True)
class BackboneView:
    """One backbone."""

    anchor: str
    name: str
    heading: str
    running: str
    """The name, short enough for the head of a page."""
    facts: tuple[Fact, ...]
    layers: tuple[str, ...]
    """With their units, from input to output."""
    failures: tuple[Failure, ...]
    findings: tuple[FindingsView, ...]
    blocks: tuple[BlockView, ...]

    @property
    def rest(self) -> tuple[tuple[str, tuple[BlockView, ...]], ...]:
        """What paper only lists, by the analysis it comes from."""
        found: dict[str, list[BlockView]] = {}
        for block in self.blocks:
            if block.is_detail:
                found.setdefault(block.analysis, []).append(block)
        return tuple((title, tuple(blocks)) for title, blocks in found.items())


def backbone(
    subject: SubjectResult, index: int, folder: Path | None, *, palette: Palette = PLAIN
) -> BackboneView:
    """Put one backbone's section together; its figures are drawn when they are asked for.

    Args:
        subject: The backbone.
        index: Its place in the audit.
        folder: The run folder; None: figures are not drawn, for their text alone.
        palette: Of the audit's attributes.
    """
    anchor, record = backbone_anchor(index), subject.backbone
    return BackboneView(
        anchor=anchor,
        name=record.name,
        heading=f"Backbone {record.name}",
        running=shortened(record.name, 40),
        facts=_facts(subject),
        layers=_layers(record),
        failures=failures_of(record.name, subject.analyses),
        findings=findings(subject.analyses, anchor),
        blocks=_blocks(subject.analyses, anchor, folder, palette),
    )


def together(
    result: AuditResult, folder: Path | None, *, palette: Palette = PLAIN
) -> BackboneView | None:
    """The section about all backbones together; None where no analysis asks for one.

    Args:
        result: The audit.
        folder: As of `backbone`.
        palette: As of `backbone`.
    """
    if not result.together:
        return None
    members = tuple(subject.backbone.name for subject in result.subjects)
    return BackboneView(
        anchor=TOGETHER,
        name=AS_ONE,
        heading=sentence(AS_ONE),
        running=sentence(AS_ONE),
        facts=(Fact("Backbones", members),),
        layers=(),
        failures=failures_of(AS_ONE, result.together),
        findings=findings(result.together, TOGETHER),
        blocks=_blocks(result.together, TOGETHER, folder, palette),
    )


def _blocks(
    analyses: Sequence[AnalysisResult], anchor: str, folder: Path | None, palette: Palette
) -> tuple[BlockView, ...]:
    all_placed = placed_blocks(analyses, anchor)
    numbers = {id(analysis): number for number, analysis in enumerate(analyses)}
    listed = details((numbers[id(placed.analysis)], placed.block) for placed in all_placed)
    views: list[BlockView] = []
    printed: set[str] = set()
    for place, placed in enumerate(all_placed):
        view = _block(placed, folder, palette)
        is_known = bool(views) and view.reading == views[-1].reading
        views.append(
            replace(
                view,
                explains=bool(view.reading) and not is_known,
                is_detail=place in listed,
                new_notes=() if place in listed else new_notes(view.notes, printed),
            )
        )
    return tuple(views)


def _block(placed: PlacedBlock, folder: Path | None, palette: Palette) -> BlockView:
    block, analysis = placed.block, placed.analysis
    shape = shape_of(block)
    text = shape.text(block)
    return BlockView(
        shape=block.name,
        anchor=placed.anchor,
        title=block.title,
        analysis=analysis.title,
        heading=shape.heading,
        reading=text.reading or shape.reading,
        in_short=shape.in_short,
        is_open=shape.is_open,
        has_notes_first=shape.has_notes_first,
        figure=figure_of(placed, text, folder, palette),
        notes=text.notes,
        tables=text.tables,
        is_drawn_on_paper=shape.is_drawn_on_paper(block),
        layer=getattr(block, "layer", None),
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
        Fact("How the weights were read", (*record.reading, *record.assumed) or ("as published",)),
        *_arguments(record),
        Fact("Changes after building", overrides(record.overrides) or ("none",)),
        Fact("Weights that did not fit", record.key_problems or ("none",)),
        Fact("Layers", (f"{counted(len(record.layers), 'layer')} audited, listed below",)),
        Fact("Activations", (_extraction(subject.extraction),)),
        Fact("Controls", controls_told(subject.controls)),
        Fact("Classification layer", (_head(subject),)),
    )


def _arguments(record: BackboneRecord) -> tuple[Fact, ...]:
    """Arguments of the library's model, where there are some."""
    lines = tuple(f"{name}: {plain(value)}" for name, value in record.model_kwargs.items())
    return (Fact("Arguments of the architecture", lines),) if lines else ()


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
