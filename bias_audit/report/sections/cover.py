"""The cover: what was audited, when, by which tool, and what to know first."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from bias_audit.report.elements import Fact
from bias_audit.report.figures.style import shortened
from bias_audit.results.audit import AuditResult
from bias_audit.shapes.printed import counted

_ID_DIGITS = 12


@dataclass(frozen=True)
class CoverView:
    """The first page."""

    name: str
    running: str
    """The name, short enough for the head of a page."""
    description: str
    started: str
    """ISO 8601, for the document's metadata."""
    audit_id: str
    facts: tuple[Fact, ...]
    cautions: tuple[str, ...]


def cover(result: AuditResult) -> CoverView:
    """Put the cover together."""
    audit_id = result.provenance.config_sha256[:_ID_DIGITS]
    backbones = tuple(
        f"{subject.backbone.name} ({subject.backbone.weights})" for subject in result.subjects
    )
    used = counted(result.data.n_images, "image")
    cells = counted(len(result.data.cells), "group")
    facts = (
        Fact("Backbone" if len(backbones) == 1 else "Backbones", backbones),
        Fact("Faces", (f"{result.data.name}, {used} in {cells}",)),
        Fact("Date", (written_date(result.provenance.started),)),
        Fact("Tool", (f"bias-audit {result.provenance.versions.get('bias-audit', 'unknown')}",)),
        Fact("Audit id", (audit_id,), is_code=True),
    )
    return CoverView(
        name=result.name,
        running=shortened(result.name, 60),
        description=result.description,
        started=result.provenance.started,
        audit_id=audit_id,
        facts=facts,
        cautions=result.cautions,
    )


def written_date(started: str) -> str:
    """ISO 8601 as a reader writes it, such as "21 November 2026, 06:06 UTC"."""
    moment = datetime.fromisoformat(started)
    return f"{moment.day} {moment:%B %Y, %H:%M} UTC"
