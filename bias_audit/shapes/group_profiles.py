"""How far the profile of every group lies from the mean over groups, at one layer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Literal

from bias_audit.groups import Group
from bias_audit.shapes.printed import count, counted, interval_note
from bias_audit.shapes.shape import Block, Frozen, Row, Shape
from bias_audit.shapes.tables import (
    ENDS_NOTE,
    BlockText,
    Shown,
    ascending,
    ends,
    estimates_of,
    group_column,
    lowest_and_highest,
    measured,
    table,
    unmeasured,
)
from bias_audit.statistics.estimate import Estimate

_UNITS: Final = 5


class ProfileRow(Frozen):
    """How far one group's profile lies from the mean over groups."""

    group: Group
    n: int
    deviation: Estimate | None
    """Root mean square over units of (profile - mean over groups) / pooled within-group sd."""
    strongest_units: tuple[tuple[int, float], ...]
    """(unit index, standardised contrast), strongest first."""
    reason: str | None = None


class GroupProfiles(Block):
    """Profiles of every group at one layer."""

    block: Literal["group_profiles"] = "group_profiles"
    title: str
    layer: str
    rows: tuple[ProfileRow, ...]
    means: str
    """Array key: (n_groups, n_units), mean activation; NaN only on disk, for empty groups."""
    deviations: str
    """Array key: (n_groups, n_units), sample standard deviation."""


def _rows(block: GroupProfiles) -> Iterator[Row]:
    # Contrasts of picked units have no interval here, so their direction is listed, not the size.
    for row in block.rows:
        yield {
            "layer": block.layer,
            "group": row.group,
            "images": row.n,
            "estimate": row.deviation,
            "strongest_units": ", ".join(
                f"{unit} {'higher' if contrast > 0 else 'lower'}"
                for unit, contrast in row.strongest_units
            ),
            "reason": row.reason,
        }


def _text(block: GroupProfiles) -> BlockText:
    """Say which groups lie nearest and farthest, and list every group with its units."""
    rows = [*_rows(block)]
    known = ascending(rows)
    said = lowest_and_highest(rows, lambda row: row["group"].label, ("Nearest", "Farthest"))
    reasons = [row["reason"] for row in rows if row["estimate"] is None]
    return BlockText(
        alt=(
            f"Dot plot of the distance of {counted(len(known), 'group profile')} from the mean "
            f"over groups at {block.layer}. {said}"
        )
        if known
        else None,
        caption=(
            "Each dot shows how far the mean activations of one group lie from the mean over "
            f"groups at {block.layer}, with its interval."
        ),
        notes=(*unmeasured(reasons, len(rows)), *interval_note(estimates_of(rows))),
        tables=(
            table(
                f"Distance from the mean over groups at {block.layer}",
                rows,
                (
                    group_column(rows),
                    Shown("images", lambda row: count(row["images"])),
                    measured("distance"),
                    Shown("units that differ most", _few_units, numeric=False),
                ),
                excerpt=ends(known),
                note=ENDS_NOTE,
            ),
        ),
    )


def _few_units(row: Row) -> str:
    return ", ".join(row["strongest_units"].split(", ")[:_UNITS]) or "none"


SHAPE = Shape(
    GroupProfiles,
    place=50,
    table="profiles",
    about="the distance of one group's profile from the mean over groups",
    columns=("layer", "group", "images", "estimate", "strongest_units", "reason"),
    rows=_rows,
    text=_text,
    most_printed=2,
    reading=(
        "A group's profile is the mean activation of each unit over the images of that group. The "
        "distance says how far the profile lies from the mean over groups, measured in the spread "
        "within groups: 0 would mean that the group looks like the average group to this layer. "
        "Few images make a wide interval.",
    ),
    in_short=(
        "A group's profile is the mean activation of each unit over its images. The distance says "
        "how far it lies from the mean over groups, measured in the spread within groups: 0 would "
        "mean that the group looks like the average group to this layer."
    ),
)
