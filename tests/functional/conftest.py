"""Small audits of the bundled backbone on the bundled faces, run as a user would."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack, chdir, redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import yaml

from bias_audit import cli
from bias_audit.progress import Silent
from bias_audit.selftest.run import keep, self_test
from bias_audit.selftest.trials import Sizes
from tests.functional import tiny_zoo
from tests.once import once

SMALL: dict[str, Any] = {
    "name": "small",
    "seed": 1,
    "data": {"kind": "parametric"},
    "sampling": {"max_per_intersection": 7},
    "backbones": [
        {"kind": "bundled", "layers": ["blocks.1", "blocks.5"], "preprocessing": {"size": 128}}
    ],
    "activations": {"device": "cpu"},
    "controls": {"random_weights": 1, "shuffles": 1},
    "analyses": [
        {"kind": "linear_probe", "folds": 3},
        {"kind": "confusions", "folds": 3},
        {"kind": "group_profiles", "folds": 3},
        # PCA: a UMAP compiles for half a minute in every process
        {"kind": "topomap", "folds": 3, "layout": {"kind": "pca"}},
    ],
    "output": {"formats": ["html"]},
}


@pytest.fixture
def small() -> dict[str, Any]:
    """A config to change; a deep copy."""
    copy: dict[str, Any] = yaml.safe_load(yaml.safe_dump(SMALL))
    return copy


@pytest.fixture
def tiny(tmp_path: Path) -> dict[str, Any]:
    """As `small`, of a network and faces so few that an audit takes seconds."""
    return tiny_audit(tmp_path)


def tiny_audit(folder: Path) -> dict[str, Any]:
    """Write faces and weights into a folder, and give a config that audits them."""
    tiny_zoo.make(folder)
    (dataset,) = tiny_zoo.CONFIG["datasets"]
    data = {**dataset["data"], "file": str(folder / dataset["data"]["file"])}
    backbone = {**tiny_zoo.CONFIG["backbones"][0], "name": "net"}
    backbone["file"] = str(folder / f"{backbone.pop('label')}.safetensors")
    config = {**SMALL, "data": data, "sampling": {}, "backbones": [backbone]}
    copy: dict[str, Any] = yaml.safe_load(yaml.safe_dump(config))
    return copy


@pytest.fixture(scope="session")
def stored_self_test(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache that holds a self-test, so that not every run makes one."""
    sizes = Sizes((0.95,), 2, 1, 1, ((10, 2),), 2, 2, 1)
    return once(
        tmp_path_factory,
        "stored_self_test",
        lambda folder: keep(folder, self_test("quick", seed=0, progress=Silent(), sizes=sizes)),
    )


@pytest.fixture
def write_config(tmp_path: Path, stored_self_test: Path) -> Callable[[dict[str, Any]], Path]:
    shutil.copytree(stored_self_test, tmp_path / "runs" / "cache")

    def write(config: dict[str, Any]) -> Path:
        path = tmp_path / "audit.yaml"
        path.write_text(yaml.safe_dump(config, sort_keys=False))
        return path

    return write


def bias_audit(*arguments: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run the command line in a folder, in this process: libraries take long to import."""
    out, err, code = StringIO(), StringIO(), 0
    argv = ["bias-audit", *map(str, arguments)]
    with ExitStack() as stack:
        stack.enter_context(chdir(cwd))
        stack.enter_context(redirect_stdout(out))
        stack.enter_context(redirect_stderr(err))
        patched = stack.enter_context(pytest.MonkeyPatch.context())
        patched.setattr(sys, "argv", argv)
        patched.setenv("COLUMNS", "120")
        try:
            cli.main()
        except SystemExit as ended:
            code = int(ended.code or 0)
    return subprocess.CompletedProcess(argv, code, out.getvalue(), err.getvalue())


def bias_audit_process(*arguments: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run the command line in a folder and in a process of its own, as a user does."""
    return subprocess.run(
        [sys.executable, "-m", "bias_audit.cli", *map(str, arguments)],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
        env={**os.environ, "COLUMNS": "120"},
    )


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, stored_self_test: Path) -> Path:
    """A folder in which the small audit has been run; tests may read it, not change it."""
    return once(
        tmp_path_factory, "finished", lambda folder: _run_small_audit(folder, stored_self_test)
    )


@pytest.fixture(scope="session")
def tiny_finished(tmp_path_factory: pytest.TempPathFactory, stored_self_test: Path) -> Path:
    """As `finished`, of the tiny audit."""

    def make(folder: Path) -> None:
        shutil.copytree(stored_self_test, folder / "runs" / "cache")
        (folder / "audit.yaml").write_text(yaml.safe_dump(tiny_audit(folder), sort_keys=False))
        done = bias_audit("run", "audit.yaml", cwd=folder)
        assert done.returncode == 0, done.stdout + done.stderr

    return once(tmp_path_factory, "tiny_finished", make)


def _run_small_audit(folder: Path, stored_self_test: Path) -> None:
    shutil.copytree(stored_self_test, folder / "runs" / "cache")
    config = {**SMALL, "output": {"formats": ["html", "pdf"]}}
    (folder / "audit.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    done = bias_audit_process("run", "audit.yaml", cwd=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    (folder / "stdout.txt").write_text(done.stdout)
