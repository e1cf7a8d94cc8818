"""The summary: failures, verdicts, findings in words, and what is not decided."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from bias_audit.report.blocks.groups import unmeasured
from bias_audit.report.blocks.layer_curve import strongest_told
from bias_audit.report.elements import Column, Failure, Table
from bias_audit.report.numbers import coverage, interval, signed_interval
from bias_audit.report.sections.verdicts import VerdictsView, verdicts
from bias_audit.results.audit import AnalysisResult, AuditResult, SubjectResult
from bias_audit.results.blocks import Curve, CurvePoint, Finding, GroupTable, LayerCurve
from bias_audit.results.matching import best_point


@dataclass(frozen=True)
class SubjectSummary:
    """What was found on one backbone."""

    name: str
    anchor: str
    findings: tuple[str, ...]
    undecided: tuple[str, ...]


@dataclass(frozen=True)
class SummaryView:
    """The page most readers read."""

    failures: tuple[Failure, ...]
    verdicts: VerdictsView
    overview: Table | None
    """Backbones by targets; None where no layer curve was measured."""
    subjects: tuple[SubjectSummary, ...]


def summary(result: AuditResult) -> SummaryView:
    """Put the summary together."""
    return SummaryView(
        failures=tuple(failure for s in result.subjects for failure in failures_of(s)),
        verdicts=verdicts(result),
        overview=_overview(result.subjects),
        subjects=tuple(_subject(s, index) for index, s in enumerate(result.subjects)),
    )


def failures_of(subject: SubjectResult) -> tuple[Failure, ...]:
    """Analyses of one backbone that could not be computed."""
    return tuple(
        Failure(subject.backbone.name, analysis.title, analysis.error or "no reason was recorded")
        for analysis in subject.analyses
        if analysis.status == "failed"
    )


def _subject(subject: SubjectResult, index: int) -> SubjectSummary:
    findings = [
        finding
        for analysis in subject.analyses
        for finding in sorted(analysis.findings, key=lambda finding: -finding.weight)
    ]
    return SubjectSummary(
        name=subject.backbone.name,
        anchor=f"backbone-{index}",
        findings=tuple(finding.text for finding in findings if _is_decided(finding)),
        undecided=(
            *(finding.text for finding in findings if not _is_decided(finding)),
            *(text for analysis in subject.analyses for text in _gaps(analysis)),
        ),
    )


def _is_decided(finding: Finding) -> bool:
    """Analyses weigh a finding by how far its interval lies from "no effect"; 0 includes it."""
    return finding.weight > 0


def _gaps(analysis: AnalysisResult) -> Iterator[str]:
    if analysis.status == "failed":
        yield f"{analysis.title}: could not be computed (see above)."
    for block in analysis.blocks:
        if isinstance(block, GroupTable):
            reasons = [row.reason for row in block.rows if row.estimate is None]
            yield from (f"{block.title}: {text}" for text in unmeasured(reasons, len(block.rows)))
    curves = [b for b in analysis.blocks if isinstance(b, LayerCurve)]
    reasons_by_target = {c.target: c.not_measured for b in curves for c in b.curves}
    for target, reason in reasons_by_target.items():
        if reason is not None:
            yield f"{analysis.title}: {target} was not measured ({reason})."


def _overview(subjects: tuple[SubjectResult, ...]) -> Table | None:
    """The highest estimate of every target on every backbone, by the first curve's metric."""
    curves = [(subject, block) for subject in subjects for block in _curves(subject)]
    if not curves:
        return None
    metric = curves[0][1].metric
    chosen = {s.backbone.name: b for s, b in reversed(curves) if b.metric == metric}
    targets = list(dict.fromkeys(c.target for _, b in curves for c in b.curves))
    estimates = [
        p.estimate for b in chosen.values() for c in b.curves for p in c.points if p.estimate
    ]
    rows = []
    for subject in subjects:
        block = chosen.get(subject.backbone.name)
        by_target = {c.target: c for c in block.curves} if block else {}
        chance = block.chance if block else {}
        cells = (_cell(by_target.get(target), chance.get(target)) for target in targets)
        rows.append((subject.backbone.name, *cells))
    return Table(
        caption=(
            f"Highest {metric} over the layers, with {coverage(estimates) or 'no interval'}, the "
            "layer it is reached at, the strongest control there, and the lift over it"
        ),
        columns=(Column("backbone"), *(Column(target, numeric=True) for target in targets)),
        rows=tuple(rows),
        excerpt=tuple(rows[:60]),
        excerpt_note="The first 60 backbones; all are in report.html and audit.json.",
    )


def _curves(subject: SubjectResult) -> Iterator[LayerCurve]:
    for analysis in subject.analyses:
        yield from (block for block in analysis.blocks if isinstance(block, LayerCurve))


def _cell(curve: Curve | None, chance: float | None) -> str:
    best: CurvePoint | None = best_point(curve) if curve else None
    if best is None:
        return "not measured"
    control = strongest_told(best, chance).replace(" ", "\N{NO-BREAK SPACE}")
    lift = f"lift {signed_interval(best.lift)}".replace(" ", "\N{NO-BREAK SPACE}")
    return f"{interval(best.estimate)}\nat {best.layer}\n{control}\n{lift}"
