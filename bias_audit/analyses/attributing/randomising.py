"""Weights of a decision put in another order, from the top down."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Final

import torch
from torch import Tensor, nn

STAGES: Final = ("probe", "upper half", "all")
"""What has lost its training; each holds the one before it."""


def randomised(
    decision: nn.Module, images: Tensor, *, seed: int
) -> Iterator[tuple[str, nn.Module]]:
    """Copies of a decision with more and more of its weights shuffled (Adebayo et al. 2018).

    The entries of every parameter are permuted, so that sizes stay as training made them and
    signals neither vanish nor explode. Modules are taken in the order in which they run, last
    first: the scores alone, the upper half of all, everything.

    Args:
        decision: From images to scores; it is not changed.
        images: Any preprocessed image, to see which modules run.
        seed: Of the permutations.

    Yields:
        Names of stages and the decision there.
    """
    names = _in_order(decision, images[:1])
    broken = copy.deepcopy(decision)
    generator = torch.Generator().manual_seed(seed)
    last = [names[-1]]
    half = names[len(names) // 2 :]
    done: set[str] = set()
    for stage, wanted in zip(STAGES, (last, half, names), strict=True):
        for name in reversed(wanted):
            if name not in done:
                done.add(name)
                _shuffle(broken.get_submodule(name), generator)
        yield stage, broken


def _shuffle(part: nn.Module, generator: torch.Generator) -> None:
    with torch.no_grad():
        for parameter in part.parameters(recurse=False):
            order = torch.randperm(parameter.numel(), generator=generator).to(parameter.device)
            parameter.copy_(parameter.flatten()[order].view(parameter.shape))


def _in_order(decision: nn.Module, images: Tensor) -> list[str]:
    """Names of the modules with parameters of their own, in the order in which they run."""
    found: dict[str, None] = {}

    def note(name: str, part: nn.Module) -> torch.utils.hooks.RemovableHandle:
        return part.register_forward_pre_hook(lambda *_: found.update({name: None}))

    handles = [
        note(name, part)
        for name, part in decision.named_modules()
        if [*part.parameters(recurse=False)]
    ]
    try:
        with torch.no_grad():
            decision(images)
    finally:
        for handle in handles:
            handle.remove()
    return [*found]
