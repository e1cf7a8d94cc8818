"""A config of one's own, begun from a shipped one; and every kind that it can name."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bias_audit.config.catalog import CATALOGS, Catalog, shipped_configs, unknown_config
from bias_audit.errors import AuditError, ConfigError, ExtensionError
from bias_audit.extensions import Extension
from bias_audit.files import write_text

_MARK: Final = "  # your own path"
_PATH: Final = re.compile(r"^[^#]*?\b(?P<path>(?:root|file): *[^,}#\s]+)")
_NAME: Final = re.compile(r"^name: .*$", re.MULTILINE)
_FITS: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_DESCRIPTION: Final = re.compile(r"^description: (.*)$", re.MULTILINE)


@dataclass(frozen=True)
class Started:
    """A config that was written for its user to edit."""

    file: Path
    name: str
    """Of the shipped config that it is a copy of."""
    paths: tuple[tuple[int, str], ...]
    """Lines that name files of the user, from 1, each with the key and its value."""
    is_zoo: bool


def start_config(name: str, to: Path | None = None) -> Started:
    """Write a copy of a shipped config, named for its file, with the user's own paths marked.

    Args:
        name: Of the shipped config.
        to: The file to write; default: the name, in the current folder.

    Raises:
        ConfigError: No config of that name is shipped.
        AuditError: Something is there already.
        OutputError: The file cannot be written.
    """
    known, name = shipped_configs(), name.removesuffix(".yaml")
    if name not in known:
        raise ConfigError([unknown_config(name)], source=name)
    file = to or Path(f"{name}.yaml")
    if file.exists():
        what = "folder" if file.is_dir() else "file"
        raise AuditError(
            f"{file}: expected a name that is free, found a {what}; give another name: "
            f"bias-audit init {name} FILE"
        )
    text = known[name].read_text(encoding="utf-8")
    if _FITS.fullmatch(file.stem):
        text = _NAME.sub(f"name: {file.stem}", text, count=1)
    lines = text.splitlines()
    found = {
        index: match["path"] for index, line in enumerate(lines) if (match := _PATH.match(line))
    }
    head = [f"# A copy of the shipped config {name}."]
    if found:
        head += ['# Lines marked "your own path" name files of yours; relative paths start at the']
        head += ["# folder that you run the command in."]
    marked = [line + _MARK if index in found else line for index, line in enumerate(lines)]
    write_text(file, "\n".join([*head, "#", *marked]) + "\n")
    return Started(
        file=file,
        name=name,
        paths=tuple((index + len(head) + 2, path) for index, path in found.items()),
        is_zoo="datasets:" in lines,
    )


def started_lines(started: Started) -> Iterator[str]:
    """What to do next with a config that was written."""
    yield f"Config: {started.file}, a copy of {started.name}"
    for line, path in started.paths:
        yield f"Edit line {line}, {path}: replace it by your own path"
    yield f"Next: bias-audit {'zoo plan' if started.is_zoo else 'check'} {started.file}"


def shipped_lines() -> Iterator[str]:
    """Every shipped config with what it is for."""
    known = shipped_configs()
    width = max(map(len, known))
    for name, file in known.items():
        found = _DESCRIPTION.search(file.read_text(encoding="utf-8"))
        yield f"{name:<{width}}  {found[1] if found else ''}".rstrip()


@dataclass(frozen=True)
class Offered:
    """A plugin of another package, as it is installed."""

    noun: str
    """What it is, such as "analysis"."""
    extension: Extension
    title: str
    """For readers; empty where it cannot be used."""
    problem: str | None = None
    """Why it cannot be used."""

    @property
    def line(self) -> str:
        """For a terminal."""
        if self.problem is not None:
            return f"cannot be used: {self.problem}"
        name = f"{self.noun} {self.extension.kind}"
        return f"{name}: {self.title} ({self.extension.identity})"


def built_in_lines() -> Iterator[str]:
    """The kinds of this package, a line for each of its catalogs; nothing is imported."""
    for catalog in CATALOGS:
        yield f"{catalog.noun}: {', '.join(catalog.kinds())}"


def offered() -> Iterator[Offered]:
    """Every plugin of other packages; each is imported, to see whether it can be used."""
    for catalog in CATALOGS:
        found = catalog.extensions()
        for extension in found:
            clash = catalog.clash(extension, found)
            if clash:
                yield Offered(catalog.noun, extension, "", clash)
            else:
                yield _tried(catalog, extension)


def _tried(catalog: Catalog[Any], extension: Extension) -> Offered:
    try:
        title = catalog.loaded(extension).title
    except ExtensionError as error:
        return Offered(catalog.noun, extension, "", str(error))
    return Offered(catalog.noun, extension, title)
