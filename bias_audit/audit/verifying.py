"""Are given weights and faces those that a report is about?"""

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
from bias_audit.config.wording import problems_of
from bias_audit.data.faces import manifest_sha256
from bias_audit.errors import AuditError, BackboneError, ConfigError
from bias_audit.progress import Progress
from bias_audit.results.audit import AuditResult

_CONFIGS = {".yaml", ".yml"}
_TABLES = {".csv", ".parquet"}


@dataclass(frozen=True)
class Match:
    """A given file or data set, compared with what was audited."""

    name: str
    holds: bool
    text: str
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
            yield Match("weights", holds=False, text=str(error))
            continue
        names = [wanted[sha256] for sha256 in found if sha256 in wanted]
        if names:
            text = f"{file} has the audited weights of {', '.join(names)}"
            yield Match("weights", holds=True, text=text)
            continue
        text = f"{file} has other weights than the audited backbones"
        details = [f"in the file, as {what}: SHA-256 {sha256}" for sha256, what in found.items()]
        details += [f"audited, {name}: SHA-256 {sha256}" for sha256, name in wanted.items()]
        yield Match("weights", holds=False, text=text, details=tuple(details))


def _digests(result: AuditResult, file: Path) -> dict[str, str]:
    """The architectures of the audit that the file's tensors fit, by the tensors' SHA-256."""
    problems, found = [], {}
    for planned in make_plan(_config(result)).backbones:
        source = planned.source
        if source.refilled is None:
            problems.append(
                f"{source.title}: its weights are not a file, so they cannot be compared"
            )
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
    """Say whether given faces are the images and labels that were audited.

    Every image is opened again; file names and order do not matter. The path is a config, whose
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
        return Match("data", holds=False, text=str(error))
    found, wanted = manifest_sha256(faces), result.data.manifest_sha256
    what = f"{faces.table.n_images:,} images with their labels from {path}"
    if found == wanted:
        text = f"{what} are those that were audited (SHA-256 {wanted})"
        return Match("data", holds=True, text=text)
    text = f"{what} are not the {result.data.n_images:,} that were audited"
    details = (f"expected SHA-256 {wanted}, found {found}",)
    return Match("data", holds=False, text=text, details=details)


def _config(result: AuditResult) -> AuditConfig:
    try:
        return AuditConfig.model_validate(result.config)
    except ValidationError as error:
        problems = [
            f"{'.'.join(map(str, location))}: {problem}"
            for location, problem in problems_of(error, result.config, AuditConfig)
        ]
        raise ConfigError(problems, source="the config in the report") from error


def _moved(config: AuditConfig, path: Path) -> AuditConfig:
    """The same config with its data at another place."""
    data = {"kind": config.data.kind, **config.data.params}
    moved: dict[str, Any] = {"file": path} if path.suffix in _TABLES else {"root": path}
    if "file" in data and "root" in moved and (path / Path(str(data["file"])).name).is_file():
        moved["file"] = path / Path(str(data["file"])).name
    return config.model_copy(update={"data": type(config.data).model_validate({**data, **moved})})
