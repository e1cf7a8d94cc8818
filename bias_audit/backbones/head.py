"""The last linear layer of a backbone: where activations become class scores."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final, cast

import numpy as np
import torch
from torch import Tensor, nn

from bias_audit.arrays import Float32Array

_TRACED = 2
_CLASSES = 2
_RELATIVE = 1e-4


@dataclass(frozen=True)
class Classes:
    """What the outputs of a backbone stand for, as the library or the config says."""

    count: int = 0
    """0: nothing says that they are scores of classes."""
    of: str = ""
    """Such as "ImageNet (imagenet-1k)"."""


NO_CLASSES: Final = Classes()


@dataclass(frozen=True)
class LinearHead:
    """A linear layer whose output is what the backbone returns."""

    name: str
    """As in `named_modules()`."""
    weight: Float32Array
    """Shape (n_classes, n_units)."""
    bias: Float32Array
    """Shape (n_classes,); zeros where the layer has none."""

    @property
    def n_units(self) -> int:
        """Width of what the layer receives."""
        return int(self.weight.shape[1])


@dataclass(frozen=True)
class HeadSearch:
    """What looking for a head came to."""

    head: LinearHead | None
    why_not: str = ""
    """Why there is none; empty if there is one."""


@dataclass(frozen=True)
class _Call:
    name: str
    received: Tensor
    returned: Tensor


def find_head(
    module: nn.Module, size: tuple[int, int], *, classes: Classes, unfilled: Collection[str] = ()
) -> HeadSearch:
    """Look for the linear layer that gives a backbone's class scores.

    Outputs are class scores only where the library or the config says how many classes there are
    and of what: what a model for pairs of images and texts returns is a projection.

    The layer is found by what it does, not by its name: in a pass of noise, its output equals the
    backbone's, also with the sign turned (a rectifier behind it may leave the one as it is, never
    both), and its weight and bias alone explain that output.

    Args:
        module: A backbone in evaluation mode.
        size: Height and width of its input.
        classes: What its outputs stand for.
        unfilled: Entries of the state dict that the weights did not fill.
    """
    calls, output = _linear_calls(module, size)
    if not isinstance(output, Tensor) or output.ndim != 2:  # noqa: PLR2004
        return HeadSearch(None, f"the backbone returns {_described(output)}, not class scores")
    if not torch.isfinite(output).all():
        return HeadSearch(None, "what it returns for noise is not finite")
    if output.shape[1] != classes.count:
        return HeadSearch(None, _no_classes(output.shape[1], classes))
    last = [
        call
        for call in calls
        if torch.equal(call.returned, output) and _returned_as_it_is(module, call, size)
    ]
    if not last:
        what = (
            "the backbone has no linear layer"
            if not calls
            else "no linear layer's output is what the backbone returns"
        )
        return HeadSearch(None, f"{what}, so its class scores do not follow from one linear layer")
    return _checked(module, last[-1], unfilled)


def _no_classes(n_outputs: int, classes: Classes) -> str:
    if not classes.count:
        return (
            f"nothing says that its {n_outputs} outputs are scores of classes, and of which: they "
            "may be a projection, or features"
        )
    return f"it has {n_outputs} outputs, and not the {classes.count} classes of {classes.of}"


def _linear_calls(module: nn.Module, size: tuple[int, int]) -> tuple[list[_Call], object]:
    calls: list[_Call] = []

    def hook(name: str) -> torch.utils.hooks.RemovableHandle:
        def note(_module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            # A later operation may change either in place.
            calls.append(_Call(name, inputs[0].clone(), output.clone()))

        return module.get_submodule(name).register_forward_hook(note)

    names = [name for name, part in module.named_modules() if isinstance(part, nn.Linear)]
    return calls, _output_with(module, [hook(name) for name in names], size)


def _returned_as_it_is(module: nn.Module, call: _Call, size: tuple[int, int]) -> bool:
    """Whether the backbone returns a layer's output whatever its sign."""

    def turn(_module: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        return -output

    handle = module.get_submodule(call.name).register_forward_hook(turn)
    output = _output_with(module, [handle], size)
    return isinstance(output, Tensor) and torch.equal(output, -call.returned)


def _output_with(
    module: nn.Module, handles: list[torch.utils.hooks.RemovableHandle], size: tuple[int, int]
) -> object:
    """The output for noise; the hooks are removed afterwards."""
    noise = torch.randn(_TRACED, 3, *size, generator=torch.Generator().manual_seed(0))
    try:
        with torch.inference_mode():
            output: object = module(noise)
    finally:
        for handle in handles:
            handle.remove()
    return output


def _checked(module: nn.Module, call: _Call, unfilled: Collection[str]) -> HeadSearch:
    missing = [f"{call.name}.{part}" for part in ("weight", "bias")]
    missing = [name for name in missing if name in unfilled]
    if missing:
        return HeadSearch(
            None, f"the weights do not hold its classification layer ({', '.join(missing)})"
        )
    layer = cast("nn.Linear", module.get_submodule(call.name))
    weight = _array(layer.weight)
    offset: Tensor | None = layer.bias  # the stubs do not say that it may be missing
    bias = np.zeros(len(weight), dtype=np.float32) if offset is None else _array(offset)
    head = LinearHead(call.name, weight, bias)
    if len(head.weight) < _CLASSES:
        return HeadSearch(None, f"its last linear layer {call.name!r} has one output, not classes")
    explained = _array(call.received) @ head.weight.T + head.bias
    returned = _array(call.returned)
    tolerance = _RELATIVE * float(np.abs(returned).max())
    if not np.allclose(explained, returned, rtol=0, atol=tolerance):
        return HeadSearch(
            None, f"the output of its last layer {call.name!r} is not linear in what it receives"
        )
    return HeadSearch(head)


def _array(tensor: Tensor) -> Float32Array:
    array: Float32Array = tensor.detach().cpu().float().numpy().copy()
    return array


def _described(output: object) -> str:
    if isinstance(output, Tensor):
        return f"an array of shape {tuple(output.shape)}"
    return type(output).__name__
