"""Every audit and where it can be opened."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from bias_audit.report.numbers import count, duration
from bias_audit.report.zoo.links import Links
from bias_audit.report.zoo.matrix import shape_of
from bias_audit.results.history.reading import Audit, History

_MOST: Final = 300
"""Earlier audits listed, the newest."""


@dataclass(frozen=True)
class AuditRow:
    """One audit."""

    entry: str
    dataset: str
    date: str
    outcome: str
    shape: str
    images: str
    duration: str
    folder: str
    link: str | None
    is_pruned: bool


@dataclass(frozen=True)
class AuditsView:
    """The section."""

    latest: tuple[AuditRow, ...]
    earlier: tuple[AuditRow, ...]
    n_left_out: int


def audits(history: History, links: Links) -> AuditsView:
    """List the latest audits by dataset and entry, the earlier ones by date."""
    latest = sorted((a for a in history.audits if a.is_latest), key=lambda audit: audit.key)
    earlier = [audit for audit in reversed(history.audits) if not audit.is_latest]
    return AuditsView(
        latest=tuple(_row(audit, links) for audit in latest),
        earlier=tuple(_row(audit, links) for audit in earlier[:_MOST]),
        n_left_out=max(0, len(earlier) - _MOST),
    )


def _row(audit: Audit, links: Links) -> AuditRow:
    return AuditRow(
        entry=audit.entry,
        dataset=audit.dataset,
        date=audit.started[:16].replace("T", " "),
        outcome=audit.outcome,
        shape=shape_of(audit.outcome),
        images=count(audit.n_images),
        duration=duration(audit.seconds),
        folder=audit.folder.as_posix(),
        link=links.report(audit),
        is_pruned=audit.is_pruned,
    )
