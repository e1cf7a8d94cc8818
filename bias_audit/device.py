"""Where tensors are computed, in which memory and arithmetic: the one place that decides it."""

from __future__ import annotations

import ctypes
import os
import platform
from typing import Final

from bias_audit.deferred import torch
from bias_audit.errors import BackboneError

ARITHMETIC: Final = "float32 products in float32 (no TF32), fixed algorithms for convolutions"
"""What `device_for` sets, for the provenance."""


def device_for(name: str) -> torch.device:
    """The device a config asks for, ready to compute; "auto" prefers CUDA, Apple's, the processor.

    Products of float32 numbers are computed in float32, and convolutions by algorithms that repeat
    their results, whatever the process had set before: the reduced modes (TF32, bfloat16) keep 8
    to 11 bits, more than the differences of activations that an audit looks at.

    Memory of large tensors is kept for the next ones.

    Raises:
        BackboneError: The device is not there.
    """
    _keep_freed_memory()
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as error:
        first = str(error).splitlines()[0]
        raise BackboneError(
            f"activations.device {name!r} cannot be used ({first}); expected auto, cpu, "
            "cuda, cuda:N or mps"
        ) from error


def repeats(device: torch.device) -> str:
    """Whether the same run gives the same numbers again, in words for the provenance."""
    if device.type == "cpu":
        return "the same to the last bit on the same processor with as many threads"
    return "the same up to rounding: sums of backward passes on this device have no fixed order"


_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4
"""Parameters of glibc's `mallopt`."""


def _keep_freed_memory() -> None:
    """Keep the memory of large tensors for the next ones, from now on.

    Without it, glibc gives every large tensor back to the system at once, and half the time of a
    forward pass on processors goes into pages that are handed out again. Nothing is done where
    there is no glibc, or where the user has settings of their own.
    """
    own = any(key in os.environ for key in ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_"))
    if platform.libc_ver()[0] == "glibc" and not own:
        allocator = ctypes.CDLL(None)
        # A threshold could not be raised above 32 MB here; that no tensor is mapped at all can.
        allocator.mallopt(_M_MMAP_MAX, 0)
        allocator.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
