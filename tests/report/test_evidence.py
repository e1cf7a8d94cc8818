"""A finding leads to the block that holds its numbers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from bias_audit.report.sections.blocks import PlacedBlock, placed_blocks
from bias_audit.report.sections.questions import _estimates, findings
from bias_audit.results.audit import AnalysisResult
from bias_audit.results.finding import Finding
from tests.report.synthetic import make_audit


@pytest.fixture(scope="module")
def analyses() -> tuple[AnalysisResult, ...]:
    return make_audit().result.subjects[0].analyses


def _own(analyses: tuple[AnalysisResult, ...], analysis: AnalysisResult) -> list[PlacedBlock]:
    return [each for each in placed_blocks(analyses, "backbone-0") if each.analysis is analysis]


def _leads_to(
    analyses: tuple[AnalysisResult, ...], analysis: AnalysisResult, finding: Finding
) -> str | None:
    told = analysis.model_copy(update={"findings": (finding,)})
    others = tuple(told if each is analysis else each for each in analyses)
    (view,) = [
        view
        for shown in findings(others, "backbone-0")
        for view in (*shown.decided, *shown.undecided)
        if view.text == finding.text
    ]
    return view.evidence


def _with_numbers(
    analyses: tuple[AnalysisResult, ...],
) -> Iterator[tuple[AnalysisResult, PlacedBlock, Finding]]:
    for analysis in analyses:
        own = _own(analyses, analysis)
        for placed in own:
            others = {e for other in own if other is not placed for e in _estimates(other.block)}
            alone = [e for e in _estimates(placed.block) if e not in others]
            if alone:
                yield analysis, placed, Finding(text="Said.", weight=1, estimates={"x": alone[-1]})


def test_the_block_with_the_numbers_is_the_evidence(analyses: tuple[AnalysisResult, ...]) -> None:
    tried = [*_with_numbers(analyses)]
    for analysis, placed, finding in tried:
        assert _leads_to(analyses, analysis, finding) == placed.anchor
    first = {_own(analyses, analysis)[0].anchor for analysis in analyses if analysis.blocks}
    assert len({placed.anchor for _, placed, _ in tried} - first) >= 3


def test_a_finding_may_name_the_shape_or_the_quantity_of_its_block(
    analyses: tuple[AnalysisResult, ...],
) -> None:
    analysis = max(analyses, key=lambda each: len(each.blocks))
    own = _own(analyses, analysis)
    for placed in own:
        for name in {placed.block.name, getattr(placed.block, "quantity", None)} - {None}:
            finding = Finding(text="Said.", weight=0, evidence=name)
            found = _leads_to(analyses, analysis, finding)
            (there,) = [each.block for each in own if each.anchor == found]
            assert name in {there.name, getattr(there, "quantity", None)}


def test_a_finding_of_an_earlier_release_without_numbers_leads_to_the_first_block(
    analyses: tuple[AnalysisResult, ...],
) -> None:
    finding = Finding.model_validate_json('{"text": "Said.", "weight": 0.5}')
    analysis = analyses[0]
    assert _leads_to(analyses, analysis, finding) == _own(analyses, analysis)[0].anchor
