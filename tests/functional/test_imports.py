"""What needs no tensor loads no library of tensors, in processes of their own."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.functional import tiny_zoo
from tests.once import once

HEAVY = {"captum", "numba", "pandas", "sklearn", "statsmodels", "sympy", "timm", "torch", "umap"}
BROKEN = {
    "no config": None,
    "no YAML": "name: [",
    "no such kind": "{name: x, data: {kind: nothing}, backbones: [{kind: timm, name: r}]}",
    "no such key": "{name: x, data: {kind: parametric}, backbones: [{kind: bundled, nme: 3}], "
    "analyses: [{kind: topomap, layuot: {kind: umap}}]}",
    "no such value": "{name: x, data: {kind: parametric}, backbones: [{kind: torchvision, "
    "name: 3}], analyses: [{kind: linear_probe, folds: x}, {kind: attribution, steps: []}, "
    "{kind: erasure, draws: many}, {kind: layout_comparison, layouts: [{kind: tsne, x: 1}]}]}",
    "no such quantity": "{name: x, data: {kind: parametric}, backbones: [{kind: bundled}], "
    "analyses: [{kind: nothing}], criteria: [{name: c, quantity: q, target: age, at_most: 1, "
    "rationale: r}]}",
}


def loaded(*arguments: str | Path, cwd: Path, code: int = 0) -> set[str]:
    """Packages that a command imports."""
    command = [sys.executable, "-X", "importtime", "-m", "bias_audit", *map(str, arguments)]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stdout + done.stderr[-2000:]
    return set(re.findall(r"^import time:.*\| +(\w+)", done.stderr, re.MULTILINE))


@pytest.fixture(scope="module")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny zoo that was run."""

    def make(folder: Path) -> None:
        tiny_zoo.make(folder, tiny_zoo.WITHOUT_REPORTS)
        loaded("zoo", "run", "zoo.yaml", cwd=folder)

    return once(tmp_path_factory, "zoo_that_was_run", make)


@pytest.fixture
def audit(tmp_path: Path, finished: Path) -> Path:
    """A folder with a finished audit."""
    return Path(shutil.copytree(finished, tmp_path / "audit"))


def test_help_loads_little(tmp_path: Path) -> None:
    assert not loaded("--help", cwd=tmp_path) & {*HEAVY, "numpy", "scipy", "matplotlib"}


@pytest.mark.parametrize("why", BROKEN)
def test_a_broken_config_is_refused_at_once(why: str, tmp_path: Path) -> None:
    text = BROKEN[why]
    if text is not None:
        (tmp_path / "broken.yaml").write_text(text)
    found = loaded("check", "broken.yaml", cwd=tmp_path, code=2)
    assert not found & {*HEAVY, "matplotlib"}


@pytest.mark.parametrize(
    "verb", ["render runs/small --format html", "export runs/small", "diff runs/small runs/small"]
)
def test_a_finished_audit_is_read_without_a_network(verb: str, audit: Path) -> None:
    assert not loaded(*verb.split(), cwd=audit) & HEAVY


def test_an_unchanged_audit_is_left_alone_without_a_network(audit: Path) -> None:
    assert not loaded("run", "audit.yaml", cwd=audit) & {*HEAVY, "matplotlib"}


@pytest.mark.slow
def test_a_printed_report_is_verified_without_a_network(audit: Path) -> None:
    assert not loaded("render", "runs/small", "--format", "pdf", cwd=audit) & HEAVY
    assert not loaded("verify", "runs/small/report.pdf", cwd=audit) & HEAVY


@pytest.mark.slow
@pytest.mark.parametrize("verb", ["status zoo.yaml", "report zoo.yaml", "run zoo.yaml"])
def test_a_zoo_that_is_current_is_looked_at_without_a_network(verb: str, zoo: Path) -> None:
    assert not loaded("zoo", *verb.split(), cwd=zoo) & HEAVY
