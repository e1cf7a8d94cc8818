"""What people declared and fill in, and what laws and standards ask of both."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from markupsafe import Markup

from bias_audit.config.schema import Declarations, Regulation, Scenario
from bias_audit.report.page import (
    Fact,
    Facts,
    Form,
    Part,
    Prose,
    Section,
    Tabled,
    maybe,
    parts,
    text_columns,
)
from bias_audit.report.references import ASKED, SECTIONS, TEXTS, Asked, Text
from bias_audit.results.audit import AuditResult, declarations_of, verdicts_of
from bias_audit.shapes.tables import Table

NOT_PROVIDED: Final = "NOT PROVIDED"
"""What stands for a fact that only people can give, and that nobody gave."""
FIELDS: Final = {
    "responsible_person": "Responsible person",
    "organisation": "Organisation",
    "purpose": "Purpose of the audit",
    "intended_use": "Intended use and context",
    "downstream_task": "Downstream task",
    "pretraining_data": "Pretraining data",
    "data_collection": "Collection of the images",
    "legal_basis": "Legal basis",
    "impact_assessment": "Impact assessment",
    "acceptance_decision": "Decision on the results",
    "mitigation": "Mitigation",
    "residual_risk": "Residual risk",
    "scenarios": "Bias scenarios",
    "regulations": "Laws and standards as read",
}
"""How a reader names the fields of the declarations."""
_FORM: Final = ("acceptance_decision", "mitigation", "residual_risk")

_ELSEWHERE: Final = ("scenarios", "regulations", *_FORM)

FILLED: Final = "filled"

NOT_MEASURED: Final = "not measured"

_SHORT: Final = 32


def document(result: AuditResult, audit_sha256: str) -> Section:
    """On paper: what identifies it, and what the person who reviews it fills in.

    Raises:
        ValueError: The declarations in the result are damaged.
    """
    declared = declarations_of(result)
    embedded = audit_sha256 or "nothing is embedded"
    asked_for = ("Name and role", "Decision, with reasons", "Signature", "Date")
    return Section(
        "document",
        "This document",
        (
            Facts(
                (
                    _fact(declared, "responsible_person"),
                    _fact(declared, "organisation"),
                    Fact("SHA-256 of the embedded audit.json", (embedded,), is_code=True),
                )
            ),
            Prose(
                Markup(
                    "The numbers behind this document are embedded in it, as the file "
                    "<code>audit.json</code>. <code>bias-audit verify report.pdf</code> takes "
                    "it out, checks its digest, and compares every sentence and number "
                    "printed here with it."
                )
            ),
            Prose(
                Markup(
                    "Paper shows what carries the message of each analysis. What it leaves "
                    "out is named where it is left out, and is in <code>report.html</code>, "
                    "<code>audit.json</code> and the folder <code>figures/</code> of the run. "
                    "A note that holds for several tables or figures of a backbone is printed "
                    "at the first of them."
                )
            ),
            Form(
                "Review: to be completed by the person who reviewed these results",
                tuple((line, "") for line in asked_for),
            ),
        ),
        look="document",
        medium="paper",
    )


@dataclass(frozen=True)
class PurposeView:
    """Everything declared but the versions of laws and standards."""

    facts: tuple[Fact, ...]
    scenarios: Table | None
    """None where none was declared."""
    form: tuple[Fact, ...]
    """What is decided after reading; written by hand where the config does not say it."""


def purpose(result: AuditResult) -> PurposeView:
    """Put the section together.

    Raises:
        ValueError: The declarations in the result are damaged.
    """
    declared = declarations_of(result)
    return PurposeView(
        facts=tuple(_fact(declared, name) for name in FIELDS if name not in _ELSEWHERE),
        scenarios=_scenarios(declared, result) if declared.scenarios else None,
        form=tuple(_fact(declared, name) for name in _FORM),
    )


def _fact(declared: Declarations, name: str) -> Fact:
    return Fact(FIELDS[name], (getattr(declared, name) or NOT_PROVIDED,))


def _scenarios(declared: Declarations, result: AuditResult) -> Table:
    rows = tuple(
        (str(number), *_scenario(scenario, result))
        for number, scenario in enumerate(declared.scenarios, start=1)
    )
    return Table(
        caption="Bias scenarios, as declared, with the verdicts on their criteria",
        columns=text_columns(
            "scenario",
            "group and hazard",
            "metric and threshold",
            "mitigation and review trigger",
            "criteria and verdicts",
        ),
        rows=rows,
        excerpt=rows[:20],
        excerpt_note="The first 20 scenarios; all are in report.html and audit.json.",
    )


def _scenario(scenario: Scenario, result: AuditResult) -> tuple[str, ...]:
    return (
        _pair("Group", scenario.group, "Hazard", scenario.hazard),
        _pair("Metric", scenario.metric, "Threshold", scenario.threshold),
        _pair("Mitigation", scenario.mitigation, "Review trigger", scenario.review_trigger),
        tested(scenario, result),
    )


def _pair(first: str, one: str | None, second: str, other: str | None) -> str:
    return f"{first}: {one or NOT_PROVIDED}\n{second}: {other or NOT_PROVIDED}"


def tested(scenario: Scenario, result: AuditResult) -> str:
    """The verdicts on a scenario's criteria, one a line."""
    if not scenario.criteria:
        return "not tested by a criterion"
    verdicts = verdicts_of(scenario, result)
    lines = [f"{v.criterion.name}: {v.outcome} ({v.backbone})" for v in verdicts]
    judged = {verdict.criterion.name for verdict in verdicts}
    lines += [f"{name}: no verdict" for name in scenario.criteria if name not in judged]
    return "\n".join(lines)


