"""A whole audit, from config to reports; one that still stands is left as it is.

Beside its results, a run folder says what they rest on: the config, the images and their labels by
their files' sizes and times of change, the files of weights, this package and the libraries. It
also says what was written. While both are as they were, the same audit would give the same files.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

from bias_audit.config.catalog import BACKBONE_SOURCES, DATA_SOURCES
from bias_audit.config.schema import AuditConfig
from bias_audit.data.forgetting import without_forgotten
from bias_audit.errors import AuditError, OutputError
from bias_audit.files import digest, sha256_of, write_text, writing
from bias_audit.progress import Progress
from bias_audit.report.page import template_folder
from bias_audit.results.audit import AuditResult
from bias_audit.results.contributions import has_contributions
from bias_audit.results.store import read_audit
from bias_audit.software import installed

_STATE: Final = ".state.json"
_RESULTS: Final = ("audit.json", "config.yaml", "exclusions.csv", "arrays")
_REPORTS: Final = ("report.html", "report.pdf", "figures", "exports")


@dataclass(frozen=True)
class Finished:
    """An audit and its reports."""

    result: AuditResult
    brief: tuple[str, ...]
    """See `report.brief`."""
    reports: tuple[Path, ...]
    notice: str = ""
    """What was left as it is, in a sentence; empty where the audit was made now."""


def finish(
    config: AuditConfig,
    *,
    command: str,
    progress: Progress,
    replace: bool = False,
    extensions: Mapping[str, str] | None = None,
) -> Finished:
    """Audit every backbone of a config and write the reports, or leave both as they are.

    `command` and `extensions` beside those of the config are for the provenance; `replace` allows
    the folder to hold another config's audit.

    Raises:
        AuditError: Nothing could be audited, or a report could not be written.
    """
    folder, formats = config.folder, config.output.formats
    before = _inputs(config)
    result = None if before is None else _standing(config, before)
    kept = _kept(folder)
    since = result.provenance.started[:10] if result is not None else ""
    if result is not None and kept.get("reports") == _written(folder, _REPORTS):
        paths = tuple(folder / f"report.{each}" for each in ("html", "pdf") if each in formats)
        notice = (
            f"Nothing changed since the audit of {since}: results and reports stay as they are."
        )
        return Finished(result, tuple(kept.get("brief", ())), paths, notice)
    from bias_audit.report.brief import brief  # noqa: PLC0415  loads scipy
    from bias_audit.report.render import render  # noqa: PLC0415  draws figures

    notice = f"Nothing changed since the audit of {since}: its reports alone are written again."
    if result is None:
        notice, result = "", _made(config, command, progress, replace, extensions or {})
    paths = render(folder, formats=formats)
    lines = brief(result, paths, folder)
    if before is not None and before == _inputs(config) and _is_whole(result):
        state = {
            "inputs": before,
            "self-test": _self_test(config),
            "results": _written(folder, _RESULTS),
            "reports": _written(folder, _REPORTS),
            "brief": lines,
        }
        write_text(folder / _STATE, json.dumps(state))
    return Finished(result, lines, paths, notice)


def stands(config: AuditConfig, folder: Path) -> bool:
    """Whether the audit in a folder is what this config would give now, and nothing is missing."""
    output = config.output.model_copy(update={"folder": folder})
    config = config.model_copy(update={"output": output})
    found = _inputs(config)
    return found is not None and _standing(config, found) is not None


def _made(
    config: AuditConfig,
    command: str,
    progress: Progress,
    replace: bool,  # noqa: FBT001  as `finish` has it
    extensions: Mapping[str, str],
) -> AuditResult:
    from bias_audit.audit.run import run  # noqa: PLC0415  what computes
    from bias_audit.selftest.run import kept_or_quick  # noqa: PLC0415

    with writing(config.folder):
        (config.folder / _STATE).unlink(missing_ok=True)
    tested = partial(kept_or_quick, config.output.cache, progress)
    return run(
        config,
        command=command,
        progress=progress,
        replace=replace,
        selftest=tested,
        extensions=extensions,
    )


def _standing(config: AuditConfig, inputs: Mapping[str, str]) -> AuditResult | None:
    """The result in the config's folder, if its inputs are these and its files are whole."""
    kept = _kept(config.folder)
    if kept.get("inputs") != inputs or kept.get("self-test") != _self_test(config):
        return None
    if kept.get("results") != _written(config.folder, _RESULTS):
        return None
    try:
        result = read_audit(config.folder)
    except OutputError:
        return None
    named = (each.contributions for _, analyses in result.analysed for each in analyses)
    # Comparisons read them from the cache, which may have been deleted.
    is_kept = all(has_contributions(config.output.cache, name) for name in named if name)
    return result if is_kept and _is_whole(result) else None


