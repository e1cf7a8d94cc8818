"""`bias-audit diff` on audits of the bundled network, and of it with noise in its last layers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from bias_audit.backbones.sources.bundled import PLUGIN, Params
from tests.functional.conftest import SMALL, Audit, bias_audit
from tests.once import once

pytestmark = pytest.mark.slow

CONFIG: dict[str, Any] = {
    **SMALL,
    "backbones": [
        {
            "kind": "checkpoint",
            "architecture": "tf_efficientnet_lite0",
            "name": "net",
            "layers": ["blocks.1", "bn2"],
        }
    ],
    "controls": {"random_weights": 0, "image": False, "shuffles": 1},
    "analyses": SMALL["analyses"][:1],
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
def folder(tmp_path_factory: pytest.TempPathFactory, stored_self_test: Path) -> Path:
    def make(folder: Path) -> None:
        audit, rng = Audit(folder, CONFIG, stored_self_test), torch.Generator().manual_seed(0)
        weights = PLUGIN.build(Params(), True).architecture.module.state_dict()
        for name in ("before", "after"):
            save_file({k: v.clone().contiguous() for k, v in weights.items()}, folder / name)
            audit.config["name"], audit.config["backbones"][0]["file"] = name, name
            done = audit("run")
            assert done.returncode in {0, 1, 3}, done.stdout + done.stderr
            for key, tensor in weights.items():
                if key.startswith(("blocks.5", "blocks.6", "conv_head")) and tensor.ndim == 4:
                    tensor.add_(3 * tensor.std() * torch.randn(tensor.shape, generator=rng))

    return once(tmp_path_factory, "two_audits", make)


def test_modified_weights_are_found_with_their_cause_and_close_the_gate(folder: Path) -> None:
    done = bias_audit("diff", "runs/before", "runs/after", "--fail-on", "worse", cwd=folder)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Likely cause: weights" in done.stdout
    assert "macro AUC of age at bn2" in done.stdout
    found = json.loads((folder / "runs/after/diff.json").read_text())
    assert [cause["kind"] for cause in found["causes"]] == ["weights"]
    assert (found["shared_images"], found["relabelled"]) == (168, 0)
    key = ("macro_auc", "age", "bn2", "estimate")
    (late,) = (
        change
        for change in found["changes"]
        if tuple(change[name] for name in ("quantity", "target", "layer", "of")) == key
    )
    assert (late["outcome"], late["paired"]) == ("worse", True)
    early = [change for change in found["changes"] if change["layer"] == "blocks.1"]
    assert early and all(change["identical"] for change in early)
    assert "What changed" in (folder / "runs/after/diff.html").read_text(encoding="utf-8")
    # Nothing about single images leaves the cache.
    kept = folder / "runs/cache/contributions"
    assert len([*kept.iterdir()]) == 2 and kept.stat().st_mode & 0o077 == 0
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
