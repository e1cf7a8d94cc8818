"""An audit on a device that is not the processor, of which this machine needs to have none."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.utils import backend_registration

from tests.fake_device import fake_device

pytestmark = pytest.mark.skipif(
    not hasattr(backend_registration, "_setup_privateuseone_for_python_backend"),
    reason="this PyTorch takes no device written in Python",
)


def test_a_tensor_that_was_left_behind_is_refused() -> None:
    with fake_device() as name:
        there, left = torch.ones(3, device=name), torch.ones(3)
        assert there.device.type == name
        assert (there + there * 2).cpu().tolist() == [3, 3, 3]
        for use in (
            lambda: there + left,
            lambda: torch.stack([there, left]),
            lambda: nn.Linear(3, 2)(there),
            lambda: nn.Linear(3, 2).to(name)(left),
            lambda: there.add_(left),
        ):
            with pytest.raises(RuntimeError, match="expected all tensors on fake"):
                use()
        with pytest.raises((RuntimeError, TypeError), match="numpy"):
            there.numpy()


def test_what_stays_on_the_processor_is_none_of_its_business() -> None:
    with fake_device():
        assert (torch.ones(3) + torch.arange(3)).tolist() == [1, 2, 3]


@pytest.mark.timeout(600)
def test_an_audit_finds_the_same_on_another_device(tmp_path: Path) -> None:
    """Forward pass, gradients, aligned positions, attribution, random weights, swarm and tests."""
    out = subprocess.run(
        [sys.executable, "-m", "tests.on_fake_device", str(tmp_path)],
        cwd=Path(__file__).parents[1],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert out.returncode == 0, out.stderr
    found = json.loads(out.stdout.splitlines()[-1])
    assert found.pop("device").startswith("fake")
    assert set(found) == {"topomap", "attribution", "linear_probe", "confusions", "controls"}
    assert "random weights, seed 1" in found.pop("controls")
    assert all(isinstance(gap, float) and gap < 1e-4 for gap in found.values()), found
