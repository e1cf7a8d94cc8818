"""Sections that print what people declared, what texts ask, and the words used."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from bias_audit.config.schema import Declarations
from bias_audit.report.glossary import TERMS, glossary
from bias_audit.report.page import Part, Prose, Section, Tabled
from bias_audit.report.references import ASKED, SECTIONS, TEXTS, labels
from bias_audit.report.resources import template_folder
from bias_audit.report.sections.declared import FIELDS, NOT_PROVIDED, asked, purpose, state
from bias_audit.report.sections.method import QUESTIONS, not_measured
from bias_audit.report.sections.selftest import selftest_section
from bias_audit.results.audit import AuditResult
from bias_audit.results.selftest import SelfTest
from tests.report.page import Page, read
from tests.report.synthetic import criteria_of, declared, make_audit

PACKAGE = Path(__file__).resolve().parents[2] / "bias_audit"
TEXT = "as a person said"


@pytest.fixture(scope="module")
def silent() -> AuditResult:
    return make_audit(criteria=criteria_of("age")).result


@pytest.fixture(scope="module")
def spoken() -> AuditResult:
    made = make_audit(criteria=criteria_of("age"), declarations=declared(TEXT, "AUC stays low"))
    return made.result


@pytest.fixture(scope="module")
def page(two_backbones_page: str) -> Page:
    return read(two_backbones_page)


def section(page: Page, anchor: str) -> str:
    found = [t for t in page.all("section") if t.attributes.get("aria-labelledby") == anchor]
    assert len(found) == 1
    return found[0].text


def test_nothing_is_invented_where_nobody_said_anything(silent: AuditResult, page: Page) -> None:
    view = purpose(silent)
    assert {v for fact in (*view.facts, *view.form) for v in fact.values} == {NOT_PROVIDED}
    assert view.scenarios is None
    told = section(page, "purpose")
    assert told.count(NOT_PROVIDED) == len(view.facts) + len(view.form) + 2


def test_every_field_is_printed_once(spoken: AuditResult) -> None:
    view = purpose(spoken)
    assert set(FIELDS) == set(Declarations.model_fields)
    facts = (*view.facts, *view.form)
    assert {v for fact in facts for v in fact.values} == {TEXT}
    assert len(facts) == len(FIELDS) - 2  # scenarios and regulations are tables


def test_a_scenario_stands_beside_the_verdicts_on_its_criteria(spoken: AuditResult) -> None:
    table = purpose(spoken).scenarios
    assert table is not None
    first, second = table.rows
    outcome = next(v.outcome for v in spoken.verdicts if v.criterion.name == "AUC stays low")
    assert first[-1] == f"AUC stays low: {outcome} (tf_efficientnet_lite0)"
    assert first[1] == f"Group: {TEXT}\nHazard: {TEXT}"
    assert second[1:] == (
        "Group: NOT PROVIDED\nHazard: NOT PROVIDED",
        "Metric: NOT PROVIDED\nThreshold: NOT PROVIDED",
        "Mitigation: NOT PROVIDED\nReview trigger: NOT PROVIDED",
        "not tested by a criterion",
    )


def test_declarations_that_no_config_could_hold_are_damage(silent: AuditResult) -> None:
    damaged = silent.model_copy(update={"config": {"declarations": {"purposes": "x"}}})
    with pytest.raises(ValueError, match="purposes"):
        purpose(damaged)


def test_what_texts_ask_is_answered_where_the_map_says(page: Page) -> None:
    assert {key for entry in ASKED for key in entry.sections} <= set(SECTIONS)
    assert {text for entry in ASKED for text, _ in entry.by} == set(TEXTS)
    assert {name for entry in ASKED for name in entry.declared} <= set(FIELDS)
    headings = [tag.text for tag in page.all("h2")]
    for key, heading in SECTIONS.items():
        if key not in {"cover", "selftest"}:  # a cover has no heading, this audit no self-test
            assert any(text.startswith(heading) for text in headings), key
    tested = SelfTest(
        mode="quick", seed=0, date="2026-11-21T06:06:43+00:00", seconds=1.0, versions={}, code="",
        rows=(),
    )  # fmt: skip
    assert selftest_section(tested, ()).title == SECTIONS["selftest"]


def test_sections_say_what_they_answer(page: Page) -> None:
    found = labels()
    for key in SECTIONS:
        if found[key] and key not in {"cover", "selftest"}:
            anchor = "backbone-0" if key == "backbone" else key
            assert f"Answers: {'; '.join(found[key])}." in section(page, anchor)
    assert "EU AI Act Article 10(2)(f)" in found["backbone"]
    assert "New York City Local Law 144" not in found["claims"]


def test_the_map_tells_what_is_missing_and_what_was_never_measured(
    silent: AuditResult, spoken: AuditResult
) -> None:
    nobody, somebody = Declarations(), declared(TEXT)
    by_what = {entry.what: entry for entry in ASKED}
    signed = by_what["Test reports dated and signed by the responsible persons"]
    for entry in ASKED:
        without, given = state(entry, nobody, silent), state(entry, somebody, spoken)
        assert (NOT_PROVIDED in without) == bool(entry.declared)
        assert NOT_PROVIDED not in given
        assert given.removeprefix("tool: ").startswith(
            "not measured"
            if _unanswered(entry.what)
            else ("signature" if entry is signed else "filled")
        ), (entry.what, given)
    rates = state(by_what["Rates at which people of each group are selected"], somebody, spoken)
    assert rates == "not measured: no selection rates"


def _unanswered(what: str) -> bool:
    """The made-up audit has neither self-test nor erasure; three things are never measured."""
    starts = ("Rates at", "What changed", "Whether the measuring", "Whether the model's own")
    return what.startswith(starts)


def test_an_analysis_that_failed_on_one_backbone_is_not_filled_there(silent: AuditResult) -> None:
    first = silent.subjects[0]
    second = first.model_copy(
        update={
            "backbone": first.backbone.model_copy(update={"name": "second"}),
            "analyses": first.analyses[1:],
        }
    )
    both = silent.model_copy(update={"subjects": (first, second)})
    entry = next(e for e in ASKED if e.analyses == ("linear_probe",))
    assert state(entry, Declarations(), both) == "filled; not measured on second"
    assert f"{QUESTIONS['linear_probe']} (not computed on second)" in [*not_measured(both)]


def test_versions_come_from_the_config_and_from_nowhere_else(
    silent: AuditResult, spoken: AuditResult
) -> None:
    def versions(result: AuditResult) -> tuple[Part, ...]:
        sections = (part for part in asked(result, ()).parts if isinstance(part, Section))
        return next(section.parts for section in sections if section.anchor == "versions")

    (unread,) = versions(silent)
    assert isinstance(unread, Prose)
    assert f"of {', '.join(text.name for text in TEXTS)}." in unread.text
    read_ones, unread = versions(spoken)
    assert isinstance(read_ones, Tabled) and isinstance(unread, Prose)
    assert read_ones.table.rows == (
        ("Regulation (EU) 2024/1689", TEXT, "2024-07-12"),
        (TEXT, NOT_PROVIDED, NOT_PROVIDED),
    )
    assert "EU AI Act" not in unread.text


def test_what_this_tool_does_not_measure_is_said_plainly(page: Page) -> None:
    told = section(page, "claims")
    for text in (
        "Selection rates",
        "New York City Local Law 144",
        "Match rates",
        "ISO/IEC 19795-10",
        "only these are annotated: age, phenotype, gender",
        "whether the backbone's own decisions use what is encoded (not asked for)",
    ):
        assert text in told
    law = section(page, "asked")
    assert "Article 5(1)(g) of the EU AI Act" in law
    assert "no value about a single person" in law


def printed(path: Path) -> Iterator[str]:
    """Texts of a template, or of a module but its docstrings."""
    text = path.read_text(encoding="utf-8")
    if path.suffix != ".py":
        yield text
        return
    tree = ast.parse(text)
    alone = {id(n.value) for n in ast.walk(tree) if isinstance(n, ast.Expr)}
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and id(node) not in alone
        ):
            yield node.value


def test_every_term_of_the_glossary_is_used_by_some_report() -> None:
    """The patterns that print it: those of templates, of sections and of analyses."""
    places = [*PACKAGE.rglob("*.py"), *template_folder().rglob("*.html")]
    own = {"glossary.py", "glossary.html"}
    text = "\n".join(text for path in places if path.name not in own for text in printed(path))
    assert [term.name for term in TERMS if not term.occurs_in(text)] == []
    assert len({term.name.lower() for term in TERMS}) == len(TERMS)
    assert [t.name for t in TERMS] == sorted((t.name for t in TERMS), key=str.lower)


ACRONYMS = {
    "PASS", "FAIL", "INCONCLUSIVE", "OK", "NOT", "UNDECIDED", "PROVIDED",  # said where they stand
    "EU", "AI", "NIST", "RMF", "ISO", "IEC", "TR", "TS", "IEEE", "EN", "GDPR", "MEASURE", "MAP",
    "IV", "YAML", "UTC", "RGB", "CC", "BY", "HTML", "JSON", "CSV", "SHA", "ID", "PDF",
}  # fmt: skip
"""Names, and words that are explained where they are printed."""


def test_terms_that_a_report_uses_are_in_its_glossary(page: Page) -> None:
    text = page.all("main")[0].text
    listed = " ".join(
        f"{t.name} {t.meaning}" for t in TERMS if t.name in section(page, "glossary")
    )
    used = set(re.findall(r"\b[A-Z]{2,}\b", re.sub(r"[A-Z]\.jpg|[0-9a-f]{64}", "", text)))
    assert sorted(word for word in used - ACRONYMS if word not in listed) == []
    for word in ("bootstrap", "probe", "lift", "Holm", "criterion", "baseline", "shrunk", "gate"):
        assert word in listed


def test_the_glossary_leaves_out_what_a_report_does_not_use() -> None:
    names = {fact.name for fact in glossary("A recall of 0.3.")}
    assert "recall" in names
    assert not names & {"erasure", "dendrogram", "bootstrap"}


def test_hostile_declarations_are_text(hostile_page: str) -> None:
    told = section(read(hostile_page), "purpose")
    assert "=<script>alert(2)</script> | *x* {{ 7*7 }}" in told
    assert "<script>alert(2)" not in hostile_page


def test_the_report_says_so_if_the_config_is_from_before_declarations(tmp_path: Path) -> None:
    made = make_audit().result
    old = made.model_copy(update={"config": {"name": "old"}})
    assert purpose(old) == purpose(made)
