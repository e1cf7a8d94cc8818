from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import bias_audit
from bias_audit.errors import AuditError, OutputError
from bias_audit.report.render import render
from bias_audit.results.store import read_audit, write_audit

ROOT = Path(bias_audit.__file__).resolve().parents[1]
Array = npt.NDArray[Any]
HEAVY = ("torch", "timm", "torchvision", "sklearn", "umap", "bias_audit.audit")


@pytest.fixture
def run(hostile: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(hostile, tmp_path / "run"))


@pytest.fixture
def maps(hostile: Path, tmp_path: Path) -> Path:
    """The run with its maps alone, so that little is drawn before the arrays are read."""
    result = read_audit(hostile)
    (subject,) = result.subjects
    analyses = tuple(each for each in subject.analyses if each.kind == "topomap")
    subject = subject.model_copy(update={"analyses": analyses})
    folder = Path(shutil.copytree(hostile, tmp_path / "run"))
    write_audit(folder, result.model_copy(update={"subjects": (subject,), "verdicts": ()}))
    return folder


def _python(code: str, *args: str, path: Path) -> str:
    command = [sys.executable, "-c", code, *args]
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=path)
    return done.stdout.strip()


@pytest.mark.slow
def test_rendering_loads_no_model_library(run: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from bias_audit.report.render import render;"
        "render(Path(sys.argv[1]), formats=('html',));"
        f"print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    assert _python(code, str(run), path=ROOT) == "[]"
    assert (run / "report.html").is_file()


def test_only_what_was_asked_for_is_written_and_nothing_is_left_over(run: Path) -> None:
    before = {path.name for path in run.iterdir()}
    assert render(run, formats=("html",)) == (run / "report.html",)
    assert {path.name for path in run.iterdir()} - before == {"report.html", "figures", "exports"}


def test_another_schema_version_is_refused_with_what_to_do(run: Path) -> None:
    path = run / "audit.json"
    raw = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(raw | {"schema_version": 99}), encoding="utf-8")
    with pytest.raises(OutputError, match="expected schema_version 3, got 99; render it with"):
        render(run)
    assert not (run / "report.html").exists()


def test_a_missing_array_is_named(maps: Path) -> None:
    (array,) = maps.glob("arrays/*/rasters.npy")
    array.unlink()
    with pytest.raises(OutputError, match=r"rasters\.npy: expected an array of this run"):
        render(maps, formats=("html",))


def _no_cells(raw: dict[str, Any]) -> None:
    raw["data"]["cells"] = []


def _started_yesterday(raw: dict[str, Any]) -> None:
    raw["provenance"]["started"] = "yesterday"


def _one_group_more(raw: dict[str, Any]) -> None:
    groups = _map_of(raw)["groups"]
    groups.append(groups[0])


def _map_of(raw: dict[str, Any]) -> dict[str, Any]:
    blocks = (b for a in raw["subjects"][0]["analyses"] for b in a["blocks"])
    found: dict[str, Any] = next(block for block in blocks if block["block"] == "unit_map")
    return found


@pytest.mark.parametrize(
    ("damage", "cause"),
    [
        (_no_cells, r"data\.cells: expected every declared group, got none"),
        (_started_yesterday, "'yesterday'"),
        (_one_group_more, "expected a number of images for each of 5 groups, got 4"),
    ],
)
def test_a_damaged_result_is_an_error_of_its_folder(
    damage: Callable[[dict[str, Any]], None], cause: str, run: Path
) -> None:
    path = run / "audit.json"
    raw = json.loads(path.read_text(encoding="utf-8"))
    damage(raw)
    path.write_text(json.dumps(raw), encoding="utf-8")
    with pytest.raises(OutputError, match=f"run: its results are damaged or .*{cause}") as caught:
        render(run)
    assert caught.value.__cause__ is not None
    assert not (run / "report.html").exists()


def _without_one_map(rasters: Array) -> Array:
    broken = rasters.copy()
    broken[1] = np.nan
    return broken


@pytest.mark.parametrize(
    ("key", "damage", "cause"),
    [
        ("rasters", lambda a: a[:-1], r"expected floats of shape \(4, 100, 100\), got"),
        ("rasters", lambda a: a[:, 0], r"got float64 of shape \(4, 100\)"),
        ("rasters", lambda a: a[0, 0, 0], r"got float64 of shape \(\)"),
        ("rasters", lambda a: a[:, :0, :0], r"got float64 of shape \(4, 0, 0\)"),
        ("rasters", lambda a: a.astype("<U8"), "got <U8"),
        ("rasters", lambda a: a.astype(complex), "got complex128"),
        ("rasters", _without_one_map, "expected numbers for every group that has images"),
        ("distances", lambda a: a[:2], r"expected floats of shape \(4, 4\), got"),
        ("distances", lambda a: a.astype(int), "got int64"),
        ("distances", lambda a: a * np.nan, "got NaN alone"),
    ],
)
def test_an_array_that_does_not_belong_is_named(
    key: str, damage: Callable[[Array], Array], cause: str, maps: Path
) -> None:
    (path,) = maps.glob(f"arrays/*/{key}.npy")
    np.save(path, damage(np.load(path)))
    with pytest.raises(OutputError, match=f'run: its results are .*array "{key}": .*{cause}'):
        render(maps, formats=("html",))


def test_an_empty_array_file_is_an_error_of_its_folder(maps: Path) -> None:
    (path,) = maps.glob("arrays/*/rasters.npy")
    path.write_bytes(b"")
    with pytest.raises(OutputError):
        render(maps, formats=("html",))


def test_an_unknown_format_is_refused(run: Path) -> None:
    with pytest.raises(AuditError, match="expected formats among html, pdf, got docx"):
        render(run, formats=("docx",))


def test_templates_inside_an_installed_package_are_found(tmp_path: Path) -> None:
    package = tmp_path / "bias_audit"
    keep_out = shutil.ignore_patterns("__pycache__", "data", "backbones", "analyses")
    shutil.copytree(ROOT / "bias_audit", package, ignore=keep_out)
    shutil.copytree(ROOT / "templates", package / "templates", dirs_exist_ok=True)
    code = "from bias_audit.report.page import template_folder; print(template_folder())"
    assert _python(code, path=tmp_path) == str(package / "templates")


def test_an_installation_without_templates_says_so(tmp_path: Path) -> None:
    package = tmp_path / "bias_audit"
    keep_out = shutil.ignore_patterns("__pycache__", "data", "backbones", "analyses", "templates")
    shutil.copytree(ROOT / "bias_audit", package, ignore=keep_out)
    code = (
        "from bias_audit.errors import OutputError\n"
        "from bias_audit.report.page import template_folder\n"
        "try: template_folder()\n"
        "except OutputError as error: print(error)"
    )
    assert "reinstall bias-audit" in _python(code, path=tmp_path)
