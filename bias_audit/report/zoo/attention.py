"""What needs attention, the most serious first."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from bias_audit.report.zoo.links import Links
from bias_audit.report.zoo.matrix import claim_of
from bias_audit.results.history.reading import Audit, Backbone, Diff, History
from bias_audit.results.history.tables import ChangeRow
from bias_audit.shapes.printed import counted, interval, signed_interval

KINDS: Final = {
    "failed": "Failed",
    "verdict": "Verdict changed",
    "worse": "Worse than before",
    "stale": "Stale",
    "missing": "Missing",
}
"""The most serious first."""


@dataclass(frozen=True)
class Notice:
    """One thing to look at."""

    kind: str
    """See `KINDS`."""
    subject: str
    """Such as "resnet50 on FairFace"."""
    text: str
    link: str | None = None
    audit_id: int | None = None
    """Of the audit that brought it, where it is about a change."""

    @property
    def label(self) -> str:
        """Of its kind, in words."""
        return KINDS[self.kind]


def notices(history: History, links: Links) -> tuple[Notice, ...]:
    """All notices, the most serious first."""
    found = [
        *_states(history, links),
        *_failed_analyses(history, links),
        *_verdicts(history, links),
        *_worse(history, links),
    ]
    order = list(KINDS)
    return tuple(sorted(found, key=lambda notice: order.index(notice.kind)))


def subject_of(backbone: Backbone) -> str:
    """Such as "resnet50 on FairFace"."""
    return f"{backbone.label} on {backbone.audit.dataset}"


def _states(history: History, links: Links) -> Iterator[Notice]:
    """What the latest run could not audit, or left as it was although it found a reason."""
    audits = {audit.id: audit for audit in history.audits}
    for state in history.run.states if history.run else ():
        audit = audits.get(state.audit_id or 0)
        if state.state == "failed":
            last = f"; the last audit is from {audit.started[:10]}" if audit else ""
            kind, text = "failed", f"not audited: {state.reason or 'no reason was recorded'}{last}"
        elif state.state == "stale":
            of = f"its audit is from {audit.started[:10]}" if audit else "never audited"
            kind = "stale" if audit else "missing"
            text = f"{of} ({state.reason})" if state.reason else of
        else:
            continue
        link = links.report(audit) if audit else None
        yield Notice(kind, f"{state.entry} on {state.dataset}", text, link)


def _failed_analyses(history: History, links: Links) -> Iterator[Notice]:
    by_id = {each.id: each for each in history.latest}
    for failure in history.failures:
        backbone = by_id[failure.backbone_id]
        text = (
            f"{failure.title} could not be computed: {failure.error or 'no reason was recorded'}"
        )
        yield Notice("failed", subject_of(backbone), text, links.backbone(backbone))


def _verdicts(history: History, links: Links) -> Iterator[Notice]:
    by_id = {each.id: each for each in history.latest}
    changed = [verdict for verdict in history.verdicts if verdict.before]
    for verdict in sorted(changed, key=lambda v: v.outcome != "FAIL"):
        backbone = by_id[verdict.backbone_id]
        measured = signed_interval if verdict.of_what == "lift" else interval
        yield Notice(
            "verdict",
            subject_of(backbone),
            f"{verdict.criterion}: {verdict.outcome}, before: {verdict.before}; "
            f"{measured(verdict.estimate)}, {claim_of(verdict)}",
            links.report(backbone.audit, f"verdict-{verdict.position}"),
            backbone.audit.id,
        )


def _worse(history: History, links: Links) -> Iterator[Notice]:
    audits = {audit.id: audit for audit in history.audits}
    for diff in history.diffs:
        worse = [change for change in diff.changes if change.outcome == "worse"]
        if worse and diff.after_id in audits:
            audit = audits[diff.after_id]
            link = links.diff(audit) or links.report(audit)
            yield Notice("worse", _name(audit), _worst(worse, diff, audits), link, audit.id)


def _name(audit: Audit) -> str:
    return f"{audit.entry} on {audit.dataset}"


def _worst(worse: list[ChangeRow], diff: Diff, audits: dict[int, Audit]) -> str:
    largest = max(worse, key=lambda change: abs(change.difference))
    before = audits.get(diff.before_id)
    since = f" than on {before.started[:10]}" if before else ""
    group = "" if largest.group_name is None else f", {largest.group_name}"
    return (
        f"{counted(len(worse), 'number')} worse{since}; the largest change is "
        f"{largest.quantity} of {largest.target}{group} at {largest.layer}: "
        f"{signed_interval(largest.difference_estimate)}. "
        f"{diff.conclusions.get(largest.backbone, '')}"
    ).rstrip()
