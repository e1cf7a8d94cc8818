"""What people declared about an audit, read back from its results."""

from __future__ import annotations

from bias_audit.config.schema import Declarations, Scenario
from bias_audit.results.audit import AuditResult
from bias_audit.results.verdict import Verdict


def declarations_of(result: AuditResult) -> Declarations:
    """The declarations of the config behind a result; all fields empty where it has none.

    Raises:
        ValueError: The config in the result is not one that this release wrote.
    """
    return Declarations.model_validate(result.config.get("declarations") or {})


def verdicts_of(scenario: Scenario, result: AuditResult) -> tuple[Verdict, ...]:
    """The verdicts on the criteria that test a scenario, in the order of the config."""
    return tuple(v for v in result.verdicts if v.criterion.name in scenario.criteria)
