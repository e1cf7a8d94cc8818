"""The overview of a zoo as a browser shows it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from bias_audit.report.zoo.page import write_zoo_report
from tests.report.browser import ARABIC, axe, chromium, visit
from tests.report.test_browser import OPEN_ALL
from tests.report.zoo_history import keep, make_history, make_zoo_audit

LONG = "a_backbone_whose_name_goes_on_" * 6


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ordinary and odd names; some audits have a report to link to."""
    home = tmp_path_factory.mktemp("zoo")
    database = home / "history.sqlite"
    names = ("net_a", "net_b", "net_c", "net_d", ARABIC, "<b>=cmd()")
    make_history(database, entries=names, datasets=("faces", "<i>portraits"), dates=3)
    keep(database, make_zoo_audit(LONG, dataset="faces"), dataset="faces", entry=LONG)
    report = home / "faces" / "net_a" / "2026-01-18"
    report.mkdir(parents=True)
    (report / "report.html").write_text("a report", encoding="utf-8")
    return write_zoo_report(database, home / "zoo.html")


def test_it_asks_for_nothing_and_breaks_no_rule_of_its_policy(
    browser: Browser, path: Path
) -> None:
    with visit(browser, path) as visited:
        visited.page.evaluate(OPEN_ALL)
        visited.page.wait_for_timeout(100)
        assert [url for url in visited.requests if not url.startswith("data:")] == [path.as_uri()]
        assert visited.complaints == []
        assert visited.page.locator("html.js").count() == 1


def test_axe_finds_no_violation(browser: Browser, path: Path) -> None:
    with visit(browser, path) as visited:
        page = visited.page
        page.evaluate(OPEN_ALL)
        assert axe(page) == [], "light, wide"
        page.emulate_media(color_scheme="dark")
        page.set_viewport_size({"width": 390, "height": 900})
        page.evaluate(OPEN_ALL)
        page.select_option("#pick-group", "net_a")
        assert axe(page) == [], "dark, narrow, a backbone picked"


@pytest.mark.parametrize("width", [390, 820, 1440])
def test_nothing_is_wider_than_the_window(browser: Browser, path: Path, width: int) -> None:
    with visit(browser, path, viewport={"width": width, "height": 900}) as visited:
        visited.page.evaluate(OPEN_ALL)
        assert visited.page.evaluate("document.documentElement.scrollWidth") <= width
        for name in (LONG, ARABIC, "<b>=cmd()", "<i>portraits"):
            assert name in visited.page.inner_text("main")


def test_without_a_script_all_of_it_can_be_read(browser: Browser, path: Path) -> None:
    with visit(browser, path, java_script_enabled=False) as visited:
        page = visited.page
        assert not page.locator("#toolbar").is_visible()
        charts = page.locator("svg.chart")
        assert charts.count() == 18, "three figures of three targets on two datasets"
        assert all(chart.is_visible() for chart in charts.all())
        assert page.locator(".marks title").count() > 500
        first = page.locator("details:has(table)").first
        first.locator("summary").click()
        assert first.locator("table").is_visible()


def test_a_backbone_is_picked_out_of_tables_and_figures(browser: Browser, path: Path) -> None:
    with visit(browser, path) as visited:
        page = visited.page
        page.evaluate(OPEN_ALL)
        page.select_option("#pick-group", "net_b")
        rows = page.locator(".matrix").first.locator("tbody tr:visible th").all_inner_texts()
        assert rows == ["net_b"]
        for chart in page.locator("svg.chart").all():
            on = chart.locator(".marks rect.on")
            assert on.count() > 0
            assert all("net_b" in str(m.get_attribute("aria-label")) for m in on.all()[:3])
        page.click("#reset")
        assert page.locator("tbody tr[hidden], .marks .off").count() == 0


def test_tables_sort_and_links_open_the_audit(browser: Browser, path: Path) -> None:
    with visit(browser, path) as visited:
        page = visited.page
        page.evaluate(OPEN_ALL)
        table = page.locator("#ranking ~ section table").first
        head = table.locator("thead th").nth(3)
        head.locator("button").click()
        values = table.locator("tbody tr td:nth-child(4)").all_inner_texts()
        assert [float(v.split()[0]) for v in values] == sorted(float(v.split()[0]) for v in values)
        page.locator(".matrix a").first.click()
        page.wait_for_url("**/report.html#*")
        assert page.inner_text("body") == "a report"


def test_a_figure_s_data_are_downloaded(browser: Browser, path: Path) -> None:
    with visit(browser, path, accept_downloads=True) as visited:
        with visited.page.expect_download() as download:
            visited.page.locator("figure .get button").first.click()
        lines = Path(download.value.path()).read_text(encoding="utf-8").splitlines()
        assert lines[0].startswith("backbone,at,layer,value,lower,upper,level,n")
        assert len(lines) == 1 + 2 * 7
