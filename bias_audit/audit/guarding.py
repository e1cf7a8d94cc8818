"""What may not leave an analysis: values and maps of few images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from pydantic import BaseModel

from bias_audit.analyses.small_groups import small_intersections
from bias_audit.data.faces import Faces
from bias_audit.errors import AnalysisError
from bias_audit.results.blocks import (
    AttributionMaps,
    Block,
    DifferenceMap,
    Finding,
    MethodComparison,
    RobustnessCurves,
    UnitMap,
)
from bias_audit.statistics.estimate import Estimate

_OF_OTHER_THINGS = (MethodComparison, RobustnessCurves)
"""Whose estimates count repetitions."""


def refuse_small_intersections(faces: Faces, fewest: int) -> None:
    """Stop an analysis of images that `without_small_intersections` would have left out.

    Raises:
        AnalysisError: An intersection has fewer independent images than `fewest`.
    """
    small = small_intersections(faces, fewest)
    if len(small):
        raise AnalysisError(
            f"expected intersections of {fewest} independent images or more, got {len(small)} "
            "with fewer, whose values would follow from those of others; leave their images out "
            "with without_small_intersections before an analysis sees them"
        )


def refuse_few(blocks: Sequence[Block], findings: Sequence[Finding], fewest: int) -> None:
    """Stop a result that holds a value or a map of few images.

    Raises:
        AnalysisError: It rests on fewer than `fewest`.
    """
    of_other_things = {
        estimate
        for block in blocks
        if isinstance(block, _OF_OTHER_THINGS)
        for name in type(block).model_fields
        for estimate in _estimates(getattr(block, name), everything=True)
    }
    for finding in findings:
        own = set(finding.estimates.values()) - of_other_things
        least = min((estimate.n for estimate in own if estimate.n > 0), default=fewest)
        if least < fewest:
            raise AnalysisError(
                f"a finding: expected numbers of {fewest} independent images or more, got one of "
                f"{least}; the analysis must not say it (small_groups.suppress_below sets the "
                "limit)"
            )
    for block in blocks:
        counts = (*_images_of_maps(block), *(estimate.n for estimate in _estimates(block)))
        least = min((n for n in counts if n > 0), default=fewest)
        if least < fewest:
            raise AnalysisError(
                f"{block.block} {block.title!r}: expected values and maps of {fewest} independent "
                f"images or more, got one of {least}; the analysis must leave such groups out "
                "(small_groups.suppress_below sets the limit)"
            )


def _images_of_maps(block: Block) -> Iterator[int]:
    match block:
        case UnitMap():
            yield from block.counts
        case DifferenceMap():
            yield from (n for each in block.differences for n in each.counts)
        case AttributionMaps():
            shown = zip(block.counts, block.reasons, strict=True)
            yield from (n for n, reason in shown if reason is None)


def _estimates(value: Any, *, everything: bool = False) -> Iterator[Estimate]:
    """Every estimate inside; those of other things than images only if all are wanted."""
    parts: Sequence[Any] = ()
    if isinstance(value, Estimate):
        yield value
    elif isinstance(value, BaseModel) and (everything or not isinstance(value, _OF_OTHER_THINGS)):
        parts = [getattr(value, name) for name in type(value).model_fields]
    elif isinstance(value, dict):
        parts = tuple(value.values())
    elif isinstance(value, tuple):
        parts = value
    for part in parts:
        yield from _estimates(part, everything=everything)
