"""What the organisation supplied, and the laws and standards that the report is relevant to."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from markupsafe import Markup

from bias_audit.config.schema import Declarations, Scenario
from bias_audit.report.page import (
    Fact,
    Facts,
    Form,
    Part,
    Prose,
    Section,
    Tabled,
    parts,
    text_columns,
)
from bias_audit.report.references import (
    READ,
    READ_ON,
    REQUIREMENTS,
    SECTIONS,
    TEXTS,
    Requirement,
    Text,
)
from bias_audit.results.audit import AuditResult, declarations_of, verdicts_of
from bias_audit.shapes.tables import Table
from bias_audit.shapes.unit_map import UnitMap

NOT_PROVIDED: Final = "NOT PROVIDED"
"""What stands for a fact that the organisation did not supply."""
FIELDS: Final = {
    "document_version": "Document version",
    "status": "Status",
    "change_log": "Change log",
    "next_review": "Next review",
    "responsible_person": "Responsible person",
    "organisation": "Organisation",
    "purpose": "Purpose of the audit",
    "intended_use": "Intended use and context",
    "downstream_task": "Downstream task",
    "pretraining_data": "Pretraining data",
    "data_collection": "Collection of the images",
    "stakeholders": "Stakeholders",
    "legal_basis": "Legal basis",
    "consent": "Consent of the people shown",
    "sensitive_data_necessity": "Necessity of sensitive data",
    "sensitive_data_retention": "Retention of sensitive data",
    "impact_assessment": "Impact assessment",
    "acceptance_decision": "Decision on the results",
    "mitigation": "Mitigation",
    "residual_risk": "Residual risk",
    "scenarios": "Bias scenarios",
    "regulations": "Laws and standards as read",
}
"""How a reader names the fields of the declarations."""
_FORM: Final = ("acceptance_decision", "mitigation", "residual_risk")

_IDENTIFYING: Final = ("status", "document_version", "responsible_person", "organisation")
_ELSEWHERE: Final = ("scenarios", "regulations", *_FORM)

GIVEN: Final = "information given"

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
                    *(_fact(declared, name) for name in _IDENTIFYING),
                    Fact("SHA-256 of the embedded audit.json", (embedded,), is_code=True),
                )
            ),
            Prose(
                Markup(
                    "The numbers behind this document are embedded in it, in the file "
                    "<code>audit.json</code>. <code>bias-audit verify report.pdf</code> takes "
                    "it out, checks its digest, and compares every sentence and number "
                    "printed here with it."
                )
            ),
            Prose(
                Markup(
                    "The PDF shows the main results of each analysis. It says where something is "
                    "left out; <code>report.html</code>, <code>audit.json</code> and the folder "
                    "<code>figures/</code> of the run contain it. A note about several tables or "
                    "figures of a backbone is printed at the first of them."
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
    given = [fact for fact in found.facts if fact.values != (NOT_PROVIDED,)]
    missing = ", ".join(fact.name for fact in found.facts if fact not in given)
    scenarios: tuple[Part, ...] = (
        Prose(
            "NOT PROVIDED: which groups could be harmed and how, what would show it, from which "
            "value on, what is done about it, and what makes people look again."
        ),
    )
    if found.scenarios:
        stands = (
            "A verdict compares a number of this audit with a margin. It says something about a "
            "scenario only as far as that number stands for the harm feared."
        )
        scenarios = (Tabled(found.scenarios), Prose(stands, "note of-table"))
    return Section(
        "purpose",
        "Purpose and bias scenarios",
        (
            Prose(
                "Supplied by the organisation; not verified; does not affect results. "
                f"{NOT_PROVIDED}: the organisation did not supply this."
            ),
            Facts((*given, *([Fact(NOT_PROVIDED, (missing,))] if missing else []))),
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


def regulatory(result: AuditResult, answers: tuple[str, ...]) -> Section:
    """Which sections are relevant to which texts, and which versions of them were read.

    Raises:
        ValueError: The declarations in the result are damaged.
    """
    declared = declarations_of(result)
    rows = tuple(_row(requirement, declared, result) for requirement in REQUIREMENTS)
    table = Table(
        caption="Where the report has information on a requirement, and who supplies it",
        columns=text_columns(
            "relevant to", "requirement, in our words", "where", "supplied by", "state"
        ),
        rows=rows,
        excerpt=rows,
        excerpt_note="All rows are shown.",
    )
    return Section(
        "regulatory",
        SECTIONS["regulatory"],
        parts(
            Prose(
                f"Cross-reference read on {READ}. It helps to find what a law, a standard or "
                "established practice requires, in our words and without quotations. The reader "
                "decides whether a text applies to a system, and whether its requirements are met."
            ),
            (Prose(_OUTDATED, "box caution", "Caution."),) if _is_outdated(result) else (),
            Tabled(table, is_folded=True),
            Section(
                "versions",
                "Which texts were read",
                (
                    Prose(
                        "The addresses are of copies; only the official publication is authentic."
                    ),
                    Tabled(_texts(declared), is_folded=True),
                ),
            ),
            Section(
                "law",
                "Faces, race and law",
                (
                    Prose(
                        "Article 5(1)(g) of the EU AI Act forbids systems that sort individual "
                        "people by their faces or other biometric data to infer their race, "
                        "political opinions, union membership, beliefs, sex life or sexual "
                        "orientation; labelling or filtering of lawfully acquired biometric data "
                        "is treated apart. Therefore this tool gives no value about a single "
                        "person and exports no probe. What it measures must not be used to build "
                        "such a system. Categories of race are made by people and differ between "
                        "datasets."
                    ),
                    Prose(
                        "That prohibition has applied since 2 February 2025. The duties for "
                        "high-risk systems named here (Articles 9 to 27) apply from "
                        "2 December 2027 to systems of Annex III, and from 2 August 2028 to "
                        "systems of Annex I; the Digital Omnibus, Regulation (EU) 2026/1744, set "
                        "these dates. It also moved the rule on sensitive data for finding bias "
                        "from Article 10(5) to Article 4a, which covers other AI systems too."
                    ),
                ),
            ),
            Section(
                "privacy",
                "Privacy",
                (
                    Prose(
                        "The report and the files beside it contain aggregates over groups of "
                        "images: no face, no prediction about one person, no activation of one "
                        "image. Groups of few images are marked, and their values are withheld "
                        "below a stated size."
                    ),
                ),
            ),
        ),
        answers=answers,
    )


_OUTDATED: Final = (
    "This audit was made more than a year after the cross-reference was read. Laws and standards "
    "may have changed since; check each text before you rely on the table."
)


def _is_outdated(result: AuditResult) -> bool:
    made = datetime.fromisoformat(result.provenance.started).date()
    return made > READ_ON.replace(year=READ_ON.year + 1)


def _row(entry: Requirement, declared: Declarations, result: AuditResult) -> tuple[str, ...]:
    where = ", ".join(SECTIONS[key] for key in entry.sections)
    return (
        "\n".join(map(_together, entry.references)),
        entry.what,
        f"{where}\n{entry.elsewhere}".rstrip(),
        _supplied_by(entry),
        state(entry, declared, result),
    )


def _together(reference: str) -> str:
    """Not broken over lines, where it is short enough."""
    return reference.replace(" ", "\N{NO-BREAK SPACE}") if len(reference) <= _SHORT else reference


def _supplied_by(entry: Requirement) -> str:
    if entry.not_measured:
        return "not in this report"
    names = [FIELDS[name].lower() for name in entry.declared]
    by_person = ", ".join([*names, *([entry.by_hand] if entry.by_hand else [])])
    tool = "the tool" if _has_tool(entry) else ""
    return "\n".join(part for part in (tool, by_person and f"a person: {by_person}") if part)


def _has_tool(entry: Requirement) -> bool:
    """Whether it needs more than people's words."""
    return entry.sections != ("purpose",) and not entry.by_hand


