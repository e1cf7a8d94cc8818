"""What a second person needs to repeat an audit."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from bias_audit.activations.extract import ARCHITECTURES, MAKERS
from bias_audit.audit.plan import Plan
from bias_audit.cache import Cache, CacheEntry
from bias_audit.config.schema import AuditConfig
from bias_audit.data.faces import Faces
from bias_audit.deferred import torch
from bias_audit.device import ARITHMETIC, device_for, repeats
from bias_audit.files import digest, sha256_of
from bias_audit.results.audit import Provenance, StageCost
from bias_audit.software import software_of, versions_of


@dataclass
class Costs:
    """What stages took, in the order in which they ended."""

    stages: list[StageCost] = field(default_factory=list)

    @contextmanager
    def stage(self, name: str, *, images: int | None = None) -> Iterator[None]:
        """Time one stage; one that fails is not written down."""
        began = time.monotonic()
        yield
        seconds = round(time.monotonic() - began, 2)
        self.stages.append(StageCost(stage=name, seconds=seconds, images=images))

    def passes(self, stage: str, seconds: float, *, images: int, size: int) -> None:
        """Write down passes of images through a backbone, and the bytes they left."""
        taken = round(seconds, 2)
        self.stages.append(
            StageCost(stage=stage, seconds=taken, images=images, bytes=size, reused=images == 0)
        )


def fingerprints(plan: Plan, faces: Faces) -> dict[str, str]:
    """Digests by kind, of all that can change a result.

    "weights": the bytes of the files they are in; "images": the bytes of the images used;
    "labels": what is annotated of them; "config": the settings, without where files lie;
    "code": the modules of this package behind each stage; "packages": the libraries. Besides,
    "code of KIND" for each stage, to say which.
    """
    modules = {
        "bias_audit.data.sampling",
        *MAKERS,
        "bias_audit.results.judge",
        "bias_audit.data.image_features",
        "bias_audit.backbones.random_weights",
        *(catalog.module(kind) for catalog, kind in plan.plugins),
    }
    software = {module: software_of(module) for module in sorted(modules)}
    packages = versions_of(*ARCHITECTURES)
    packages |= {name: v for used in software.values() for name, v in used.packages.items()}
    table = faces.table
    declared = json.dumps([(attribute.name, attribute.levels) for attribute in table.attributes])
    annotated = zip(
        faces.sha256,
        table.codes.tolist(),
        table.identities or [""] * len(faces),
        table.splits or [""] * len(faces),
        strict=True,
    )
    rows = sorted(json.dumps(row) for row in annotated)  # an exchange of two labels changes them
    drawn = [] if table.label_sets is None else [table.label_sets.tobytes()]
    disagreement = repr(sorted(table.disagreement.items()))
    weights: list[str] = []  # no weight is loaded
    for planned in plan.backbones:
        files = planned.source.files(planned.params)
        found = [file_digest(file, plan.config.output.cache) for file in files]
        weights += found or ["not in a local cache"]
    return {
        "weights": digest(*weights),
        "images": digest(*sorted(faces.sha256)),
        "labels": digest(table.name, declared, disagreement, *rows, *drawn),
        "config": _config(plan),
        "code": digest(*(used.code for used in software.values())),
        "packages": digest(*(f"{name} {v}" for name, v in sorted(packages.items()))),
        **{f"code of {_stage(module)}": used.code for module, used in software.items()},
    }


_OWN = "bias_audit."


def _stage(module: str) -> str:
    """What a module is called among the stages: the name of its file, or that of an extension."""
    is_own = module.startswith(_OWN)
    return module.rpartition(".")[2] if is_own else f"extension {module}"


def file_digest(path: Path, cache: Path) -> str:
    """SHA-256 of a large file, taken again only if its size or time of change differ.

    Raises:
        OSError: It cannot be read.
    """
    place = path.resolve()
    status = place.stat()
    state = f"{status.st_size} {status.st_mtime_ns}"
    # From the cache on, so that files and cache can be moved together.
    way = os.path.relpath(place, cache.resolve())
    inputs = (way, state, file_digest)
    kept = CacheEntry(Cache(cache / "weights"), "SHA-256", inputs, sha256_of)
    return str(kept.or_computed(lambda: {"sha256": np.array(sha256_of(place))})["sha256"])


def _config(plan: Plan) -> str:
    """Settings that change a number. Faces and weights count by content, not by where they lie."""
    whole = ("output", "declarations", "changes", "data", "backbones", "name", "description")
    left_out: dict[str, bool | set[str]] = dict.fromkeys(whole, True)
    own = plan.config.model_dump_json(exclude=left_out | {"sampling": {"max_identity_share"}})
    backbones = []
    for planned in plan.backbones:
        paths = {
            name
            for name, value in planned.params
            if all(isinstance(v, Path) for v in (value if isinstance(value, tuple) else [value]))
            and value != ()
        }
        params = planned.params.model_dump(mode="json", exclude=paths)
        backbones.append(json.dumps([planned.kind, params], sort_keys=True))
    return digest(own, *backbones)


_PACKAGES = (
    "bias-audit",
    "torch",
    "torchvision",
    "timm",
    "numpy",
    "scipy",
    "scikit-learn",
    "pillow",
    "umap-learn",
    "matplotlib",
    "weasyprint",
)
_PLUGGED = (
    *("pillow-heif", "pillow-jxl-plugin"),
    *("transformers", "open-clip-torch", "onnx", "onnxruntime"),
)
"""Packages that read further kinds of images and backbones where a user has installed them."""


def config_sha256(config: AuditConfig) -> str:
    """Fingerprint of everything in a config that can change a result.

    It leaves out where results go, how they are compared and what people declare.
    """
    return digest(config.model_dump_json(exclude={"output", "changes", "declarations"}))


def extensions_of(plan: Plan) -> dict[str, str]:
    """Package, version and digest of each plugin that is not built in, by what it is."""
    return {what: each for catalog, kind in plan.plugins for what, each in catalog.brought(kind)}


def describe(
    config: AuditConfig, *, command: str, started: datetime, seconds: float
) -> Provenance:
    """Collect versions, hardware and settings; no host name, no user name."""
    device = device_for(config.activations.device)
    processor = _processor()
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else processor
    try:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        memory = f"{total / 2**30:.0f} GiB"
    except (ValueError, OSError, AttributeError):
        memory = "not stated"
    return Provenance(
        started=started.astimezone(UTC).isoformat(timespec="seconds"),
        seconds=round(seconds, 1),
        command=command,
        versions=versions(),
        hardware={
            "system": f"{platform.system()} {platform.release()} {platform.machine()}",
            "processor": processor,
            "cores": str(os.cpu_count()),
            "memory": memory,
            "device": f"{device.type} ({name})",
            "threads": str(torch.get_num_threads()),
            "forward pass": config.activations.forward,
            "arithmetic": ARITHMETIC,
            "repeated": repeats(device),
        },
        seed=config.seed,
        config_sha256=config_sha256(config),
    )


def versions() -> dict[str, str]:
    """Versions of Python, of this package and of the libraries that it uses."""
    plugged = {name: v for name, v in versions_of(*_PLUGGED).items() if v != "not installed"}
    return {"python": platform.python_version(), **versions_of(*_PACKAGES), **plugged}


def _processor() -> str:
    lines: list[str] = []
    with suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return next(iter(names), "") or platform.processor() or "not stated"
