"""Which laws, standards and practice each section of an audit report is relevant to.

`templates/references.yaml` is the one table behind the label of every section and the
cross-reference at the report's end.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Any, Final

import yaml

from bias_audit.report.page import template_folder


@dataclass(frozen=True)
class Text:
    """A law, standard or practice that the report refers to."""

    name: str
    version: str
    """That the cross-reference rests on."""
    source: str
    """Where its wording was read or, failing that, what was read about it."""
    aliases: tuple[str, ...] = ()
    """Other names under which a config may give its version."""
    is_wording: bool = False
    """Whether the wording of every place named here was read."""

    @property
    def checked(self) -> str:
        """Whether its wording was checked, and where."""
        if self.is_wording:
            return f"read at {self.source}"
        return f"not checked against the text, only {self.source}"


SECTIONS: Final = {
    "cover": "Page one",
    "criteria": "Were the thresholds met?",
    "data": "Data",
    "encoded": "What can be read from the network?",
    "groups": "For whom? Groups compared",
    "maps": "What do groups look like inside the network?",
    "used": "Does the network use it?",
    "where": "Where does the network look?",
    "training": "What changes over training?",
    "together": "What do the backbones show together?",
    "published": "Published claims",
    "claims": "What may be concluded, and what not?",
    "purpose": "Purpose and bias scenarios",
    "backbones": "Backbone",
    "method": "Method",
    "selftest": "Self-test",
    "regulatory": "Regulatory cross-reference",
    "glossary": "Glossary",
    "provenance": "Provenance",
}
"""By key; the heading each has."""


@dataclass(frozen=True)
class Requirement:
    """Something that texts require."""

    what: str
    """In our words."""
    by: tuple[tuple[Text, str], ...]
    """The texts, each with the place in the text ("": the whole text)."""
    sections: tuple[str, ...] = ()
    """Keys of the sections that are relevant to it."""
    analyses: tuple[str, ...] = ()
    """Kinds of which at least one must have been done; empty: every report has the information."""
    declared: tuple[str, ...] = ()
    """Fields of the config's declarations that only a person can give."""
    by_hand: str = ""
    """What a person adds on paper."""
    elsewhere: str = ""
    """What, outside the report, compares this audit with others."""
    not_measured: str = ""
    """Why this tool has nothing about it at all."""

    @property
    def references(self) -> tuple[str, ...]:
        """Such as ("EU AI Act Article 10(2)(f)", "ISO/IEC TR 24027:2021")."""
        return tuple(f"{text.name} {place}".rstrip() for text, place in self.by)


def _frozen(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: tuple(v) if isinstance(v, list) else v for name, v in fields.items()}


def _requirement(by: dict[str, list[str]], **others: Any) -> Requirement:
    places = ((name, place) for name, places in by.items() for place in places or [""])
    return Requirement(
        by=tuple((_TEXTS[name], place) for name, place in places), **_frozen(others)
    )


_TABLE: Final = yaml.safe_load((template_folder() / "references.yaml").read_text(encoding="utf-8"))
_TEXTS: Final = {name: Text(name, **_frozen(rest)) for name, rest in _TABLE["texts"].items()}
TEXTS: Final = tuple(_TEXTS.values())
REQUIREMENTS: Final = tuple(_requirement(**entry) for entry in _TABLE["requirements"])
READ_ON: Final[date] = _TABLE["read_on"]
"""When the cross-reference, and every text that it rests on, was last read."""
READ: Final = f"{READ_ON.day} {READ_ON:%B %Y}"


def labels() -> dict[str, tuple[str, ...]]:
    """What each section is relevant to, by its key; empty for sections that no text names."""
    found: dict[str, dict[str, None]] = {key: {} for key in SECTIONS}
    for requirement in REQUIREMENTS:
        if not requirement.not_measured:
            for key in requirement.sections:
                found[key] |= dict.fromkeys(requirement.references)
    return {key: tuple(references) for key, references in found.items()}
