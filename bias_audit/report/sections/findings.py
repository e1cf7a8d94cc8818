"""Everything found on a backbone in words, analysis by analysis, each sentence with an anchor."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from markupsafe import Markup
from pydantic import BaseModel

from bias_audit.report.page import Item, Items, Medium, Only, Part, Prose, Section
from bias_audit.report.sections.blocks import PlacedBlock, placed_blocks
from bias_audit.results.audit import AnalysisResult
from bias_audit.results.finding import Finding, Question
from bias_audit.results.numbers import curves, numbers_of
from bias_audit.shapes.shape import Block
from bias_audit.shapes.tables import unmeasured
from bias_audit.statistics.estimate import Estimate

_DECIDED, _UNDECIDED = 3, 2
"""Findings of an analysis that paper prints."""


@dataclass(frozen=True)
class FindingView:
    """One sentence."""

    anchor: str
    evidence: str | None
    """Anchor of the block with its numbers; None where its analysis has no block."""
    text: str
    weight: float
    """0: undecided."""
    question: Question | None
    is_warning: bool


@dataclass(frozen=True)
class FindingsView:
    """What one analysis found."""

    title: str
    """Of the analysis."""
    decided: tuple[FindingView, ...]
    """The surest first."""
    undecided: tuple[FindingView, ...]


def findings(analyses: Sequence[AnalysisResult], section: str) -> tuple[FindingsView, ...]:
    """All sentences of a section, by its anchor; analyses without any are left out."""
    blocks = placed_blocks(analyses, section)
    shown = []
    for place, analysis in enumerate(analyses):
        anchor = f"finding-{section.removeprefix('backbone-')}-{place}"
        own = [(b, frozenset(_estimates(b.block))) for b in blocks if b.analysis is analysis]
        told = [
            FindingView(
                f"{anchor}-{n}",
                _evidence(finding, own),
                finding.text,
                finding.weight,
                finding.question,
                finding.is_warning,
            )
            for n, finding in enumerate(_sorted(analysis))
        ]
        if told:
            shown.append(
                FindingsView(
                    title=analysis.title,
                    decided=tuple(view for view in told if view.weight > 0),
                    undecided=tuple(view for view in told if view.weight <= 0),
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
    """Those decided, then those not, then what was not measured at all."""
    gaps = [Finding(text=text, weight=0.0) for text in _gaps(analysis)]
    return [*sorted(analysis.findings, key=lambda finding: -finding.weight), *gaps]


def _gaps(analysis: AnalysisResult) -> Iterator[str]:
    if analysis.status == "failed":
        yield f"{analysis.title}: could not be computed (see the summary)."
    found = [*numbers_of("", [analysis])]
    for block, content in enumerate(analysis.blocks):
        rows = [n for n in found if n.block == block and n.group is not None]
        reasons = [n.reason for n in rows if n.estimate is None]
        yield from (f"{content.title}: {text}" for text in unmeasured(reasons, len(rows)))
    for points in curves(found):
        if all(point.estimate is None for point in points) and points[0].reason:
            yield f"{analysis.title}: {points[0].target} was not measured ({points[0].reason})."


def findings_section(found: Sequence[FindingsView], anchor: str, name: str) -> Section:
    """All of a backbone; paper prints the surest."""
    return Section(
        f"{anchor}-findings",
        f"Findings on {name}",
        tuple(
            Section(
                "",
                each.title,
                (
                    Only("screen", (_list(each.decided, each.undecided, "screen"),)),
                    Only("paper", _few(each)),
                ),
            )
            for each in found
        ),
        look="all-findings",
    )


def _few(found: FindingsView) -> tuple[Part, ...]:
    decided, undecided = found.decided[:_DECIDED], found.undecided[:_UNDECIDED]
    more = len(found.decided) + len(found.undecided) - len(decided) - len(undecided)
    rest = (Prose(f"{more} more in report.html.", "note of-table"),) if more else ()
    return (_list(decided, undecided, "paper"), *rest)


def _list(
    decided: Sequence[FindingView], undecided: Sequence[FindingView], medium: Medium
) -> Items:
    found = [(view, "") for view in decided] + [(view, "undecided") for view in undecided]
    return Items(
        tuple(
            Item(with_evidence(view.text, view.evidence, medium), look, view.anchor, look)
            for view, look in found
        ),
        "findings",
    )


def with_evidence(text: str, anchor: str | None, medium: Medium) -> str:
    """On screen a sentence leads to the numbers behind it."""
    if anchor is None or medium == "paper":
        return text
    return Markup('{} <a href="#{}">Evidence</a>').format(text, anchor)
