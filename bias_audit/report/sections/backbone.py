"""A backbone's section, and that of all together: what it is, and every block found on it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any, Final

from bias_audit.durations import duration
from bias_audit.report.page import Fact, Facts, Fold, Item, Items, Only, Part, Prose, Section
from bias_audit.report.sections.blocks import backbone_anchor
from bias_audit.results.audit import AuditResult, BackboneRecord, ControlRecord, SubjectResult
from bias_audit.shapes.printed import count, counted

_RESIZED: Final = {
    "stretch": "the whole image, stretched or squeezed to that size",
    "crop": "the centre of the image, cropped after resizing",
}

_UNKNOWN: Final = "not stated"
_NAMES: Final = {"mean": "mean subtracted", "std": "divided by"}

CONTROL_KINDS = ("random weights", "image quality", "pixels")


def backbones_section(result: AuditResult, answers: tuple[str, ...]) -> Section:
    """What each backbone is, and how it was read."""
    several = len(result.subjects) > 1
    found: list[Part] = []
    for index, subject in enumerate(result.subjects):
        record = subject.backbone
        layers = [f"{layer.name}: {counted(layer.n_units, 'unit')}" for layer in record.layers]
        heading = "Layers audited, from input to output"
        about = (
            Facts(_facts(subject)),
            Only(
                "screen",
                (Fold(heading, (Items(tuple(map(Item, layers)), "columns", is_numbered=True),)),),
            ),
            Only("paper", (Prose(f"{'; '.join(layers)}.", "layers", f"{heading}."),)),
        )
        anchor = backbone_anchor(index)
        found += [Section(anchor, record.name, about)] if several else about
    title = "Backbones" if several else f"Backbone {result.subjects[0].backbone.name}"
    return Section("backbones", title, tuple(found), answers=answers)


def _facts(subject: SubjectResult) -> tuple[Fact, ...]:
    record = subject.backbone
    return (
        Fact("Architecture", (f"{record.architecture} (read as {record.kind})",)),
        Fact("Parameters", (count(record.n_parameters) if record.n_parameters else _UNKNOWN,)),
        Fact("Weights", (record.weights,)),
        Fact("Weights SHA-256", (record.weights_sha256 or _UNKNOWN,), is_code=True),
        Fact("Licence", (record.licence,)),
        Fact("Preprocessing", preprocessing(record.preprocessing) or (_UNKNOWN,)),
        Fact("How the weights were read", (*record.reading, *record.assumed) or ("as published",)),
        *_arguments(record),
        Fact("Changes after building", overrides(record.overrides) or ("none",)),
        Fact("Weights that did not fit", record.key_problems or ("none",)),
        Fact("Layers", (f"{counted(len(record.layers), 'layer')} audited, listed below",)),
        *_read(record),
        Fact("Activations", (_extraction(subject.extraction),)),
        Fact("Controls", controls_told(subject.controls)),
        Fact("Classification layer", (_head(subject),)),
    )


def _read(record: BackboneRecord) -> tuple[Fact, ...]:
    """What was read of the layers' outputs; older results do not say."""
    counts = Counter(layer.read for layer in record.layers if layer.read)
    lines = tuple(f"{what} ({counted(n, 'layer')})" for what, n in counts.items())
    return (Fact("Read of each layer", lines),) if lines else ()


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
    return (*told, *([f"not requested: {', '.join(missing)}"] if missing else []))


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
    order = f" ({rest.pop('channels', 'RGB')})"
    for name, value in rest.items():
        words = f"{_NAMES[name]}{order}" if name in _NAMES else name.replace("_", " ")
        lines.append(f"{words}: {plain(value)}")
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
