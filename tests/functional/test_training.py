"""An audit of four checkpoints of a small network that is trained here."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import nn

from bias_audit.data.faces import ImageReference
from bias_audit.data.sources import parametric
from bias_audit.results.store import read_array, read_audit
from bias_audit.shapes.group_table import GroupTable
from bias_audit.shapes.measures import Measures
from bias_audit.shapes.unit_map import UnitMap
from tests.functional import tiny_zoo
from tests.functional.conftest import Audit, bias_audit

EPOCHS = {"untrained": 0, "epoch-1": 1, "epoch-2": 1, "epoch-4": 2}
"""What each checkpoint has learnt since the one before."""
NAMES = tuple(EPOCHS)
_BATCH, _RATE = 40, 2e-3
NETWORK: dict[str, Any] = {
    "architecture": tiny_zoo.ARCHITECTURE,
    "num_classes": 4,
    "layers": ["layer2", "layer4"],
    "preprocessing": {"size": tiny_zoo.SIDE},
}
CONFIG: dict[str, Any] = {
    "name": "training",
    "seed": 1,
    "data": {"kind": "parametric"},
    "sampling": {"max_per_intersection": 10},
    "backbones": [
        NETWORK | {"kind": "checkpoints", "files": [f"{name}.safetensors" for name in NAMES]}
    ],
    "activations": {"device": "cpu"},
    "controls": {"random_weights": 0, "image": False, "shuffles": 1},
    "analyses": [
        {"kind": "linear_probe", "folds": 3, "targets": ["age"]},
        {"kind": "training", "folds": 3, "layer": "layer4", "layout": {"kind": "pca"}},
    ],
    "output": {"formats": ["html"]},
}


def _train(folder: Path) -> None:
    """Train on every third face to tell its age, and keep checkpoints; seconds on one core."""
    table = parametric.read(parametric.Params())
    pixels = torch.from_numpy(np.stack([_pixels(face) for face in table.references[::3]]))
    column = [attribute.name for attribute in table.attributes].index("age")
    labels = torch.from_numpy(table.codes[::3, column].copy())
    module = tiny_zoo.network(0, len(table.attributes[column].levels))
    optimiser, order = torch.optim.Adam(module.parameters(), lr=_RATE), np.random.default_rng(0)
    for name, epochs in EPOCHS.items():
        module.train()
        for _ in range(epochs):
            shuffled = order.permutation(len(labels))
            for first in range(0, len(shuffled), _BATCH):
                chosen = torch.from_numpy(shuffled[first : first + _BATCH])
                optimiser.zero_grad()
                loss: Any = nn.functional.cross_entropy(module(pixels[chosen]), labels[chosen])
                loss.backward()
                optimiser.step()
        save_file(module.state_dict(), folder / f"{name}.safetensors")


def _pixels(face: ImageReference) -> np.ndarray:
    with Image.open(face.file) as image:
        small = image.convert("RGB").resize((tiny_zoo.SIDE,) * 2, Image.Resampling.BILINEAR)
    return np.asarray(small, dtype=np.float32).transpose(2, 0, 1) / 127.5 - 1


@pytest.mark.slow
def test_the_last_of_all_checkpoints_tells_of_all(stored_self_test: Path, tmp_path: Path) -> None:
    _train(tmp_path)
    audit = Audit(tmp_path, CONFIG, stored_self_test)
    done = audit("run")
    assert done.returncode == 0, done.stdout + done.stderr
    result = audit.result
    assert [s.backbone.name for s in result.subjects] == list(NAMES)
    assert result.failed == ()
    *earlier, told = (subject.analyses[1] for subject in result.subjects)
    assert all(analysis.blocks == () for analysis in earlier)
    assert "over checkpoints" in (audit.run / "report.html").read_text()
    assert any("over 4 checkpoints" in finding.text for finding in told.findings)
    maps = [block for block in told.blocks if isinstance(block, UnitMap)]
    assert [block.title.split(":")[0] for block in maps] == list(NAMES)
    sizes = [np.abs(read_array(audit.run, told.arrays, block.values)[:4]).mean() for block in maps]
    # Contrasts of the ages that the network learns to tell grow with training.
    assert sizes[-1] > sizes[0]
    tables = [block for block in told.blocks if isinstance(block, GroupTable)]
    assert [table.target for table in tables] == ["age", "race", "gender"]
    estimates = [row.estimate for table in tables for row in table.rows]
    assert all(e is not None and -1 <= e.lower <= e.value <= e.upper <= 1 for e in estimates)


@pytest.mark.slow
def test_the_shipped_training_overfits(stored_self_test: Path, tmp_path: Path) -> None:
    shutil.copytree(stored_self_test, tmp_path / "runs" / "cache")
    few = ("--set", "sampling.max_per_intersection=8", "--set", "output.formats=[html]")
    done = bias_audit("run", "training_quickstart", *few, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "the network is over-confident" in " ".join(done.stdout.split())
    run = tmp_path / "runs" / "training_quickstart"
    result = read_audit(run)
    assert result.data.name == "Parametric faces, split test"
    (last,) = result.subjects[-1].analyses
    overall = next(block for block in last.blocks if isinstance(block, Measures))
    losses = [entry.values[-1] for entry in overall.entries]
    first, *_, end = (loss.value for loss in losses if loss is not None)
    assert min(loss.value for loss in losses if loss is not None) < first < end
    gaps = [entry.values[2] for entry in overall.entries]
    assert gaps[0] is not None and gaps[0].lower < 0 < gaps[0].upper
    assert gaps[-1] is not None and gaps[-1].lower > 0.2
    limits = " ".join(last.limits)
    assert "All of them are of split test" in limits
