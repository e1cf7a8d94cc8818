"""What is attributed: a backbone up to a layer, and a probe's scores, as one function."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from bias_audit.backbones.pooling import OutputShape, units

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True)
class LinearMap:
    """Scores as a linear function of the spatial means of a layer's units."""

    weight: npt.NDArray[np.float32]
    """Shape (n_scores, n_units); the standardisation of the units is part of it."""
    bias: npt.NDArray[np.float32]
    """Shape (n_scores,)."""

    def scores(self, values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Of activations of shape (n, n_units): shape (n, n_scores)."""
        result: npt.NDArray[np.float32] = values @ self.weight.T + self.bias
        return result


class _ReachedError(Exception):
    """The layer has run; nothing behind it is needed."""


class ProbeDecision(nn.Module):
    """A backbone up to a layer, its spatial mean, and a linear map of that.

    What lies behind the layer does not run. The backbone is used as it is and not changed.
    """

    def __init__(
        self, module: nn.Module, layer: str, shapes: Mapping[str, OutputShape], scores: LinearMap
    ) -> None:
        super().__init__()
        self.backbone = module
        self.layer = layer
        self.shape = shapes[layer]
        like = next(module.parameters())
        self.linear = nn.Linear(scores.weight.shape[1], len(scores.weight)).to(like.device)
        with torch.no_grad():
            self.linear.weight.copy_(torch.from_numpy(scores.weight))
            self.linear.bias.copy_(torch.from_numpy(scores.bias))
        self.requires_grad_(requires_grad=False).eval()

    def forward(self, images: Tensor) -> Tensor:
        """Scores of preprocessed images, shape (n, n_scores)."""
        layer = self.backbone.get_submodule(self.layer)
        with _stopping_after(layer) as reached, suppress(_ReachedError):
            self.backbone(images)
        return cast("Tensor", self.linear(units(reached[-1], self.shape)))


@contextmanager
def _stopping_after(layer: nn.Module) -> Iterator[list[Tensor]]:
    outputs: list[Tensor] = []

    def stop(_module: nn.Module, _inputs: object, output: Tensor) -> None:
        outputs.append(output)
        raise _ReachedError

    handle = layer.register_forward_hook(stop)
    try:
        yield outputs
    finally:
        handle.remove()


class OwnDecision(nn.Module):
    """A backbone with its own class scores."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.backbone = module
        self.requires_grad_(requires_grad=False).eval()

    def forward(self, images: Tensor) -> Tensor:
        """Scores of preprocessed images, shape (n, n_classes)."""
        return cast("Tensor", self.backbone(images))
