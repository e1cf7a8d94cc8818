"""Every group that was suppressed, pooled or flagged as small; printed even if empty."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Final, Literal

from bias_audit.groups import Group
from bias_audit.shapes.printed import count, counted, sentence
from bias_audit.shapes.shape import Block, Frozen, Row, Shape
from bias_audit.shapes.tables import BlockText, Shown, group_column, table, words

_PRINTED: Final = 10
_WORDS: Final = {
    "shrunk": "flagged as small, stabilised value beside it",
    "suppressed": "no value",
    "pooled": "pooled",
}


class GroupLedgerEntry(Frozen):
    """One group that is not reported like the others."""

    group: Group
    n: int
    """Independent images."""
    action: Literal["shrunk", "suppressed", "pooled"]
    reason: str
    effect: str
    """On the numbers printed."""


class GroupLedger(Block):
    """Every group that was suppressed, pooled or flagged as small; printed even if empty."""

    block: Literal["group_ledger"] = "group_ledger"
    title: str
    n_groups: int
    """Declared."""
    rule: str
    """The policy in a sentence."""
    entries: tuple[GroupLedgerEntry, ...]


def _rows(block: GroupLedger) -> Iterator[Row]:
    for entry in block.entries:
        yield {
            "group": entry.group,
            "images": entry.n,
            "action": entry.action,
            "reason": entry.reason,
            "effect": entry.effect,
        }


def _text(block: GroupLedger) -> BlockText:
    """List every group that is not reported like the others; say so where there is none."""
    rows = [*_rows(block)]
    actions = Counter(entry.action for entry in block.entries)
    listed = ", ".join(f"{count(n)} {_WORDS[action]}" for action, n in actions.items())
    n_groups = counted(block.n_groups, "group")
    found = f"{count(len(rows))} of {n_groups}: {listed}."
    ledger = table(
        "Groups excluded, pooled or flagged",
        rows,
        (
            group_column(rows),
            Shown("images", lambda row: count(row["images"])),
            Shown("treatment", lambda row: _WORDS[row["action"]], numeric=False),
            words("reason", "reason"),
            words("effect", "effect"),
        ),
        excerpt=rows[:_PRINTED],
        note="The first groups, in their declared order.",
    )
    return BlockText(
        alt=None,
        caption=(
            "Which groups have too few images? Groups without a value, pooled or flagged as small."
        ),
        notes=(
            sentence(block.rule),
            found
            if rows
            else f"No group was excluded or pooled: all {n_groups} are reported as declared.",
        ),
        tables=(ledger,) if rows else (),
    )


SHAPE = Shape(
    GroupLedger,
    place=160,
    table="small_groups",
    about="a group that is suppressed, pooled or shrunk",
    columns=("group", "images", "action", "reason", "effect"),
    rows=_rows,
    text=_text,
    printed=True,
    is_open=True,
    has_notes_first=True,
)
