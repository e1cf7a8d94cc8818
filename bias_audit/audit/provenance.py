"""What a second person needs to repeat an audit."""

from __future__ import annotations

import os
import platform
from datetime import UTC, datetime
from pathlib import Path

import torch

from bias_audit.activations.extract import resolve_device
from bias_audit.config.schema import AuditConfig
from bias_audit.files import digest
from bias_audit.results.audit import Provenance
from bias_audit.software import versions_of

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
