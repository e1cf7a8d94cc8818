"""What each stage of an audit took."""

from __future__ import annotations

from collections.abc import Iterator

from bias_audit.results.audit import AuditResult, StageCost
from bias_audit.shapes.printed import count, size
from bias_audit.shapes.tables import Column, Table

_COLUMNS = (
    Column("stage"),
    Column("of"),
    Column("seconds", numeric=True),
    Column("images", numeric=True),
    Column("images/s", numeric=True),
    Column("on disk"),
    Column("from the store"),
)


def cost(result: AuditResult) -> Table | None:
    """One row per stage; None where an earlier release recorded none."""
    rows = tuple(_rows(result))
    if not rows:
        return None
    return Table("What each stage took", _COLUMNS, rows, n_headers=2)


def _rows(result: AuditResult) -> Iterator[tuple[str, ...]]:
    for stage in result.provenance.costs:
        yield _row(stage, "all backbones")
    for subject in result.subjects:
        for stage in subject.costs:
            yield _row(stage, subject.backbone.name)


def _row(cost: StageCost, of: str) -> tuple[str, ...]:
    works = cost.images and not cost.reused and cost.seconds > 0
    return (
        cost.stage,
        of,
        f"{cost.seconds:,.1f}",
        "" if cost.images is None else count(cost.images),
        f"{cost.images / cost.seconds:.1f}" if works and cost.images else "",
        "" if cost.bytes is None else size(cost.bytes),
        "yes" if cost.reused else "no",
    )
