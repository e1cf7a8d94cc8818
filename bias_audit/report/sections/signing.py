"""What identifies a printed report, and what the person who reviews it fills in."""

from __future__ import annotations

from dataclasses import dataclass

from bias_audit.report.elements import Fact
from bias_audit.report.sections.purpose import NOT_PROVIDED
from bias_audit.results.audit import AuditResult
from bias_audit.results.declared import declarations_of


@dataclass(frozen=True)
class SigningView:
    """The page to sign."""

    facts: tuple[Fact, ...]
    lines: tuple[str, ...]
    """Each with room to write."""


def signing(result: AuditResult, audit_sha256: str) -> SigningView:
    """Put the page together.

    Raises:
        ValueError: The declarations in the result are damaged.
    """
    declared = declarations_of(result)
    return SigningView(
        facts=(
            Fact("Responsible person", (declared.responsible_person or NOT_PROVIDED,)),
            Fact("Organisation", (declared.organisation or NOT_PROVIDED,)),
            Fact(
                "SHA-256 of the embedded audit.json",
                (audit_sha256 or "nothing is embedded",),
                is_code=True,
            ),
        ),
        lines=("Name and role", "Decision, with reasons", "Signature", "Date"),
    )
