"""Everything found on a backbone in words, analysis by analysis, each sentence with an anchor."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from markupsafe import Markup
from pydantic import BaseModel

from bias_audit.report.page import Fold, Item, Items, Medium, Only, Part, Prose
from bias_audit.report.sections.blocks import PlacedBlock, placed_blocks
from bias_audit.results.audit import AnalysisResult
from bias_audit.results.finding import Finding, Question
from bias_audit.results.numbers import curves, numbers_of
from bias_audit.shapes.printed import counted
from bias_audit.shapes.shape import Block
from bias_audit.shapes.tables import unmeasured
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
