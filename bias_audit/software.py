"""Which code and which libraries a result comes from, found from the imports of a module.

A stored result may stand for a new one only while neither the code behind it nor a library it
passes through has changed. Both are read off the source, so no version has to be raised by hand.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cache, partial
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from pathlib import Path
from typing import Any

from bias_audit.extensions import GROUPS, Extension, extension_of
from bias_audit.extensions import installed as extensions
from bias_audit.files import digest
from bias_audit.remembered import remembered

_PACKAGE = Path(__file__).parent
_CATALOG = "bias_audit.config.catalog"
_DEFERRED = "bias_audit.deferred"
_WITHOUT_NUMBERS = frozenset(
    {"bias-audit", "filelock", "platformdirs", "pydantic", "PyYAML", "rich", "typer"}
)
"""No number passes through these; and this package is identified by its code."""


@dataclass(frozen=True)
class Software:
    """Code and libraries behind one module."""

    code: str
    """Digest of the module and of all of this package that it imports; comments, docstrings and
    layout do not count."""
    packages: dict[str, str]
    """Version by distribution, of the libraries they import; sorted by name."""

    @property
    def digest(self) -> str:
        """Of both."""
        return digest(self.code, *(f"{name} {number}" for name, number in self.packages.items()))


@dataclass(frozen=True)
class _Source:
    code: str
    own: tuple[str, ...]
    """Modules of this package."""
    others: tuple[str, ...]
    """Top-level names of other packages."""


@cache
def installed() -> str:
    """Digest of this package's files, and of what is installed beside it, as they lie there.

    It changes with every edit, of a comment as well, also of extensions, and with every package
    that comes or goes.
    """
    sources = sorted(_PACKAGE.rglob("*.py"))
    places = {Path(place or ".") for place in sys.path}
    beside = (path.name for place in places for path in place.glob("*.dist-info"))
    return digest(
        sys.version,
        *sorted(beside),
        *(each.identity for group in GROUPS.values() for each in extensions(group)),
        *(str(path.relative_to(_PACKAGE)) for path in sources),
        *(path.read_bytes() for path in sources),
    )


@cache
def software_of(module: str) -> Software:
    """Follow the imports of a module, those inside functions included.

    A module that asks a plugin folder for plugins by name depends on all of them. Of another
    package, its own modules count by their source as far as they are loaded; if it is an
    extension, all of its files count, and its version.

    Raises:
        ModuleNotFoundError: There is no such module, or it has no source.
    """
    is_own = module.partition(".")[0] == _PACKAGE.name
    extension = None if is_own else extension_of(module)
    if _path(module) is None and extension is None:
        raise ModuleNotFoundError(f"{module} has no source that could be read")
    if not is_own:
        return _followed(module, extension)
    kept = remembered("software", digest(installed(), module), partial(_unless_edited, module))
    return Software(**kept) if kept else _followed(module)


def _unless_edited(module: str) -> dict[str, Any] | None:
    """What `installed` decides; None where a file was edited since the first look."""
    found = asdict(_followed(module))
    return found if installed.__wrapped__() == installed() else None


def _followed(module: str, extension: Extension | None = None) -> Software:
    seen: dict[str, _Source] = {}
    waiting = [module]
    while waiting:
        name = waiting.pop()
        if name in seen or name == _CATALOG:
            continue
        seen[name] = _source(name)
        waiting += seen[name].own
    tops = {top for source in seen.values() for top in source.others}
    names = {distribution for top in tops for distribution in _distributions().get(top, ())}
    code = [part for name in sorted(seen) for part in (name, seen[name].code)]
    if extension is not None:
        code.append(extension.digest)
        names.add(extension.distribution)
    packages = versions_of(*sorted(names - _WITHOUT_NUMBERS))
    return Software(code=digest(*code), packages=packages)


def versions_of(*distributions: str) -> dict[str, str]:
    """Versions by distribution; "not installed" where it is not."""
    found = {}
    for name in distributions:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


_distributions = cache(packages_distributions)
"""Names of distributions by the top-level names that they bring."""


@cache
def _source(module: str) -> _Source:
    path = _path(module)
    if path is None:
        return _Source("", (), ())
    tree = ast.parse(path.read_bytes())
    imported = list(_imported(tree))
    names = {_PACKAGE.name, module.partition(".")[0]}
    own = {name for name in imported if name.partition(".")[0] in names}
    tops = {name.partition(".")[0] for name in imported} - names
    for node in ast.walk(tree):  # docstrings do not count
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            node.body = [each for each in node.body if not _is_text(each)]
    return _Source(
        code=digest(ast.dump(tree)),
        own=tuple(sorted(own - {module})),
        others=tuple(sorted(tops - set(sys.stdlib_module_names))),
    )


def _imported(tree: ast.Module) -> Iterator[str]:
    """Dotted names of all modules a source imports when it runs."""
    for node in _running(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                if node.module == _CATALOG and (folder := _plugin_folders().get(alias.name)):
                    place = _path(folder)
                    files = sorted(place.parent.glob("*.py")) if place else ()
                    yield from (f"{folder}.{path.stem}" for path in files if path != place)
                if node.module == _DEFERRED:
                    yield alias.name.replace("_", ".")
                inner = f"{node.module}.{alias.name}"
                yield inner if _path(inner) else node.module


def _running(tree: ast.AST) -> Iterator[ast.AST]:
    """All nodes but those that only a type checker looks at."""
    for node in ast.iter_child_nodes(tree):
        if not (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"):
            yield node
            yield from _running(node)


def _path(module: str) -> Path | None:
    parts = module.split(".")
    if parts[0] != _PACKAGE.name:
        file = getattr(sys.modules.get(module), "__file__", None)
        return Path(file) if file and file.endswith(".py") else None
    place = _PACKAGE.joinpath(*parts[1:])
    for path in (place.with_suffix(".py"), place / "__init__.py"):
        if path.is_file():
            return path
    return None


@cache
def _plugin_folders() -> dict[str, str]:
    """Dotted folder by the name of its catalog, read off the catalog's source."""
    path = _path(_CATALOG)
    tree = ast.parse(path.read_bytes() if path else b"")
    return {
        node.target.id: str(node.value.args[0].value)
        for node in tree.body
        if isinstance(node, ast.AnnAssign)
        and isinstance(node.target, ast.Name)
        and isinstance(node.value, ast.Call)
        and node.value.args
        and isinstance(node.value.args[0], ast.Constant)
    }


def _is_text(statement: ast.stmt) -> bool:
    value = statement.value if isinstance(statement, ast.Expr) else None
    return isinstance(value, ast.Constant) and isinstance(value.value, str)
