"""The wheel works from any folder, templates and faces included."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.once import once

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = ("pyproject.toml", "README.md", "LICENSE", "bias_audit", "templates", "audit_configs")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    source = once(tmp_path_factory, "wheel", _build)
    return next((source / "dist").glob("*.whl"))


def _build(source: Path) -> None:
    for name in SHIPPED:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, source / name)
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", "dist"],
        cwd=source,
        check=True,
        capture_output=True,
    )


def test_wheel_holds_what_a_run_needs(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    faces = [name for name in names if name.startswith("bias_audit/data/parametric_faces/images")]
    assert len(faces) == 720
    for name in ("faces.csv", "README.md", "LICENSE", "inputs.json"):
        assert f"bias_audit/data/parametric_faces/{name}" in names
    assert "bias_audit/templates/audit.html" in names
    assert "bias_audit/audit_configs/quickstart.yaml" in names
    assert not any("fairface" in name and name.endswith(".jpg") for name in names)


def test_installed_wheel_renders_and_reads_faces_elsewhere(
    wheel: Path, finished: Path, tmp_path: Path
) -> None:
    site = tmp_path / "site"
    subprocess.run(
        [
            *(sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-compile"),
            *("--disable-pip-version-check", "--target", str(site), str(wheel)),
        ],
        check=True,
        capture_output=True,
    )
    shutil.copytree(finished / "runs" / "small", tmp_path / "run")
    (tmp_path / "run" / "report.html").unlink()
    program = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "import bias_audit.cli\n"
        "assert bias_audit.__file__.startswith(sys.argv[1]), bias_audit.__file__\n"
        "from bias_audit.data.sources.parametric import PLUGIN\n"
        "table = PLUGIN.read(PLUGIN.params_type())\n"
        "assert len(table) == 720 and table.references[0].file.is_file()\n"
        "sys.argv = ['bias-audit', 'render', 'run', '--format', 'html']\n"
        "bias_audit.cli.main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(site)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run" / "report.html").is_file()
