"""The page as a browser shows it: offline, by keyboard, in every theme and width."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Error, Page
from pypdf import PdfReader

from bias_audit.report.render import render
from tests.once import once
from tests.report.browser import ARABIC, LONG, ODD, axe, chromium, visit
from tests.report.synthetic import criteria_of, make_audit

OPEN_ALL = "document.querySelectorAll('details').forEach((each) => { each.open = true; })"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two backbones, an empty group, a failed analysis, and odd labels."""

    def make(folder: Path) -> None:
        made = make_audit(
            ODD,
            layers=("stem", "middle", "last", "head"),
            backbones=("one_net", "n" * 120),
            empty=(1,),
            failed=True,
            criteria=criteria_of("age"),
        )
        render(made.write(folder), formats=("html",))

    return once(tmp_path_factory, "visited", make)


@pytest.fixture(scope="module")
def path(run: Path) -> Path:
    return run / "report.html"


def test_the_page_opens_without_any_request_and_breaks_no_rule_of_its_policy(
    browser: Browser, path: Path
) -> None:
    with visit(browser, path) as visited:
        visited.page.evaluate(OPEN_ALL)
        visited.page.wait_for_timeout(100)
        asked = [url for url in visited.requests if not url.startswith("data:")]
        assert asked == [path.as_uri()]
        assert visited.complaints == []
        assert visited.page.locator("html.js").count() == 1
        with pytest.raises(Error, match="violates the following Content Security Policy"):
            visited.page.add_script_tag(content="window.made = 1")


def test_axe_finds_no_violation(browser: Browser, path: Path) -> None:
    with visit(browser, path) as visited:
        page = visited.page
        page.evaluate(OPEN_ALL)
        assert axe(page) == [], "light, wide"
        page.emulate_media(color_scheme="dark")
        page.set_viewport_size({"width": 390, "height": 900})
        page.evaluate(OPEN_ALL)
        page.select_option("#pick-layer", "middle")
        page.select_option("#pick-group", "20-29")
        assert axe(page) == [], "dark, narrow, something picked"


@pytest.mark.parametrize("width", [390, 820, 1440])
def test_nothing_is_wider_than_the_window(browser: Browser, path: Path, width: int) -> None:
    with visit(browser, path, viewport={"width": width, "height": 900}) as visited:
        visited.page.evaluate(OPEN_ALL)
        assert visited.page.evaluate("document.documentElement.scrollWidth") <= width
        for label in (LONG.strip(), ARABIC, "<script>alert(1)</script>", "=cmd()"):
            assert label in visited.page.inner_text("main")


def test_without_a_script_nothing_is_hidden_that_cannot_be_opened(
    browser: Browser, path: Path
) -> None:
    with visit(browser, path, java_script_enabled=False) as visited:
        page = visited.page
        assert not page.locator("#toolbar").is_visible()
        assert page.locator(".contents").is_visible()
        assert page.locator("main section").count() > 30
        for chart in page.locator("svg.chart").all():
            assert chart.is_visible() or chart.locator("xpath=ancestor::details").count()
        titles = page.locator(".marks title")
        assert titles.count() > 100
        first = page.locator("details:has(table)").first
        first.locator("summary").click()
        assert first.locator("table").is_visible()


def test_tables_sort_by_keyboard_and_say_so(browser: Browser, path: Path) -> None:
    with visit(browser, path) as visited:
        page = visited.page
        page.evaluate(OPEN_ALL)
        table = page.locator(".group_table table").first
        head = table.locator("thead th").nth(2)

        def values() -> list[float]:
            cells = table.locator("tbody tr td:nth-child(3)").all_inner_texts()
            return [float(text.split()[0]) for text in cells if not text.startswith("not")]

        before = values()
        head.locator("button").focus()
        page.keyboard.press("Enter")
        assert head.get_attribute("aria-sort") == "ascending"
        assert values() == sorted(before) != before
        page.keyboard.press("Enter")
        assert head.get_attribute("aria-sort") == "descending"
        assert values() == sorted(before, reverse=True)
        page.keyboard.press("Enter")
        assert head.get_attribute("aria-sort") is None
        assert values() == before
        assert "order of the report" in page.inner_text("#told")


def test_filtering_tells_how_many_rows_are_left(browser: Browser, path: Path) -> None:
    with visit(browser, path) as visited:
        page = visited.page
        page.evaluate(OPEN_ALL)
        block = page.locator(".layer_curve").first
        field = block.locator("input[type=search]").first
        table = block.locator("table").first
        n_rows = table.locator("tbody tr").count()
        field.fill("middle")
        shown = table.locator("tbody tr:visible").count()
        assert 0 < shown < n_rows
        assert f"{shown} of {n_rows} rows shown" in page.inner_text("#told")
        assert f"{shown} of {n_rows} rows shown" in block.locator(".bar").first.inner_text()


