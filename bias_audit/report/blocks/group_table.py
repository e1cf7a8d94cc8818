"""A metric of every group in words and numbers."""

from __future__ import annotations

from bias_audit.report.blocks.groups import extremes, extremes_note, group_heading, unmeasured
from bias_audit.report.elements import BlockText, Column, Table
from bias_audit.report.numbers import (
    MISSING,
    count,
    counted,
    decimal,
    interval,
    interval_note,
    sentence,
)
from bias_audit.results.blocks import GroupRow, GroupTable


def group_table(block: GroupTable) -> BlockText:
    """Say which groups are lowest and highest, and list every group."""
    measured = [row for row in block.rows if row.estimate is not None]
    reasons = [row.reason for row in block.rows if row.estimate is None]
    estimates = [row.estimate for row in measured if row.estimate is not None]
    chance = "" if block.chance is None else " Dotted: chance."
    return BlockText(
        alt=_alt(block, measured) if measured else None,
        caption=sentence(
            f"{block.metric} of every group at {block.layer}, with intervals.{chance}"
        ),
        notes=(*unmeasured(reasons, len(block.rows)), *interval_note(estimates)),
        tables=(_table(block),),
    )


def _alt(block: GroupTable, measured: list[GroupRow]) -> str:
    low, high = (
        pick(measured, key=lambda row: row.estimate.value if row.estimate else 0.0)
        for pick in (min, max)
    )
    chance = "" if block.chance is None else f" Chance is {decimal(block.chance, 3)}."
    return (
        f"Dot plot of {block.metric} for {counted(len(measured), 'group')} at {block.layer}. "
        f"Lowest: {low.group.label}, {interval(low.estimate)}. "
        f"Highest: {high.group.label}, {interval(high.estimate)}.{chance}"
    )


def _table(block: GroupTable) -> Table:
    short = extremes([(row, row.estimate) for row in block.rows])
    return Table(
        caption=sentence(f"{block.metric} at {block.layer} by group"),
        columns=(
            Column(group_heading([row.group for row in block.rows])),
            Column("images", numeric=True),
            Column(block.metric, numeric=True),
        ),
        rows=tuple(map(_row, block.rows)),
        excerpt=tuple(map(_row, short)),
        excerpt_note=extremes_note(len(block.rows)),
    )


def _row(row: GroupRow) -> tuple[str, ...]:
    missing = f"{MISSING}: {row.reason}" if row.reason else MISSING
    value = missing if row.estimate is None else interval(row.estimate)
    return (row.group.label, count(row.n), value)
