"""`bias-audit diff` on real audits of the bundled backbone, and of it with other weights."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import save_file

from bias_audit.backbones.sources.bundled import PLUGIN, Params
from tests.functional.conftest import SMALL, bias_audit, bias_audit_process
from tests.once import once

CONFIG: dict[str, Any] = {
    **SMALL,
    "name": "before",
    "backbones": [
        {
            "kind": "checkpoint",
            "architecture": "tf_efficientnet_lite0",
            "file": "before.safetensors",
            "name": "net",
            "layers": ["blocks.1", "bn2"],
        }
    ],
    "controls": {"random_weights": 0, "image": False, "shuffles": 1},
    "analyses": [{"kind": "linear_probe", "folds": 3}],
    "output": {"formats": []},
    "criteria": [
        {
            "name": "age can be told",
            "quantity": "macro_auc",
            "target": "age",
            "layer": "last",
            "at_least": 0.5,
            "rationale": "to have a direction",
        }
    ],
}


@pytest.fixture(scope="module")
def audits(tmp_path_factory: pytest.TempPathFactory, stored_self_test: Path) -> Path:
    """A folder with an audit, and one of the same network with noise in its last layers."""
    return once(tmp_path_factory, "two_audits", lambda folder: _audit(folder, stored_self_test))


def _audit(folder: Path, stored_self_test: Path) -> None:
    shutil.copytree(stored_self_test, folder / "runs" / "cache")
    state = PLUGIN.build(Params(), True).module.state_dict()
    weights = {name: tensor.clone().contiguous() for name, tensor in state.items()}
    save_file(weights, folder / "before.safetensors")
    rng = torch.Generator().manual_seed(0)
    for name, tensor in weights.items():
        if name.startswith(("blocks.5", "blocks.6", "conv_head")) and tensor.ndim == 4:
            weights[name] = tensor + 3 * tensor.std() * torch.randn(tensor.shape, generator=rng)
    save_file(weights, folder / "after.safetensors")
    for name in ("before", "after"):
        backbone = {**CONFIG["backbones"][0], "file": f"{name}.safetensors"}
        config = {**CONFIG, "name": name, "backbones": [backbone]}
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(config))
        done = bias_audit("run", f"{name}.yaml", cwd=folder)
        assert done.returncode in {0, 1, 3}, done.stdout + done.stderr


@pytest.mark.slow
def test_modified_weights_are_found_with_their_cause_and_close_the_gate(audits: Path) -> None:
    done = bias_audit("diff", "runs/before", "runs/after", "--fail-on", "worse", cwd=audits)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Likely cause: weights" in done.stdout
    assert "macro AUC of age at bn2" in done.stdout
    found = json.loads((audits / "runs/after/diff.json").read_text())
    assert [cause["kind"] for cause in found["causes"]] == ["weights"]
    assert (found["shared_images"], found["relabelled"]) == (found["shared_images"], 0)
    (late,) = [
        change
        for change in found["changes"]
        if (change["quantity"], change["target"], change["layer"], change["of"])
        == ("macro_auc", "age", "bn2", "estimate")
    ]
    assert (late["outcome"], late["paired"]) == ("worse", True)
    early = [change for change in found["changes"] if change["layer"] == "blocks.1"]
    assert early and all(change["identical"] for change in early)
    assert "What changed" in (audits / "runs/after/diff.html").read_text(encoding="utf-8")


@pytest.mark.slow
def test_an_audit_compared_with_itself_opens_every_gate(audits: Path, tmp_path: Path) -> None:
    options = [word for what in ("worse", "changed", "undecided") for word in ("--fail-on", what)]
    done = bias_audit("diff", "runs/before", "runs/before", *options, "--to", tmp_path, cwd=audits)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "identical" in done.stdout and "OPEN" in done.stdout
    assert {path.name for path in tmp_path.iterdir()} == {"diff.html", "diff.json"}


@pytest.mark.slow
def test_what_it_is_given_is_checked(audits: Path, tmp_path: Path) -> None:
    bad = bias_audit("diff", "runs/before", "runs/after", "--better", "macro_auc", cwd=audits)
    assert bad.returncode == 2
    assert "QUANTITY=higher" in bad.stderr
    bad = bias_audit("diff", "runs/before", "runs/after", "--fail-on", "worst", cwd=audits)
    assert bad.returncode == 2
    assert "worse" in bad.stderr
    missing = bias_audit("diff", "runs/before", "runs/nothing", cwd=audits)
    assert missing.returncode == 2
    assert "expected a finished run's folder" in missing.stderr


@pytest.mark.slow
def test_without_the_cache_it_compares_as_independent_and_loads_no_model(
    audits: Path, tmp_path: Path
) -> None:
    arguments = ("diff", "runs/before", "runs/after", "--cache", tmp_path, "--to", tmp_path)
    done = bias_audit_process(*arguments, cwd=audits)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((tmp_path / "diff.json").read_text())
    assert not any(change["paired"] for change in found["changes"])
    assert any("holds nothing by image of BEFORE and AFTER" in note for note in found["notes"])


@pytest.mark.slow
def test_nothing_about_single_images_leaves_the_cache(audits: Path) -> None:
    entries = list((audits / "runs/cache/contributions").iterdir())
    assert len(entries) == 2
    assert (audits / "runs/cache/contributions").stat().st_mode & 0o077 == 0
    for path in (audits / "runs/after").rglob("*"):
        assert path.suffix != ".npz"
