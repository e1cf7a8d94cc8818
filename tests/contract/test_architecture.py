"""Imports point down, checked without the import linter, which a contributor may not have run."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[2] / "bias_audit"
LAYERS: tuple[tuple[str, ...], ...] = (
    ("__main__",),
    ("cli", "notebook"),
    ("zoo_cli",),
    ("command",),
    ("zoo",),
    ("audit", "selftest", "report", "console"),
    ("analyses",),
    ("activations",),
    ("backbones", "data"),
    ("results",),
    ("config",),
    ("software",),
    ("statistics", "groups"),
    ("progress", "files", "contents", "process", "arrays"),
    ("errors",),
)
HEIGHT = {name: -index for index, names in enumerate(LAYERS) for name in names}


def imported(path: Path) -> set[str]:
    """Parts of the package that a module imports."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return {name.split(".")[1] for name in found if name.startswith("bias_audit.")}


MODULES = sorted(PACKAGE.rglob("*.py"))


def test_every_part_has_its_place() -> None:
    parts = {path.relative_to(PACKAGE).parts[0].removesuffix(".py") for path in MODULES}
    assert parts - {"__init__"} == set(HEIGHT)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_down(path: Path) -> None:
    own = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    for other in imported(path) - {own}:
        assert own == "__init__" or HEIGHT[other] < HEIGHT[own], f"{own} imports {other}"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_module_unpickles(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert "import pickle" not in text
    assert "allow_pickle=True" not in text
    assert "yaml.load(" not in text
    assert "weights_only=False" not in text


def test_standard_library_names_are_not_shadowed() -> None:
    tops = {path.stem for path in PACKAGE.glob("*.py")}
    assert not tops & set(sys.stdlib_module_names)
