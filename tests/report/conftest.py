"""Run folders of made-up audits, rendered once."""

from __future__ import annotations

from pathlib import Path

import pytest

from bias_audit.report.html import html
from bias_audit.report.view import AuditView, audit_view
from bias_audit.results.store import read_audit
from tests.report.synthetic import DEEP, HOSTILE, LARGE, criteria_of, declared, make_audit


def _view(folder: Path) -> AuditView:
    return audit_view(read_audit(folder), folder)


@pytest.fixture(scope="session")
def two_backbones(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """4 x 3 x 2 groups, one empty; two backbones; an analysis that failed."""
    made = make_audit(
        empty=(5,),
        failed=True,
        backbones=("first_net", "second_net"),
        criteria=criteria_of("age"),
    )
    return made.write(tmp_path_factory.mktemp("two"))


@pytest.fixture(scope="session")
def two_backbones_page(two_backbones: Path) -> str:
    return html(_view(two_backbones), medium="screen")


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
    return made.write(tmp_path_factory.mktemp("hostile"))


@pytest.fixture(scope="session")
def hostile_page(hostile: Path) -> str:
    return html(_view(hostile), medium="screen")


@pytest.fixture(scope="session")
def large_view(tmp_path_factory: pytest.TempPathFactory) -> AuditView:
    """9 x 7 x 2 groups, three empty; 60 layers."""
    made = make_audit(LARGE, layers=DEEP, empty=(0, 17, 125), per_cell=44)
    return _view(made.write(tmp_path_factory.mktemp("large")))