def test_a_layer_folds_what_is_about_others_and_tells_it(browser: Browser, path: Path) -> None:
    with visit(browser, path) as visited:
        page = visited.page
        page.evaluate(OPEN_ALL)
        page.locator("#pick-layer").select_option(index=2)  # "middle" of the first backbone
        names = page.locator("#pick-layer optgroup").all()
        first, second = (
            page.locator(".backbone").and_(page.locator(f"[data-name={json.dumps(str(name))}]"))
            for name in (each.get_attribute("label") for each in names)
        )
        table = first.locator(".layer_curve table").first
        cells = table.locator("tbody tr:visible th:nth-child(2)").all_inner_texts()
        assert set(cells) == {"middle"}
        marks = first.locator(".layer_curve .marks").first
        assert marks.locator("rect.on").count() > 0
        assert marks.locator("rect.off").count() == 3 * marks.locator("rect.on").count()
        assert second.locator(".folded, tr[hidden]").count() == 0, "another backbone's layer"
        page.locator("#pick-layer").select_option(index=1)  # "stem": single layers are at "last"
        folded = first.locator(".block.folded").count()
        assert folded > 3
        assert f"{folded} results" in page.inner_text("#told")
        lines = page.locator(".question > .fold")
        assert 0 < lines.count() <= page.locator(".question").count()
        address = page.url
        assert "layer=" in address
        lines.first.locator("button").click()
        assert first.locator(".block.folded").count() < folded
        page.goto(address)
        assert first.locator(".block.folded").count() == folded, "the address keeps the choice"
        page.click("#reset")
        assert page.locator(".folded, tbody tr[hidden], .marks .off").count() == 0


def test_a_group_is_picked_out_of_tables_and_figures(browser: Browser, path: Path) -> None:
    with visit(browser, path) as visited:
        page = visited.page
        page.evaluate(OPEN_ALL)
        page.select_option("#pick-group", ARABIC)
        intersections = page.locator(".group_profiles").first
        labels = intersections.locator("tbody tr:visible th").all_inner_texts()
        assert len(labels) == 3
        assert all(label.endswith(ARABIC) for label in labels)
        on = intersections.locator(".marks rect.on")
        assert on.count() == 3
        assert ARABIC in str(on.first.get_attribute("aria-label"))
        assert "rows of tables are hidden" in page.inner_text("#told")


def test_marks_are_one_stop_and_arrow_keys_step_through_them(browser: Browser, path: Path) -> None:
    with visit(browser, path) as visited:
        page = visited.page
        for chart in page.locator("svg.chart").all():
            n_marks = chart.locator(".marks rect").count()
            assert chart.locator(".marks rect[tabindex='0']").count() == min(n_marks, 1)
        marks = page.locator(".layer_curve .marks").first.locator("rect")
        marks.first.focus()
        assert page.locator("#tip").is_visible()
        page.keyboard.press("ArrowRight")
        name = str(page.evaluate("document.activeElement.getAttribute('aria-label')"))
        assert name == marks.nth(1).get_attribute("aria-label")
        assert "(95 %), n = " in name
        assert "[" in page.inner_text("#tip")
        page.keyboard.press("End")
        assert marks.last.get_attribute("tabindex") == "0"
        page.keyboard.press("Escape")
        assert not page.locator("#tip").is_visible()
        marks.nth(2).hover(force=True)
        assert "n = " in page.inner_text("#tip")


def test_the_data_of_a_figure_are_those_of_its_file(browser: Browser, run: Path) -> None:
    with visit(browser, run / "report.html", accept_downloads=True) as visited:
        block = visited.page.locator(".layer_curve").first
        with visited.page.expect_download() as download:
            block.locator(".get button").click()
        got = Path(download.value.path()).read_text(encoding="utf-8")
        name = download.value.suggested_filename.removesuffix(".csv")
        assert got == (run / "figures" / f"{name}-layer_curve.csv").read_text(encoding="utf-8")
        visited.page.evaluate(OPEN_ALL)
        table = visited.page.locator(".group_table").first
        with visited.page.expect_download() as download:
            table.locator(".bar button").click()
        lines = Path(download.value.path()).read_text(encoding="utf-8").splitlines()
        assert lines[0].endswith('recall,"recall, lower","recall, upper",by chance')
        assert lines[1].startswith("<script>")


def test_the_theme_is_picked_and_kept(browser: Browser, path: Path) -> None:
    def ground(page: Page) -> str:
        return str(page.evaluate("getComputedStyle(document.body).backgroundColor"))

    with visit(browser, path, color_scheme="light") as visited:
        light = ground(visited.page)
        line = "getComputedStyle(document.querySelector('.s-c0, .s-c1')).stroke"
        before = visited.page.evaluate(line)
        visited.page.select_option("#pick-theme", "dark")
        assert ground(visited.page) != light
        assert visited.page.evaluate(line) != before, "figures follow"
        visited.page.reload()
        assert ground(visited.page) != light
        visited.page.emulate_media(media="print")
        assert ground(visited.page) == light


def test_a_link_to_a_place_opens_what_is_folded_around_it(browser: Browser, path: Path) -> None:
    with visit(browser, path, anchor="backbone-1-4") as visited:
        top = visited.page.locator("#backbone-1-4").bounding_box()
        assert top is not None
        assert 0 <= top["y"] < 500
        current = visited.page.locator(".contents a[aria-current]").first
        assert current.get_attribute("href") in {"#encoded", "#groups", "#maps"}
        for link in visited.page.locator("a.anchor").all()[:20]:
            assert visited.page.locator(str(link.get_attribute("href"))).count() == 1


def test_paper_from_the_browser_has_what_the_screen_folds(browser: Browser, path: Path) -> None:
    with visit(browser, path, color_scheme="dark") as visited:
        visited.page.select_option("#pick-group", "20-29")
        printed = PdfReader(io.BytesIO(visited.page.pdf(format="A4")))
        text = " ".join(page.extract_text() for page in printed.pages)
        assert "by attribute and layer" in " ".join(text.split())
        assert "Show all" not in text
        assert "=cmd()" in text
