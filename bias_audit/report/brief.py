"""An audit in ten lines of plain text: verdicts, headline numbers, what went wrong, the report."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from bias_audit.durations import duration
from bias_audit.report.sections.readings import headline, readings
from bias_audit.report.sections.verdicts import VerdictView, by_urgency, verdicts
from bias_audit.results.audit import AuditResult
from bias_audit.shapes.printed import counted, interval, sentence, signed_interval

_MOST_VERDICTS: Final = 3
_MOST_BACKBONES: Final = 1


def brief(
    result: AuditResult, reports: Sequence[Path], folder: Path | None = None
) -> tuple[str, ...]:
    """At most ten lines, whatever the audit contains; what is cut says so.

    The run folder is named where no report was written.
    """
    return (
        _heading(result),
        headline(result),
        *_verdicts(result),
        *_attributes(result),
        *_problems(result),
        *_paths(reports, folder),
    )


def _heading(result: AuditResult) -> str:
    return (
        f"{result.name}: {counted(len(result.subjects), 'backbone')}, "
        f"{counted(result.data.n_images, 'image')} of {result.data.name}, "
        f"{duration(result.provenance.seconds)}"
    )


def _verdicts(result: AuditResult) -> Iterator[str]:
    found = verdicts(result)
    if not found.rows:
        yield "Verdicts: none; no acceptance threshold was set, so there is no pass or fail"
        return
    rows = by_urgency(found.rows)
    yield f"Verdicts: {found.counts}{_cut(len(rows), _MOST_VERDICTS)}"
    yield from (_verdict(row) for row in rows[:_MOST_VERDICTS])


def _verdict(row: VerdictView) -> str:
    return f"  {row.shape} {row.outcome} {row.name} ({row.backbone}): {row.measured}, {row.margin}"


def _attributes(result: AuditResult) -> Iterator[str]:
    """How well each attribute can be read, for the first few backbones."""
    by_backbone: dict[str, list[str]] = {}
    for each in readings(result):
        found = by_backbone.setdefault(each.backbone, [])
        if each.number and each.number.estimate:
            difference = signed_interval(each.number.lift)
            found.append(f"{each.target} {interval(each.number.estimate)} ({difference})")
    lines = [f"  {name}: {', '.join(found)}" for name, found in by_backbone.items() if found]
    if lines:
        metric = next(r.number.metric for r in readings(result) if r.number)
        shown = _cut(len(lines), _MOST_BACKBONES)
        yield f"{sentence(metric)} (difference from the strongest baseline){shown}:"
        yield from lines[:_MOST_BACKBONES]


def _problems(result: AuditResult) -> Iterator[str]:
    """One line at most."""
    named = [
        (f"{analysis.title} on {name}", analysis)
        for name, analyses in result.analysed
        for analysis in analyses
    ]
    failed = [words for words, analysis in named if analysis.status == "failed"]
    warned = [words for words, analysis in named if any(f.is_warning for f in analysis.findings)]
    not_ok = result.selftest.not_ok if result.selftest else ()
    problems = []
    if failed:
        problems.append(f"could not be computed: {'; '.join(failed)}")
    if warned:
        problems.append(f"warnings among the findings: {'; '.join(warned)}")
    if not_ok:
        problems.append(f"self-test NOT OK: {'; '.join(row.check for row in not_ok)}")
    if problems:
        yield f"Attention: {'. '.join(problems)}"


def _paths(reports: Sequence[Path], folder: Path | None) -> Iterator[str]:
    if reports:
        others = "".join(f" and {path.name}" for path in reports[1:])
        yield f"Report: {reports[0]}{others}"
    elif folder:
        yield f"Results: {folder / 'audit.json'}; bias-audit render {folder} writes the report"


def _cut(total: int, most: int) -> str:
    return f" ({most} of {total} shown)" if total > most else ""