def purpose_section(result: AuditResult, answers: tuple[str, ...]) -> Section:
    """Print it, with what people fill in after reading."""
    found = purpose(result)
    scenarios: tuple[Part, ...] = (
        Prose(
            "NOT PROVIDED: which groups could be harmed and how, what would show it, from which "
            "value on, what is done about it, and what makes people look again."
        ),
    )
    if found.scenarios:
        stands = (
            "A verdict holds a number of this audit against a margin. It answers a scenario only "
            "as far as that number stands for the harm feared."
        )
        scenarios = (Tabled(found.scenarios), Prose(stands, "note of-table"))
    return Section(
        "purpose",
        "Purpose and bias scenarios",
        (
            Prose(
                "Only people can say what follows. It is printed as the config declares it, was "
                "not checked, and changes no number of this report. NOT PROVIDED: nobody said."
            ),
            Facts(found.facts),
            Section("scenarios", "Bias scenarios", scenarios),
            Section(
                "decision",
                "Decision, mitigation and residual risk",
                (
                    Form(
                        "For people to complete after reading, in the config or by hand",
                        tuple((fact.name, fact.values[0]) for fact in found.form),
                    ),
                ),
            ),
        ),
        look="declared",
        answers=answers,
    )


def asked(result: AuditResult, answers: tuple[str, ...]) -> Section:
    """The map from what texts ask to the report's sections, and which versions were read.

    Raises:
        ValueError: The declarations in the result are damaged.
    """
    declared = declarations_of(result)
    rows = tuple(_asked_row(entry, declared, result) for entry in ASKED)
    table = Table(
        caption="Where the report answers what is asked, and who fills it in",
        columns=text_columns(
            "asked by", "what, in our words", "where in this report", "filled in by", "state"
        ),
        rows=rows,
        excerpt=rows,
        excerpt_note="All rows are shown.",
    )
    unread = ", ".join(text.name for text in TEXTS if not _is_read(text, declared))
    without = f"NOT PROVIDED: which version was read, and of which date, of {unread}."
    return Section(
        "asked",
        "What laws and standards ask",
        (
            Prose(
                "The table helps to find what a law, standard or practice asks for. It puts that "
                "in our words and quotes nothing. Whether a text applies to a system, and whether "
                "what it asks is met, is for the reader to decide."
            ),
            Tabled(table),
            Section(
                "versions",
                "Versions of these texts",
                parts(maybe(_texts(declared.regulations)), (Prose(without),) if unread else ()),
            ),
            Section(
                "law",
                "Faces, race and law",
                (
                    Prose(
                        "Article 5(1)(g) of the EU AI Act forbids systems that sort individual "
                        "people by their faces or other biometric data to infer their race, "
                        "political opinions, beliefs, sex life or sexual orientation; labelling "
                        "or filtering of lawfully acquired biometric data is treated apart. "
                        "Therefore this tool gives no value about a single person, and no probe "
                        "leaves it. What it measures must not be used to build such a system. "
                        "Categories of race are made by people and differ between datasets."
                    ),
                ),
            ),
            Section(
                "privacy",
                "Privacy",
                (
                    Prose(
                        "The report and the files beside it hold aggregates over groups of "
                        "images: no face, no prediction about one person, no activation of one "
                        "image. Groups of few images are marked, and their values are withheld "
                        "below a stated size."
                    ),
                ),
            ),
        ),
        answers=answers,
    )


def _asked_row(entry: Asked, declared: Declarations, result: AuditResult) -> tuple[str, ...]:
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


def _is_read(text: Text, declared: Declarations) -> bool:
    """Whether a version of it was declared, under any of its names."""
    names = {_plain(name) for name in (text.name, *text.aliases)}
    return any(_plain(entry.name) in names for entry in declared.regulations)


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
        columns=text_columns("text", "version", "date of that version"),
        rows=rows,
        excerpt=rows[:30],
        excerpt_note="The first 30; all are in report.html and audit.json.",
    )
