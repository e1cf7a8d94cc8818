"""A copy of a backbone that attribution methods can put hooks on, computing the same function.

Hooks need an activation function to be a module, to run once in a pass, and not to overwrite its
input. Architectures reuse one module at several places, work in place, or cut off at 6.
"""

from __future__ import annotations

import copy
from collections import Counter
from typing import cast

import torch
from torch import Tensor, nn


class Clipped(nn.Module):
    """ReLU6 as a difference of two rectifiers, to which rules for rectifiers apply."""

    def __init__(self) -> None:
        super().__init__()
        self.above_zero = nn.ReLU()
        self.above_six = nn.ReLU()

    def forward(self, values: Tensor) -> Tensor:
        """The same as `nn.ReLU6`."""
        # A tensor for each: hooks replace the whole gradient of what they receive.
        return cast("Tensor", self.above_zero(values.clone()) - self.above_six(values - 6))


class _Shared(nn.Module):
    """One module per call, in the order of the calls of a pass."""

    def __init__(self, original: nn.Module, n_calls: int) -> None:
        super().__init__()
        self.calls = nn.ModuleList(copy.deepcopy(original) for _ in range(n_calls))
        self.next = 0

    def forward(self, values: Tensor) -> Tensor:
        """What the shared module returns."""
        module = self.calls[self.next]
        self.next = (self.next + 1) % len(self.calls)
        return cast("Tensor", module(values))


def rewired(module: nn.Module, size: tuple[int, int]) -> nn.Module:
    """Copy a module so that each activation function is a module that runs once, not in place.

    Args:
        module: A backbone in evaluation mode; it is not changed.
        size: Height and width of its input.

    Returns:
        A module with the same output for every input, without gradients of weights.
    """
    made = copy.deepcopy(module)
    for part in made.modules():
        if getattr(part, "inplace", False):
            part.inplace = False  # type: ignore[assignment]  # a plain attribute of activations
    calls = _calls(made, size)
    for name, part in [*made.named_modules()]:
        replacement = _replacement(part, calls[name])
        if name and replacement is not None:
            path, _, attribute = name.rpartition(".")
            setattr(made.get_submodule(path), attribute, replacement)
    return made.eval().requires_grad_(requires_grad=False)


def _replacement(part: nn.Module, n_calls: int) -> nn.Module | None:
    """What stands in for an activation function; None where it can stay."""
    own = Clipped() if isinstance(part, nn.ReLU6) else None
    is_activation = type(part).__module__ == "torch.nn.modules.activation"
    if n_calls > 1 and is_activation and not [*part.parameters()]:
        return _Shared(own or part, n_calls)
    return own


def _calls(module: nn.Module, size: tuple[int, int]) -> Counter[str]:
    """How often every module runs in a pass."""
    found: Counter[str] = Counter()

    def note(name: str, part: nn.Module) -> torch.utils.hooks.RemovableHandle:
        return part.register_forward_hook(lambda *_: found.update([name]))

    handles = [note(name, part) for name, part in module.named_modules()]
    try:
        like = next(module.parameters())
        with torch.inference_mode():
            module(torch.zeros(1, 3, *size, device=like.device))
    finally:
        for handle in handles:
            handle.remove()
    return found
