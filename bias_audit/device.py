"""Where tensors are computed, and with which arithmetic: the one place that decides both."""

from __future__ import annotations

from typing import Final

import torch

from bias_audit.errors import BackboneError

ARITHMETIC: Final = "float32 products in float32 (no TF32), fixed algorithms for convolutions"
"""What `device_for` sets, for the provenance."""


def device_for(name: str) -> torch.device:
    """The device a config asks for, ready to compute; "auto" prefers CUDA, Apple's, the processor.

    Products of float32 numbers are computed in float32, and convolutions by algorithms that repeat
    their results, whatever the process had set before: the reduced modes (TF32, bfloat16) keep 8
    to 11 bits, more than the differences of activations that an audit looks at.

    Raises:
        BackboneError: The device is not there.
    """
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
