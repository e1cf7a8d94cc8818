"""The wheel works from any folder, templates and faces included."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = ("pyproject.toml", "README.md", "LICENSE", "bias_audit", "templates", "audit_configs")


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """A folder that holds the wheel, and what hides all packages that only developers have."""
    source, folder = tmp_path / "source", tmp_path / "installed"
    source.mkdir()
    for name in SHIPPED:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, source / name)
    for command in (
        ["build", "--wheel", "--no-isolation", "--outdir", "."],
        ["pip", "install", "--no-deps", "--no-compile", "--no-index", "--find-links", ".",
         "--target", str(folder), "bias-audit"],
    ):  # fmt: skip
        subprocess.run(
            [sys.executable, "-m", *command], cwd=source, check=True, capture_output=True
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
    return folder


def _needed(name: str) -> set[str]:
    """All distributions that one needs, without its extras."""
    found: set[str] = set()
    waiting = [name]
    while waiting:
        if (each := canonicalize_name(waiting.pop())) in found:
            continue
        found.add(each)
        with suppress(PackageNotFoundError):  # of another platform
            wanted = [Requirement(text) for text in requires(each) or ()]
            waiting += [w.name for w in wanted if not w.marker or w.marker.evaluate({"extra": ""})]
    return found


@pytest.mark.slow
def test_the_wheel_audits_in_the_worst_of_homes(installed: Path, tmp_path: Path) -> None:
    """No checkout, no developers' packages, no home, no UTF-8, and every sign in the path."""
    assert not [path for path in installed.rglob("*.jpg") if "fairface" in str(path)]
    faces = {path.name for path in (installed / "bias_audit/data/parametric_faces").iterdir()}
    assert faces >= {"LICENSE", "README.md", "inputs.json"}
    checkpoints = (installed / "bias_audit/backbones/rendered_ages").iterdir()
    assert sum(file.stat().st_size for file in checkpoints) < 3_000_000
    assert (installed / "bias_audit" / "py.typed").is_file()
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
    bias_audit("check", "training_quickstart")
    unjudged = ("--set", "criteria=[]")  # an example criterion fails
    told = bias_audit(
        "run", "quickstart", "--set", few, "--set", "controls.random_weights=0", *unjudged
    )
    assert f"from {installed}" in told.stdout
    assert "Report: runs/quickstart/report.html and report.pdf" in told.stdout
    verified = bias_audit("verify", "runs/quickstart/report.pdf", "--run", "runs/quickstart")
    assert "DIFFERS" not in verified.stdout
    bias_audit("zoo", "run", "zoo_quickstart", "--set", "controls.random_weights=0")
    made = [path for path in folder.rglob("*") if path.is_file()]
    assert made and not any(path.stat().st_mode & 0o077 for path in made)
    assert [path.name for path in folder.iterdir()] == ["runs"]
