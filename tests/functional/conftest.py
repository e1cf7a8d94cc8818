"""Small audits, run as a user would."""

from __future__ import annotations

import copy
import shutil
import subprocess
import sys
from contextlib import chdir, redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import yaml

from bias_audit import cli
from bias_audit.progress import Silent
from bias_audit.results.audit import AuditResult
from bias_audit.results.store import read_audit
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


class Audit:
    """An audit in a folder of its own, which a test changes as its user would."""

    def __init__(self, folder: Path, config: dict[str, Any], self_test: Path) -> None:
        self.folder, self.config = folder, copy.deepcopy(config)
        self.run = folder / "runs" / self.config["name"]
        shutil.copytree(self_test, folder / "runs" / "cache")

    def __call__(self, verb: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Write the config and run a verb on it."""
        return bias_audit(*verb.split(), self.written(), *arguments, cwd=self.folder)

    def written(self) -> Path:
        """The file of the config as it is now."""
        path = self.folder / "audit.yaml"
        path.write_text(yaml.safe_dump(self.config, sort_keys=False))
        return path

    @property
    def result(self) -> AuditResult:
        return read_audit(self.run)


def _tiny(folder: Path, self_test: Path) -> Audit:
    """Of a network and faces so few that it takes seconds."""
    tiny_zoo.make(folder)
    (dataset,) = tiny_zoo.CONFIG["datasets"]
    backbone = {**tiny_zoo.CONFIG["backbones"][0], "name": "net"}
    backbone["file"] = f"{backbone.pop('label')}.safetensors"
    config = {**SMALL, "data": dataset["data"], "sampling": {}, "backbones": [backbone]}
    return Audit(folder, config, self_test)


@pytest.fixture
def small(tmp_path: Path, stored_self_test: Path) -> Audit:
    """Of the bundled backbone and faces."""
    return Audit(tmp_path, SMALL, stored_self_test)


@pytest.fixture
def tiny(tmp_path: Path, stored_self_test: Path) -> Audit:
    return _tiny(tmp_path, stored_self_test)


@pytest.fixture(scope="session")
def stored_self_test(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache that holds a self-test, so that not every run makes one."""
    sizes = Sizes((0.95,), 2, 1, 1, ((10, 2),), 2, 2, 1)
    return once(
        tmp_path_factory,
        "stored_self_test",
        lambda folder: keep(folder, self_test("quick", seed=0, progress=Silent(), sizes=sizes)),
    )


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, stored_self_test: Path) -> Path:
    """A folder in which the tiny audit has been run; tests may read it, not change it."""

    def make(folder: Path) -> None:
        done = _tiny(folder, stored_self_test)("run")
        assert done.returncode == 0, done.stdout + done.stderr
        (folder / "stdout.txt").write_text(done.stdout)

    return once(tmp_path_factory, "finished", make)


def bias_audit(*arguments: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run the command line in a folder, in this process: libraries take long to import."""
    out, err, code = StringIO(), StringIO(), 0
    argv = ["bias-audit", *map(str, arguments)]
    with (
        chdir(cwd),
        redirect_stdout(out),
        redirect_stderr(err),
        pytest.MonkeyPatch.context() as patched,
    ):
        patched.setattr(sys, "argv", argv)
        patched.setenv("COLUMNS", "120")
        try:
            cli.main()
        except SystemExit as ended:
            code = int(ended.code or 0)
    return subprocess.CompletedProcess(argv, code, out.getvalue(), err.getvalue())
