"""Sections that print declarations, the cross-reference to texts, and the words used."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from bias_audit.config.schema import Declarations
from bias_audit.report.glossary import glossary, terms
from bias_audit.report.page import Prose, Section, Tabled, template_folder
from bias_audit.report.references import READ, READ_ON, REQUIREMENTS, SECTIONS, TEXTS, labels
from bias_audit.report.sections.declared import FIELDS, NOT_PROVIDED, purpose, regulatory, state
from bias_audit.report.sections.method import QUESTIONS, not_measured, selftest_section
from bias_audit.results.audit import AuditResult
from bias_audit.results.selftest import SelfTest
from bias_audit.shapes.unit_map import UnitMap
from tests.report.page import Page, read
from tests.report.synthetic import criteria_of, declared, make_audit

PACKAGE = Path(__file__).resolve().parents[2] / "bias_audit"
TEXT = "as a person said"


_UNASKED = {"cover", "selftest", "maps", "used", "where", "training", "together", "published"}
"""Sections without a heading, or of what the audit on the page does not examine."""


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
    facts = (*view.facts, *view.form)
    assert {v for fact in facts for v in fact.values} == {NOT_PROVIDED, "draft"}
    assert view.scenarios is None
    printed = section(page, "purpose")
    assert printed.count(NOT_PROVIDED) == len(view.form) + 3  # the missing facts are one entry
    missing = [fact.name for fact in view.facts if fact.values == (NOT_PROVIDED,)]
    assert ", ".join(missing) in printed
    assert "NOT PROVIDED: the organisation did not supply this." in printed


def test_every_field_is_printed_once(spoken: AuditResult) -> None:
    view = purpose(spoken)
    assert set(FIELDS) == set(Declarations.model_fields)
    facts = (*view.facts, *view.form)
    assert {v for fact in facts for v in fact.values} == {TEXT, "draft"}
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


def test_requirements_name_sections_texts_and_fields_that_exist(page: Page) -> None:
    assert {key for entry in REQUIREMENTS for key in entry.sections} <= set(SECTIONS)
    assert set(TEXTS) == {text for entry in REQUIREMENTS for text, _ in entry.by}
    named = {name for entry in REQUIREMENTS for name in entry.declared}
    assert named == set(FIELDS) - {"status", "regulations"}
    assert all(entry.sections and entry.by for entry in REQUIREMENTS)
    headings = [tag.text for tag in page.all("h2")]
    for key, heading in SECTIONS.items():
        if key not in _UNASKED:
            assert any(text.startswith(heading) for text in headings), key
    tested = SelfTest(
        mode="quick", seed=0, date="2026-11-21T06:06:43+00:00", seconds=1.0, versions={}, code="",
        rows=(),
    )  # fmt: skip
    assert selftest_section(tested, ()).title == SECTIONS["selftest"]


def test_sections_say_what_they_are_relevant_to(page: Page) -> None:
    found = labels()
    for key in SECTIONS:
        if found[key] and key not in _UNASKED:
            assert f"Relevant to: {'; '.join(found[key])}." in section(page, key)
    assert "EU AI Act Article 10(2)(f)" in found["encoded"]
    assert "New York City Local Law 144" not in found["claims"]


def test_the_cross_reference_says_what_is_missing_and_what_is_not_measured(
    silent: AuditResult, spoken: AuditResult
) -> None:
    nobody, somebody = Declarations(), declared(TEXT)
    by_what = {entry.what: entry for entry in REQUIREMENTS}
    signed = by_what["Test reports dated and signed by the responsible persons"]
    for entry in REQUIREMENTS:
        without, given = state(entry, nobody, silent), state(entry, somebody, spoken)
        assert (NOT_PROVIDED in without) == bool(entry.declared)
        assert NOT_PROVIDED not in given
        assert given.removeprefix("tool: ").startswith(
            "not measured"
            if _unanswered(entry.what)
            else ("signature" if entry is signed else "information given")
        ), (entry.what, given)
    rates = state(by_what["Rates at which people of each group are selected"], somebody, spoken)
    assert rates == "not measured: no selection rates"


def _unanswered(what: str) -> bool:
    """The made-up audit has no self-test, erasure or earlier maps; two rates have no measure."""
    starts = ("Rates at", "What changed", "Whether the measuring", "Whether the model's own")
    return what.startswith(starts)


def test_an_analysis_that_failed_on_one_backbone_gives_no_information_there(
    silent: AuditResult,
) -> None:
    first = silent.subjects[0]
    second = first.model_copy(
        update={
            "backbone": first.backbone.model_copy(update={"name": "second"}),
            "analyses": first.analyses[1:],
        }
    )
    both = silent.model_copy(update={"subjects": (first, second)})
    entry = next(e for e in REQUIREMENTS if e.analyses == ("linear_probe",))
    assert state(entry, Declarations(), both) == "information given; not measured on second"
    assert f"{QUESTIONS['linear_probe']} (not computed on second)" in [*not_measured(both)]


def versions(result: AuditResult) -> dict[str, tuple[str, ...]]:
    """The rows of the table of texts, by the text."""
    sections = (part for part in regulatory(result, ()).parts if isinstance(part, Section))
    found = next(section.parts for section in sections if section.anchor == "versions")
    (table,) = (part.table for part in found if isinstance(part, Tabled))
    return {name: tuple(rest) for name, *rest in table.rows}


def test_every_text_says_whether_its_wording_was_checked_and_where(silent: AuditResult) -> None:
    found = versions(silent)
    assert list(found) == [text.name for text in TEXTS]
    for text in TEXTS:
        version, checked, read = found[text.name]
        assert (version, read) == (text.version, NOT_PROVIDED)
        start = "read at " if text.is_wording else "not checked against the text, only "
        assert checked == f"{start}{text.source}"


def test_what_the_organisation_read_comes_from_the_config(spoken: AuditResult) -> None:
    found = versions(spoken)
    assert found["EU AI Act"][-1] == f"{TEXT}, 2024-07-12"
    assert found[TEXT] == ("not in the cross-reference", "", "NOT PROVIDED, date NOT PROVIDED")
    assert {row[-1] for name, row in found.items() if name not in {"EU AI Act", TEXT}} == {
        NOT_PROVIDED
    }


def test_the_cross_reference_is_dated_and_says_when_it_is_old(
    page: Page, silent: AuditResult
) -> None:
    text = section(page, "regulatory")
    assert f"Cross-reference read on {READ}." in text
    for part in ("2 December 2027", "2 August 2028", "Regulation (EU) 2026/1744"):
        assert part in text
    for years, is_old in ((0, False), (1, False), (2, True)):
        started = f"{READ_ON.replace(year=READ_ON.year + years)}T06:06:43+00:00"
        record = silent.provenance.model_copy(update={"started": started})
        parts = regulatory(silent.model_copy(update={"provenance": record}), ()).parts
        cautions = [part for part in parts if isinstance(part, Prose) and part.strong]
        assert any("more than a year after" in part.text for part in cautions) == is_old


def test_places_in_the_ai_act_are_those_of_its_amended_text() -> None:
    places = {
        place for entry in REQUIREMENTS for text, place in entry.by if text.name == "EU AI Act"
    }
    expected = {"Article 10(2)(h)", "Annex IV 2(a) to (d)", "Annex IV 3", "Annex IV 6"}
    assert expected | {"Article 13(3)(b)", "Article 27", "Article 72"} <= places
    assert not any(place.startswith("Article 10(5)") for place in places)


def test_an_earlier_audit_is_named_where_maps_are_compared_with_it(silent: AuditResult) -> None:
    entry = next(entry for entry in REQUIREMENTS if entry.elsewhere)
    assert "this report names no earlier audit" in state(entry, Declarations(), silent)
    (subject,) = silent.subjects
    earlier = SimpleNamespace(run="before", started="2026-06-01T06:00:00+00:00")
    analyses = tuple(
        analysis.model_copy(
            update={
                "blocks": tuple(
                    block.model_copy(update={"earlier": earlier})
                    if isinstance(block, UnitMap)
                    else block
                    for block in analysis.blocks
                )
            }
        )
        for analysis in subject.analyses
    )
    compared = silent.model_copy(
        update={"subjects": (subject.model_copy(update={"analyses": analyses}),)}
    )
    expected = (
        "tool: information given: maps compared with the earlier audit before (2026-06-01)\n"
    )
    assert state(entry, Declarations(), compared).startswith(expected)


def test_what_this_tool_does_not_measure_is_said_plainly(page: Page) -> None:
    told = section(page, "claims")
    for text in (
        "Selection rates",
        "New York City Local Law 144",
        "Match rates",
        "ISO/IEC 19795-10",
        "only these are annotated: age, phenotype, gender",
        "whether the backbone's own decisions use what is encoded (no such analysis was run)",
    ):
        assert text in told
    law = section(page, "regulatory")
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
    assert [term.name for term in terms() if not term.occurs_in(text)] == []
    assert len({term.name.lower() for term in terms()}) == len(terms())
    assert [t.name for t in terms()] == sorted((t.name for t in terms()), key=str.lower)


ACRONYMS = {
    "PASS", "FAIL", "INCONCLUSIVE", "OK", "NOT", "UNDECIDED", "PROVIDED",  # said where they stand
    "EU", "AI", "NIST", "RMF", "ISO", "IEC", "TR", "TS", "IEEE", "EN", "GDPR", "MEASURE", "MAP",
    "III", "IV", "SB", "YAML", "UTC", "RGB", "CC", "BY", "HTML", "JSON", "CSV", "SHA", "ID", "PDF",
}  # fmt: skip
"""Names, and words that are explained where they are printed."""


def test_terms_that_a_report_uses_are_in_its_glossary(page: Page) -> None:
    text = page.all("main")[0].text
    listed = " ".join(
        f"{t.name} {t.meaning}" for t in terms() if t.name in section(page, "glossary")
    )
    used = set(re.findall(r"\b[A-Z]{2,}\b", re.sub(r"[A-Z]\.jpg|[0-9a-f]{64}", "", text)))
    assert sorted(word for word in used - ACRONYMS if word not in listed) == []
    for word in ("bootstrap", "probe", "lift", "Holm", "criterion", "baseline", "stabilised"):
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
