"""What laws and standards ask, where the report answers, who fills it in, and whether it is."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from bias_audit.config.schema import Declarations, Regulation
from bias_audit.report.references import ASKED, SECTIONS, TEXTS, Asked, Text
from bias_audit.report.sections.purpose import FIELDS, NOT_PROVIDED
from bias_audit.results.audit import AuditResult
from bias_audit.results.declared import declarations_of
from bias_audit.shapes.tables import Column, Table

FILLED: Final = "filled"
NOT_MEASURED: Final = "not measured"
_SHORT: Final = 32


@dataclass(frozen=True)
class AskedView:
    """The map from references to sections."""

    table: Table
    texts: Table | None
    """Laws and standards whose version was declared; None where none was."""
    without_version: str
    """Names of those referred to whose version was not; empty where all were."""


def asked(result: AuditResult) -> AskedView:
    """Put the map together.

    Raises:
        ValueError: The declarations in the result are damaged.
    """
    declared = declarations_of(result)
    rows = tuple(_row(entry, declared, result) for entry in ASKED)
    known = {text: _version(text, declared) for text in TEXTS}
    return AskedView(
        table=Table(
            caption="Where the report answers what is asked, and who fills it in",
            columns=(
                Column("asked by"),
                Column("what, in our words"),
                Column("where in this report"),
                Column("filled in by"),
                Column("state"),
            ),
            rows=rows,
            excerpt=rows,
            excerpt_note="All rows are shown.",
        ),
        texts=_texts(declared.regulations),
        without_version=", ".join(text.name for text, found in known.items() if found is None),
    )


def _row(entry: Asked, declared: Declarations, result: AuditResult) -> tuple[str, ...]:
    return (
        "\n".join(map(_together, entry.references)),
        entry.what,
        ", ".join(SECTIONS[key] for key in entry.sections) or "nowhere",
        _filled_by(entry),
        state(entry, declared, result),
    )


def _together(reference: str) -> str:
    """Not broken over lines, where it is short enough."""
    return reference.replace(" ", "\N{NO-BREAK SPACE}") if len(reference) <= _SHORT else reference


def _filled_by(entry: Asked) -> str:
    if entry.never:
        return "nobody"
    names = [FIELDS[name].lower() for name in entry.declared]
    by_person = ", ".join([*names, *([entry.by_hand] if entry.by_hand else [])])
    tool = "the tool" if _has_tool(entry) else ""
    return "\n".join(part for part in (tool, by_person and f"a person: {by_person}") if part)


def _has_tool(entry: Asked) -> bool:
    """Whether more than people's words answers."""
    return entry.sections != ("purpose",) and not entry.by_hand


def state(entry: Asked, declared: Declarations, result: AuditResult) -> str:
    """Whether a report answers: "filled", "not measured", or what is NOT PROVIDED."""
    if entry.never:
        return f"{NOT_MEASURED}: {entry.never}"
    if entry.by_hand:
        return f"{entry.by_hand}: by hand, after reading"
    person = _provided(entry, declared) if entry.declared else ""
    tool = _measured(entry, result) if _has_tool(entry) else ""
    return f"tool: {tool}\nperson: {person}" if tool and person else tool or person


def _provided(entry: Asked, declared: Declarations) -> str:
    missing = [FIELDS[name].lower() for name in entry.declared if not getattr(declared, name)]
    if not missing:
        return FILLED
    some = len(missing) < len(entry.declared)
    return f"{FILLED}, but {NOT_PROVIDED}: {', '.join(missing)}" if some else NOT_PROVIDED


def _measured(entry: Asked, result: AuditResult) -> str:
    if entry.sections == ("selftest",):
        return FILLED if result.selftest else f"{NOT_MEASURED}: no self-test was made"
    if not entry.analyses:
        return FILLED
    without = [
        subject.backbone.name
        for subject in result.subjects
        if not any(a.kind in entry.analyses and a.status == "done" for a in subject.analyses)
    ]
    if not without:
        return FILLED
    if len(without) == len(result.subjects):
        return NOT_MEASURED
    return f"{FILLED}; {NOT_MEASURED} on {', '.join(without)}"


def _version(text: Text, declared: Declarations) -> Regulation | None:
    names = {_plain(name) for name in (text.name, *text.aliases)}
    found = (entry for entry in declared.regulations if _plain(entry.name) in names)
    return next(found, None)


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.casefold())


def _texts(regulations: tuple[Regulation, ...]) -> Table | None:
    rows = tuple(
        (
            entry.name,
            entry.version or NOT_PROVIDED,
            entry.date.isoformat() if entry.date else NOT_PROVIDED,
        )
        for entry in regulations
    )
    if not rows:
        return None
    return Table(
        caption="Laws and standards, as the person who declared them read them",
        columns=(Column("text"), Column("version"), Column("date of that version")),
        rows=rows,
        excerpt=rows[:30],
        excerpt_note="The first 30; all are in report.html and audit.json.",
    )
