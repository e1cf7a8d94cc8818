"""What a second person needs to repeat an audit."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import torch
from pydantic import BaseModel, ValidationError

from bias_audit.activations.extract import ARCHITECTURES, MAKERS, Extraction, resolve_device
from bias_audit.audit.plan import Plan, PlannedBackbone
from bias_audit.config.schema import AuditConfig
from bias_audit.data.faces import Faces
from bias_audit.files import digest, read_checked, sha256_of, tell_damage, write_checked
from bias_audit.results.audit import Provenance, StageCost
from bias_audit.software import software_of, versions_of


class Costs:
    """A list that stages write themselves into as they end."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self._stages: list[StageCost] = []

    @contextmanager
    def stage(self, name: str, *, images: int | None = None) -> Iterator[None]:
        """Time one stage; one that fails is not written down."""
        began = time.monotonic()
        yield
        self.add(StageCost(stage=name, seconds=_seconds(began), images=images))

    def forward_pass(self, extraction: Extraction) -> None:
        """Write down the pass that gave a backbone's activations."""
        passed, size = extraction.forward_images, extraction.activations.size
        self.passes("forward pass", extraction.seconds, images=passed, size=size)

    def passes(self, stage: str, seconds: float, *, images: int, size: int) -> None:
        """Write down passes of images through a backbone, and the activations they left."""
        self.add(
            StageCost(
                stage=stage,
                seconds=round(seconds, 2),
                images=images,
                bytes=size,
                reused=images == 0,
            )
        )

    def add(self, cost: StageCost) -> None:
        """Write down a stage that was timed elsewhere."""
        self._stages.append(cost)

    @property
    def stages(self) -> tuple[StageCost, ...]:
        """In the order in which they ended."""
        return tuple(self._stages)


def _seconds(began: float) -> float:
    return round(time.monotonic() - began, 2)


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


_PACKAGES = (
    "bias-audit",
    "torch",
    "torchvision",
    "timm",
    "numpy",
    "scipy",
    "scikit-learn",
    "pandas",
    "pillow",
    "umap-learn",
    "matplotlib",
    "weasyprint",
)
_PLUGGED = ("pillow-heif", "pillow-jxl-plugin")
"""Packages that read further kinds of images where a user has installed them."""


def config_sha256(config: AuditConfig) -> str:
    """Fingerprint of everything in a config that can change a result.

    So neither where it goes, nor how it is compared, nor what people declare about it.
    """
    return digest(config.model_dump_json(exclude={"output", "changes", "declarations"}))


def describe(
    config: AuditConfig, *, command: str, started: datetime, seconds: float
) -> Provenance:
    """Collect versions, hardware and settings; no host name, no user name."""
    return Provenance(
        started=started.astimezone(UTC).isoformat(timespec="seconds"),
        seconds=round(seconds, 1),
        command=command,
        versions=versions(),
        hardware=_hardware(config.activations.device),
        seed=config.seed,
        config_sha256=config_sha256(config),
    )


def versions() -> dict[str, str]:
    """Versions of Python, of this package and of the libraries it stands on."""
    plugged = {name: v for name, v in versions_of(*_PLUGGED).items() if v != "not installed"}
    return {"python": platform.python_version(), **versions_of(*_PACKAGES), **plugged}


def _hardware(device: str) -> dict[str, str]:
    resolved = resolve_device(device)
    name = torch.cuda.get_device_name(resolved) if resolved.type == "cuda" else _processor()
    return {
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "processor": _processor(),
        "cores": str(os.cpu_count()),
        "memory": _memory(),
        "device": f"{resolved.type} ({name})",
        "threads": str(torch.get_num_threads()),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or "not stated"
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or "not stated"


def _memory() -> str:
    try:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError, AttributeError):
        return "not stated"
    return f"{total / 2**30:.0f} GiB"
