"""Every number of an audit that can be named, in one long table.

Criteria, comparisons, the history, exports and summaries read this and no block.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from itertools import groupby
from operator import attrgetter

from bias_audit.groups import Group
from bias_audit.results.audit import AnalysisResult, AuditResult
from bias_audit.shapes.catalog import shape_of
from bias_audit.shapes.layer_curve import MEASURED, highest
from bias_audit.shapes.shape import COLUMNS, Rows, cells_of, columns_of
from bias_audit.statistics.estimate import Estimate


@dataclass(frozen=True)
class Number:
    """A quantity of one target at one layer, of all groups or of one; missing ones included."""

    backbone: str
    analysis: str
    """Kind of the analysis."""
    place: int
    """Of the analysis among those of its kind."""
    block: int
    """Of the block in the analysis."""
    quantity: str
    """What criteria call it: "macro_auc", "recall", ..."""
    metric: str
    """The same in words."""
    target: str
    layer: str | None
    """None where no layer could be measured."""
    group: Group | None = None
    """None: all images."""
    images: int | None = None
    """Independent ones of the group."""
    estimate: Estimate | None = None
    """None where it is missing, and `reason` says why."""
    lift: Estimate | None = None
    """The estimate minus the strongest control, or minus guessing; paired."""
    over: str | None = None
    """What the lift is over."""
    control: Estimate | None = None
    """The value of that, where it is a control."""
    shrunk: Estimate | None = None
    """The estimate drawn towards what the group's attributes predict."""
    chance: float | None = None
    """What guessing gives, or predictions that ignore the image."""
    p: float | None = None
    adjusted_p: float | None = None
    refit_sd: float | None = None
    """Standard deviation when the same probe is fitted to other folds; None: not measured."""
    refit_share: float | None = None
    """The same as a share of the standard errors."""
    is_conditional: str | None = None
    """ "yes" where a claim is left only if no two similar images show one person."""
    choice: float | None = None
    """Share of the error rate left to the interval of a layer chosen by its estimate."""
    lift_choice: float | None = None
    reason: str | None = None


_FIELDS = frozenset(field.name for field in fields(Number))


def numbers(result: AuditResult) -> Iterator[Number]:
    """All numbers of an audit, backbone by backbone, then those of all together."""
    for name, analyses in result.analysed:
        yield from numbers_of(name, analyses)


def numbers_of(backbone: str, analyses: Iterable[AnalysisResult]) -> Iterator[Number]:
    """All numbers of some analyses, in their order."""
    seen: dict[str, int] = {}
    for analysis in analyses:
        place = seen.get(analysis.kind, 0)
        seen[analysis.kind] = place + 1
        for block, content in enumerate(analysis.blocks):
            shape = shape_of(content)
            if "quantity" not in shape.columns:
                continue
            for row in shape.rows(content):
                if row.get("series", MEASURED) == MEASURED:
                    known = {name: value for name, value in row.items() if name in _FIELDS}
                    yield Number(backbone, analysis.kind, place, block, **known)


_NAMES = tuple(field.name for field in fields(Number) if field.name in COLUMNS)


def table(result: AuditResult) -> tuple[dict[str, str], Rows]:
    """All numbers of an audit as cells, and the columns by their kind: text, whole or number."""
    origin = {"backbone": "text", "analysis": "text", "place": "whole", "block": "whole"}
    rows: Rows = [
        (
            *(number.backbone, number.analysis, number.place, number.block),
            *cells_of(_NAMES, {name: getattr(number, name) for name in _NAMES}),
        )
        for number in numbers(result)
    ]
    return origin | columns_of(_NAMES), rows


def curves(found: Iterable[Number]) -> Iterator[tuple[Number, ...]]:
    """The numbers over layers, one tuple for each target of each block, in order of depth."""
    over_layers = (number for number in found if number.group is None)
    of_curve = attrgetter("backbone", "analysis", "place", "block", "target")
    for _, points in groupby(over_layers, of_curve):
        yield tuple(points)


def best(points: Sequence[Number]) -> Number | None:
    """The highest of a curve; its intervals allow for the choice among layers."""
    return highest(points, points[0].choice, points[0].lift_choice) if points else None
