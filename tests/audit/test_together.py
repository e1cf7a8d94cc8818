"""Several backbones are asked as one, once, after each by itself."""

from __future__ import annotations

from typing import Any

import pytest
import timm
from safetensors.torch import save_file

from bias_audit.audit.run import run
from bias_audit.config.schema import AuditConfig
from bias_audit.progress import Silent
from bias_audit.report.render import render
from bias_audit.results.audit import TOGETHER, AuditResult
from bias_audit.results.store import read_audit
from bias_audit.shapes.measures import Measures


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("together")
    backbones = []
    for name in ("one", "two"):
        file = folder / f"{name}.safetensors"
        save_file(timm.create_model("test_resnet", pretrained=False).state_dict(), file)
        backbones.append(
            {
                "kind": "checkpoint",
                "architecture": "test_resnet",
                "name": name,
                "file": str(file),
                "layers": ["layer2", "layer4"],
                "preprocessing": {"size": 32},
            }
        )
    return {
        "name": "together",
        "data": {"kind": "parametric"},
        "sampling": {"max_per_intersection": 6},
        "backbones": backbones,
        "activations": {"device": "cpu"},
        "controls": {"random_weights": 0, "image": False, "shuffles": 1, "refits": 0},
        "analyses": [
            {"kind": "ensemble", "targets": ["gender"], "folds": 3, "shrinkage": 0.3},
            {"kind": "linear_probe", "targets": ["gender"], "folds": 3, "shrinkage": 0.3},
        ],
        "criteria": [
            {
                "name": name,
                "quantity": quantity,
                "target": "gender",
                "at_least": 0.0,
                "rationale": "for the test",
            }
            for name, quantity in (("of each", "macro_auc"), ("of all", "ensemble_macro_f1"))
        ],
        "output": {"folder": str(folder / "run"), "cache": str(folder / "cache")},
    }


@pytest.fixture(scope="module")
def found(settings: dict[str, Any]) -> AuditResult:
    return run(AuditConfig.model_validate(settings), command="test", progress=Silent())


def test_it_is_asked_once_and_not_of_each(found: AuditResult) -> None:
    assert [a.kind for s in found.subjects for a in s.analyses] == ["linear_probe"] * 2
    (together,) = found.together
    assert together.status == "done"
    blocks = [block for block in together.blocks if isinstance(block, Measures)]
    (votes,) = (block for block in blocks if block.noun == "voter")
    voters = dict.fromkeys(entry.name for entry in votes.entries)
    assert list(voters) == ["soft vote", "one", "two"]
    assert [stage.stage for stage in found.provenance.costs][-1] == "ensemble"
    about = [(v.criterion.name, v.backbone) for v in found.verdicts]
    assert about == [("of each", "one"), ("of each", "two"), ("of all", TOGETHER)]
    assert found.verdicts[-1].n_examined == 1 + 4 + 3 + 2  # all images, then every level


def test_it_is_kept_read_back_and_reported(found: AuditResult, settings: dict[str, Any]) -> None:
    config = AuditConfig.model_validate(settings)
    assert read_audit(config.folder).together == found.together
    again = run(config, command="test", progress=Silent())
    assert again.provenance.costs[-1].reused
    assert again.together[0].blocks == found.together[0].blocks
    (page,) = render(config.folder, formats=("html",))
    text = page.read_text()
    assert 'id="together"' in text
    assert "Do 2 backbones together read gender better than each alone?" in text
