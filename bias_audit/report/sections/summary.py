"""The summary: verdicts, failures, what matters most, and what is not decided."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from markupsafe import Markup

from bias_audit.report.page import (
    Code,
    Fact,
    Facts,
    Item,
    Items,
    Medium,
    Only,
    Part,
    Prose,
    Section,
    Tabled,
    linked,
    number_columns,
    parts,
    text_columns,
)
from bias_audit.report.sections.blocks import TOGETHER, backbone_anchor
from bias_audit.report.sections.findings import FindingView, findings, with_evidence
from bias_audit.report.sections.method import error_rate
from bias_audit.report.sections.selftest import failed_box, selftest
from bias_audit.report.sections.verdicts import verdicts, verdicts_part
from bias_audit.results.audit import TOGETHER as AS_ONE
from bias_audit.results.audit import AnalysisResult, AuditResult, SubjectResult
from bias_audit.results.finding import Question
from bias_audit.results.numbers import Number, best, curves, numbers_of
from bias_audit.shapes.layer_curve import baseline
from bias_audit.shapes.printed import coverage, interval, sentence, signed_interval
from bias_audit.shapes.tables import Table

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
class Failure:
    """An analysis that could not be computed."""

    backbone: str
    title: str
    error: str


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
    found = {s.backbone.name: [*curves(numbers_of(s.backbone.name, s.analyses))] for s in subjects}
    every = [points for of_one in found.values() for points in of_one]
    if not every:
        return None
    metric = every[0][0].metric
    targets = list(dict.fromkeys(points[0].target for points in every))
    rows = []
    for name, of_one in found.items():
        first: dict[str, Sequence[Number]] = {}
        for points in of_one:
            if points[0].metric == metric:
                first.setdefault(points[0].target, points)
        rows.append((name, *(_cell(best(first.get(target, ()))) for target in targets)))
    estimates = [
        p.estimate for points in every for p in points if p.metric == metric and p.estimate
    ]
    return Table(
        caption=(
            f"Highest {metric} over the layers, with {coverage(estimates) or 'no interval'}, the "
            "layer it is reached at, the strongest baseline there, and the lift over it"
        ),
        columns=(*text_columns("backbone"), *number_columns(*targets)),
        rows=tuple(rows),
        excerpt=tuple(rows[:60]),
        excerpt_note="The first 60 backbones; all are in report.html and audit.json.",
    )


def _cell(highest: Number | None) -> str:
    if highest is None:
        return "not measured"
    over = baseline(highest.over, highest.control, highest.chance)
    lift = f"lift {signed_interval(highest.lift)}"
    unbroken = (text.replace(" ", "\N{NO-BREAK SPACE}") for text in (over, lift))
    return "\n".join((interval(highest.estimate), f"at {highest.layer}", *unbroken))


def summary_section(result: AuditResult, answers: tuple[str, ...]) -> Section:
    """The page most readers read."""
    found = summary(result)
    tested = selftest(result.selftest).warning if result.selftest else ""
    of_all = error_rate(result)
    see = Markup('{} See <a href="#selftest">Self-test</a>.')
    rate = Markup('{} See <a href="#method">Method</a>.')
    return Section(
        "summary",
        "Summary",
        parts(
            failed_box(see.format(tested) if tested else ""),
            verdicts_part(verdicts(result)),
            (Prose(rate.format(of_all), "note"),) if of_all else (),
            _incomplete(found),
            [Section("glance", "At a glance", (Tabled(found.overview),))]
            if found.overview
            else [],
            [_subject_section(subject) for subject in found.subjects],
            (_joint(found.together),) if result.together else (),
        ),
        answers=answers,
    )


def _incomplete(found: SummaryView) -> tuple[Part, ...]:
    if not found.failures:
        return ()
    said = (
        f"{len(found.failures)} of its analyses could not be computed; the rest does not depend "
        "on them."
    )
    return (
        Prose(said, "box failure", "This report is incomplete."),
        *failure_boxes(found.failures),
    )


def failure_boxes(found: Sequence[Failure]) -> tuple[Part, ...]:
    """A box for each, with the error."""
    return tuple(
        Section(
            "",
            f"Not computed: {each.title} on {each.backbone}",
            (Code(each.error),),
            "box failure",
        )
        for each in found
    )


def _subject_section(subject: SubjectSummary) -> Section:
    def said(medium: Medium) -> tuple[Part, ...]:
        replies = tuple(
            Fact(
                answer.question,
                (with_evidence(answer.text, answer.anchor, medium),),
                tag="undecided" if answer.anchor and not answer.is_decided else "",
                look="" if answer.is_decided else "undecided",
            )
            for answer in subject.answers
        )
        undecided = tuple(
            Item(with_evidence(view.text, view.anchor, medium)) for view in subject.undecided
        )
        nothing = Prose(
            "Nothing was found that its interval separates from chance or from the control. That "
            "is not evidence of absence."
        )
        open_ones = Section(
            f"{subject.anchor}-open", "What is not decided", (Items(undecided, "undecided"),)
        )
        return parts(
            Facts(replies, "replies"),
            () if subject.n_decided else (nothing,),
            (open_ones,) if undecided else (),
        )

    every = Markup(
        '<a href="#{}-findings">All findings on {}</a>: {} decided, {} not decided or not '
        "measured."
    )
    return Section(
        f"{subject.anchor}-summary",
        linked(subject.name, f"#{subject.anchor}"),
        (
            Only("screen", said("screen")),
            Only("paper", said("paper")),
            Prose(
                every.format(subject.anchor, subject.name, subject.n_decided, subject.n_undecided),
                "note",
            ),
        ),
    )


def _joint(found: Sequence[FindingView]) -> Section:
    def surest(medium: Medium) -> Items:
        return Items(
            tuple(
                Item(
                    with_evidence(view.text, view.anchor, medium),
                    "undecided" if view.weight <= 0 else "",
                )
                for view in found
            )
        )

    note = Markup('The surest ones: all are among the <a href="#{}-findings">findings on {}</a>.')
    return Section(
        f"{TOGETHER}-summary",
        linked(sentence(AS_ONE), f"#{TOGETHER}"),
        (
            Only("screen", (surest("screen"),)),
            Only("paper", (surest("paper"),)),
            Prose(note.format(TOGETHER, AS_ONE), "note"),
        ),
    )
