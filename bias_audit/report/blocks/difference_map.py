"""Difference maps in words and numbers."""

from __future__ import annotations

from bias_audit.report.elements import BlockText, Column, Table
from bias_audit.report.numbers import (
    MISSING,
    chance_of,
    count,
    counted,
    interval_note,
    signed_interval,
)
from bias_audit.results.blocks import DifferenceMap, GroupDifference, MapRegion


def difference_map(block: DifferenceMap) -> BlockText:
    """Say where groups differ, and list the strongest regions of every map."""
    drawn = [entry for entry in block.differences if min(entry.counts) > 0]
    effects = [r.effect for d in block.differences for r in d.regions if r.effect is not None]
    return BlockText(
        alt=_alt(block, drawn) if drawn else None,
        caption=(
            f"Differences of two groups at {block.layer}, on the layout and at the places of the "
            "maps above, all on one colour scale. Red: the group named (first) is higher. "
            "Outlined: regions that a test rejects, solid where higher, dashed where lower; the "
            "rest of a tested map is pale."
        ),
        notes=(
            "The other attributes are held constant: only images that are alike in them are "
            "compared, so a difference of one attribute is not one of the others' composition.",
            *((block.test,) if block.test else ()),
            *_draws(block),
            *_fixed(block),
            *_reasons(block),
            *((f"Effects of regions: {block.effect}",) if effects else ()),
            *interval_note(effects),
        ),
        tables=(_table(block),),
    )


def _alt(block: DifferenceMap, drawn: list[GroupDifference]) -> str:
    tested = [entry for entry in drawn if entry.adjusted_p is not None]
    found = sorted((e for e in tested if e.n_regions), key=lambda e: -e.n_units)
    said = "; ".join(
        f"{entry.label}: {count(entry.n_units)} units in {counted(entry.n_regions, 'region')}"
        for entry in found[:3]
    )
    widest = f" Most units: {said}." if said else ""
    return (
        f"{counted(len(drawn), 'difference map')} at {block.layer}, colours from minus to plus "
        f"{block.limit:.2g} standard deviations within groups. Of {count(len(tested))} tested, "
        f"{count(len(found))} show regions that differ.{widest}"
    )


def _draws(block: DifferenceMap) -> tuple[str, ...]:
    if block.smallest_p is None or block.smallest_p <= block.alpha:
        return ()
    return (
        f"{count(block.draws or 0)} permutations cannot reject any map: the smallest adjusted "
        f"p-value is {block.smallest_p:.3g}, above {block.alpha:.3g}.",
    )


def _fixed(block: DifferenceMap) -> tuple[str, ...]:
    some = [entry for entry in block.differences if entry.n_fixed]
    if not some:
        return ()
    said = "; ".join(
        f"{entry.label} {count(entry.n_fixed)} of {count(sum(entry.tested))}"
        for entry in sorted(some, key=lambda entry: -entry.n_fixed / sum(entry.tested))[:3]
    )
    return (f"Images whose label no permutation can change, at most: {said}.",)


def _reasons(block: DifferenceMap) -> tuple[str, ...]:
    found = [entry for entry in block.differences if entry.reason]
    said = "; ".join(f"{e.label}: {e.reason}" for e in found[:5])
    rest = f"; and {len(found) - 5} more" if len(found) > 5 else ""  # noqa: PLR2004
    return (f"{said}{rest}.",) if found else ()


def _table(block: DifferenceMap) -> Table:
    rows = tuple(row for entry in block.differences for row in _rows(entry))
    rejected = tuple(
        row for entry in block.differences if entry.n_regions for row in _rows(entry)[:1]
    )
    return Table(
        caption=f"Strongest regions of each difference map at {block.layer}",
        columns=(
            Column("groups"),
            Column("images", numeric=True),
            Column("units in region", numeric=True),
            Column("strongest units"),
            Column("difference", numeric=True),
            Column("adjusted p", numeric=True),
        ),
        rows=rows,
        excerpt=rejected[:12],
        excerpt_note="The strongest region of the first maps on which one is rejected.",
    )


def _rows(entry: GroupDifference) -> list[tuple[str, ...]]:
    name = f"{entry.attribute}: {entry.label}"
    sizes = f"{count(entry.counts[0])} / {count(entry.counts[1])}"
    if entry.adjusted_p is None:
        return [(name, sizes, "", "", MISSING, "not tested")]
    if not entry.regions:
        return [(name, sizes, "0", "none", "no region", chance_of(entry.adjusted_p))]
    return [(name, sizes, *_region(region)) for region in entry.regions]


def _region(region: MapRegion) -> tuple[str, ...]:
    rest = ", ..." if region.n_units > len(region.units) else ""
    return (
        count(region.n_units),
        ", ".join(map(str, region.units)) + rest,
        signed_interval(region.effect),
        chance_of(region.adjusted_p),
    )
