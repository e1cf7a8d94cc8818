"""What changed since the previous audit, as a diff classed it."""

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
_LISTED: Final = ("worse", "improved", "higher", "lower")
"""Listed one by one."""
_MOST: Final = 150
_PRINTED: Final = {"undecided": "inconclusive"}
TITLE: Final = "What changed since the previous audits?"


def changes(history: History, links: Links) -> Section:
    """Count the outcomes of every diff, and list what moved."""
    audits = {audit.id: audit for audit in history.audits}
    diffs = [diff for diff in history.diffs if {diff.before_id, diff.after_id} <= audits.keys()]
    if not diffs:
        nothing = "No latest audit has been compared with an earlier one."
        return Section("changes", TITLE, (Prose(nothing, "box", "No comparison."),))
    moved = sorted(
        (
            (audits[diff.after_id], change)
            for diff in diffs
            for change in diff.changes
            if change.outcome in _LISTED
        ),
        key=lambda pair: (_LISTED.index(pair[1].outcome), -abs(pair[1].difference)),
    )
    rest = (
        f"The first {_MOST} of {counted(len(moved), 'change')}; the table `changes` of the "
        "history has all."
    )
    return Section(
        "changes",
        TITLE,
        parts(
            Prose(
                Markup(
                    "Each latest audit compared with the one before, by <code>bias-audit "
                    "diff</code>. Equivalent: the interval of the difference lies within the "
                    "margin. Worse or improved: the difference is significant, and a direction "
                    "was declared. Higher or lower: significant, without a declared direction. "
                    "Inconclusive: neither."
                )
            ),
            Tabled(_overview(diffs, audits, links), "dated"),
            Tabled(_largest(moved[:_MOST]))
            if moved
            else Prose("No number changed significantly.", "note"),
            (Prose(rest, "note"),) if len(moved) > _MOST else (),
        ),
    )


def _overview(diffs: list[Diff], audits: dict[int, Audit], links: Links) -> Table:
    found = [(diff, Counter(change.outcome for change in diff.changes)) for diff in diffs]
    found.sort(key=lambda pair: [-pair[1][outcome] for outcome in _LISTED])
    names = ("backbone", "dataset", "before", "after", "numbers", "possible causes")
    return Table(
        caption="How many numbers of each latest audit differ from the audit before",
        columns=text_columns(*names),
        rows=tuple(
            (
                audits[diff.after_id].entry,
                audits[diff.after_id].dataset,
                audits[diff.before_id].started[:10],
                linked(audits[diff.after_id].started[:10], links.diff(audits[diff.after_id])),
                ", ".join(f"{count(n[o])} {_PRINTED.get(o, o)}" for o in OUTCOMES if n[o])
                or "none compared",
                _differing(diff),
            )
            for diff, n in found
        ),
    )


def _differing(diff: Diff) -> str:
    """What differs besides the numbers, with what may change them first."""
    causes = sorted(diff.causes, key=lambda cause: cause.is_minor)
    return "\n".join(f"{cause.name}: {cause.detail}" for cause in causes) or "nothing recorded"


def _largest(moved: list[tuple[Audit, ChangeRow]]) -> Table:
    return Table(
        caption="Significant changes, worse ones first, then the largest",
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