def _is_whole(result: AuditResult) -> bool:
    """Whether nothing failed that the next run would try again."""
    return not result.failed and not any(
        control.absent for subject in result.subjects for control in subject.controls
    )


def _kept(folder: Path) -> dict[str, Any]:
    with suppress(OSError, ValueError):
        kept = json.loads((folder / _STATE).read_text(encoding="utf-8"))
        return kept if isinstance(kept, dict) else {}
    return {}


def _written(folder: Path, names: Iterable[str]) -> dict[str, str]:
    """SHA-256 of files by their place in the folder."""
    found = {}
    for place in (folder / name for name in names):
        files = sorted(place.rglob("*")) if place.is_dir() else [place]
        for file in files:
            if file.is_file():
                found[file.relative_to(folder).as_posix()] = sha256_of(file)
    return found


def _inputs(config: AuditConfig) -> dict[str, str] | None:
    """Digests of all that an audit and its reports depend on; None where some cannot be read."""
    try:
        templates = sorted(path for path in template_folder().rglob("*") if path.is_file())
        return {
            "config": digest(config.model_dump_json(exclude={"output": {"folder"}})),
            "software": digest(installed(), *(path.read_bytes() for path in templates)),
            "faces": _faces(config),
            "files": digest(*map(_state, _files(config))),
        }
    except (AuditError, OSError, RuntimeError):  # making the audit says what is wrong
        return None


def _faces(config: AuditConfig) -> str:
    """Of the labels, and of the files of all images that are listed."""
    source = DATA_SOURCES.load(config.data.kind)
    table = source.read(source.params_type.model_validate(config.data.params))
    table = without_forgotten(table, config.output.cache)
    states = {file: _state(file) for file in {each.file for each in table.references}}
    return digest(
        repr([table.name, table.attributes, table.label_origin, table.licence, table.cautions]),
        repr([table.notices, table.exclusions, sorted(table.disagreement.items())]),
        repr([table.identities, table.splits, table.answers]),
        table.label_bytes,
        *(f"{states[each.file]} {each.row} {each.column} {each.box}" for each in table.references),
    )


def _files(config: AuditConfig) -> Iterator[Path]:
    """All other files that are read: weights, fonts, reference images, other audits."""
    for component in config.backbones:
        source = BACKBONE_SOURCES.load(component.kind)
        for step in source.steps(source.params_type.model_validate(component.params)):
            yield from source.files(step)
    yield from config.output.fonts
    if config.controls.reference is not None:
        yield from sorted(config.controls.reference.rglob("*"))
    if config.sampling.unrecorded_identity.embedding is not None:
        yield config.sampling.unrecorded_identity.embedding
    for component in config.analyses:
        for text in _texts(component.params):
            place = Path(text).expanduser()
            yield from (place, place / "audit.json")


def _self_test(config: AuditConfig) -> str:
    """Of the self-tests in the cache: a full one that is stored later enters the next result."""
    return digest(*map(_state, sorted((config.output.cache / "selftest").glob("*"))))


def _texts(value: Any) -> Iterator[str]:
    """Every text in an analysis' parameters: some name folders of other audits."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list | tuple):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _texts(part)


def _state(path: Path) -> str:
    """Where a file is, how long, and when it was changed last; its name where it is missing."""
    try:
        status = path.stat()
    except (OSError, ValueError):
        return f"{path} missing"
    return f"{path} {status.st_size} {status.st_mtime_ns}"
