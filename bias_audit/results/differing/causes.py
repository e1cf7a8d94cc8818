"""What differs between two audits, and which difference probably explains their changes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from bias_audit.results.audit import (
    AttributeRecord,
    AuditResult,
    BackboneRecord,
    DataRecord,
    SubjectResult,
)
from bias_audit.results.differing.matching import Overlap
from bias_audit.results.differing.shapes import Cause, Conclusion
from bias_audit.shapes.printed import listed_all

_NO_NUMBER: Final = frozenset(
    {"name", "description", "output", "declarations", "changes", "criteria"}
)
"""Sections of a config that change no number."""
_NO_NUMBER_KEYS: Final = ("sampling.max_identity_share",)
"""Keys of other sections of which the same is true."""
_RECORDED: Final = frozenset({"data", "backbones"})
"""Sections whose effect is recorded elsewhere: digests of images and labels, of weights."""
_DRAWS: Final = frozenset({"sampling", "seed"})
"""Sections that decide which images are drawn from a source."""
_DRAWING: Final = frozenset({"matplotlib", "weasyprint", "umap-learn"})
"""Packages that no compared number passes through."""
_HARDWARE: Final = ("system", "processor", "device", "threads")
_ROUNDING: Final = (
    "seed", "activations.batch_size", "activations.workers", "activations.device",
    "activations.precision", "activations.compiled", "activations.tolerance",
)  # fmt: skip
"""Settings that move numbers by rounding, or by which folds are drawn."""
_SHORT: Final = 12
_ABSENT: Final = object()


def causes(
    before: AuditResult,
    after: AuditResult,
    pairs: Sequence[tuple[SubjectResult, SubjectResult]],
    *,
    images: Overlap,
) -> tuple[Cause, ...]:
    """Everything recorded that differs and that numbers can depend on."""
    settings = list(_settings(before, after))
    sampling = [each for each in settings if each.part in _DRAWS]
    data = list(_data(before, after, images))
    rest = [each for each in settings if each.part not in _DRAWS]
    if sampling and any(cause.part == "images" for cause in data):
        why = "; ".join(cause.detail for cause in sampling)
        data = [
            cause.model_copy(update={"detail": f"{cause.detail}; {why}"})
            if cause.part == "images"
            else cause
            for cause in data
        ]
        sampling = []
    return (
        *(cause for one, other in pairs for cause in _backbone(one.backbone, other.backbone)),
        *data,
        *sampling,
        *rest,
        *_software(before, after),
        *_hardware(before, after),
    )


def _backbone(before: BackboneRecord, after: BackboneRecord) -> Iterator[Cause]:
    name = after.name
    if before.weights_sha256 != after.weights_sha256:
        each = [f"{r.weights} ({r.weights_sha256[:_SHORT]}…)" for r in (before, after)]
        yield Cause(kind="weights", detail=" -> ".join(each), backbone=name)
    if before.architecture != after.architecture:
        detail = f"architecture: {before.architecture} -> {after.architecture}"
        yield Cause(kind="weights", part="architecture", detail=detail, backbone=name)
    if prepared := "; ".join(_keys(before.preprocessing, after.preprocessing)):
        yield Cause(kind="preprocessing", detail=prepared, backbone=name)
    if built := "; ".join(_keys(before.overrides, after.overrides)):
        yield Cause(kind="config", part="overrides", detail=built, backbone=name)


def _declared(data: DataRecord) -> list[AttributeRecord]:
    """The attributes without what depends on which images there are."""
    counts = {"images": (), "several": None, "withheld": 0, "missing": 0, "disagreement": None}
    counts["contested"] = None
    return [each.model_copy(update=counts) for each in data.attributes]


def _data(before: AuditResult, after: AuditResult, images: Overlap) -> Iterator[Cause]:
    one, other = before.data, after.data
    if _declared(one) != _declared(other):
        each = [
            ", ".join(f"{a.name} ({len(a.levels)} levels)" for a in d.attributes)
            for d in (one, other)
        ]
        yield Cause(
            kind="data", part="attributes", detail=f"declared attributes: {' -> '.join(each)}"
        )
    if one.manifest_sha256 == other.manifest_sha256:
        return
    only_before, only_after, relabelled = images.only_before, images.only_after, images.relabelled
    known = one.images_sha256 is not None and other.images_sha256 is not None
    if not known and images.shared is None:
        detail = "images or labels differ; which of them is not recorded"
        yield Cause(kind="data", part="images or labels", detail=detail)
        return
    if one.images_sha256 != other.images_sha256 if known else bool(only_before or only_after):
        counted = (
            f"{one.n_images} -> {other.n_images} images"
            if only_before is None or only_after is None
            else f"{only_before} only before, {only_after} only after"
        )
        yield Cause(kind="data", part="images", detail=counted)
        if not relabelled:
            return  # None: whether labels changed as well is not known
    detail = "labels differ" if relabelled is None else f"{relabelled} shared images relabelled"
    yield Cause(kind="data", part="labels", detail=detail)


def _settings(before: AuditResult, after: AuditResult) -> Iterator[Cause]:
    skipped = _NO_NUMBER | _RECORDED
    one, other = (
        {key: value for key, value in result.config.items() if key not in skipped}
        for result in (before, after)
    )
    for section in dict.fromkeys((*one, *other)):
        every = _keys(one.get(section, _ABSENT), other.get(section, _ABSENT), section)
        lines = [line for line in every if not line.startswith(_NO_NUMBER_KEYS)]
        minor = [line for line in lines if line.startswith(_ROUNDING)]
        major = [line for line in lines if line not in minor]
        for lines, is_minor in ((major, False), (minor, True)):
            if detail := "; ".join(lines):
                yield Cause(kind="config", part=section, detail=detail, is_minor=is_minor)


def _keys(before: Any, after: Any, where: str = "") -> Iterator[str]:
    """Every key whose value differs, with both values."""
    if before == after:
        return
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for key in dict.fromkeys((*before, *after)):
            inside = f"{where}.{key}" if where else str(key)
            yield from _keys(before.get(key, _ABSENT), after.get(key, _ABSENT), inside)
        return
    if isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for place, (one, other) in enumerate(zip(before, after, strict=True)):
            yield from _keys(one, other, f"{where}.{place}")
        return
    yield f"{where}: {_plain(before)} -> {_plain(after)}"


_LONGEST: Final = 120


def _plain(value: object) -> str:
    if value is _ABSENT:
        return "absent"
    text = str(value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def _software(before: AuditResult, after: AuditResult) -> Iterator[Cause]:
    one, other = (
        {name: v for name, v in record.versions.items() if name not in _DRAWING}
        | record.extensions
        for record in (before.provenance, after.provenance)
    )
    parts = list(_keys(one, other))
    code, other_code = (
        {k: v for k, v in result.provenance.fingerprints.items() if k.startswith("code of ")}
        for result in (before, after)
    )  # that of an extension is among the extensions
    own = {name for name in code | other_code if not name.startswith("code of extension ")}
    if code and other_code and any(code.get(name) != other_code.get(name) for name in own):
        parts.append("the code of bias-audit behind the analyses")
    if parts:
        yield Cause(kind="software", detail="; ".join(parts))


def _hardware(before: AuditResult, after: AuditResult) -> Iterator[Cause]:
    one, other = (
        {key: result.provenance.hardware.get(key, "not stated") for key in _HARDWARE}
        for result in (before, after)
    )
    if parts := "; ".join(_keys(one, other)):
        yield Cause(kind="hardware", detail=parts, is_minor=True)


def conclusion(backbone: str, found: Sequence[Cause], *, has_changed: bool) -> Conclusion:
    """Which causes could explain the changes of one backbone, and what would separate them.

    `has_changed` says whether a number changed beyond noise, or by less than the margin.
    """
    own = [cause for cause in found if cause.backbone in {None, backbone}]
    names, minor = (
        tuple(dict.fromkeys(cause.name for cause in own if cause.is_minor == is_minor))
        for is_minor in (False, True)
    )
    if len(names) > 1:
        text = (
            f"{listed_all(names)} differ, so the changes of {backbone} cannot be attributed to "
            f"one of them. To separate them, audit again with {names[0]} of AFTER and everything "
            "else of BEFORE."
        )
    elif names:
        text = f"Likely cause: {names[0]}, the only difference that can change numbers."
    elif minor:
        differ = f"Only {listed_all(minor)} differ"
        text = f"{differ}, which change numbers by rounding or refitting alone."
    elif has_changed:
        text = (
            "Nothing that is recorded differs: the changes are noise, or have a cause that is "
            "not recorded."
        )
    else:
        text = "Nothing that is recorded differs."
    if names and minor:
        rest = "Also different, but changing numbers by rounding or refitting alone"
        text += f" {rest}: {listed_all(minor)}."
    return Conclusion(backbone=backbone, causes=names, text=text)
