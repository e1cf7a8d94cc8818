"""A comparison in about ten lines of plain text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from bias_audit.report.changes.wording import (
    SYMBOLS,
    WORDS,
    format_images,
    headline,
    moved,
    strongest,
    what,
)
from bias_audit.results.differing.shapes import AuditDiff

_MOST: Final = 3


def diff_brief(found: AuditDiff, paths: Sequence[Path]) -> tuple[str, ...]:
    """At most a dozen lines: what changed, why, what a gate does, where the page is."""
    return (
        f"{found.before.name} ({found.before.started}) -> {found.after.name} "
        f"({found.after.started}): {format_images(found)}",
        headline(found),
        *_changes(found),
        *_verdicts(found),
        *_conclusions(found),
        *_lacking(found),
        *_gate(found),
        *([f"Comparison: {paths[0]} and {paths[-1].name}"] if paths else []),
    )


def _changes(found: AuditDiff) -> Iterator[str]:
    shown = strongest(found, _MOST)
    for change in shown:
        symbol = f"{SYMBOLS[change.outcome]} {WORDS[change.outcome]}"
        yield f"  {symbol}: {change.backbone}, {what(change)}: {moved(change)}"


def _verdicts(found: AuditDiff) -> Iterator[str]:
    turned = [v for v in found.verdict_changes if v.outcome != "same"]
    if not turned:
        return
    listed = [f"{v.criterion} ({v.backbone}) {v.before} -> {v.after}" for v in turned[:_MOST]]
    more = f"; and {len(turned) - _MOST} more" if len(turned) > _MOST else ""
    yield f"Verdicts that changed: {'; '.join(listed)}{more}"


def _conclusions(found: AuditDiff) -> Iterator[str]:
    """A conclusion about several backbones is printed once."""
    texts: dict[str, list[str]] = {}
    for conclusion in found.conclusions:
        texts.setdefault(conclusion.text, []).append(conclusion.backbone)
    for text, names in list(texts.items())[:_MOST]:
        yield f"{', '.join(names[:_MOST])}: {text}" if len(found.conclusions) > 1 else text


def _lacking(found: AuditDiff) -> Iterator[str]:
    total = sum(entry.count for entry in found.not_compared)
    if total:
        yield f"Not compared: {total} numbers, such as {found.not_compared[0].what} " + (
            f"({found.not_compared[0].reason})"
        )


def _gate(found: AuditDiff) -> Iterator[str]:
    gate = found.gate
    if not gate.fail_on:
        return
    conditions = ", ".join(gate.fail_on)
    if gate.outcome == "open":
        yield f"Gate (fails on {conditions}): OPEN"
        return
    word = {"failed": "FAILED", "undecided": "INCONCLUSIVE", "missing": "EVIDENCE MISSING"}
    more = f"; and {len(gate.reasons) - _MOST} more" if len(gate.reasons) > _MOST else ""
    outcome = f"Gate (fails on {conditions}): {word[gate.outcome]}"
    yield f"{outcome}: {'; '.join(gate.reasons[:_MOST])}{more}"
