"""Verdicts of the latest audits, and what needs attention, the most serious first."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from markupsafe import Markup

from bias_audit.report.page import Item, Items, Section, Tabled, linked, text_columns
from bias_audit.report.sections.verdicts import badge, claim, tally
from bias_audit.report.zoo.links import Links
from bias_audit.results.history.reading import Audit, Backbone, Diff, History, TrackedVerdict
from bias_audit.results.history.tables import ChangeRow
from bias_audit.shapes.printed import counted, interval, signed_interval
from bias_audit.shapes.tables import Table


def matrices(history: History, links: Links) -> tuple[Section, ...]:
    """A matrix for every dataset whose audits have criteria."""
    by_backbone: dict[int, dict[str, TrackedVerdict]] = {}
    for verdict in history.verdicts:
        by_backbone.setdefault(verdict.backbone_id, {})[verdict.criterion] = verdict
    found = []
    for place, dataset in enumerate(history.datasets):
        here = [each for each in history.latest if each.audit.dataset == dataset]
        verdicts = [v for each in here for v in by_backbone.get(each.id, {}).values()]
        if not verdicts:
            continue
        names = list(dict.fromkeys(verdict.criterion for verdict in verdicts))
        claims = tuple(
            Item(Markup("<strong>{}</strong>: {}").format(name, _claims(verdicts, name)))
            for name in names
        )
        table = Table(
            caption=f"Verdicts of the latest audits on {dataset}",
            columns=text_columns("backbone", *names, "audit"),
            rows=tuple(
                (
                    each.label,
                    *(_cell(each, by_backbone.get(each.id, {}).get(n), links) for n in names),
                    linked(each.audit.started[:10], links.backbone(each)),
                )
                for each in here
            ),
        )
        title = f"{dataset}: {counts_of(verdicts)}"
        parts = (Items(claims, "claims"), Tabled(table, "matrix"))
        found.append(Section(f"verdicts-{place}", title, parts))
    return tuple(found)


def counts_of(verdicts: list[TrackedVerdict]) -> str:
    """Such as "3 PASS, 1 FAIL"; empty without verdicts."""
    return tally([verdict.outcome for verdict in verdicts])


def claim_of(verdict: TrackedVerdict) -> str:
    """What was to be shown, with the margin."""
    margin = verdict.lowest, verdict.highest
    return claim(verdict.of_what, verdict.quantity, verdict.target, verdict.layers, margin)


def _claims(verdicts: list[TrackedVerdict], name: str) -> str:
    claims = dict.fromkeys(claim_of(v) for v in verdicts if v.criterion == name)
    return " | ".join(claims)


def _cell(backbone: Backbone, verdict: TrackedVerdict | None, links: Links) -> str:
    if verdict is None:
        return Markup('<span class="rationale">not examined</span>')
    form = signed_interval if verdict.of_what == "lift" else interval
    group = "" if verdict.group_name is None else f"{verdict.group_name}, "
    link = links.report(backbone.audit, f"verdict-{verdict.position}")
    was = Markup(' <span class="tag">before: {}</span>').format(verdict.before)
    where = Markup('<br><span class="rationale">{}at {}</span>').format(group, verdict.layer)
    return Markup("{}{}<br>{}{}").format(
        badge(verdict.outcome, link),
        was if verdict.before else "",
        form(verdict.estimate),
        where if verdict.layer else "",
    )


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
