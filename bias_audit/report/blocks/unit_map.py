"""Topographic maps in words."""

from __future__ import annotations

from bias_audit.report.elements import BlockText
from bias_audit.report.numbers import count, counted, interval_note, percent_interval
from bias_audit.results.blocks import EarlierMap, UnitMap


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
    if block.earlier:
        notes.append(_beside(block, block.earlier))
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


def _beside(block: UnitMap, earlier: EarlierMap) -> str:
    """How these maps can be compared with those of an earlier report."""
    weights = "the same weights" if earlier.has_same_weights else "other weights"
    chance = f"{earlier.by_chance[0]:.2g} to {earlier.by_chance[1]:.2g} with units shuffled"
    fit = f"Procrustes disparity {earlier.disparity:.2g}; 0 is one shape, {chance}"
    near = f"half of the units lie within {100 * earlier.shift:.0f} % of a map's side of their"
    shuffled = f"{100 * earlier.shift_by_chance:.0f} % with units shuffled"
    if earlier.places == "taken":
        said = (
            "every unit is drawn where it is drawn there, so that both reports can be compared "
            f"place by place. Placed by this audit alone and turned, {near} earlier place "
            f"({shuffled}; {fit})."
        )
    elif earlier.is_match:
        said = (
            "the layout was turned like the one there, so that both reports can lie side by side: "
            f"{near} earlier place ({shuffled}; {fit})."
        )
    else:
        said = (
            "the layouts do not match, and this one was not turned: the same place in both "
            f"reports does not mean the same units ({fit})."
        )
    return (
        f"Beside the earlier audit {earlier.run} ({earlier.started[:10]}, {earlier.backbone}, "
        f"{weights}): {said} {_colours(block, earlier)}"
    )


def _colours(block: UnitMap, earlier: EarlierMap) -> str:
    if block.limit == earlier.limit:
        own = (
            "" if earlier.own_limit is None else f"; by itself it would be {earlier.own_limit:.2g}"
        )
        return f"The colour scale is that of the earlier maps, up to {block.limit:.2g}{own}."
    return (
        f"The colour scale is not that of the earlier maps: it ends at {block.limit:.2g} here and "
        f"at {earlier.limit:.2g} there."
    )


def _shares(block: UnitMap) -> str:
    said = "; ".join(
        f"{entry.attribute} {percent_interval(entry.share)}"
        for entry in sorted(block.shares, key=lambda entry: -entry.share.value)
    )
    return f" Share of the differences that each attribute explains: {said}." if said else ""
