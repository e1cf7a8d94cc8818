"""What a result depends on, as one digest per kind, to tell what changed since."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel, ValidationError

from bias_audit.activations.extract import ARCHITECTURES, MAKERS
from bias_audit.audit.plan import Plan, PlannedBackbone
from bias_audit.data.faces import Faces
from bias_audit.files import digest, read_checked, sha256_of, tell_damage, write_checked
from bias_audit.software import software_of, versions_of

KINDS: Final = ("weights", "images", "labels", "config", "code", "packages")
"""In the order in which they are told."""
_ABSENT = "not in a local cache"


def fingerprints(plan: Plan, faces: Faces) -> dict[str, str]:
    """Digests by kind, of all that can change a result.

    Args:
        plan: The audit.
        faces: Its images.

    Returns:
        "weights": the bytes of the files they are in; "images": the bytes of the images used;
        "labels": what is annotated of them; "config": the settings, without where files lie;
        "code": the modules of this package behind each stage; "packages": the libraries. Besides,
        "code of KIND" for each stage, to say which.
    """
    software = {module: software_of(module) for module in _modules(plan)}
    packages = versions_of(*ARCHITECTURES)
    packages |= {name: v for used in software.values() for name, v in used.packages.items()}
    return {
        "weights": weights_digest(plan, FileDigests(plan.config.output.cache)),
        "images": digest(*sorted(faces.sha256)),
        "labels": _labels(faces),
        "config": _config(plan),
        "code": digest(*(used.code for used in software.values())),
        "packages": digest(*(f"{name} {v}" for name, v in sorted(packages.items()))),
        **{f"code of {_last(module)}": used.code for module, used in software.items()},
    }


def weights_digest(plan: Plan, digests: FileDigests) -> str:
    """Of the files that all weights of a plan come from; no weight is loaded."""
    return digest(*(part for planned in plan.backbones for part in _weights(planned, digests)))


def _weights(planned: PlannedBackbone, digests: FileDigests) -> list[str]:
    return [digests.of(path) for path in planned.source.files(planned.params)] or [_ABSENT]


def _labels(faces: Faces) -> str:
    """Of what is annotated, image by image; an exchange of two labels changes it."""
    table = faces.table
    known = zip(
        faces.sha256,
        table.codes.tolist(),
        table.identities or [""] * len(faces),
        table.splits or [""] * len(faces),
        strict=True,
    )
    declared = json.dumps([(attribute.name, attribute.levels) for attribute in table.attributes])
    disagreement = repr(sorted(table.disagreement.items()))
    return digest(table.name, declared, disagreement, *sorted(json.dumps(row) for row in known))


def _config(plan: Plan) -> str:
    """Settings that change a number. Faces and weights count by content, not by where they lie."""
    config = plan.config
    own = config.model_dump_json(
        exclude={
            "output": True,
            "declarations": True,
            "changes": True,
            "data": True,
            "backbones": True,
            "name": True,
            "description": True,
            "sampling": {"max_identity_share"},
        }
    )
    backbones = [
        json.dumps([planned.kind, _without_paths(planned.params)], sort_keys=True)
        for planned in plan.backbones
    ]
    return digest(own, *backbones)


def _without_paths(params: BaseModel) -> dict[str, Any]:
    places = {name for name in type(params).model_fields if _is_place(getattr(params, name))}
    return params.model_dump(mode="json", exclude=places)


def _is_place(value: object) -> bool:
    parts = value if isinstance(value, tuple) and value else (value,)
    return all(isinstance(part, Path) for part in parts)


def _modules(plan: Plan) -> list[str]:
    return sorted(
        {
            f"bias_audit.data.sources.{plan.config.data.kind}",
            "bias_audit.data.sampling",
            *MAKERS,
            "bias_audit.results.judge",
            "bias_audit.data.image_features",
            "bias_audit.backbones.random_weights",
            *(f"bias_audit.backbones.sources.{planned.kind}" for planned in plan.backbones),
            *(f"bias_audit.analyses.methods.{planned.kind}" for planned in plan.analyses),
        }
    )


def _last(module: str) -> str:
    return module.rpartition(".")[2]


class _Seen(BaseModel):
    """What is remembered of files."""

    digests: dict[str, tuple[int, int, str]] = {}
    """SHA-256 by path, with the size and time of change it had."""


@dataclass
class FileDigests:
    """SHA-256 of large files, taken again only if their size or time of change differ."""

    cache: Path
    """The cache of an audit, `output.cache`."""

    def of(self, path: Path) -> str:
        """SHA-256 of a file's bytes.

        Raises:
            OSError: It cannot be read.
            OutputError: The cache cannot be written.
        """
        place = path.resolve()
        status = place.stat()
        state = (status.st_size, status.st_mtime_ns)
        seen = self._read()
        known = seen.digests.get(str(place))
        if known is not None and known[:2] == state:
            return known[2]
        found = sha256_of(place)
        kept: Mapping[str, tuple[int, int, str]] = {**seen.digests, str(place): (*state, found)}
        write_checked(self._file, _Seen(digests=dict(kept)).model_dump_json())
        return found

    def _read(self) -> _Seen:
        text = read_checked(self._file)
        try:
            return _Seen() if text is None else _Seen.model_validate_json(text)
        except ValidationError as error:
            tell_damage(self._file, error)
            return _Seen()

    @property
    def _file(self) -> Path:
        return self.cache / "weights.json"
