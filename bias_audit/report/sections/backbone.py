"""A backbone's section, and that of all together: what it is, and every block found on it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from bias_audit.durations import duration
from bias_audit.report.figures.style import Palette, shortened
from bias_audit.report.page import (
    Fact,
    Facts,
    Fold,
    Item,
    Items,
    Only,
    Part,
    Prose,
    Section,
    Shown,
    Tabled,
    number_columns,
    parts,
    text_columns,
)
from bias_audit.report.sections.blocks import TOGETHER, backbone_anchor, shown_blocks
from bias_audit.report.sections.findings import findings, findings_section
from bias_audit.report.sections.summary import failure_boxes, failures_of
from bias_audit.results.audit import TOGETHER as AS_ONE
from bias_audit.results.audit import (
    AnalysisResult,
    AuditResult,
    BackboneRecord,
    ControlRecord,
    SubjectResult,
)
from bias_audit.shapes.printed import count, counted, sentence
from bias_audit.shapes.tables import Table

_RESIZED: Final = {
    "stretch": "the whole image, stretched or squeezed to that size",
    "crop": "the centre of the image, cropped after resizing",
}

_NAMES: Final = {"mean": "mean subtracted (RGB)", "std": "divided by (RGB)"}

CONTROL_KINDS = ("random weights", "image quality", "pixels")


def chapter(
    subject: SubjectResult,
    index: int,
    folder: Path | None,
    *,
    palette: Palette,
    answers: tuple[str, ...],
) -> Section:
    """One backbone; its figures are drawn when asked for, and not at all without a run folder."""
    anchor, record = backbone_anchor(index), subject.backbone
    layers = [f"{layer.name}: {counted(layer.n_units, 'unit')}" for layer in record.layers]
    heading = "Layers audited, from input to output"
    items = Items(tuple(map(Item, layers)), "columns", is_numbered=True)
    named = Prose(f"{'; '.join(layers)}.", "layers", f"{heading}.")
    about = (
        Facts(_facts(subject)),
        Only("screen", (Fold(heading, (items,)),)),
        Only("paper", (named,)),
    )
    return Section(
        anchor,
        f"Backbone {record.name}",
        (*about, *_found(subject.analyses, anchor, record.name, folder, palette)),
        look="backbone",
        name=record.name,
        answers=answers,
        running=f"Backbone {shortened(record.name, 40)}",
    )


def together(result: AuditResult, folder: Path | None, *, palette: Palette) -> Section:
    """What analyses of all backbones together found; see `chapter`."""
    members = tuple(subject.backbone.name for subject in result.subjects)
    about = (
        Prose(
            "What follows is asked once, of the backbones of this audit as one, or of each beside "
            "the others."
        ),
        Facts((Fact("Backbones", members),)),
    )
    return Section(
        TOGETHER,
        sentence(AS_ONE),
        (*about, *_found(result.together, TOGETHER, AS_ONE, folder, palette)),
        look="together",
        running=sentence(AS_ONE),
    )


def _found(
    analyses: Sequence[AnalysisResult],
    anchor: str,
    name: str,
    folder: Path | None,
    palette: Palette,
) -> tuple[Part, ...]:
    """What failed, all findings, and every block; on paper what is not printed of these."""
    told = findings(analyses, anchor)
    blocks = shown_blocks(analyses, anchor, folder, palette=palette)
    rest = [block for block in blocks if block.is_detail]
    return parts(
        failure_boxes(failures_of(name, analyses)),
        (findings_section(told, anchor, name),) if told else (),
        [_block(block, has_layer=anchor != TOGETHER) for block in blocks],
        (_rest(rest, anchor, name),) if rest else (),
    )


def _block(block: Shown, *, has_layer: bool) -> Section:
    return Section(
        block.anchor,
        block.title,
        (Only("screen", (Prose(block.analysis, "analysis"),)), block),
        look=f"block {block.shape}",
        layer=(block.layer or "") if has_layer else "",
        is_listed=True,
        medium="screen" if block.is_detail else None,
    )


def _rest(blocks: Sequence[Shown], anchor: str, name: str) -> Section:
    """On paper: what is not printed, by the analysis it comes from, and where it is."""
    by_analysis: dict[str, list[Shown]] = {}
    for block in blocks:
        by_analysis.setdefault(block.analysis, []).append(block)
    rows = tuple(
        (
            analysis if place == 0 else "",
            block.title,
            "figure" if block.figure and not block.n_rows else str(block.n_rows),
            block.figure.data if block.figure and block.figure.data else "audit.json",
        )
        for analysis, members in by_analysis.items()
        for place, block in enumerate(members)
    )
    columns = (*text_columns("analysis", "what"), *number_columns("rows"), *text_columns("file"))
    caption = "Figures and tables in report.html, and files of the run folder with their numbers"
    table = Table(caption, columns, rows, n_headers=2, excerpt=rows)
    return Section(
        f"{anchor}-rest",
        f"More about {name}, not printed",
        (Tabled(table, "rest"),),
        medium="paper",
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


def preprocessing(record: Mapping[str, Any]) -> tuple[str, ...]:
    """One line for each step; settings this release does not know are printed as they are."""
    rest = dict(record)
    lines = []
    if {"width", "height"} <= rest.keys():
        width, height = rest.pop("width"), rest.pop("height")
        lines.append(f"input: {plain(width)} x {plain(height)} pixels (width x height)")
    resize, fraction = rest.pop("resize", None), rest.pop("crop_fraction", None)
    if resize is not None:
        lines.append(f"fitted: {_RESIZED.get(str(resize), plain(resize))}")
    if resize == "crop" and fraction is not None:
        lines.append(f"crop keeps: {plain(fraction)} of the resized shorter side")
    lines += [f"{_NAMES.get(name, name.replace('_', ' '))}: {plain(rest[name])}" for name in rest]
    return tuple(lines)


def overrides(record: Mapping[str, Any]) -> tuple[str, ...]:
    """One line for each value that module attributes were set to, with the modules."""
    modules: dict[str, list[str]] = {}
    for path, value in record.items():
        module, _, attribute = path.rpartition(".")
        change = f"{attribute} set to {plain(value)}"
        modules.setdefault(change, []).append(module or "the whole backbone")
    return tuple(f"{change} in {', '.join(names)}" for change, names in modules.items())


def plain(value: object) -> str:
    """A setting's value without the marks of a programming language."""
    if isinstance(value, list | tuple):
        return ", ".join(map(plain, value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "not set" if value is None else str(value)
