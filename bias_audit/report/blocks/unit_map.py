"""Topographic maps in words."""

from __future__ import annotations

from bias_audit.report.elements import BlockText
from bias_audit.report.numbers import count, counted, interval_note, percent_interval
from bias_audit.results.blocks import UnitMap


def unit_map(block: UnitMap) -> BlockText:
    """Say what is drawn, and what is left blank.

    Raises:
        ValueError: There is not one number of images per group.
    """
    if len(block.groups) != len(block.counts):
        raise ValueError(
            f"{block.title}: expected a number of images for each of {len(block.groups)} groups, "
            f"got {len(block.counts)}"
        )
    empty = [g.label for g, n in zip(block.groups, block.counts, strict=True) if n == 0]
    shown = [n for n in block.counts if n > 0]
    notes = [
        f"{counted(block.n_units, 'unit')} of {block.layer}, placed by {block.layout}; the same "
        "layout for every group."
    ]
    if block.n_silent:
        notes.append(
            f"{counted(block.n_silent, 'unit')} never differed between groups and carry no "
            "information for the layout."
        )
    if empty:
        notes.append(f"Blank, no images: {'; '.join(empty)}.")
    if block.shares:
        notes += [
            "Percentages: share of the variance of the profiles of intersections that the "
            "attribute's main effect explains, sampling noise subtracted.",
            *interval_note(entry.share for entry in block.shares),
        ]
    return BlockText(
        alt=_alt(block, shown, len(empty)) if shown else None,
        caption=f"One map per group at {block.layer}, all on one colour scale; "
        "an arrow at the end of the scale says that values beyond it take its last colour.",
        notes=tuple(notes),
    )


def _alt(block: UnitMap, shown: list[int], n_empty: int) -> str:
    sizes = f"{count(min(shown))} to {count(max(shown))} images each"
    blank = f"; {counted(n_empty, 'group')} without images left blank" if n_empty else ""
    return (
        f"Topographic maps of {counted(len(shown), 'group')} at {block.layer}, {sizes}{blank}. "
        f"{counted(block.n_units, 'unit')}, colours from minus {block.limit:.2g} (blue, lower "
        f"than the average over groups) to plus {block.limit:.2g} (red, higher).{_shares(block)}"
    )


def _shares(block: UnitMap) -> str:
    said = "; ".join(
        f"{entry.attribute} {percent_interval(entry.share)}"
        for entry in sorted(block.shares, key=lambda entry: -entry.share.value)
    )
    return f" Share of the differences that each attribute explains: {said}." if said else ""
