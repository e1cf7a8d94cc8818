"""The example configs that come with the package, found by name."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import bias_audit
from bias_audit.config.catalog import unknown_name
from bias_audit.errors import ConfigError

_FOLDER = "audit_configs"
_PLACES = 2
"""Parts of a path that names a shipped config: the folder, and the file."""


def shipped(path: Path) -> Path:
    """The path itself where something is there; else the shipped config of that name.

    Args:
        path: Such as "mine.yaml", or "quickstart", "quickstart.yaml", "audit_configs/zoo.yaml".

    Raises:
        ConfigError: A name without an ending, of nothing that is there.
    """
    is_name = path.parent in {Path(), Path(_FOLDER)} and len(path.parts) <= _PLACES
    if not is_name or path.exists():
        return path
    known = {config.stem: config for config in _configs()}
    if path.stem in known and path.suffix in {"", ".yaml"}:
        return known[path.stem]
    if path.suffix:
        return path
    problem = f"there is no such file; {unknown_name(path.name, known, noun='shipped config')}"
    raise ConfigError([problem], source=str(path))


def _configs() -> Iterator[Path]:
    """Inside the package once installed, beside it in a source tree."""
    package = Path(bias_audit.__file__).resolve().parent
    for folder in (package / _FOLDER, package.parent / _FOLDER):
        yield from sorted(folder.glob("*.yaml"))
