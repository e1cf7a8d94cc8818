"""Shares of attribution by region in words and numbers."""

from __future__ import annotations

from bias_audit.report.elements import BlockText, Column, Table
from bias_audit.report.numbers import (
    MISSING,
    chance_of,
    interval,
    interval_note,
    sample,
    sample_heading,
    signed_interval,
)
from bias_audit.results.blocks import FaceRegionArea, RegionDifference, RegionRow, RegionShares
from bias_audit.statistics.estimate import Estimate

_STRONGEST = 8


def region_shares(block: RegionShares) -> BlockText:
    """Say which region has most for its size, and list every share and difference."""
    drawn = [row for row in block.rows[: block.n_drawn] if _is_measured(row)]
    known = [value for row in block.rows for value in row.shares if value is not None]
    what = "method" if block.by == "method" else "group"
    whose = "all images" if block.by == "method" else block.rows[0].method
    return BlockText(
        alt=_alt(block, drawn) if drawn else None,
        caption=(
            f"Share of absolute attribution at {block.layer} by region and {what} ({whose}), "
            "with intervals. Dotted: the region's share of the image, which an even spread "
            "would give."
        ),
        notes=(
            *_reasons(block),
            *interval_note(known),
            *((block.adjustment,) if block.adjustment else ()),
        ),
        tables=(_table(block), *_differences(block)),
    )


def _is_measured(row: RegionRow) -> bool:
    return any(value is not None for value in row.shares)


def _alt(block: RegionShares, drawn: list[RegionRow]) -> str:
    parts = [
        f"Dot plots of the share of attribution of the decision about {block.target} at "
        f"{block.layer}, one panel for each of {len(block.regions)} regions."
    ]
    for row in drawn[:3]:
        name = row.method if block.by == "method" else row.group.label
        region, share = max(
            ((r, s) for r, s in zip(block.regions, row.shares, strict=True) if s is not None),
            key=_density,
        )
        parts.append(
            f"{name}: most for its size in {region.name}, {interval(share)} of the attribution on "
            f"{100 * region.area:.0f} % of the image."
        )
    return " ".join(parts)


def _density(entry: tuple[FaceRegionArea, Estimate]) -> float:
    region, share = entry
    return share.value / region.area if region.area else 0.0


def _reasons(block: RegionShares) -> tuple[str, ...]:
    found = {row.group.label: row.reason for row in block.rows if row.reason}
    said = "; ".join(f"{name}: {reason}" for name, reason in found.items())
    return (f"Not measured: {said}.",) if found else ()


def _table(block: RegionShares) -> Table:
    whole = [place for place, region in enumerate(block.regions) if region.part_of is None]
    rows = tuple(_row(row, whole) for row in block.rows)
    parts = "; parts of regions are in the data" if len(whole) < len(block.regions) else ""
    return Table(
        caption=(
            f"Share of attribution by region at {block.layer} (area: share of the image{parts})"
        ),
        columns=(
            Column("method"),
            Column("group"),
            Column(sample_heading("images", map(_sample, block.rows)), numeric=True),
            *(
                Column(f"{region.name} ({100 * region.area:.0f} % of the area)", numeric=True)
                for region in (block.regions[place] for place in whole)
            ),
        ),
        rows=rows,
        n_headers=2,
        excerpt=rows[: block.n_drawn],
        excerpt_note="The rows that are drawn.",
    )


def _row(row: RegionRow, whole: list[int]) -> tuple[str, ...]:
    values = (row.shares[place] for place in whole)
    shares = (MISSING if value is None else interval(value) for value in values)
    return (row.method, row.group.label, sample(*_sample(row)), *shares)


def _sample(row: RegionRow) -> tuple[int, Estimate | None]:
    """The images of a row, and any of its shares: all rest on the same."""
    return row.n, next((share for share in row.shares if share is not None), None)


def _differences(block: RegionShares) -> tuple[Table, ...]:
    if not block.differences:
        return ()
    strongest = sorted(block.differences, key=lambda each: each.adjusted_p)[:_STRONGEST]
    return (
        Table(
            caption=f"Differences of groups in the share of attribution at {block.layer}",
            columns=(
                Column("region"),
                Column("group"),
                Column("against"),
                Column("difference", numeric=True),
                Column("adjusted p", numeric=True),
            ),
            rows=tuple(map(_difference, block.differences)),
            excerpt=tuple(map(_difference, strongest)),
            excerpt_note="Those with the smallest adjusted p-values.",
        ),
    )


def _difference(each: RegionDifference) -> tuple[str, ...]:
    return (
        each.region,
        each.one.label,
        each.other.label if each.other else "all others",
        signed_interval(each.estimate),
        chance_of(each.adjusted_p),
    )
