"""The page of a comparison: what it says, that it is safe and that it can be read by all."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from bias_audit.config.schema import Changes
from bias_audit.report.changes.page import diff_page, write_diff
from bias_audit.report.changes.wording import SYMBOLS, WORDS, diff_brief
from bias_audit.report.page import html
from bias_audit.results.claims import overclaims
from bias_audit.results.diff import AuditDiff, diff, parse_diff
from bias_audit.results.differing.comparables import Audited
from tests.report.browser import ARABIC, LONG, ODD, axe, chromium, visit
from tests.report.page import read
from tests.report.synthetic import criteria_of, make_audit

OPEN_ALL = "document.querySelectorAll('details').forEach((each) => { each.open = true; })"
HOSTILE_NAME = '"><img src=http://evil.example/x>'


def _audited(seed: int, per_cell: int, **options: object) -> Audited:
    made = make_audit(
        ODD,
        layers=("stem", "middle", "last", "head"),
        backbones=("one_net", HOSTILE_NAME),
        criteria=criteria_of("age"),
        per_cell=per_cell,
        seed=seed,
        **options,  # type: ignore[arg-type]
    )
    return Audited(made.result, "runs/<b>made</b>", "ab" * 32)


@pytest.fixture(scope="module")
def found() -> AuditDiff:
    """Numbers that have nothing to do with each other, so of every outcome but improved."""
    before, after = _audited(1, 3000), _audited(2, 3000)
    (one, other) = after.result.subjects
    backbone = one.backbone.model_copy(
        update={"weights_sha256": "cd" * 32, "weights": "<script>alert(2)</script>.pth"}
    )
    changed = after.result.model_copy(
        update={"subjects": (one.model_copy(update={"backbone": backbone}), other)}
    )
    policy = Changes(fail_on=("worse",), better={"macro_auc": "lower", "bits": "higher"})
    return diff(before, replace(after, result=changed), policy)


@pytest.fixture(scope="module")
def page(found: AuditDiff) -> str:
    return html(diff_page(found))


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as opened:
        yield opened


@pytest.fixture(scope="module")
def path(found: AuditDiff, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_diff(found, tmp_path_factory.mktemp("diff"))[0]


def test_labels_and_names_from_elsewhere_stay_text(page: str) -> None:
    read(page)  # every tag is closed
    assert "<script>alert" not in page
    assert "<img src=http" not in page
    assert "<b>made" not in page
    assert "&lt;script&gt;alert(2)&lt;/script&gt;.pth" in page


def test_every_number_is_in_a_table_with_its_outcome(found: AuditDiff, page: str) -> None:
    tables = [table for table in read(page).all("table") if "All changes by" in table.text]
    rows = sum(table.text.count("independent") for table in tables)
    assert rows == len(found.changes)
    for outcome, count in found.counts().items():
        if count:
            assert f"{SYMBOLS[outcome]} {WORDS[outcome]}" in page


def test_what_decides_is_on_the_page(found: AuditDiff, page: str) -> None:
    text = read(page).all("main")[0].text
    assert found.gate.outcome == "failed"
    assert "Failed:" in text and found.gate.reasons[0] in text
    for conclusion in found.conclusions:
        assert conclusion.text in text
    assert "Likely cause: weights" in text
    for verdict in found.verdict_changes:
        assert verdict.criterion in text


def test_it_claims_no_more_than_was_measured(page: str) -> None:
    sentences = [tag.text for tag in read(page).tags if tag.name in {"p", "li", "dd", "caption"}]
    assert len(sentences) > 30
    assert [words for text in sentences for words in overclaims(text, ("bias-audit",))] == []


def test_the_same_comparison_gives_the_same_bytes(found: AuditDiff, page: str) -> None:
    assert html(diff_page(found)) == page


def test_the_page_is_made_from_the_file_beside_it_alone(path: Path) -> None:
    content = path.with_name("diff.json").read_bytes()
    again = html(diff_page(parse_diff(content, source="diff.json")))
    assert again == path.read_text(encoding="utf-8")


def test_the_brief_has_about_ten_lines(found: AuditDiff, path: Path) -> None:
    lines = diff_brief(found, (path, path.with_name("diff.json")))
    assert len(lines) <= 12
    assert "Gate (fails on worse): FAILED" in "\n".join(lines)
    assert lines[-1].endswith("diff.html and diff.json")


def test_it_opens_without_any_request_and_breaks_no_rule(browser: Browser, path: Path) -> None:
    with visit(browser, path) as visited:
        visited.page.evaluate(OPEN_ALL)
        visited.page.wait_for_timeout(100)
        assert [u for u in visited.requests if not u.startswith("data:")] == [path.as_uri()]
        assert visited.complaints == []


def test_axe_finds_no_violation(browser: Browser, path: Path) -> None:
    with visit(browser, path) as visited:
        visited.page.evaluate(OPEN_ALL)
        assert axe(visited.page) == [], "light, wide"
        visited.page.emulate_media(color_scheme="dark")
        visited.page.set_viewport_size({"width": 390, "height": 900})
        visited.page.evaluate(OPEN_ALL)
        visited.page.select_option("#pick-layer", "middle")
        assert axe(visited.page) == [], "dark, narrow, something picked"


@pytest.mark.parametrize("width", [390, 1440])
def test_nothing_is_wider_than_the_window(browser: Browser, path: Path, width: int) -> None:
    with visit(browser, path, viewport={"width": width, "height": 900}) as visited:
        visited.page.evaluate(OPEN_ALL)
        assert visited.page.evaluate("document.documentElement.scrollWidth") <= width
        for label in (LONG.strip(), ARABIC, "<script>alert(1)</script>", "=cmd()"):
            assert label in visited.page.inner_text("main")


def test_without_a_script_all_can_be_read(browser: Browser, path: Path) -> None:
    with visit(browser, path, java_script_enabled=False) as visited:
        assert not visited.page.locator("#toolbar").is_visible()
        assert visited.page.locator(".marks title").count() > 20
        first = visited.page.locator("details:has(table)").first
        first.locator("summary").click()
        assert first.locator("table").is_visible()


def test_changes_sort_by_their_outcome(browser: Browser, path: Path) -> None:
    with visit(browser, path) as visited:
        visited.page.evaluate(OPEN_ALL)
        table = visited.page.locator("table:has(caption:text('All changes by layer'))").first
        table.locator("thead th").nth(3).locator("button").click()
        told = table.locator("tbody tr td:nth-child(4)").all_inner_texts()
        runs = sum(one != other for one, other in itertools.pairwise(told))
        assert runs + 1 == len(set(told)) > 1  # rows of one outcome stand together
