"""An audit of four checkpoints of a small network that is trained here."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from bias_audit.results.audit import AnalysisResult, AuditResult
from bias_audit.results.blocks import GroupTable, UnitMap
from bias_audit.results.store import read_array, read_audit
from tests.functional import checkpoints
from tests.functional.conftest import bias_audit
from tests.once import once


@pytest.fixture(scope="module")
def audited(tmp_path_factory: pytest.TempPathFactory, stored_self_test: Path) -> Path:
    """The run folder."""
    folder = once(tmp_path_factory, "training", lambda made: _audit(made, stored_self_test))
    return folder / "runs" / "training"


def _audit(folder: Path, stored_self_test: Path) -> None:
    shutil.copytree(stored_self_test, folder / "runs" / "cache")
    files = checkpoints.train(folder)
    config: dict[str, Any] = {
        "name": "training",
        "seed": 1,
        "data": {"kind": "parametric"},
        "sampling": {"max_per_intersection": 10},
        "backbones": [
            {
                "kind": "checkpoints",
                "architecture": checkpoints.ARCHITECTURE,
                "num_classes": 4,
                "files": [str(path) for path in files],
                "layers": ["layer2", "layer4"],
                "preprocessing": {"size": checkpoints.SIDE},
            }
        ],
        "activations": {"device": "cpu"},
        "controls": {"random_weights": 0, "image": False, "shuffles": 1},
        "analyses": [
            {"kind": "linear_probe", "folds": 3, "targets": ["age"]},
            {"kind": "training", "folds": 3, "layer": "layer4", "layout": {"kind": "pca"}},
        ],
        "output": {"formats": ["html"]},
    }
    (folder / "audit.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    done = bias_audit("run", "audit.yaml", cwd=folder)
    assert done.returncode == 0, done.stdout + done.stderr


def _told(result: AuditResult) -> AnalysisResult:
    return result.subjects[-1].analyses[1]


def test_every_checkpoint_is_audited_and_the_last_tells_of_all(audited: Path) -> None:
    result = read_audit(audited)
    assert [s.backbone.name for s in result.subjects] == list(checkpoints.NAMES)
    assert result.failed == ()
    assert all(subject.analyses[1].blocks == () for subject in result.subjects[:-1])
    text = (audited / "report.html").read_text()
    assert "over checkpoints" in text


def test_maps_of_all_checkpoints_share_places_and_colours(audited: Path) -> None:
    told = _told(read_audit(audited))
    maps = [block for block in told.blocks if isinstance(block, UnitMap)]
    assert [block.title.split(":")[0] for block in maps] == list(checkpoints.NAMES)
    assert len({(block.positions, block.limit, block.layout) for block in maps}) == 1
    sizes = [np.abs(read_array(audited, told.arrays, block.values)[:4]).mean() for block in maps]
    # Contrasts of the ages that the network learns to tell grow with training.
    assert sizes[-1] > sizes[0]


def test_training_is_seen_in_probes_and_in_confidence(audited: Path) -> None:
    result = read_audit(audited)
    told = _told(result)
    tables = [block for block in told.blocks if isinstance(block, GroupTable)]
    assert [table.target for table in tables] == ["age", "race", "gender"]
    rows = tables[0].rows
    assert [row.group.levels[-1] for row in rows[:4]] == [
        ("checkpoint", name) for name in checkpoints.NAMES
    ]
    estimates = [row.estimate for table in tables for row in table.rows]
    assert all(e is not None and -1 <= e.lower <= e.value <= e.upper <= 1 for e in estimates)
    assert any("over 4 checkpoints" in finding.text for finding in told.findings)
