"""What changed since the audit before, as a diff has classed it."""

from __future__ import annotations

from collections import Counter
from typing import Final

from markupsafe import Markup

from bias_audit.report.page import (
    Prose,
    Section,
    Tabled,
    linked,
    number_columns,
    parts,
    text_columns,
)
from bias_audit.report.zoo.links import Links
from bias_audit.results.history.reading import Audit, Diff, History
from bias_audit.results.history.tables import ChangeRow
from bias_audit.shapes.printed import count, counted, interval, signed_interval
from bias_audit.shapes.tables import Table

OUTCOMES: Final = ("worse", "improved", "higher", "lower", "undecided", "equivalent")
_TOLD: Final = ("worse", "improved", "higher", "lower")
"""Listed one by one."""
_MOST: Final = 150


def changes(history: History, links: Links) -> Section:
    """Count the outcomes of every diff, and list what moved."""
    audits = {audit.id: audit for audit in history.audits}
    diffs = [diff for diff in history.diffs if {diff.before_id, diff.after_id} <= audits.keys()]
    if not diffs:
        nothing = "The history holds no difference between a latest audit and an earlier one."
        return Section("changes", "What changed", (Prose(nothing, "box", "No comparison."),))
    moved = sorted(
        (
            (audits[diff.after_id], change)
            for diff in diffs
            for change in diff.changes
            if change.outcome in _TOLD
        ),
        key=lambda pair: (_TOLD.index(pair[1].outcome), -abs(pair[1].difference)),
    )
    rest = (
        f"The first {_MOST} of {counted(len(moved), 'change')}; the history's table `changes` "
        "has all."
    )
    return Section(
        "changes",
        "What changed",
        parts(
            Prose(
                Markup(
                    "Each latest audit beside the one before it, as <code>bias-audit diff</code> "
                    "classed their numbers: equivalent where the interval of the difference lies "
                    "within the margin; worse or improved where it does not, the test rejects and "
                    "a direction was declared; higher or lower where none was; undecided "
                    "otherwise."
                )
            ),
            Tabled(_overview(diffs, audits, links), "dated"),
            Tabled(_largest(moved[:_MOST]))
            if moved
            else Prose("No number is known to be worse, improved, higher or lower.", "note"),
            (Prose(rest, "note"),) if len(moved) > _MOST else (),
        ),
    )


def _overview(diffs: list[Diff], audits: dict[int, Audit], links: Links) -> Table:
    found = [(diff, Counter(change.outcome for change in diff.changes)) for diff in diffs]
    found.sort(key=lambda pair: [-pair[1][outcome] for outcome in _TOLD])
    names = ("backbone", "dataset", "before", "after", "numbers", "what else differs")
    return Table(
        caption="Numbers of each latest audit by how they compare with the audit before",
        columns=text_columns(*names),
        rows=tuple(
            (
                audits[diff.after_id].entry,
                audits[diff.after_id].dataset,
                audits[diff.before_id].started[:10],
                linked(audits[diff.after_id].started[:10], links.diff(audits[diff.after_id])),
                ", ".join(f"{count(n[o])} {o}" for o in OUTCOMES if n[o]) or "none compared",
                _differing(diff),
            )
            for diff, n in found
        ),
    )


def _differing(diff: Diff) -> str:
    """What differs besides the numbers, what moves them first."""
    causes = sorted(diff.causes, key=lambda cause: cause.is_minor)
    return "\n".join(f"{cause.name}: {cause.detail}" for cause in causes) or "nothing recorded"


def _largest(moved: list[tuple[Audit, ChangeRow]]) -> Table:
    return Table(
        caption="Numbers that are worse, improved, higher or lower than before, largest first",
        columns=(
            *text_columns("backbone", "dataset", "number"),
            *number_columns("before", "after", "difference", "margin"),
            *text_columns("outcome"),
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
