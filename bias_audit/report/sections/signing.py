"""What identifies a printed report, and what the person who reviews it fills in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from bias_audit.report.elements import Fact
from bias_audit.results.audit import AuditResult

NOT_PROVIDED: Final = "NOT PROVIDED"
"""Stands for a fact that only people can give, where none did."""


@dataclass(frozen=True)
class SigningView:
    """The page to sign."""

    facts: tuple[Fact, ...]
    lines: tuple[str, ...]
    """Each with room to write."""


def signing(result: AuditResult, audit_sha256: str) -> SigningView:
    """Put the page together."""
    declared = result.config.get("declarations")
    said: Mapping[str, Any] = declared if isinstance(declared, Mapping) else {}
    return SigningView(
        facts=(
            Fact("Responsible person", (str(said.get("responsible_person") or NOT_PROVIDED),)),
            Fact("Organisation", (str(said.get("organisation") or NOT_PROVIDED),)),
            Fact(
                "SHA-256 of the embedded audit.json",
                (audit_sha256 or "nothing is embedded",),
                is_code=True,
            ),
        ),
        lines=("Name and role", "Decision, with reasons", "Signature", "Date"),
    )
