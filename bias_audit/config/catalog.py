"""The plugins of a folder, and those of extensions: each is imported only when named.

A module `kind.py` in such a folder holds one object, `PLUGIN`, with a title, the pydantic model of
its parameters and the function that does the work. Adding the file is all the registration needed.
Other installed packages offer the same objects by entry points, which are looked up only for a
kind that is not in the folder.
"""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Generic, Protocol, TypeVar, cast

from pydantic import BaseModel

import bias_audit
from bias_audit.errors import ConfigError, ExtensionError, some

if TYPE_CHECKING:  # what extensions need is imported when there may be one
    from bias_audit.extensions import Extension

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
    """The plugins in one folder of the package, and of other packages."""

    package: str
    """Dotted name of the folder, such as "bias_audit.data.sources"."""
    noun: str
    """What the folder contains, for messages: "data source", "analysis"."""
    types: tuple[str, ...]
    """Dotted names of the classes whose objects are such plugins."""

    def kinds(self) -> tuple[str, ...]:
        """Names of the modules in the folder, sorted; nothing is imported."""
        folder = importlib.import_module(self.package)
        names = (module.name for module in pkgutil.iter_modules(folder.__path__))
        return tuple(sorted(name for name in names if not name.startswith("_")))

    def extensions(self) -> tuple[Extension, ...]:
        """The plugins that other installed packages offer, by kind; nothing is imported."""
        from bias_audit.extensions import GROUPS, installed

        return installed(GROUPS[self.noun])

    def extension(self, kind: str) -> Extension | None:
        """What brings a kind that is not in the folder; None where it is.

        Raises:
            KeyError: There is no such kind; the message names the nearest.
            ExtensionError: Two packages offer it, or one offers what the folder has.
        """
        if kind in self.kinds():
            return None
        found = self.extensions()
        for each in found:
            if problem := self.clash(each, found):
                raise ExtensionError(problem)
        for each in found:
            if each.kind == kind:
                return each
        known = sorted({*self.kinds(), *(each.kind for each in found)})
        raise KeyError(unknown_name(kind, known, noun=self.noun))

    def clash(self, extension: Extension, others: Iterable[Extension]) -> str | None:
        """Why a name may not be offered: it is built in, or another package offers it, too."""
        what = f"{self.noun} {extension.kind!r}"
        if extension.kind in self.kinds():
            return (
                f"{extension.package} offers {what}, which is built in; expected another name: "
                f"uninstall it, or use a release of {extension.distribution} that calls it "
                "otherwise"
            )
        names = [each.package for each in others if each.kind == extension.kind]
        if len(names) > 1:
            return f"{what} is offered by {' and '.join(names)}; uninstall all but one of them"
        return None

    def brought(self, kind: str) -> tuple[tuple[str, str], ...]:
        """What a kind is, with the identity of the extension that brings it; empty if built in."""
        extension = self.extension(kind)
        return ((f"{self.noun} {kind}", extension.identity),) if extension else ()

    def module(self, kind: str) -> str:
        """Dotted name of the module of a kind that can be loaded."""
        extension = self.extension(kind)
        return extension.module if extension else f"{self.package}.{kind}"

    def load(self, kind: str) -> T:
        """Import one plugin.

        Raises:
            KeyError: There is no such kind; the message names the nearest.
            ExtensionError: It is that of another package, and cannot be used.
        """
        extension = self.extension(kind)
        if extension is None:
            return cast("T", importlib.import_module(f"{self.package}.{kind}").PLUGIN)
        return self.loaded(extension)

    def loaded(self, extension: Extension) -> T:
        """Import a plugin of another package, whatever others are called.

        Raises:
            ExtensionError: It cannot be imported, or is no such plugin.
        """
        return cast("T", _loaded(self, extension))


@cache
def _loaded(catalog: Catalog[Any], extension: Extension) -> object:
    """A plugin of another package, which says whose it is where it breaks a promise.

    Raises:
        ExtensionError: It cannot be imported, or is no such plugin.
    """
    from bias_audit.config.contract import problems_of_contract, watched

    whose = f"{catalog.noun} {extension.kind!r} of {extension.package} ({extension.value})"
    try:
        plugin = extension.load()
    except Exception as error:
        raise ExtensionError(
            f"{whose} cannot be imported: {type(error).__name__}: {shortened(str(error))}; "
            f"install what it needs, or report this to the authors of {extension.distribution}"
        ) from error
    if problems := problems_of_contract(plugin, catalog.types):
        raise ExtensionError(f"{whose} does not keep its contract: {some(problems, '; ')}")
    return watched(plugin, whose)


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


DATA_SOURCES: Catalog[Any] = Catalog(
    "bias_audit.data.sources", "data source", ("bias_audit.data.faces.FaceSource",)
)
BACKBONE_SOURCES: Catalog[Any] = Catalog(
    "bias_audit.backbones.sources",
    "backbone source",
    ("bias_audit.backbones.loading.BackboneSource",),
)
ANALYSES: Catalog[Any] = Catalog(
    "bias_audit.analyses.methods",
    "analysis",
    ("bias_audit.analyses.analysis.Analysis", "bias_audit.analyses.analysis.JointAnalysis"),
)
EXECUTORS: Catalog[Any] = Catalog(
    "bias_audit.zoo.executors", "executor", ("bias_audit.zoo.executor.Executor",)
)
LAYOUTS: Catalog[Any] = Catalog(
    "bias_audit.analyses.layouts", "layout", ("bias_audit.analyses.mapping.layout.Layout",)
)
CATALOGS: Final = (DATA_SOURCES, BACKBONE_SOURCES, ANALYSES, LAYOUTS, EXECUTORS)

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
