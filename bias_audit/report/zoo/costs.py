"""What audits cost: seconds, images and bytes by stage, and over time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from bias_audit.durations import duration
from bias_audit.report.page import Prose, Section, Tabled, number_columns, paragraphs, text_columns
from bias_audit.results.history.reading import History
from bias_audit.results.history.tables import CostRow
from bias_audit.shapes.printed import count, counted, size
from bias_audit.shapes.tables import Table

_MOST_ROWS: Final = 300
_MOST_DAYS: Final = 60
_TITLE: Final = "How long did the audits take?"


def costs(history: History) -> Section:
    """Add up what was measured."""
    latest = {audit.id for audit in history.audits if audit.is_latest}
    now = [cost for cost in history.costs if cost.audit_id in latest]
    if not now:
        nothing = Prose("The latest audits recorded no cost.", "box", "None.")
        return Section("cost", _TITLE, (nothing,))
    stages = _stages(history, now)
    notes = []
    if len(stages.rows) < len(now):
        notes.append(
            f"The {_MOST_ROWS} longest of {counted(len(now), 'stage')}; the history's table "
            "`costs` has all."
        )
    n_days = len({audit.started[:10] for audit in history.audits})
    if n_days > _MOST_DAYS:
        notes.append(f"The latest {_MOST_DAYS} of {n_days} days with audits.")
    return Section(
        "cost",
        _TITLE,
        (
            Prose(
                "Measured while the audits ran, by the clock of their machine; other work on that "
                "machine counts, too. Each run was measured once, so there are no intervals."
            ),
            Tabled(_totals(now)),
            Tabled(_days(history)),
            Tabled(stages, is_folded=True),
            *paragraphs(notes, "note"),
        ),
    )


def rate(found: Sequence[CostRow]) -> str:
    """Images per second of the stages that were not reused and count images."""
    worked = [cost for cost in found if cost.images and not cost.is_reused and cost.seconds > 0]
    if not worked:
        return ""
    return f"{sum(c.images or 0 for c in worked) / sum(c.seconds for c in worked):.1f}"


def _seconds(seconds: float) -> str:
    return f"{seconds:,.1f}"


def _images(found: Sequence[CostRow]) -> str:
    counts = [cost.images for cost in found if cost.images is not None]
    return count(sum(counts)) if counts else ""


def _bytes(found: Sequence[CostRow]) -> str:
    counts = [cost.bytes for cost in found if cost.bytes is not None]
    return size(sum(counts)) if counts else ""


def _totals(now: Sequence[CostRow]) -> Table:
    by_stage: dict[str, list[CostRow]] = {}
    for cost in now:
        by_stage.setdefault(cost.stage, []).append(cost)
    rows = [_total(stage, found) for stage, found in by_stage.items()]
    rows.append(_total("all stages", now))
    return Table(
        caption="Latest audits by stage",
        columns=(
            *text_columns("stage"),
            *number_columns(
                "times", "reused", "seconds", "images", "images per second", "on disk"
            ),
        ),
        rows=tuple(rows),
    )


def _total(stage: str, found: Sequence[CostRow]) -> tuple[str, ...]:
    return (
        stage,
        count(len(found)),
        count(sum(cost.is_reused for cost in found)),
        _seconds(sum(cost.seconds for cost in found)),
        _images(found) if stage != "all stages" else "",
        rate(found) if stage != "all stages" else "",
        _bytes(found),
    )


def _stages(history: History, now: Sequence[CostRow]) -> Table:
    labels = {each.id: each.label for each in history.latest}
    audits = {audit.id: audit for audit in history.audits}
    kept = sorted(now, key=lambda cost: -cost.seconds)[:_MOST_ROWS]
    longest = set(map(id, kept))
    rows = tuple(
        (
            labels.get(cost.backbone_id or 0, f"{audits[cost.audit_id].entry} (shared)"),
            audits[cost.audit_id].dataset,
            cost.stage,
            _seconds(cost.seconds),
            _images([cost]),
            rate([cost]),
            _bytes([cost]),
            "reused" if cost.is_reused else "",
        )
        for cost in now
        if id(cost) in longest
    )
    return Table(
        caption="Latest audits by backbone, dataset and stage",
        columns=(
            *text_columns("backbone", "dataset", "stage"),
            *number_columns("seconds", "images", "images per second", "on disk"),
            *text_columns("work"),
        ),
        rows=rows,
    )


def _days(history: History) -> Table:
    by_audit: dict[int, list[CostRow]] = {}
    for cost in history.costs:
        by_audit.setdefault(cost.audit_id, []).append(cost)
    by_day: dict[str, list[int]] = {}
    for audit in history.audits:
        by_day.setdefault(audit.started[:10], []).append(audit.id)
    seconds = {audit.id: audit.seconds for audit in history.audits}
    rows = []
    for day in sorted(by_day, reverse=True)[:_MOST_DAYS]:
        found = [cost for number in by_day[day] for cost in by_audit.get(number, ())]
        passed = [cost for cost in found if cost.stage == "forward pass"]
        rows.append(
            (
                day,
                count(len(by_day[day])),
                duration(sum(seconds[number] for number in by_day[day])),
                _images(passed),
                rate(passed),
            )
        )
    return Table(
        caption="All audits by day, the latest first",
        columns=(
            *text_columns("day (UTC)"),
            *number_columns("audits"),
            *text_columns("duration"),
            *number_columns("images in forward passes", "images per second"),
        ),
        rows=tuple(rows),
    )
