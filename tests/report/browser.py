"""A browser for tests, without any network, and the page it reads."""

from __future__ import annotations

import importlib.resources
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from bias_audit.groups import Attribute

NAMES = ("chromium", "chromium-browser", "google-chrome")
LONG = "a level whose name goes on and on " * 6
ARABIC = "\N{ARABIC LETTER NOON}\N{ARABIC LETTER SEEN}\N{ARABIC LETTER ALEF} 20-29 (a)"
ODD = (
    Attribute("age", ("<script>alert(1)</script>", LONG, "20-29")),
    Attribute("g", ("=cmd()", ARABIC)),
)
"""Levels that hold markup, a formula, a script from right to left, and two hundred letters."""


@contextmanager
def chromium() -> Iterator[Browser]:
    """The browser on this machine; tests are skipped where there is none."""
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        pytest.skip(f"needs a browser: none of {', '.join(NAMES)} is on PATH")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=found, args=["--no-sandbox", "--font-render-hinting=none"]
        )
        try:
            yield browser
        finally:
            browser.close()


@dataclass
class Visit:
    """A page that was opened, and what it asked for and complained of."""

    page: Page
    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)


@contextmanager
def visit(browser: Browser, path: Path, *, anchor: str = "", **settings: Any) -> Iterator[Visit]:
    """Open a file with the network refused.

    Args:
        browser: See `chromium`.
        path: The page.
        anchor: Where on it.
        settings: Of the browser's context, such as `color_scheme="dark"`.
    """
    refused: dict[str, Any] = {"offline": True}
    context = browser.new_context(**(refused | settings))
    try:
        visited = Visit(context.new_page())
        visited.page.on("request", lambda request: visited.requests.append(request.url))
        visited.page.on("console", lambda said: visited.complaints.append(said.text))
        visited.page.on("pageerror", lambda error: visited.complaints.append(str(error)))
        visited.page.goto(path.as_uri() + (f"#{anchor}" if anchor else ""))
        yield visited
    finally:
        context.close()


def axe(page: Page) -> list[str]:
    """What axe-core finds wrong, one line per rule and place."""
    folder = importlib.resources.files("axe_playwright_python")
    page.evaluate((folder / "axe.min.js").read_text(encoding="utf-8"))
    found: list[dict[str, Any]] = page.evaluate(
        "axe.run(document, {resultTypes: ['violations']}).then((found) => found.violations)"
    )
    return [
        f"{rule['id']}: {rule['help']}: {node['html'][:160]} {node['failureSummary'][:300]}"
        for rule in found
        for node in rule["nodes"][:3]
    ]
