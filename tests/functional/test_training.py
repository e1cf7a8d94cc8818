"""A small network is trained here: audits over its checkpoints, and before and after harm."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import nn

from bias_audit.data.faces import ImageReference
from bias_audit.data.sources import parametric
from bias_audit.results.blocks import GroupTable, UnitMap
from bias_audit.results.store import read_array, read_audit
from tests.functional import tiny_zoo
from tests.functional.conftest import Audit, bias_audit
from tests.once import once

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
CRITERION: dict[str, Any] = {
    "name": "age can be told",
    "quantity": "macro_auc",
    "target": "age",
    "layer": "last",
    "at_least": 0.5,
    "rationale": "to have a direction",
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
            for chosen in torch.from_numpy(order.permutation(len(labels))).split(_BATCH):
                optimiser.zero_grad()
                loss: Any = nn.functional.cross_entropy(module(pixels[chosen]), labels[chosen])
                loss.backward()
                optimiser.step()
        save_file(module.state_dict(), folder / f"{name}.safetensors")


def _pixels(face: ImageReference) -> np.ndarray:
    with Image.open(face.file) as image:
        small = image.convert("RGB").resize((tiny_zoo.SIDE,) * 2, Image.Resampling.BILINEAR)
    return np.asarray(small, dtype=np.float32).transpose(2, 0, 1) / 127.5 - 1


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, stored_self_test: Path) -> Path:
    """Audits of the checkpoints, of the last of them, and of that with noise in its last layer."""

    def make(folder: Path) -> None:
        _train(folder)
        last = folder / f"{NAMES[-1]}.safetensors"
        weights, rng = load_file(last), torch.Generator().manual_seed(0)
        for name, tensor in weights.items():
            if name.startswith("layer4") and tensor.ndim == 4:
                weights[name] = tensor + 3 * tensor.std() * torch.randn(
                    tensor.shape, generator=rng
                )
        save_file(weights, folder / "harmed.safetensors")
        audit = Audit(folder, CONFIG, stored_self_test)
        done = audit("run")
        assert done.returncode == 0, done.stdout + done.stderr
        audit.config |= {
            "analyses": CONFIG["analyses"][:1],
            "output": {"formats": []},
            "criteria": [CRITERION],
        }
        for name, file in (("before", last.name), ("after", "harmed.safetensors")):
            network = NETWORK | {"kind": "checkpoint", "file": file, "name": "net"}
            audit.config |= {"name": name, "backbones": [network]}
            done = audit("run")
            assert done.returncode in {0, 1, 3}, done.stdout + done.stderr

    return once(tmp_path_factory, "training", make)


def test_the_last_of_all_checkpoints_tells_of_all(folder: Path) -> None:
    run = folder / "runs" / "training"
    result = read_audit(run)
    assert [s.backbone.name for s in result.subjects] == list(NAMES)
    assert result.failed == ()
    *earlier, told = (subject.analyses[1] for subject in result.subjects)
    assert all(analysis.blocks == () for analysis in earlier)
    assert "over checkpoints" in (run / "report.html").read_text()
    assert any("over 4 checkpoints" in finding.text for finding in told.findings)
    maps = [block for block in told.blocks if isinstance(block, UnitMap)]
    assert [block.title.split(":")[0] for block in maps] == list(NAMES)
    sizes = [np.abs(read_array(run, told.arrays, block.values)[:4]).mean() for block in maps]
    # Contrasts of the ages that the network learns to tell grow with training.
    assert sizes[-1] > sizes[0]
    tables = [block for block in told.blocks if isinstance(block, GroupTable)]
    assert [table.target for table in tables] == ["age", "race", "gender"]
    estimates = [row.estimate for table in tables for row in table.rows]
    assert all(e is not None and -1 <= e.lower <= e.value <= e.upper <= 1 for e in estimates)


def test_modified_weights_are_found_with_their_cause_and_close_the_gate(folder: Path) -> None:
    done = bias_audit("diff", "runs/before", "runs/after", "--fail-on", "worse", cwd=folder)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Likely cause: weights" in done.stdout
    assert "macro AUC of age at layer4" in done.stdout
    found = json.loads((folder / "runs/after/diff.json").read_text())
    assert [cause["kind"] for cause in found["causes"]] == ["weights"]
    assert (found["shared_images"], found["relabelled"]) == (240, 0)
    late = {
        (change["outcome"], change["paired"])
        for change in found["changes"]
        if (change["quantity"], change["layer"], change["of"])
        == ("macro_auc", "layer4", "estimate")
    }
    assert late == {("worse", True)}
    early = [change for change in found["changes"] if change["layer"] == "layer2"]
    assert early and all(change["identical"] for change in early)
    assert "What changed" in (folder / "runs/after/diff.html").read_text(encoding="utf-8")
    # Nothing about single images leaves the cache.
    kept = folder / "runs/cache/contributions"
    assert [*kept.iterdir()] and kept.stat().st_mode & 0o077 == 0
    assert not [*(folder / "runs/after").rglob("*.npz")]


def test_an_audit_compared_with_itself_opens_every_gate(folder: Path, tmp_path: Path) -> None:
    options = [word for what in ("worse", "changed", "undecided") for word in ("--fail-on", what)]
    done = bias_audit("diff", "runs/before", "runs/before", *options, "--to", tmp_path, cwd=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "identical" in done.stdout and "OPEN" in done.stdout
    assert {path.name for path in tmp_path.iterdir()} == {"diff.html", "diff.json"}


@pytest.mark.parametrize(
    ("option", "expected"),
    [(("--better", "macro_auc"), "QUANTITY=higher"), (("--fail-on", "worst"), "worse")],
)
def test_options_of_diff_are_checked(folder: Path, option: tuple[str, str], expected: str) -> None:
    bad = bias_audit("diff", "runs/before", "runs/after", *option, cwd=folder)
    assert bad.returncode == 2
    assert expected in bad.stderr
