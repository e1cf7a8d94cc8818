"""The plugins of a folder: one module each, imported only when named.

A module `kind.py` in such a folder holds one object, `PLUGIN`, with a title, the pydantic model of
its parameters and the function that does the work. Adding the file is all the registration needed.
"""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Generic, Protocol, TypeVar, cast

from pydantic import BaseModel

import bias_audit
from bias_audit.errors import ConfigError, some

_COMPARED: Final = 200
"""Characters of a name that are compared, which takes long for long ones."""
LONGEST: Final = 80
"""Characters of a value that a message shows."""


class Plugin(Protocol):
    """What every plugin has, whatever it does."""

    @property
    def title(self) -> str:
        """A name for readers."""

    @property
    def params_type(self) -> type[BaseModel]:
        """The parameters a config may set."""


T = TypeVar("T", bound=Plugin)


@dataclass(frozen=True)
class Catalog(Generic[T]):
    """The plugins in one folder of the package."""

    package: str
    """Dotted name of the folder, such as "bias_audit.data.sources"."""
    noun: str
    """What the folder contains, for messages: "data source", "analysis"."""

    def kinds(self) -> tuple[str, ...]:
        """Names of the modules in the folder, sorted; nothing is imported."""
        folder = importlib.import_module(self.package)
        names = (module.name for module in pkgutil.iter_modules(folder.__path__))
        return tuple(sorted(name for name in names if not name.startswith("_")))

    def load(self, kind: str) -> T:
        """Import one plugin.

        Raises:
            KeyError: No module of that name is in the folder; the message names the nearest.
        """
        kinds = self.kinds()
        if kind not in kinds:
            raise KeyError(unknown_name(kind, kinds, noun=self.noun))
        return cast("T", importlib.import_module(f"{self.package}.{kind}").PLUGIN)


def unknown_name(name: str, known: Iterable[str], *, noun: str) -> str:
    """A message for a name that does not exist: the known names, and the nearest one."""
    known = list(known)
    near = nearest(name, known)
    hint = f"; did you mean {shortened(repr(near))}?" if near else ""
    return f"unknown {noun} {shortened(repr(name))}{hint} (known: {first_names(known)})"


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that this one must mean; None if it is like none."""
    forms, known = (name[:_COMPARED], name[:_COMPARED].lower().replace("-", "_")), list(known)
    found = (difflib.get_close_matches(form, known, n=1) for form in forms)
    return next((near[0] for near in found if near), None)


def first_names(names: Iterable[str], most: int = 5) -> str:
    """`some` of names that may come from anywhere."""
    return some([shortened(name) for name in names], most=most)


def shortened(text: str) -> str:
    """The beginning of a long text, without control characters."""
    text = "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text[:200])
    return text if len(text) <= LONGEST else text[: LONGEST - 3] + "..."


DATA_SOURCES: Catalog[Any] = Catalog("bias_audit.data.sources", "data source")
BACKBONE_SOURCES: Catalog[Any] = Catalog("bias_audit.backbones.sources", "backbone source")
ANALYSES: Catalog[Any] = Catalog("bias_audit.analyses.methods", "analysis")
EXECUTORS: Catalog[Any] = Catalog("bias_audit.zoo.executors", "executor")
LAYOUTS: Catalog[Any] = Catalog("bias_audit.analyses.layouts", "layout")

_FOLDER = "audit_configs"
_PLACES = 2
"""Parts of a path that names a shipped config: the folder, and the file."""


def shipped_configs() -> dict[str, Path]:
    """The configs that come with the package, by name."""
    package = Path(bias_audit.__file__).resolve().parent  # beside it in a source tree
    folders = (package / _FOLDER, package.parent / _FOLDER)
    return {file.stem: file for folder in folders for file in sorted(folder.glob("*.yaml"))}


def names_shipped(path: Path) -> bool:
    """Whether this is no file or folder, but the name of a shipped config."""
    return str(path) in shipped_configs() and not path.exists()


def shipped(path: Path) -> Path:
    """The path itself where a file is there; else the shipped config of that name.

    Shipped ones are named as "quickstart", "quickstart.yaml" or "audit_configs/quickstart.yaml".

    Raises:
        ConfigError: A name without an ending, of nothing that is there.
    """
    is_name = path.parent in {Path(), Path(_FOLDER)} and len(path.parts) <= _PLACES
    if not is_name or (path.exists() and not path.is_dir()):
        return path
    known = shipped_configs()
    if path.stem in known and path.suffix in {"", ".yaml"}:
        return known[path.stem]
    if path.suffix or path.exists():
        return path
    raise ConfigError([f"there is no such file; {unknown_config(path.name)}"], source=str(path))


def unknown_config(name: str) -> str:
    """A message for a name of no shipped config."""
    problem = unknown_name(name, shipped_configs(), noun="shipped config")
    return f"{problem}; `bias-audit init` lists all"
