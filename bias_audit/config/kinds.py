"""Every kind that a config can name, and the packages that bring those that are not built in."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from bias_audit.config.catalog import CATALOGS, Catalog
from bias_audit.errors import ExtensionError
from bias_audit.extensions import Extension


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
