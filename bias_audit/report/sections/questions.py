"""What was found, question by question: sentences, then the figures and tables behind them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, get_args

from markupsafe import Markup
from pydantic import BaseModel

from bias_audit.report.figures.style import Palette
from bias_audit.report.page import (
    Cards,
    Code,
    Fold,
    Item,
    Items,
    Medium,
    Only,
    Part,
    Prose,
    Section,
    Shown,
    Tabled,
    number_columns,
    parts,
    text_columns,
)
from bias_audit.report.references import SECTIONS
from bias_audit.report.sections.blocks import (
    TOGETHER,
    PlacedBlock,
    backbone_anchor,
    placed_blocks,
    shown_blocks,
)
from bias_audit.report.sections.readings import by_attribute
from bias_audit.results.audit import TOGETHER as AS_ONE
from bias_audit.results.audit import AnalysisResult, AuditResult
from bias_audit.results.finding import Finding, Question
from bias_audit.results.numbers import Number, curves, numbers_of
from bias_audit.shapes.layer_curve import baseline
from bias_audit.shapes.printed import counted, coverage, interval, sentence, signed_interval
from bias_audit.shapes.shape import Block
from bias_audit.shapes.tables import Table, unmeasured
from bias_audit.statistics.estimate import Estimate

_DECIDED, _UNDECIDED = 3, 2
"""Findings of an analysis that are shown at once; paper prints no others."""


@dataclass(frozen=True)
class FindingView:
    """One sentence."""

    anchor: str
    evidence: str | None
    """Anchor of the block with its numbers; None where its analysis has no block."""
    text: str
    weight: float
    """0: inconclusive."""
    is_warning: bool


@dataclass(frozen=True)
class FindingsView:
    """What one analysis found."""

    question: Question
    decided: tuple[FindingView, ...]
    """Warnings first, then by how sure they are."""
    undecided: tuple[FindingView, ...]


def findings(analyses: Sequence[AnalysisResult], section: str) -> tuple[FindingsView, ...]:
    """All sentences of a section, by its anchor, but for those on published claims."""
    blocks = placed_blocks(analyses, section)
    shown = []
    for place, analysis in enumerate(analyses):
        anchor = f"finding-{section.removeprefix('backbone-')}-{place}"
        own = [(b, frozenset(_estimates(b.block))) for b in blocks if b.analysis is analysis]
        views = [
            FindingView(
                f"{anchor}-{n}",
                _evidence(finding, own),
                finding.text,
                finding.weight,
                finding.is_warning,
            )
            for n, finding in enumerate(_sorted(analysis))
        ]
        if views:
            shown.append(
                FindingsView(
                    analysis.question,
                    decided=tuple(view for view in views if view.weight > 0),
                    undecided=tuple(view for view in views if view.weight <= 0),
                )
            )
    return tuple(shown)


def _evidence(
    finding: Finding, blocks: Sequence[tuple[PlacedBlock, frozenset[Estimate]]]
) -> str | None:
    """Anchor of the block that a finding names, or that holds most of its estimates.

    The first of several; the first of all where no block holds any.
    """
    named = [entry for entry in blocks if _is_named(finding, entry[0].block)] or blocks
    wanted = frozenset(finding.estimates.values())
    found = max(named, key=lambda entry: len(wanted & entry[1]), default=None)
    return None if found is None else found[0].anchor


def _is_named(finding: Finding, block: Block) -> bool:
    names = (block.name, getattr(block, "quantity", None))
    return finding.evidence is not None and finding.evidence in names


def _estimates(value: object) -> Iterator[Estimate]:
    """All that a block holds, at any depth."""
    if isinstance(value, Estimate):
        yield value
    elif isinstance(value, tuple | list):
        for part in value:
            yield from _estimates(part)
    elif isinstance(value, dict):
        yield from _estimates(tuple(value.values()))
    elif isinstance(value, BaseModel):
        yield from _estimates(tuple(vars(value).values()))


def _sorted(analysis: AnalysisResult) -> list[Finding]:
    """Warnings, then conclusive ones, inconclusive ones, and what was not measured at all."""
    gaps = [Finding(text=text, weight=0.0) for text in _gaps(analysis)]
    own = [finding for finding in analysis.findings if finding.claim is None]
    return [*sorted(own, key=lambda each: (not each.is_warning, -each.weight)), *gaps]


def _gaps(analysis: AnalysisResult) -> Iterator[str]:
    if analysis.status == "failed":
        yield f"{analysis.title}: could not be computed (see “What could not be computed”)."
    found = [*numbers_of("", [analysis])]
    for block, content in enumerate(analysis.blocks):
        rows = [n for n in found if n.block == block and n.group is not None]
        reasons = [n.reason for n in rows if n.estimate is None]
        yield from (f"{content.title}: {text}" for text in unmeasured(reasons, len(rows)))
    for points in curves(found):
        if all(point.estimate is None for point in points) and points[0].reason:
            yield f"{analysis.title}: {points[0].target} was not measured ({points[0].reason})."


def sentences(found: Sequence[FindingsView]) -> tuple[Part, ...]:
    """What was found, then what stays open; paper prints the first few of each analysis."""
    if not found:
        return ()
    return (
        Only("screen", tuple(_lists(found, "screen"))),
        Only("paper", tuple(_lists(found, "paper"))),
    )


def _lists(found: Sequence[FindingsView], medium: Medium) -> Iterator[Part]:
    """The first few of each analysis; the screen folds the others away."""
    decided = [view for each in found for view in each.decided[:_DECIDED]]
    undecided = [view for each in found for view in each.undecided]
    rest = [view for each in found for view in each.decided[_DECIDED:]]
    if decided:
        yield _list(decided, "findings", medium)
    if medium == "screen":
        if rest:
            yield Fold(counted(len(rest), "more finding"), (_list(rest, "findings", medium),))
        if undecided:
            yield Fold(
                counted(len(undecided), "open question"), (_list(undecided, "findings", medium),)
            )
        return
    shown = [view for each in found for view in each.undecided[:_UNDECIDED]]
    if shown:
        title = Prose("", "open-questions", f"{counted(len(undecided), 'open question')}:")
        yield from (title, _list(shown, "findings undecided", medium))
    if left := len(rest) + len(undecided) - len(shown):
        yield Prose(f"{left} more in report.html.", "note of-table")


def _list(views: Sequence[FindingView], look: str, medium: Medium) -> Items:
    return Items(
        tuple(
            Item(with_evidence(view.text, view.evidence, medium), anchor=view.anchor)
            for view in views
        ),
        look,
    )


def with_evidence(text: str, anchor: str | None, medium: Medium) -> str:
    """On screen a sentence leads to the numbers behind it."""
    if anchor is None or medium == "paper":
        return text
    return Markup('{} <a href="#{}">Evidence</a>').format(text, anchor)


_QUESTIONS: Final[tuple[Question, ...]] = get_args(Question)
"""In the order in which they are answered."""
_CLAIMS: Final = "Krug & Stober 2025, arXiv:2506.03664"


@dataclass(frozen=True)
class Failure:
    """An analysis that could not be computed."""

    backbone: str
    title: str
    error: str


@dataclass(frozen=True)
class _Chapter:
    """What one backbone has to say on all questions."""

    name: str
    anchor: str
    findings: tuple[FindingsView, ...]
    blocks: tuple[Shown, ...]


def failures(result: AuditResult) -> tuple[Failure, ...]:
    """Analyses that could not be computed."""
    return tuple(
        Failure(name, analysis.title, analysis.error or "no reason was recorded")
        for name, analyses in result.analysed
        for analysis in analyses
        if analysis.status == "failed"
    )


def failed_sections(found: Sequence[Failure]) -> tuple[Section, ...]:
    """The errors of what could not be computed."""
    if not found:
        return ()
    each = (
        Section("", f"{one.title} on {one.backbone}", (Code(one.error),), "box failure")
        for one in found
    )
    return (Section("failed", "What could not be computed", tuple(each)),)


def question_sections(
    result: AuditResult,
    folder: Path | None,
    *,
    palette: Palette,
    answers: Mapping[str, tuple[str, ...]],
) -> Iterator[Section]:
    """A section for each question that an analysis asks, then the published claims."""
    chapters = [
        _chapter(name, backbone_anchor(place), analyses, folder, palette)
        for place, (name, analyses) in enumerate(
            (subject.backbone.name, subject.analyses) for subject in result.subjects
        )
    ]
    if result.together:
        chapters.append(_chapter(AS_ONE, TOGETHER, result.together, folder, palette))
    several = len(result.subjects) > 1
    for question in _QUESTIONS:
        found = [part for each in chapters for part in _of_chapter(each, question, several)]
        if question == "encoded" and several and (table := _overview(result)):
            found.insert(0, Tabled(table))
        if found:
            yield Section(
                question, SECTIONS[question], tuple(found), "question", answers[question]
            )
    if claimed := _published(result):
        yield claimed


def _chapter(
    name: str,
    anchor: str,
    analyses: Sequence[AnalysisResult],
    folder: Path | None,
    palette: Palette,
) -> _Chapter:
    blocks = shown_blocks(analyses, anchor, folder, palette=palette)
    return _Chapter(name, anchor, findings(analyses, anchor), blocks)


def _of_chapter(chapter: _Chapter, question: Question, several: bool) -> tuple[Part, ...]:  # noqa: FBT001
    """What a backbone says on a question; under its name where there are several."""
    found = [each for each in chapter.findings if each.question == question]
    blocks = [block for block in chapter.blocks if block.question == question]
    if not found and not blocks:
        return ()
    shown = [block for block in blocks if not block.is_detail]
    drawn = [_block(block, chapter.anchor) for block in shown if block.figure or block.is_open]
    tables = tuple(
        _block(block, chapter.anchor) for block in shown if not (block.figure or block.is_open)
    )
    rest = tuple(_block(block, chapter.anchor) for block in blocks if block.is_detail)
    content = parts(sentences(found), drawn, (Cards(tables),) if tables else (), _more(rest))
    if not several or chapter.anchor == TOGETHER:
        return content
    anchor = f"{chapter.anchor}-{question}"
    return (Section(anchor, chapter.name, content, "backbone", name=chapter.name, is_listed=True),)


def _more(rest: tuple[Section, ...]) -> tuple[Part, ...]:
    if not rest:
        return ()
    said = counted(len(rest), "more result")
    return (
        Only("screen", (Fold(said, rest),)),
        Only("paper", (Prose(f"{said} in report.html and audit.json.", "note"),)),
    )


def _block(block: Shown, anchor: str) -> Section:
    sheet = " sheet" if block.figure and block.figure.is_landscape else ""
    return Section(
        block.anchor,
        block.title,
        (block,),
        look=f"block {block.shape}{sheet}",
        layer=(block.layer or "") if anchor != TOGETHER else "",
        is_listed=not block.is_detail,
    )


def _published(result: AuditResult) -> Section | None:
    """Every published claim beside what these data say about it; always the whole set."""
    several = len(result.subjects) > 1
    rows = tuple(
        (
            finding.claim,
            finding.result or "",
            f"{name}: {finding.text}" if several else finding.text,
        )
        for name, analyses in result.analysed
        for analysis in analyses
        for finding in analysis.findings
        if finding.claim
    )
    if not rows:
        return None
    table = Table(
        caption="Published claims, and what these images show",
        columns=text_columns("claim", "result", "numbers of this audit"),
        rows=rows,
        n_headers=1,
        excerpt=rows,
    )
    said = (
        f"The claims are those of {_CLAIMS}, each stated so that data can contradict it. "
        "“Agrees” and “disagrees” are significant after correction for all claims; "
        "“inconclusive” says that these images do not decide. A claim is about which of two "
        "things is larger. It can agree although an attribute is hard to read, and be "
        "inconclusive although it is easy to read."
    )
    return Section("published", SECTIONS["published"], (Prose(said), Tabled(table, "published")))


def _overview(result: AuditResult) -> Table | None:
    """Every attribute on every backbone, at the layer where it is easiest to read."""
    by_target = by_attribute(result)
    numbers = {(r.backbone, r.target): r.number for found in by_target.values() for r in found}
    known = [number for number in numbers.values() if number]
    if not known:
        return None
    rows = tuple(
        (name, *(_cell(numbers.get((name, target))) for target in by_target))
        for name in (subject.backbone.name for subject in result.subjects)
    )
    estimates = [number.estimate for number in known if number.estimate]
    return Table(
        caption=(
            "How well each attribute can be read at its best layer, against the strongest "
            f"baseline: {known[0].metric}, {coverage(estimates) or 'no interval'}"
        ),
        columns=(*text_columns("backbone"), *number_columns(*map(sentence, by_target))),
        rows=rows,
        excerpt=rows[:60],
        excerpt_note="The first 60 backbones; all are in report.html and audit.json.",
    )


def _cell(highest: Number | None) -> str:
    if highest is None:
        return "not measured"
    over = baseline(highest.over, highest.control, highest.chance)
    lift = f"difference {signed_interval(highest.lift)}"
    unbroken = (text.replace(" ", "\N{NO-BREAK SPACE}") for text in (over, lift))
    return "\n".join((interval(highest.estimate), f"at {highest.layer}", *unbroken))
