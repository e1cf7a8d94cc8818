"""Plug-ins that other installed packages offer, and what identifies the code behind them.

A package offers a plug-in by an entry point, which only its metadata names: nothing is imported
until a config names the kind. What is installed is looked up when it is needed, in milliseconds.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from importlib.util import find_spec
from operator import attrgetter
from pathlib import Path
from typing import Final

from bias_audit.files import digest, sha256_of

GROUPS: Final = {
    "data source": "bias_audit.data_sources",
    "backbone source": "bias_audit.backbone_sources",
    "analysis": "bias_audit.analyses",
    "layout": "bias_audit.layouts",
    "executor": "bias_audit.executors",
}
"""Groups of entry points, by what their objects are."""


@dataclass(frozen=True)
class Extension:
    """One plug-in of an installed package."""

    kind: str
    """What a config calls it: the name of the entry point."""
    distribution: str
    """Name of the package, as `pip` lists it."""
    version: str
    value: str
    """Module and object, as the entry point has them: "package.module:PLUGIN"."""

    @property
    def module(self) -> str:
        """Dotted name of the module that has the object."""
        return self.value.partition(":")[0].strip()

    @property
    def package(self) -> str:
        """For readers: the package and its version."""
        return f"{self.distribution} {self.version}"

    @property
    def digest(self) -> str:
        """Fingerprint of all files that its package installed, by name and content."""
        return _digest(self.distribution, self.module.partition(".")[0])

    @property
    def identity(self) -> str:
        """Package, version and digest: another one after any change of the package."""
        return f"{self.package}, digest {self.digest}"

    def load(self) -> object:
        """Import the object; whatever its package raises passes through."""
        return metadata.EntryPoint(self.kind, self.value, "bias_audit").load()


def installed(group: str) -> tuple[Extension, ...]:
    """What the entry points of one group name, by kind; nothing is imported."""
    found = (
        Extension(point.name, point.dist.name, point.dist.version, point.value)
        for point in metadata.entry_points(group=group)
        if point.dist is not None
    )
    return tuple(sorted(found, key=attrgetter("kind", "distribution")))


def extension_of(module: str) -> Extension | None:
    """An extension of the package that a module belongs to; None where it has none."""
    top = module.partition(".")[0]
    every = (extension for group in GROUPS.values() for extension in installed(group))
    return next((each for each in every if each.module.partition(".")[0] == top), None)


@cache
def _digest(distribution: str, top: str) -> str:
    """Of the files as they are; of those of `top` where the package is installed in place."""
    found = metadata.distribution(distribution)
    named = {str(path): Path(str(path.locate())) for path in found.files or () if _counts(path)}
    if not any(path.suffix == ".py" for path in named.values()):
        named |= dict(_in_place(top))
    there = {name: path for name, path in named.items() if path.is_file()}
    return digest(*(f"{name} {sha256_of(path)}" for name, path in sorted(there.items())))


def _counts(path: metadata.PackagePath) -> bool:
    """Whether a file is part of the package, and not of how it was installed or compiled."""
    return (
        not path.parts[0].endswith((".dist-info", ".egg-info", ".data"))
        and path.parts[0] not in {"..", "__pycache__"}
        and path.suffix not in {".pyc", ".pth"}
        and not path.name.startswith("__editable__")
    )


def _in_place(top: str) -> Iterator[tuple[str, Path]]:
    """The files of a package that stays where it is developed."""
    spec = find_spec(top)
    if spec is None:
        return
    for place in spec.submodule_search_locations or ():
        for path in Path(place).rglob("*"):
            if path.is_file() and path.suffix != ".pyc":
                yield f"{top}/{path.relative_to(place).as_posix()}", path
    if spec.origin and not spec.submodule_search_locations:
        yield Path(spec.origin).name, Path(spec.origin)
