"""Run folders of made-up audits, rendered once."""

from __future__ import annotations

from pathlib import Path

import pytest

from bias_audit.report.audit_page import audit_page
from bias_audit.report.page import Page as PageParts
from bias_audit.report.page import html
from bias_audit.results.store import read_audit
from tests.once import once
from tests.report.synthetic import DEEP, HOSTILE, LARGE, criteria_of, declared, make_audit


def _view(folder: Path) -> PageParts:
    return audit_page(read_audit(folder), folder)


def _page(factory: pytest.TempPathFactory, folder: Path) -> str:
    """The screen's page of a run, drawn once for all workers."""

    def make(made: Path) -> None:
        (made / "page.html").write_text(html(_view(folder), medium="screen"), encoding="utf-8")

    return (once(factory, f"page_of_{folder.name}", make) / "page.html").read_text("utf-8")


@pytest.fixture(scope="session")
def two_backbones(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """4 x 3 x 2 groups, one empty; two backbones; an analysis that failed."""
    made = make_audit(
        empty=(5,), failed=True, backbones=("first_net", "second_net"), criteria=criteria_of("age")
    )
    return once(tmp_path_factory, "two_backbones", made.write)


@pytest.fixture(scope="session")
def two_backbones_page(tmp_path_factory: pytest.TempPathFactory, two_backbones: Path) -> str:
    return _page(tmp_path_factory, two_backbones)


@pytest.fixture(scope="session")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Labels that hold markup, formulas and template expressions."""
    made = make_audit(
        HOSTILE,
        layers=("a", "b", "c"),
        per_cell=9,
        criteria=criteria_of("age"),
        declarations=declared("=<script>alert(2)</script> | *x* {{ 7*7 }}", "AUC stays low"),
    )
    return once(tmp_path_factory, "hostile", made.write)


@pytest.fixture(scope="session")
def hostile_page(tmp_path_factory: pytest.TempPathFactory, hostile: Path) -> str:
    return _page(tmp_path_factory, hostile)


@pytest.fixture(scope="session")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """9 x 7 x 2 groups, three empty; 60 layers."""
    made = make_audit(LARGE, layers=DEEP, empty=(0, 17, 125), per_cell=44)
    return once(tmp_path_factory, "large", made.write)


@pytest.fixture(scope="session")
def large_undrawn(large: Path) -> PageParts:
    """Every text of it and no figure, for tests that look at none."""
    return audit_page(read_audit(large), None)
