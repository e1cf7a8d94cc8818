"""Attribution maps in words."""

from __future__ import annotations

from bias_audit.report.elements import BlockText
from bias_audit.report.numbers import count, counted
from bias_audit.results.blocks import AttributionMaps


def attribution_maps(block: AttributionMaps) -> BlockText:
    """Say whose attribution is drawn, on how many images, and what is left out."""
    drawn = [i for i, reason in enumerate(block.reasons) if reason is None]
    return BlockText(
        alt=_alt(block, drawn) if drawn else None,
        caption=(
            f"Mean absolute attribution at {block.layer} on the aligned input, by method (rows) "
            "and group (columns), relative to an even spread, over a neutral outline of the face "
            "template. Red: more than an even spread, blue: less. Mean over the images of a "
            "group, never one face."
        ),
        notes=(f"Attributed: {block.decision}.", *_flagged(block), *_left_out(block)),
    )


def _alt(block: AttributionMaps, drawn: list[int]) -> str:
    named = ", ".join(
        f"{block.groups[i].label} (n = {count(block.counts[i])})" for i in drawn[:12]
    )
    rest = f" and {len(drawn) - 12} more" if len(drawn) > 12 else ""  # noqa: PLR2004
    return (
        f"Grid of mean attribution maps of the decision about {block.target} at {block.layer}: "
        f"{counted(len(block.methods), 'method')} by {counted(len(drawn), 'group')}: {named}"
        f"{rest}. Colours from a {block.limit:.2g}th to {block.limit:.2g} times an even spread; "
        "shares by region, with intervals, are in the tables of this section."
    )


def _flagged(block: AttributionMaps) -> tuple[str, ...]:
    if not block.flagged:
        return ()
    return (
        f"Did not pass the sanity check, so read with care: {', '.join(block.flagged)}. Such maps "
        "may show the image rather than the decision.",
    )


def _left_out(block: AttributionMaps) -> tuple[str, ...]:
    found = [
        f"{group.label} ({reason})"
        for group, reason in zip(block.groups, block.reasons, strict=True)
        if reason
    ]
    return (f"Without a map: {'; '.join(found)}.",) if found else ()
