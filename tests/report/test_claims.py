"""No sentence of ours says more than numbers can show."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from bias_audit.report.audit_page import audit_page
from bias_audit.report.exporting.bill_of_materials import bill_of_materials
from bias_audit.report.exporting.model_card import model_card
from bias_audit.report.exporting.tables import tables
from bias_audit.report.exporting.writing import junit
from bias_audit.report.page import Page as PageParts
from bias_audit.report.page import html, template_folder
from bias_audit.results.claims import overclaims
from bias_audit.results.finding import Finding
from bias_audit.results.store import read_audit
from tests.report.page import read
from tests.report.synthetic import make_audit

PACKAGE = Path(__file__).resolve().parents[2] / "bias_audit"
ALLOWED = {
    ("statistics/shrinkage.py", "unbiased"): "the name of an estimator, in a docstring",
    ("analyses/mapping/group_distances.py", "unbiased"): "a property of an estimator, docstring",
    ("data/sources/fhibe.py", "fair"): "part of the name of a data set",
}
"""Where a forbidden word stands in the code or the templates, and why it is no verdict."""


@pytest.mark.parametrize(
    "text",
    [
        "The backbone is fair.",
        "It treats groups fairly, with fairness.",
        "This is unbiased; that is biased, debiased or bias-free.",
        "The system is compliant and complies.",
        "Compliance was shown.",
        "This proves it: a proof, proven, provably.",
        "UNFAIR",
    ],
)
def test_forbidden_words_are_found_whatever_their_form(text: str) -> None:
    assert overclaims(text)


@pytest.mark.parametrize(
    "text", ["A bias scenario.", "FairFace", "fairface", "improves", "fairnessAssessments", "bias"]
)
def test_names_that_hold_such_words_are_none(text: str) -> None:
    assert not overclaims(text)


def test_words_that_others_chose_are_quoted_and_ours_are_not() -> None:
    assert not overclaims("annotated hair: fair, AUC 0.7", ["fair"])
    assert overclaims("fairly high for annotated hair: fair", ["fair"]) == ("fairly",)


def _written(path: Path) -> Iterator[str]:
    """Every text that code could print, docstrings included: some become help and schemas."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def test_no_text_in_the_code_uses_them_but_those_with_a_reason() -> None:
    found = {
        (str(path.relative_to(PACKAGE)), word.lower())
        for path in PACKAGE.rglob("*.py")
        for text in _written(path)
        if path.name != "claims.py"
        for word in overclaims(text)
    }
    assert found == set(ALLOWED)


def test_no_template_uses_them() -> None:
    paths = [path for path in template_folder().rglob("*") if path.is_file()]
    assert len(paths) > 10
    found = {(path.name, overclaims(path.read_text(encoding="utf-8"))) for path in paths}
    assert {words for _, words in found} == {()}


@pytest.mark.slow
def test_no_report_and_no_export_uses_them(
    two_backbones: Path, two_backbones_page: str, hostile_page: str, large_undrawn: PageParts
) -> None:
    result = read_audit(two_backbones)
    assert {verdict.outcome for verdict in result.verdicts} == {"PASS", "FAIL", "INCONCLUSIVE"}
    pages = (two_backbones_page, hostile_page, html(large_undrawn, medium="paper"))
    texts = [read(page).all("html")[0].text for page in pages]
    texts += [tag.attributes.get("alt", "") for page in pages for tag in read(page).all("img")]
    texts += [junit(result).decode(), bill_of_materials(result).decode()]
    texts += [model_card(result, subject).decode() for subject in result.subjects]
    texts += [str(cell) for table in tables(result) for row in table.rows for cell in row]
    assert sum(map(len, texts)) > 100_000
    assert {words for text in texts if (words := overclaims(text))} == set()


def test_a_finding_that_claims_too_much_is_not_printed(tmp_path: Path) -> None:
    made = make_audit(layers=("a", "b", "c"))
    subject = made.result.subjects[0]
    said = Finding(text="This proves that the backbone is safe.", weight=1.0)
    analysis = subject.analyses[0].model_copy(update={"findings": (said,)})
    subject = subject.model_copy(update={"analyses": (analysis,)})
    result = made.result.model_copy(update={"subjects": (subject,)})
    with pytest.raises(ValueError, match="claims no more than was measured, got 'proves'"):
        audit_page(result, tmp_path)
