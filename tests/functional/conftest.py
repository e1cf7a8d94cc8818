"""Small audits of the bundled backbone on the bundled faces, run as a user would."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

SMALL: dict[str, Any] = {
    "name": "small",
    "seed": 1,
    "data": {"kind": "parametric"},
    "sampling": {"max_per_intersection": 7},
    "backbones": [{"kind": "bundled", "layers": ["blocks.1", "blocks.5"]}],
    "activations": {"device": "cpu"},
    "analyses": [
        {"kind": "linear_probe", "folds": 3},
        {"kind": "confusions", "folds": 3},
        {"kind": "group_profiles", "folds": 3},
        {"kind": "topomap", "folds": 3},
    ],
    "output": {"formats": ["html"]},
}


@pytest.fixture
def small() -> dict[str, Any]:
    """A config to change; a deep copy."""
    copy: dict[str, Any] = yaml.safe_load(yaml.safe_dump(SMALL))
    return copy


@pytest.fixture
def write_config(tmp_path: Path) -> Callable[[dict[str, Any]], Path]:
    def write(config: dict[str, Any]) -> Path:
        path = tmp_path / "audit.yaml"
        path.write_text(yaml.safe_dump(config, sort_keys=False))
        return path

    return write


def bias_audit(*arguments: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run the command line in a folder of its own."""
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
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the small audit has been run; tests may read it, not change it."""
    folder = tmp_path_factory.mktemp("finished")
    config = {**SMALL, "output": {"formats": ["html", "pdf"]}}
    (folder / "audit.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    done = bias_audit("run", "audit.yaml", cwd=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    (folder / "stdout.txt").write_text(done.stdout)
    return folder
