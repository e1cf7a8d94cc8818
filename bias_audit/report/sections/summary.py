"""The summary: verdicts, failures, what matters most, and what is not decided."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from bias_audit.report.blocks.layer_curve import strongest_told
from bias_audit.report.elements import Column, Failure, Table
from bias_audit.report.numbers import coverage, interval, signed_interval
from bias_audit.report.sections.findings import FindingView, findings
from bias_audit.report.sections.method import error_rate
from bias_audit.report.sections.placing import TOGETHER, backbone_anchor
from bias_audit.report.sections.verdicts import VerdictsView, verdicts
from bias_audit.results.audit import AnalysisResult, AuditResult, SubjectResult
from bias_audit.results.blocks import Curve, CurvePoint, LayerCurve, Question
from bias_audit.results.matching import best_point

_MOST_UNDECIDED: Final = 3
_MOST_TOGETHER: Final = 6
_QUESTIONS: Final[dict[Question, tuple[str, str]]] = {
    "encoded": ("What is linearly decodable", "linear_probe"),
    "groups": ("Which groups stand out", "intersections"),
    "used": ("Whether the backbone's own decisions use it", "erasure"),
    "where": ("Where decisions look", "attribution"),
}
"""In words, and the kind of analysis that answers."""


@dataclass(frozen=True)
class Answer:
    """What the audit has to say on one question."""

    question: str
    text: str
    anchor: str | None
    """Of the finding that answers; None where nothing does."""
    is_decided: bool


@dataclass(frozen=True)
class SubjectSummary:
    """What matters most on one backbone."""

    name: str
    anchor: str
    answers: tuple[Answer, ...]
    n_decided: int
    undecided: tuple[FindingView, ...]
    """The first few."""
    n_undecided: int


@dataclass(frozen=True)
class SummaryView:
    """The page most readers read."""

    failures: tuple[Failure, ...]
    verdicts: VerdictsView
    error_rate: str
    """Of all tests together; empty without any."""
    overview: Table | None
    """Backbones by targets; None where no layer curve was measured."""
    subjects: tuple[SubjectSummary, ...]
    together: tuple[FindingView, ...] = ()
    """What all backbones together show, the surest first, decided or not."""


def summary(result: AuditResult) -> SummaryView:
    """Put the summary together."""
    return SummaryView(
        failures=tuple(
            failure
            for name, analyses in result.analysed
            for failure in failures_of(name, analyses)
        ),
        verdicts=verdicts(result),
        error_rate=error_rate(result),
        overview=_overview(result.subjects),
        subjects=tuple(_subject(s, index) for index, s in enumerate(result.subjects)),
        together=tuple(
            _surest_first(
                view
                for analysis in findings(result.together, TOGETHER)
                for view in (*analysis.decided, *analysis.undecided)
            )[:_MOST_TOGETHER]
        ),
    )


def failures_of(name: str, analyses: Sequence[AnalysisResult]) -> tuple[Failure, ...]:
    """Analyses of one backbone that could not be computed."""
    return tuple(
        Failure(name, analysis.title, analysis.error or "no reason was recorded")
        for analysis in analyses
        if analysis.status == "failed"
    )


def _subject(subject: SubjectResult, index: int) -> SubjectSummary:
    shown = findings(subject.analyses, backbone_anchor(index))
    decided = [view for analysis in shown for view in analysis.decided]
    undecided = [view for analysis in shown for view in analysis.undecided]
    answers = tuple(_answer(question, subject, decided + undecided) for question in _QUESTIONS)
    told = {answer.anchor for answer in answers}
    rest = [view for view in undecided if view.anchor not in told]
    return SubjectSummary(
        name=subject.backbone.name,
        anchor=backbone_anchor(index),
        answers=answers,
        n_decided=len(decided),
        undecided=tuple(rest[:_MOST_UNDECIDED]),
        n_undecided=len(undecided),
    )


def _answer(question: Question, subject: SubjectResult, views: list[FindingView]) -> Answer:
    """All warnings, or the surest finding that answers; without one, why there is none."""
    label, _ = _QUESTIONS[question]
    answering = [view for view in views if view.question == question]
    if not answering:
        return Answer(label, _unanswered(question, subject), None, is_decided=False)
    surest = _surest_first(answering)
    told = [view for view in surest if view.is_warning] or surest[:1]
    text = " ".join(view.text for view in told)
    return Answer(label, text, told[0].anchor, is_decided=told[0].weight > 0)


def _surest_first(views: Iterable[FindingView]) -> list[FindingView]:
    return sorted(views, key=lambda view: -view.weight)


def _unanswered(question: Question, subject: SubjectResult) -> str:
    _, kind = _QUESTIONS[question]
    asked = [analysis for analysis in subject.analyses if analysis.kind == kind]
    if not asked:
        return f"Not asked: this audit has no analysis of kind {kind}."
    if any(analysis.status == "failed" for analysis in asked):
        return f"Not measured: {asked[0].title} could not be computed."
    if question == "used" and subject.without_head is not None:
        return f"Not measured: there is no classification layer ({subject.without_head})."
    return f"Not told: no finding of {asked[0].title} answers this."


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
            "layer it is reached at, the strongest baseline there, and the lift over it"
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
