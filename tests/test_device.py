"""Where tensors are computed: the same arithmetic whatever was set, memory that is kept."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest
import torch

from bias_audit.device import device_for, repeats
from bias_audit.errors import BackboneError


def test_reduced_modes_of_float32_are_switched_off() -> None:
    torch.set_float32_matmul_precision("medium")
    torch.backends.cudnn.allow_tf32 = True
    torch.backends.cudnn.benchmark = True
    assert device_for("cpu").type == "cpu"
    assert torch.get_float32_matmul_precision() == "highest"
    assert not torch.backends.cuda.matmul.allow_tf32
    assert not torch.backends.cudnn.allow_tf32
    assert not torch.backends.cudnn.benchmark
    assert torch.backends.cudnn.deterministic


def test_products_are_those_of_float32_whatever_was_set() -> None:
    generator = torch.Generator().manual_seed(0)
    one, other = (torch.randn(256, 256, generator=generator) for _ in range(2))
    exact = one.double() @ other.double()
    torch.set_float32_matmul_precision("medium")
    device_for("cpu")
    assert float((one @ other - exact).abs().max()) < 1e-3  # bfloat16: 0.1 and more


def test_a_device_that_is_not_there_is_named() -> None:
    with pytest.raises(BackboneError, match="'cuda:99' cannot be used"):
        device_for("cuda:99")
    assert repeats(torch.device("cpu")) != repeats(torch.device("cuda"))


_FAULTS = """
import os, resource, sys
if sys.argv[1] == "own":
    os.environ["MALLOC_TRIM_THRESHOLD_"] = "131072"
import numpy as np
from bias_audit.device import device_for
if sys.argv[1] != "nothing":
    device_for("cpu")
for turn in range(21):
    if turn == 1:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    np.ones(10_000_000)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other allocators differ")
def test_memory_of_large_arrays_is_kept_unless_the_user_has_settings() -> None:
    env = {key: value for key, value in os.environ.items() if "MALLOC" not in key}
    faults = {}
    for how in ("nothing", "kept", "own"):
        command = [sys.executable, "-c", _FAULTS, how]
        out = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
        faults[how] = int(out.stdout)
    assert faults["kept"] < 0.01 * faults["nothing"]
    assert faults["own"] > 0.5 * faults["nothing"]
