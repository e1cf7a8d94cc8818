"""Group profiles in words and numbers."""

from __future__ import annotations

from bias_audit.report.blocks.groups import EXTREMES_NOTE, extremes, group_heading, unmeasured
from bias_audit.report.elements import BlockText, Column, Table
from bias_audit.report.numbers import MISSING, count, counted, interval, interval_note
from bias_audit.results.blocks import GroupProfiles, ProfileRow

_UNITS = 5


def group_profiles(block: GroupProfiles) -> BlockText:
    """Say which groups lie nearest and farthest, and list every group with its units."""
    measured = [row for row in block.rows if row.deviation is not None]
    reasons = [row.reason for row in block.rows if row.deviation is None]
    estimates = [row.deviation for row in measured if row.deviation is not None]
    return BlockText(
        alt=_alt(block, measured) if measured else None,
        caption=(
            f"How far the mean activations of each group lie from the mean over groups at "
            f"{block.layer}, with intervals."
        ),
        notes=(*unmeasured(reasons, len(block.rows)), *interval_note(estimates)),
        tables=(_table(block),),
    )


def _alt(block: GroupProfiles, measured: list[ProfileRow]) -> str:
    low, high = (
        pick(measured, key=lambda row: row.deviation.value if row.deviation else 0.0)
        for pick in (min, max)
    )
    return (
        f"Dot plot of the distance of {counted(len(measured), 'group profile')} from the mean "
        f"over groups at {block.layer}. Nearest: {low.group.label}, {interval(low.deviation)}. "
        f"Farthest: {high.group.label}, {interval(high.deviation)}."
    )


def _table(block: GroupProfiles) -> Table:
    short = extremes([(row, row.deviation) for row in block.rows])
    return Table(
        caption=f"Distance from the mean over groups at {block.layer}",
        columns=(
            Column(group_heading([row.group for row in block.rows])),
            Column("images", numeric=True),
            Column("distance", numeric=True),
            Column("units that differ most"),
        ),
        rows=tuple(map(_row, block.rows)),
        excerpt=tuple(map(_row, short)),
        excerpt_note=EXTREMES_NOTE,
    )


def _row(row: ProfileRow) -> tuple[str, ...]:
    missing = f"{MISSING}: {row.reason}" if row.reason else MISSING
    value = missing if row.deviation is None else interval(row.deviation)
    # Contrasts of picked units have no interval here, so their direction is printed, not the size.
    units = ", ".join(
        f"{unit} {'higher' if contrast > 0 else 'lower'}"
        for unit, contrast in row.strongest_units[:_UNITS]
    )
    return (row.group.label, count(row.n), value, units or "none")