def state(entry: Requirement, declared: Declarations, result: AuditResult) -> str:
    """Whether a report has it: "information given", "not measured", or what is NOT PROVIDED."""
    if entry.not_measured:
        return f"{NOT_MEASURED}: {entry.not_measured}"
    if entry.by_hand:
        return f"{entry.by_hand}: by hand, after reading"
    person = _provided(entry, declared) if entry.declared else ""
    tool = _measured(entry, result) if _has_tool(entry) else ""
    return f"tool: {tool}\nperson: {person}" if tool and person else tool or person


def _provided(entry: Requirement, declared: Declarations) -> str:
    missing = [FIELDS[name].lower() for name in entry.declared if not getattr(declared, name)]
    if not missing:
        return GIVEN
    some = len(missing) < len(entry.declared)
    return f"{GIVEN}, but {NOT_PROVIDED}: {', '.join(missing)}" if some else NOT_PROVIDED


def _measured(entry: Requirement, result: AuditResult) -> str:
    if entry.elsewhere:
        return _earlier(result)
    if entry.sections == ("selftest",):
        return GIVEN if result.selftest else f"{NOT_MEASURED}: no self-test was made"
    if not entry.analyses:
        return GIVEN
    without = [
        subject.backbone.name
        for subject in result.subjects
        if not any(a.kind in entry.analyses and a.status == "done" for a in subject.analyses)
    ]
    if not without:
        return GIVEN
    if len(without) == len(result.subjects):
        return NOT_MEASURED
    return f"{GIVEN}; {NOT_MEASURED} on {', '.join(without)}"


def _earlier(result: AuditResult) -> str:
    """The earlier audits that maps of this one are compared with."""
    maps = [
        block.earlier
        for subject in result.subjects
        for analysis in subject.analyses
        for block in analysis.blocks
        if isinstance(block, UnitMap) and block.earlier
    ]
    if not maps:
        return f"{NOT_MEASURED}: this report names no earlier audit"
    found = dict.fromkeys(f"{each.run} ({each.started[:10]})" for each in maps)
    return f"{GIVEN}: maps compared with the earlier audit {', '.join(found)}"


def _texts(declared: Declarations) -> Table:
    """The texts of the cross-reference, then those that only the config names."""
    versions = {
        entry: f"{entry.version or NOT_PROVIDED}, {entry.date or f'date {NOT_PROVIDED}'}"
        for entry in declared.regulations
    }
    named = {text: [e for e in versions if _plain(e.name) in _names(text)] for text in TEXTS}
    others = [entry for entry in versions if not any(entry in each for each in named.values())]
    rows = (
        *(
            (
                text.name,
                text.version,
                text.checked,
                "\n".join(versions[entry] for entry in entries) or NOT_PROVIDED,
            )
            for text, entries in named.items()
        ),
        *((entry.name, "not in the cross-reference", "", versions[entry]) for entry in others),
    )
    return Table(
        caption=f"The texts, their wording as checked on {READ}, and what the organisation read",
        columns=text_columns("text", "version used here", "wording", "read by the organisation"),
        rows=rows,
        excerpt=rows[:40],
        excerpt_note="The first 40; all are in report.html and audit.json.",
    )


def _names(text: Text) -> set[str]:
    return {_plain(name) for name in (text.name, *text.aliases)}


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.casefold())
