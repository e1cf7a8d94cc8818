"""Problems of faces and backbones come together."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bias_audit.audit.checking import check_lines
from bias_audit.audit.run import run
from bias_audit.config.schema import AuditConfig
from bias_audit.errors import AuditError
from bias_audit.progress import Silent


def audit(folder: Path, **changed: Any) -> AuditConfig:
    return AuditConfig.model_validate(
        {
            "name": "several",
            "data": {"kind": "parametric"},
            "sampling": {"max_per_intersection": 6},
            "backbones": [
                {"kind": "bundled", "layers": ["blocks.99"]},
                {"kind": "checkpoint", "architecture": "resnet18", "file": folder / "absent.pth"},
            ],
            "analyses": [{"kind": "linear_probe", "folds": 3}],
            "output": {"folder": folder / "run", "cache": folder / "cache"},
        }
        | changed
    )


@pytest.mark.parametrize("verb", ["run", "check"])
def test_faces_weights_and_layers_come_in_one_message(tmp_path: Path, verb: str) -> None:
    config = audit(tmp_path, data={"kind": "fairface", "root": tmp_path / "no faces"})
    verbs: dict[str, Callable[[], object]] = {
        "run": lambda: run(config, command="test", progress=Silent()),
        "check": lambda: list(check_lines(config, Silent())),
    }
    with pytest.raises(AuditError) as caught:
        verbs[verb]()
    told = str(caught.value)
    assert "3 problems" in told
    for expected in ("no faces", "backbones.0 (bundled): ", "backbones.1 (checkpoint): "):
        assert expected in told


def test_a_layer_that_a_criterion_names_is_looked_for_by_check(tmp_path: Path) -> None:
    criterion = {"name": "a", "quantity": "bits", "target": "age", "at_most": 1, "layer": "bn9"}
    backbones = [{"kind": "bundled", "layers": ["bn2"]}]
    config = audit(
        tmp_path, backbones=backbones, criteria=[{**criterion, "rationale": "an example"}]
    )
    with pytest.raises(AuditError, match=r"criteria.0 \(a\): layer: unknown layer of .* 'bn9'"):
        list(check_lines(config, Silent()))
