"""Plugins of other packages: found by name alone, and each fault has its message."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
import yaml

from bias_audit import extensions
from bias_audit.analyses.mapping.layout import Layout
from bias_audit.audit import provenance
from bias_audit.audit.plan import make_plan
from bias_audit.config import catalog, starting
from bias_audit.config.catalog import ANALYSES, EXECUTORS, LAYOUTS
from bias_audit.config.load import json_schema, load_config
from bias_audit.config.schema import Component
from bias_audit.errors import ConfigError, ExtensionError
from bias_audit.extensions import GROUPS
from bias_audit.software import software_of

DOCS: Final = Path(__file__).resolve().parents[2] / "docs"
LAYOUT: Final = """
import numpy as np
from bias_audit.analyses.mapping.layout import Layout
from bias_audit.config.schema import Strict


class Params(Strict):
    width: float = 1.0


def place(signatures, distance, rng, params):
    return rng.random((len(signatures), 2)) * params.width


PLUGIN = Layout(title="a row", params_type=Params, place=place)
"""
Install = Callable[..., Path]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Puts a package of one module where Python looks, as an installer does."""

    def installed(
        name: str, code: str = LAYOUT, *, kind: str = "row", noun: str = "layout", value: str = ""
    ) -> Path:
        folder, module = tmp_path / name, name.replace("-", "_")
        metadata = folder / f"{module}-1.0.dist-info"
        metadata.mkdir(parents=True)
        (folder / f"{module}.py").write_text(code)
        (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        point = f"{kind} = {value or f'{module}:PLUGIN'}"
        (metadata / "entry_points.txt").write_text(f"[{GROUPS[noun]}]\n{point}\n")
        (metadata / "RECORD").write_text(f"{module}.py,,\n{metadata.name}/METADATA,,\n")
        monkeypatch.syspath_prepend(str(folder))
        monkeypatch.delitem(sys.modules, module, raising=False)
        catalog._loaded.cache_clear()
        extensions._digest.cache_clear()
        return folder / f"{module}.py"

    return installed


def _problems(tmp_path: Path, **layout: Any) -> str:
    config = {
        "name": "x",
        "data": {"kind": "parametric"},
        "backbones": [{"kind": "bundled"}],
        "analyses": [{"kind": "topomap", "layout": layout}],
    }
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    with pytest.raises(ConfigError) as raised:
        load_config(tmp_path / "config.yaml")
    return "\n".join(raised.value.problems)


def test_an_extension_is_found_by_its_name_and_checked_as_others_are(
    install: Install, tmp_path: Path
) -> None:
    file = install("row-layout")
    plugin: Layout[Any] = LAYOUTS.load("row")
    rng = np.random.default_rng(0)
    placed = plugin.place(np.zeros((3, 2)), "cosine", rng, plugin.params_type())
    assert placed.shape == (3, 2)
    assert LAYOUTS.module("row") == "row_layout"
    assert "width" in _problems(tmp_path, kind="row", widths=2)
    assert "did you mean 'row'" in _problems(tmp_path, kind="rows")
    (extension,) = LAYOUTS.extensions()
    assert extension.identity.startswith("row-layout 1.0, digest ")
    (offered,) = starting.offered()
    assert offered.line == f"layout row: a row ({extension.identity})"
    before = software_of("row_layout")
    assert before.packages["row-layout"] == "1.0"
    file.with_name("another.txt").touch()  # not part of the package
    for change, is_other in ((False, False), (True, True)):
        if change:
            file.write_text(f"{LAYOUT}# a remark, which may be anything to another package\n")
        extensions._digest.cache_clear()
        software_of.cache_clear()
        assert (software_of("row_layout") != before) == is_other


def test_a_package_that_is_developed_in_place_counts_by_its_own_files(
    install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = install("row-layout")
    (record,) = file.parent.glob("*/RECORD")
    record.write_text("__editable___row_layout.pth,,\nrow_layout-1.0.dist-info/METADATA,,\n")
    found = set()
    for text in (LAYOUT, LAYOUT + "\n_NEW = 1\n"):
        file.write_text(text)
        extensions._digest.cache_clear()
        found.add(LAYOUTS.extensions()[0].digest)
    assert len(found) == 2


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("import no_such_package", "cannot be imported: ModuleNotFoundError: No module named"),
        ("1 / 0", "cannot be imported: ZeroDivisionError"),
        ("OTHER = 1", "cannot be imported: AttributeError"),
        ("PLUGIN = 1", "expected an object of the class Layout, got one of int"),
        (LAYOUT.replace('"a row"', '" "'), "title: expected a name for readers, got ' '"),
        (LAYOUT.replace("=Params", "=dict"), "params_type: expected a subclass of"),
        (LAYOUT.replace("place=place", "place=1"), "place: expected a function, got 1"),
        (LAYOUT.replace("place=place", "place=place, settings=[]"), "settings: expected Mapping"),
    ],
)
def test_an_extension_that_cannot_be_used_is_named(
    code: str, expected: str, install: Install, tmp_path: Path
) -> None:
    install("row-layout", code)
    whose = "layout 'row' of row-layout 1.0 (row_layout:PLUGIN)"
    problems = _problems(tmp_path, kind="row")
    assert whose in problems and expected in problems
    (offered,) = starting.offered()
    assert offered.line.startswith(f"cannot be used: {whose}") and expected in offered.line


