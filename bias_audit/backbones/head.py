"""The last linear layer of a backbone: where activations become class scores."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, TypeAlias, cast

import numpy as np

from bias_audit.arrays import Float32Array
from bias_audit.deferred import torch
from bias_audit.errors import some

if TYPE_CHECKING:
    from torch import Tensor, nn

_TRACED = 2
_CLASSES = 2
_RELATIVE = 1e-4


@dataclass(frozen=True)
class Classes:
    """What the outputs of a backbone mean, according to the library or the config."""

    count: int = 0
    """0: it is unknown whether they are class scores."""
    of: str = ""
    """Such as "ImageNet (imagenet-1k)"."""


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


Call: TypeAlias = "tuple[str, Tensor, Tensor]"
"""Name of a linear layer, what it received and what it returned."""


def find_head(
    module: nn.Module, size: tuple[int, int], *, classes: Classes, unfilled: Collection[str] = ()
) -> LinearHead | str:
    """The linear layer that gives a backbone's class scores, or why there is none.

    Outputs are class scores only where the library or the config says how many classes there are
    and of what: what a model for pairs of images and texts returns is a projection.

    The layer is found by what it does, not by its name: in a pass of noise, its output equals the
    backbone's, also with the sign turned (a rectifier behind it may leave the one as it is, never
    both), and its weight and bias alone explain that output. `unfilled` are the entries of the
    state dict that the output needs, and the weights did not fill.
    """
    noise = torch.randn(_TRACED, 3, *size, generator=torch.Generator().manual_seed(0))
    calls: list[Call] = []

    def note(name: str, _part: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        # A later operation may change either in place.
        calls.append((name, inputs[0].clone(), output.clone()))

    with torch.inference_mode(), ExitStack() as hooks:
        for name, part in module.named_modules():
            if isinstance(part, torch.nn.Linear):
                hooks.enter_context(part.register_forward_hook(partial(note, name)))
        output: object = module(noise)
    if not isinstance(output, torch.Tensor) or output.ndim != 2:  # noqa: PLR2004
        got = type(output).__name__
        got = (
            f"an array of shape {tuple(output.shape)}" if isinstance(output, torch.Tensor) else got
        )
        return f"the backbone returns {got}, not class scores"
    if not torch.isfinite(output).all():
        return "what it returns for noise is not finite"
    n_outputs = output.shape[1]
    if not classes.count:
        return (
            f"it is unknown whether its {n_outputs} outputs are scores of known classes; "
            "they may be a projection, or features"
        )
    if n_outputs != classes.count:
        return f"it has {n_outputs} outputs, and not the {classes.count} classes of {classes.of}"
    for call in reversed(calls):
        if torch.equal(call[2], output) and _is_returned_as_it_is(module, call, noise):
            return _head_of(module, call, unfilled)
    what = "no linear layer's output is what the backbone returns"
    what = what if calls else "the backbone has no linear layer"
    return f"{what}, so its class scores do not follow from one linear layer"


def _is_returned_as_it_is(module: nn.Module, call: Call, noise: Tensor) -> bool:
    """Whether the backbone returns a layer's output whatever its sign."""
    name, _, returned = call
    hook = module.get_submodule(name).register_forward_hook(lambda _part, _inputs, out: -out)
    with torch.inference_mode(), hook:
        output: object = module(noise)
    return isinstance(output, torch.Tensor) and torch.equal(output, -returned)


def _head_of(module: nn.Module, call: Call, unfilled: Collection[str]) -> LinearHead | str:
    """The layer of a call, if its weight and bias alone explain what it returned."""
    name, received, returned = call
    if unfilled:
        return (
            f"the weights do not include all that its class scores need ({some(sorted(unfilled))})"
        )
    layer = cast("nn.Linear", module.get_submodule(name))
    weight = _array(layer.weight)
    offset: Tensor | None = layer.bias  # the stubs do not say that it may be missing
    bias = np.zeros(len(weight), dtype=np.float32) if offset is None else _array(offset)
    if len(weight) < _CLASSES:
        return f"its last linear layer {name!r} has one output, not classes"
    expected = _array(returned)
    tolerance = _RELATIVE * float(np.abs(expected).max())
    explained = _array(received) @ weight.T + bias
    if not np.allclose(explained, expected, rtol=0, atol=tolerance):
        return f"the output of its last layer {name!r} is not linear in what it receives"
    return LinearHead(name, weight, bias)


def _array(tensor: Tensor) -> Float32Array:
    array: Float32Array = tensor.detach().cpu().float().numpy().copy()
    return array
