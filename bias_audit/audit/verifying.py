"""Are the weights and faces at hand those that a report is about?"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from bias_audit.audit.plan import find_faces, make_plan
from bias_audit.backbones.loading import weights_sha256_of
from bias_audit.config.catalog import names_shipped
from bias_audit.config.load import load_config
from bias_audit.config.schema import AuditConfig
from bias_audit.data.faces import manifest_sha256
from bias_audit.errors import AuditError, BackboneError, ConfigError
from bias_audit.progress import Progress
from bias_audit.results.audit import AuditResult

_CONFIGS = {".yaml", ".yml"}
_TABLES = {".csv", ".parquet"}


@dataclass(frozen=True)
class Match:
    """Something at hand, held against what was audited."""

    name: str
    holds: bool
    told: str
    details: tuple[str, ...] = ()


def weights_matches(result: AuditResult, files: Sequence[Path]) -> Iterator[Match]:
    """Say of each file whether a backbone of the audit was filled from the same tensors.

    The digest is over names, shapes and bytes of the tensors in the architecture, so it does not
    depend on the file's format or name.
    """
    wanted = {s.backbone.weights_sha256: s.backbone.name for s in result.subjects}
    for file in files:
        try:
            found = _digests(result, file)
        except AuditError as error:
            yield Match("weights", holds=False, told=str(error))
            continue
        names = [wanted[sha256] for sha256 in found if sha256 in wanted]
        if names:
            yield Match("weights", holds=True, told=f"{file} holds those of {', '.join(names)}")
            continue
        told = f"{file} holds the weights of no backbone of this audit"
        details = [f"in {what}: SHA-256 {sha256}" for sha256, what in found.items()]
        details += [f"audited {name}: SHA-256 {sha256}" for sha256, name in wanted.items()]
        yield Match("weights", holds=False, told=told, details=tuple(details))


def _digests(result: AuditResult, file: Path) -> dict[str, str]:
    """The architectures of the audit that the file's tensors fit, by the tensors' SHA-256."""
    problems, found = [], {}
    for planned in make_plan(_config(result)).backbones:
        source = planned.source
        if source.refilled is None:
            problems.append(f"{source.title}: its weights are no file that can be compared")
            continue
        try:
            built = source.refilled(planned.params, file)
        except BackboneError as error:
            problems.append(str(error))
            continue
        module, unfilled = built.architecture.module, built.fit.unfilled
        found[weights_sha256_of(module, leave_out=unfilled)] = built.architecture.title
    if not found:
        raise BackboneError("; ".join(dict.fromkeys(problems)))
    return found


def data_match(result: AuditResult, path: Path, progress: Progress) -> Match:
    """Say whether faces at hand are the images and labels that were audited.

    Every image is opened anew; file names and order do not matter. The path is a config, whose
    data and sampling are used; or the place of the data, instead of the one in the audit's own
    config.
    """
    try:
        is_config = path.suffix in _CONFIGS or names_shipped(path)
        config = load_config(path) if is_config else _moved(_config(result), path)
        with tempfile.TemporaryDirectory(prefix="bias-audit-") as cache:
            output = config.output.model_copy(update={"cache": Path(cache)})
            plan = make_plan(config.model_copy(update={"output": output}))
            faces = find_faces(plan, progress=progress)
    except AuditError as error:
        return Match("data", holds=False, told=str(error))
    found, wanted = manifest_sha256(faces), result.data.manifest_sha256
    told = f"{len(faces):,} images and labels from {path}"
    if found == wanted:
        return Match("data", holds=True, told=f"{told} are those audited (SHA-256 {wanted})")
    told += f" are not the {result.data.n_images:,} audited"
    details = (f"SHA-256 {found}, expected {wanted}",)
    return Match("data", holds=False, told=told, details=details)


def _config(result: AuditResult) -> AuditConfig:
    try:
        return AuditConfig.model_validate(result.config)
    except ValidationError as error:
        problems = [f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()]
        raise ConfigError(problems, source="the config in the report") from error


def _moved(config: AuditConfig, path: Path) -> AuditConfig:
    """The same config with its data at another place."""
    data = {"kind": config.data.kind, **config.data.params}
    moved: dict[str, Any] = {"file": path} if path.suffix in _TABLES else {"root": path}
    if "file" in data and "root" in moved and (path / Path(str(data["file"])).name).is_file():
        moved["file"] = path / Path(str(data["file"])).name
    return config.model_copy(update={"data": type(config.data).model_validate({**data, **moved})})