def test_a_name_that_two_packages_offer_is_refused(install: Install, tmp_path: Path) -> None:
    install("row-layout")
    install("other-layout")
    expected = (
        "layout 'row' is offered by other-layout 1.0 and row-layout 1.0; uninstall all but one of "
        "them"
    )
    assert expected in _problems(tmp_path, kind="row")
    assert [each.problem for each in starting.offered()] == [expected] * 2


def test_what_is_built_in_stays_and_another_of_that_name_is_refused(install: Install) -> None:
    install("row-layout", kind="pca")
    assert LAYOUTS.load("pca").title != "a row"
    with pytest.raises(
        ExtensionError, match=r"row-layout 1\.0 offers layout 'pca', which is built"
    ):
        LAYOUTS.load("row")
    (offered,) = starting.offered()
    assert "which is built in; expected another name" in offered.line


def test_a_function_that_breaks_its_promise_is_named(install: Install) -> None:
    install("row-layout", LAYOUT.replace("rng.random((len(signatures), 2)) *", "1 +"))
    plugin = LAYOUTS.load("row")
    arguments = (np.zeros((3, 2)), "cosine", np.random.default_rng(0))
    with pytest.raises(ExtensionError, match=r"row-layout 1\.0 .*: place: expected ndarray, got"):
        plugin.place(*arguments, plugin.params_type())
    with pytest.raises(AttributeError) as raised:
        plugin.place(*arguments, None)
    (note,) = raised.value.__notes__
    assert "error of the layout 'row' of row-layout 1.0" in note


def test_an_analysis_depends_on_the_layouts_that_it_names(install: Install) -> None:
    from bias_audit.audit.analysing import analysis_entry
    from bias_audit.audit.plan import PlannedAnalysis
    from tests.analyses.planted import planted
    from tests.audit.test_controls import config

    file = install("row-layout")
    topomap = ANALYSES.load("topomap")

    def key(kind: str) -> str:
        params = topomap.params_type(layout=Component(kind=kind))
        extensions._digest.cache_clear()
        software_of.cache_clear()
        planned = PlannedAnalysis("topomap", topomap, params)
        return analysis_entry(planned, planted(60), config(Path())).fingerprint

    before = {kind: key(kind) for kind in ("row", "pca")}
    file.write_text(LAYOUT + "\n_NEW = 1\n")
    assert key("pca") == before["pca"]
    assert key("row") != before["row"]


def test_the_schema_has_what_is_installed(install: Install) -> None:
    before = str(json_schema())
    code = LAYOUT.replace("analyses.mapping.layout", "data.faces").replace("Layout", "FaceSource")
    install("my-faces", code.replace("place=place", "read=place"), kind="mine", noun="data source")
    assert "'mine'" not in before
    assert "'const': 'mine'" in str(json_schema())


def test_nothing_is_looked_up_for_what_is_built_in(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_group: str) -> None:
        raise AssertionError

    monkeypatch.setattr(extensions, "installed", refuse)
    assert provenance.extensions_of(make_plan(load_config(Path("quickstart")))) == {}


def test_every_name_that_extensions_may_rely_on_is_there() -> None:
    text = (DOCS / "extending.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(bias_audit[.\w]*)` \| ((?:`\w+`(?:, )?)+) \|$", text, re.MULTILINE)
    assert len(rows) > 15
    for module, names in rows:
        for name in re.findall(r"`(\w+)`", names):
            assert hasattr(import_module(module), name), f"{module}.{name}"
    listed = {module: set(re.findall(r"`(\w+)`", names)) for module, names in rows}
    for path in (DOCS / "examples" / "extension").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_bytes())):
            if isinstance(node, ast.ImportFrom) and str(node.module).startswith("bias_audit."):
                used = {alias.name for alias in node.names}
                assert used <= listed.get(str(node.module), set()), f"{node.module}: {used}"


def test_an_executor_that_an_extension_brings_has_an_identity(install: Install) -> None:
    install("elsewhere", noun="executor", kind="elsewhere")
    ((what, identity),) = EXECUTORS.brought("elsewhere")
    assert what == "executor elsewhere"
    assert identity.startswith("elsewhere 1.0, digest ")
    assert not EXECUTORS.brought("local")
