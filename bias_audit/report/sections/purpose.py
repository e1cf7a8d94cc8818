"""What people declared: purpose, bias scenarios, and what is done about what was found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from bias_audit.config.schema import Declarations, Scenario
from bias_audit.report.elements import Fact
from bias_audit.results.audit import AuditResult
from bias_audit.results.declared import declarations_of, verdicts_of
from bias_audit.shapes.tables import Column, Table

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
        (str(number), *_row(scenario, result))
        for number, scenario in enumerate(declared.scenarios, start=1)
    )
    return Table(
        caption="Bias scenarios, as declared, with the verdicts on their criteria",
        columns=(
            Column("scenario"),
            Column("group and hazard"),
            Column("metric and threshold"),
            Column("mitigation and review trigger"),
            Column("criteria and verdicts"),
        ),
        rows=rows,
        excerpt=rows[:20],
        excerpt_note="The first 20 scenarios; all are in report.html and audit.json.",
    )


def _row(scenario: Scenario, result: AuditResult) -> tuple[str, ...]:
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
