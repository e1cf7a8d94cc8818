"""A metric of every declared group, empty ones included."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Literal

from bias_audit.groups import Group
from bias_audit.shapes.printed import (
    chance_of,
    counted,
    decimal,
    guess,
    interval,
    interval_note,
    sentence,
)
from bias_audit.shapes.shape import Block, Frozen, Row, Shape
from bias_audit.shapes.tables import (
    ENDS_NOTE,
    BlockText,
    Shown,
    ascending,
    ends,
    estimates_of,
    group_column,
    has,
    images,
    lowest_and_highest,
    measured,
    table,
    unmeasured,
)
from bias_audit.statistics.estimate import Estimate

_FEW_ROWS, _MANY_ROWS = 14, 40
"""Between these, a figure says more on paper than its table."""


class GroupRow(Frozen):
    """One group; `estimate` is None where it could not be measured and `reason` says why."""

    group: Group
    n: int
    estimate: Estimate | None
    reason: str | None = None
    by_chance: float | None = None
    """What the group would get if predictions did not depend on the image: for recall, the share
    of all predictions that name the group."""
    shrunk: Estimate | None = None
    """The estimate drawn towards what its attributes predict; see `GroupTable.shrinkage`."""
    p_value: float | None = None
    """Of no effect in this group, unadjusted."""
    adjusted_p: float | None = None
    """Adjusted for the family that the table belongs to."""


class GroupTable(Block):
    """A metric of every declared group, empty ones included."""

    block: Literal["group_table"] = "group_table"
    title: str
    quantity: str
    """What criteria call it: "recall", "within_auc", "interaction", ..."""
    metric: str
    layer: str
    target: str
    chance: float | None
    rows: tuple[GroupRow, ...]
    shrinkage: str | None = None
    """How `GroupRow.shrunk` was made; None where no row has one."""


def _rows(block: GroupTable) -> Iterator[Row]:
    for row in block.rows:
        yield {
            "quantity": block.quantity,
            "metric": block.metric,
            "target": block.target,
            "layer": block.layer,
            "group": row.group,
            "images": row.n,
            "estimate": row.estimate,
            "shrunk": row.shrunk,
            "chance": block.chance if row.by_chance is None else row.by_chance,
            "p": row.p_value,
            "adjusted_p": row.adjusted_p,
            "reason": None if row.estimate else row.reason or "not measured",
        }


def _text(block: GroupTable) -> BlockText:
    """Say which groups are lowest and highest, and list every group."""
    rows = [*_rows(block)]
    known = ascending(rows)
    has_own_chance = any(row.by_chance is not None for row in block.rows)
    has_shrunk = has(rows, "shrunk")
    legend = "" if block.chance is None else " Dotted: chance."
    legend += " Grey tick: what the group would get if predictions ignored the image." * (
        has_own_chance
    )
    legend += " Hollow diamond: the stabilised value." * has_shrunk
    how = (f"Stabilised: {block.shrinkage}",) if block.shrinkage and has_shrunk else ()
    chance = "" if block.chance is None else f" Chance is {decimal(block.chance, 3)}."
    if has_own_chance:
        chance += " By chance: what the group would get if predictions ignored the image."
    said = lowest_and_highest(
        rows,
        lambda row: row["group"].label,
        more=lambda row: f", by chance {guess(row['chance'])}" if has_own_chance else "",
    )
    reasons = [row.reason for row in block.rows if row.estimate is None]
    by_chance = Shown(
        "by chance", lambda r: "unknown" if r["chance"] is None else decimal(r["chance"], 3)
    )
    shrunk = Shown("stabilised", lambda row: interval(row["shrunk"]) if row["shrunk"] else "none")
    adjusted = Shown("adjusted p", lambda row: chance_of(row["adjusted_p"]))
    return BlockText(
        alt=(
            f"Dot plot of {block.metric} for {counted(len(known), 'group')} at {block.layer}. "
            f"{said}{chance}"
        )
        if known
        else None,
        caption=sentence(
            f"Each dot is the {block.metric} of one group at {block.layer}, with its "
            f"interval.{legend}"
        ),
        notes=(
            *unmeasured(reasons, len(rows)),
            *interval_note(estimates_of(rows, "estimate", "shrunk")),
            *how,
        ),
        tables=(
            table(
                sentence(f"{block.metric} at {block.layer} by group"),
                rows,
                (
                    group_column(rows),
                    images("images", rows),
                    measured(block.metric),
                    *((by_chance,) if has_own_chance else ()),
                    *((shrunk,) if has_shrunk else ()),
                    *((adjusted,) if has(rows, "adjusted_p") else ()),
                ),
                excerpt=() if _is_drawn(block) else ends(known),
                note="" if _is_drawn(block) else ENDS_NOTE,
            ),
        ),
    )


def _is_drawn(block: GroupTable) -> bool:
    """Whether a figure shows more than a table."""
    return _FEW_ROWS < len(block.rows) <= _MANY_ROWS


_COLUMNS: Final = (
    "quantity", "metric", "target", "layer", "group", "images", "estimate", "shrunk", "chance",
    "p", "adjusted_p", "reason",
)  # fmt: skip
SHAPE = Shape(
    GroupTable,
    place=30,
    table="groups",
    about="a quantity of one group",
    columns=_COLUMNS,
    rows=_rows,
    text=_text,
    is_drawn=_is_drawn,
)
