"""The wheel works from any folder, templates and faces included."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

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


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds the wheel, and what hides all packages that only developers have."""
    return once(tmp_path_factory, "installed", lambda folder: _install(wheel, folder))


def _install(wheel: Path, folder: Path) -> None:
    subprocess.run(
        [
            *(sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-compile"),
            *("--no-index", "--disable-pip-version-check", "--target", str(folder), str(wheel)),
        ],
        check=True,
        capture_output=True,
    )
    needed = _needed("bias-audit")
    hidden = {
        top
        for top, names in packages_distributions().items()
        if not needed & {canonicalize_name(name) for name in names} and top != "bias_audit"
    }
    assert {"pytest", "hypothesis", "mypy"} <= hidden
    assert not {"torch", "numpy", "PIL", "weasyprint"} & hidden
    (folder / "sitecustomize.py").write_text(
        "import sys\n"
        "from importlib.machinery import PathFinder\n"
        f"HIDDEN = {hidden!r}\n"
        "class Rest(PathFinder):\n"
        "    @classmethod\n"
        "    def find_spec(cls, name, path=None, target=None):\n"
        "        hidden = name.partition('.')[0] in HIDDEN\n"
        "        return None if hidden else PathFinder.find_spec(name, path, target)\n"
        "sys.meta_path[sys.meta_path.index(PathFinder)] = Rest\n"
    )


def _needed(name: str) -> set[str]:
    """All distributions that one needs, without its extras."""
    found: set[str] = set()
    waiting = [name]
    while waiting:
        each = canonicalize_name(waiting.pop())
        if each in found:
            continue
        found.add(each)
        try:
            wanted = [Requirement(text) for text in requires(each) or ()]
        except PackageNotFoundError:
            continue  # of another platform
        waiting += [
            need.name
            for need in wanted
            if need.marker is None or need.marker.evaluate({"extra": ""})
        ]
    return found


@pytest.mark.slow
def test_wheel_audits_in_the_worst_of_homes(installed: Path, tmp_path: Path) -> None:
    """No checkout, no developers' packages, no home, no UTF-8, and every sign in the path."""
    folder = tmp_path / "wörk 'dir' %20#x?y"
    folder.mkdir()
    env = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(installed),
        "HOME": f"{os.devnull}/home",
        "TMPDIR": str(tmp_path / "absent"),
        "PYTHONIOENCODING": "ascii",
        "OMP_NUM_THREADS": "1",
    }

    def bias_audit(*arguments: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-m", "bias_audit", *arguments],
            cwd=folder,
            env=env,
            umask=0o077,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert done.stderr == ""
        assert done.stdout.isascii()
        return done

    few = "sampling.max_per_intersection=6"
    told = bias_audit("run", "quickstart", "--set", few, "--set", "controls.random_weights=0")
    assert f"from {installed}" in told.stdout
    assert "Report: runs/quickstart/report.html" in told.stdout
    verified = bias_audit("verify", "runs/quickstart/report.pdf", "--run", "runs/quickstart")
    assert "DIFFERS" not in verified.stdout
    bias_audit("zoo", "run", "zoo_quickstart", "--set", "controls.random_weights=0")
    made = [path for path in folder.rglob("*") if path.is_file()]
    assert made and not any(path.stat().st_mode & 0o077 for path in made)
    assert [path.name for path in folder.iterdir()] == ["runs"]


def test_installed_wheel_renders_and_reads_faces_elsewhere(
    installed: Path, finished: Path, tmp_path: Path
) -> None:
    site = installed
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
