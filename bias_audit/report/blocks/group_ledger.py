"""Small groups and what was done about them, in words and numbers."""

from __future__ import annotations

from collections import Counter

from bias_audit.report.blocks.groups import group_heading
from bias_audit.report.elements import BlockText, Column, Table
from bias_audit.report.numbers import count, counted, sentence
from bias_audit.results.blocks import GroupLedger, GroupLedgerEntry

_PRINTED = 10


def group_ledger(block: GroupLedger) -> BlockText:
    """List every group that is not reported like the others; say so where there is none."""
    return BlockText(
        alt=None,
        caption="Groups that are suppressed, pooled or flagged as small.",
        notes=(sentence(block.rule), _summary(block)),
        tables=(_table(block),) if block.entries else (),
    )


def _summary(block: GroupLedger) -> str:
    if not block.entries:
        return f"Nothing was excluded or pooled: {counted(block.n_groups, 'group')} as declared."
    actions = Counter(entry.action for entry in block.entries)
    told = ", ".join(f"{count(n)} {_WORDS[action]}" for action, n in actions.items())
    return f"{count(len(block.entries))} of {counted(block.n_groups, 'group')}: {told}."


_WORDS = {
    "shrunk": "flagged as small and shrunk",
    "suppressed": "without a value",
    "pooled": "pooled",
}


def _table(block: GroupLedger) -> Table:
    rows = tuple(map(_row, block.entries))
    return Table(
        caption="Groups excluded, pooled or flagged",
        columns=(
            Column(group_heading([entry.group for entry in block.entries])),
            Column("independent images", numeric=True),
            Column("what was done"),
            Column("reason"),
            Column("effect on the numbers"),
        ),
        rows=rows,
        excerpt=rows[:_PRINTED],
        excerpt_note="The first groups, in their declared order.",
    )


def _row(entry: GroupLedgerEntry) -> tuple[str, ...]:
    done = _WORDS[entry.action]
    return (entry.group.label, count(entry.n), done, entry.reason, entry.effect)
