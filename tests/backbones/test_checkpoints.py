"""A list of checkpoints is audited one by one, in the order of training."""

from __future__ import annotations

from pathlib import Path

import pytest
import safetensors.torch
import timm
from pydantic import ValidationError

from bias_audit.audit.plan import Plan, make_plan
from bias_audit.backbones.loading import load_backbone
from bias_audit.backbones.sources.checkpoints import PLUGIN, Params
from bias_audit.config.schema import AuditConfig
from bias_audit.errors import BackboneError


def _config(*backbones: dict[str, object]) -> Plan:
    return make_plan(
        AuditConfig.model_validate(
            {
                "name": "x",
                "data": {"kind": "parametric"},
                "backbones": list(backbones),
                "analyses": [{"kind": "training"}],
            }
        )
    )


def _entry(*files: str) -> dict[str, object]:
    return {"kind": "checkpoints", "architecture": "test_resnet", "files": list(files)}


def test_an_entry_becomes_one_backbone_for_each_file() -> None:
    plan = _config(
        {"kind": "bundled"}, _entry("b.safetensors", "a.safetensors"), _entry("c.pth", "d.pth")
    )
    assert [(planned.step, planned.n_steps) for planned in plan.backbones] == [
        (0, 1),
        (0, 2),
        (1, 2),
        (0, 2),
        (1, 2),
    ]
    files = [planned.params.files for planned in plan.backbones[1:]]  # type: ignore[attr-defined]
    assert [file.name for (file,) in files] == ["b.safetensors", "a.safetensors", "c.pth", "d.pth"]


def test_each_step_holds_its_own_weights_and_name(tmp_path: Path) -> None:
    files = []
    for number in range(2):
        module = timm.create_model("test_resnet", num_classes=3)
        files.append(tmp_path / f"epoch-{number}.safetensors")
        safetensors.torch.save_file(module.state_dict(), files[-1])
    params = Params(architecture="test_resnet", files=tuple(files), num_classes=3)
    one, two = (load_backbone("checkpoints", PLUGIN, own) for own in PLUGIN.steps(params))
    assert (one.record.name, two.record.name) == ("epoch-0", "epoch-1")
    assert one.layers == two.layers
    assert one.fingerprint != two.fingerprint
    assert one.head is not None
    named = Params(
        architecture="test_resnet", files=tuple(files), names=("start", "end"), num_classes=3
    )
    assert [PLUGIN.build(own, True).name for own in PLUGIN.steps(named)] == ["start", "end"]


def test_what_is_wrong_is_told(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="names: expected 2, one for each file, got 1"):
        Params(architecture="x", files=(tmp_path, tmp_path), names=("x",))
    with pytest.raises(ValidationError, match="at least 2 items"):
        Params(architecture="test_resnet", files=(tmp_path / "a.pth",))
    lost = Params(architecture="test_resnet", files=(tmp_path / "a.pth", tmp_path / "b.pth"))
    with pytest.raises(BackboneError, match=r"a\.pth: not found"):
        load_backbone("checkpoints", PLUGIN, PLUGIN.steps(lost)[0])
