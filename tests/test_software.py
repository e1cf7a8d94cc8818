"""Which code and libraries a module depends on, read off its imports."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bias_audit import software
from bias_audit.config.catalog import ANALYSES, LAYOUTS
from bias_audit.software import software_of

Edit = Callable[[str, Callable[[str], str]], None]


@pytest.fixture
def edited(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Edit]:
    """Stands another text for the source of a module, as an edit would."""
    real = software._path
    monkeypatch.setattr(software, "remembered", lambda _kind, _key, find: find())

    def edit(module: str, change: Callable[[str], str]) -> None:
        path, source = tmp_path / f"{module}.py", real(module)
        assert source is not None
        path.write_text(change(source.read_text()))
        places = {module: path}
        monkeypatch.setattr(software, "_path", lambda name: places.get(name) or real(name))
        software_of.cache_clear()
        software._source.cache_clear()

    yield edit
    monkeypatch.undo()
    software_of.cache_clear()
    software._source.cache_clear()


PROBE = "bias_audit.analyses.methods.linear_probe"
TOPOMAP = "bias_audit.analyses.methods.topomap"


@pytest.mark.parametrize("kind", ANALYSES.kinds())
def test_every_analysis_depends_on_the_libraries_it_computes_with(kind: str) -> None:
    found = software_of(f"bias_audit.analyses.methods.{kind}")
    assert {"numpy", "scipy"} <= found.packages.keys()
    assert "not installed" not in found.packages.values()
    assert not {"pydantic", "bias-audit"} & found.packages.keys()


def test_code_far_below_counts(edited: Edit) -> None:
    before = software_of(PROBE)
    edited("bias_audit.statistics.clusters", lambda text: text + "\n_NEW = 1\n")
    assert software_of(PROBE).code != before.code


def test_code_that_is_not_imported_does_not_count(edited: Edit) -> None:
    before = software_of(PROBE)
    edited(TOPOMAP, lambda text: text + "\n_NEW = 1\n")
    assert software_of(PROBE) == before


def test_comments_docstrings_and_layout_do_not_count(edited: Edit) -> None:
    before = software_of(PROBE)
    edited(PROBE, lambda text: '"""Other words."""\n\n# a remark\n\n' + text.partition('"""\n')[2])
    assert software_of(PROBE).code == before.code


def test_plugins_that_are_looked_up_by_name_count(edited: Edit) -> None:
    before = software_of(TOPOMAP)
    layout = f"{LAYOUTS.package}.{LAYOUTS.kinds()[0]}"
    edited(layout, lambda text: text + "\n_NEW = 1\n")
    assert software_of(TOPOMAP).code != before.code


def test_a_module_that_is_not_there_is_refused() -> None:
    with pytest.raises(ModuleNotFoundError, match="no_such"):
        software_of("bias_audit.no_such")


def test_every_import_of_a_source_is_seen() -> None:
    tree = ast.parse(
        "import torch.nn\nfrom bias_audit import groups\n"
        "def f():\n    from bias_audit.statistics.estimate import Estimate\n"
    )
    assert set(software._imported(tree)) == {
        "torch.nn",
        "bias_audit.groups",
        "bias_audit.statistics.estimate",
    }
