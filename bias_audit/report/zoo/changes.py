"""What changed since the audit before, as a diff has classed it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from bias_audit.report.elements import Column, Table
from bias_audit.report.numbers import count, counted, interval, signed_interval
from bias_audit.report.zoo.links import Links
from bias_audit.results.history.reading import Audit, Diff, History
from bias_audit.results.history.tables import ChangeRow

OUTCOMES: Final = ("worse", "improved", "higher", "lower", "undecided", "equivalent")
_TOLD: Final = ("worse", "improved", "higher", "lower")
"""Listed one by one."""
_MOST: Final = 150


@dataclass(frozen=True)
class ComparedView:
    """A latest audit beside the one before."""

    entry: str
    dataset: str
    before: str
    """Date."""
    after: str
    numbers: str
    """By outcome."""
    differs: str
    """What differs besides the numbers, a line each."""
    link: str | None
    """To the comparison's own page."""


@dataclass(frozen=True)
class ChangesView:
    """The section."""

    overview: tuple[ComparedView, ...]
    """Empty where no audit was compared with an earlier one."""
    largest: Table | None
    notes: tuple[str, ...]


def changes(history: History, links: Links) -> ChangesView:
    """Count the outcomes of every diff, and list what moved."""
    audits = {audit.id: audit for audit in history.audits}
    diffs = [diff for diff in history.diffs if {diff.before_id, diff.after_id} <= audits.keys()]
    if not diffs:
        return ChangesView((), None, ())
    moved = sorted(
        ((audits[diff.after_id], change) for diff in diffs for change in _moved(diff)),
        key=lambda pair: (_TOLD.index(pair[1].outcome), -abs(pair[1].difference)),
    )
    notes: tuple[str, ...] = ()
    if len(moved) > _MOST:
        notes = (
            f"The first {_MOST} of {counted(len(moved), 'change')}; the history's table `changes` "
            "has all.",
        )
    return ChangesView(_overview(diffs, audits, links), _largest(moved[:_MOST]), notes)


def _moved(diff: Diff) -> Iterator[ChangeRow]:
    return (change for change in diff.changes if change.outcome in _TOLD)


def _overview(
    diffs: list[Diff], audits: dict[int, Audit], links: Links
) -> tuple[ComparedView, ...]:
    found = [(diff, Counter(change.outcome for change in diff.changes)) for diff in diffs]
    found.sort(key=lambda pair: [-pair[1][outcome] for outcome in _TOLD])
    return tuple(
        ComparedView(
            entry=audits[diff.after_id].entry,
            dataset=audits[diff.after_id].dataset,
            before=audits[diff.before_id].started[:10],
            after=audits[diff.after_id].started[:10],
            numbers=", ".join(f"{count(n[o])} {o}" for o in OUTCOMES if n[o]) or "none compared",
            differs=_differing(diff),
            link=links.diff(audits[diff.after_id]),
        )
        for diff, n in found
    )


def _differing(diff: Diff) -> str:
    """What differs besides the numbers, what moves them first."""
    causes = sorted(diff.causes, key=lambda cause: cause.is_minor)
    return "\n".join(f"{cause.name}: {cause.detail}" for cause in causes) or "nothing recorded"


def _largest(moved: list[tuple[Audit, ChangeRow]]) -> Table | None:
    if not moved:
        return None
    return Table(
        caption="Numbers that are worse, improved, higher or lower than before, largest first",
        columns=(
            Column("backbone"),
            Column("dataset"),
            Column("number"),
            Column("before", numeric=True),
            Column("after", numeric=True),
            Column("difference", numeric=True),
            Column("margin", numeric=True),
            Column("outcome"),
        ),
        rows=tuple(_row(audit, change) for audit, change in moved),
    )


def _row(audit: Audit, change: ChangeRow) -> tuple[str, ...]:
    lift = "lift of " if change.of_what == "lift" else ""
    group = "" if change.group_name is None else f", {change.group_name},"
    paired = "paired" if change.is_paired else "unpaired"
    return (
        change.backbone,
        audit.dataset,
        f"{lift}{change.quantity} of {change.target}{group} at {change.layer}",
        interval(change.before),
        interval(change.after),
        signed_interval(change.difference_estimate),
        f"{change.margin:g}",
        f"{change.outcome} ({paired})",
    )
