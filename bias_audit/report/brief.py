"""An audit in ten lines of plain text: verdicts, headline numbers, what went wrong, the report."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from bias_audit.durations import duration
from bias_audit.report.sections.verdicts import VerdictView, verdicts
from bias_audit.results.audit import AuditResult, SubjectResult
from bias_audit.results.numbers import Number, best, curves, numbers_of
from bias_audit.results.verdict import Outcome
from bias_audit.shapes.printed import counted, signed_interval

_MOST_VERDICTS: Final = 3
_MOST_BACKBONES: Final = 3
_URGENCY: Final[tuple[Outcome, ...]] = ("FAIL", "INCONCLUSIVE", "PASS")


def brief(
    result: AuditResult, reports: Sequence[Path], folder: Path | None = None
) -> tuple[str, ...]:
    """At most ten lines, whatever the audit contains; what is cut says so.

    The run folder is named where no report was written.
    """
    return (
        _heading(result),
        *_verdicts(result),
        *_backbones(result.subjects),
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
    rows = sorted(found.rows, key=lambda row: _URGENCY.index(row.outcome))
    yield f"Verdicts: {found.counts}{_cut(len(rows), _MOST_VERDICTS)}"
    yield from (_verdict(row) for row in rows[:_MOST_VERDICTS])


def _verdict(row: VerdictView) -> str:
    return f"  {row.shape} {row.outcome} {row.name} ({row.backbone}): {row.measured}, {row.margin}"


def _backbones(subjects: Sequence[SubjectResult]) -> Iterator[str]:
    lines = [line for subject in subjects if (line := _headline(subject))]
    for place, line in enumerate(lines[:_MOST_BACKBONES]):
        yield line + (_cut(len(lines), _MOST_BACKBONES) if place == 0 else "")


def _headline(subject: SubjectResult) -> str | None:
    """The lift of every target over the strongest baseline, where it is easiest to read."""
    found = [*curves(numbers_of(subject.backbone.name, subject.analyses))]
    first = [
        c
        for c in found
        if (c[0].block, c[0].analysis) == (found[0][0].block, found[0][0].analysis)
    ]
    lifts = ", ".join(f"{points[0].target} {_lift(best(points))}" for points in first)
    if not first:
        return None
    metric = first[0][0].metric
    return f"{subject.backbone.name}, lift of {metric} over the strongest baseline: {lifts}"


def _lift(highest: Number | None) -> str:
    return signed_interval(highest.lift if highest else None)


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
        problems.append(f"warnings in the summary: {'; '.join(warned)}")
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
