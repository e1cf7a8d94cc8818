"""From a layer's output to one value per unit, or to a few positions per unit."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from bias_audit.errors import BackboneError

Kind = Literal["vector", "map", "map_channels_last", "tokens"]


@dataclass(frozen=True)
class OutputShape:
    """How a layer's output is to be read."""

    kind: Kind
    n_units: int
    height: int = 1
    width: int = 1
    prefix: int = 0
    """Tokens that belong to no place in the image."""


def output_shape(
    layer: str, output: object, *, n_images: int, channels_last: bool, prefix_tokens: int | None
) -> OutputShape:
    """Read the shape of what a module returned for a batch of at least two images.

    Where the shape leaves it open, `channels_last` says that channels are the last axis. Without
    `prefix_tokens`, tokens before the patches are found from the token count.

    Raises:
        BackboneError: The output is no tensor, has not one row per image, or is of a shape that
            holds no units.
    """
    if not isinstance(output, Tensor):
        raise BackboneError(
            f"layer {layer!r} returns {type(output).__name__}, expected one tensor; "
            "choose a module inside it"
        )
    size = tuple(output.shape)
    if size and size[0] != n_images:
        raise BackboneError(
            f"layer {layer!r} returns {size[0]} rows for {n_images} images (shape {size}), "
            "expected one per image; choose the module around it"
        )
    match size:
        case (_, n_units):
            return OutputShape("vector", n_units)
        case (_, n_tokens, n_units):
            prefix = _prefix(n_tokens, prefix_tokens)
            side = math.isqrt(n_tokens - prefix)
            is_square = side * side == n_tokens - prefix
            grid = (side, side) if is_square else (1, n_tokens - prefix)
            return OutputShape("tokens", n_units, *grid, prefix=prefix)
        case (_, first, second, third):
            # two sides that are equal are those of a map; else as declared
            one_pair = (first == second) != (second == third)
            if first == second if one_pair else channels_last:
                return OutputShape("map_channels_last", third, first, second)
            return OutputShape("map", first, second, third)
    raise BackboneError(f"layer {layer!r} returns shape {size}, expected 2 to 4 dimensions")


def _prefix(n_tokens: int, declared: int | None) -> int:
    if declared is not None:
        return declared if n_tokens > declared else 0
    for prefix in (0, 1):
        if math.isqrt(n_tokens - prefix) ** 2 == n_tokens - prefix:
            return prefix
    return 0


def units(output: Tensor, shape: OutputShape) -> Tensor:
    """Spatial mean per unit, shape (batch, n_units), float32."""
    if shape.kind == "vector":
        return output.float()
    if shape.kind == "tokens":
        return output[:, shape.prefix :].float().mean(dim=1)
    dims = (1, 2) if shape.kind == "map_channels_last" else (2, 3)
    return output.float().mean(dim=dims)


def positions(output: Tensor, shape: OutputShape, side: int) -> Tensor:
    """Feature maps averaged to at most side x side, shape (batch, n_units, n_positions).

    Krug & Stober 2025 reduce maps to at most 8 x 8 positions.
    """
    if shape.kind == "vector":
        return output.float()[:, :, None]
    if shape.kind == "tokens":
        output = output[:, shape.prefix :].transpose(1, 2)
        output = output.reshape(len(output), shape.n_units, shape.height, shape.width)
    elif shape.kind == "map_channels_last":
        output = output.permute(0, 3, 1, 2)
    target = grid(shape, side)
    if target != (shape.height, shape.width):
        output = adaptive_avg_pool2d(output.float(), target)
    return torch.flatten(output.float(), 2)


def grid(shape: OutputShape, side: int) -> tuple[int, int]:
    """Rows and columns that `positions` keeps."""
    return min(side, shape.height), min(side, shape.width)
