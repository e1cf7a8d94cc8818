"""A metric of every group in words and numbers."""

from __future__ import annotations

from bias_audit.report.blocks.groups import EXTREMES_NOTE, extremes, group_heading, unmeasured
from bias_audit.report.elements import BlockText, Column, Table
from bias_audit.report.numbers import (
    MISSING,
    chance_of,
    counted,
    decimal,
    guess,
    interval,
    interval_note,
    sample,
    sample_heading,
    sentence,
)
from bias_audit.results.blocks import GroupRow, GroupTable


def group_table(block: GroupTable) -> BlockText:
    """Say which groups are lowest and highest, and list every group."""
    measured = [row for row in block.rows if row.estimate is not None]
    reasons = [row.reason for row in block.rows if row.estimate is None]
    estimates = [row.estimate for row in measured if row.estimate is not None]
    chance = "" if block.chance is None else " Dotted: chance."
    if _has_own_chance(block):
        chance += " Grey tick: what the group would get if predictions ignored the image."
    if _has_shrunk(block):
        chance += " Hollow diamond: the shrunk estimate."
    shrunk = [row.shrunk for row in block.rows if row.shrunk is not None]
    how = (f"Shrunk: {block.shrinkage}",) if block.shrinkage and shrunk else ()
    return BlockText(
        alt=_alt(block, measured) if measured else None,
        caption=sentence(
            f"{block.metric} of every group at {block.layer}, with intervals.{chance}"
        ),
        notes=(*unmeasured(reasons, len(block.rows)), *interval_note([*estimates, *shrunk]), *how),
        tables=(_table(block),),
    )


def _has_own_chance(block: GroupTable) -> bool:
    return any(row.by_chance is not None for row in block.rows)


def _has_shrunk(block: GroupTable) -> bool:
    return any(row.shrunk is not None for row in block.rows)


def _has_p(block: GroupTable) -> bool:
    return any(row.adjusted_p is not None for row in block.rows)


def _alt(block: GroupTable, measured: list[GroupRow]) -> str:
    low, high = (
        pick(measured, key=lambda row: row.estimate.value if row.estimate else 0.0)
        for pick in (min, max)
    )
    chance = "" if block.chance is None else f" Chance is {decimal(block.chance, 3)}."
    if _has_own_chance(block):
        chance += " By chance: what the group would get if predictions ignored the image."
    return (
        f"Dot plot of {block.metric} for {counted(len(measured), 'group')} at {block.layer}. "
        f"Lowest: {_told(low)}. Highest: {_told(high)}.{chance}"
    )


def _told(row: GroupRow) -> str:
    own = "" if row.by_chance is None else f", by chance {guess(row.by_chance)}"
    return f"{row.group.label}, {interval(row.estimate)}{own}"


def _table(block: GroupTable) -> Table:
    short = extremes([(row, row.estimate) for row in block.rows])
    samples = [(row.n, row.estimate) for row in block.rows]
    own, shrunk, tested = _has_own_chance(block), _has_shrunk(block), _has_p(block)
    return Table(
        caption=sentence(f"{block.metric} at {block.layer} by group"),
        columns=(
            Column(group_heading([row.group for row in block.rows])),
            Column(sample_heading("images", samples), numeric=True),
            Column(block.metric, numeric=True),
            *((Column("by chance", numeric=True),) if own else ()),
            *((Column("shrunk", numeric=True),) if shrunk else ()),
            *((Column("adjusted p", numeric=True),) if tested else ()),
        ),
        rows=tuple(_row(row, block) for row in block.rows),
        excerpt=tuple(_row(row, block) for row in short),
        excerpt_note=EXTREMES_NOTE,
    )


def _row(row: GroupRow, block: GroupTable) -> tuple[str, ...]:
    missing = f"{MISSING}: {row.reason}" if row.reason else MISSING
    value = missing if row.estimate is None else interval(row.estimate)
    chance = "unknown" if row.by_chance is None else decimal(row.by_chance, 3)
    return (
        row.group.label,
        sample(row.n, row.estimate),
        value,
        *((chance,) if _has_own_chance(block) else ()),
        *((interval(row.shrunk) if row.shrunk else "none",) if _has_shrunk(block) else ()),
        *((chance_of(row.adjusted_p),) if _has_p(block) else ()),
    )
