from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import bias_audit
from bias_audit.errors import OutputError
from bias_audit.report.render import render

ROOT = Path(bias_audit.__file__).resolve().parents[1]
HEAVY = ("torch", "timm", "torchvision", "sklearn", "umap", "bias_audit.audit")


@pytest.fixture
def run(hostile: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(hostile, tmp_path / "run"))


def _python(code: str, *args: str, path: Path) -> str:
    command = [sys.executable, "-c", code, *args]
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=path)
    return done.stdout.strip()


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
    assert {path.name for path in run.iterdir()} - before == {"report.html"}


def test_another_schema_version_is_refused_with_what_to_do(run: Path) -> None:
    path = run / "audit.json"
    raw = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(raw | {"schema_version": 99}), encoding="utf-8")
    with pytest.raises(OutputError, match="expected schema_version 1, got 99; render it with"):
        render(run)
    assert not (run / "report.html").exists()


def test_a_missing_array_is_named(run: Path) -> None:
    (array,) = run.glob("arrays/*/rasters.npy")
    array.unlink()
    with pytest.raises(OutputError, match=r"rasters\.npy: expected an array of this run"):
        render(run, formats=("html",))


def test_an_unknown_format_is_refused(run: Path) -> None:
    with pytest.raises(OutputError, match="expected formats among html, pdf, got docx"):
        render(run, formats=("docx",))


def test_templates_inside_an_installed_package_are_found(tmp_path: Path) -> None:
    package = tmp_path / "bias_audit"
    keep_out = shutil.ignore_patterns("__pycache__", "data", "backbones", "analyses")
    shutil.copytree(ROOT / "bias_audit", package, ignore=keep_out)
    shutil.copytree(ROOT / "templates", package / "templates", dirs_exist_ok=True)
    code = "from bias_audit.report.resources import template_folder; print(template_folder())"
    assert _python(code, path=tmp_path) == str(package / "templates")


def test_an_installation_without_templates_says_so(tmp_path: Path) -> None:
    package = tmp_path / "bias_audit"
    keep_out = shutil.ignore_patterns("__pycache__", "data", "backbones", "analyses", "templates")
    shutil.copytree(ROOT / "bias_audit", package, ignore=keep_out)
    code = (
        "from bias_audit.errors import OutputError\n"
        "from bias_audit.report.resources import template_folder\n"
        "try: template_folder()\n"
        "except OutputError as error: print(error)"
    )
    assert "reinstall bias-audit" in _python(code, path=tmp_path)
