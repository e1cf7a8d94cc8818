"""From a layer's output to one value per unit, or to a few positions per unit."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from bias_audit.deferred import torch
from bias_audit.errors import BackboneError

if TYPE_CHECKING:
    from torch import Tensor

Kind = Literal["vector", "map", "map_channels_last", "tokens"]
Tokens = Literal["patches", "class", "all"]
"""Which tokens of a layer are read: the mean of those that belong to a place in the image, the
first one (the class token), or the mean of all."""


@dataclass(frozen=True)
class OutputShape:
    """How a layer's output is to be read."""

    kind: Kind
    n_units: int
    height: int = 1
    width: int = 1
    prefix: int = 0
    """Tokens that belong to no place in the image."""
    tokens: Tokens = "patches"
    """Which tokens are read as units; positions are those of patches in any case."""

    @property
    def read(self) -> str:
        """What is read of the layer, in words, such as "the mean of 14 x 14 patches"."""
        places = f"{self.height} x {self.width}"
        of = f"{places} patches" if self.height > 1 or self.width == 1 else f"{self.width} tokens"
        if self.kind == "vector":
            return "the vector that it returns"
        if self.kind != "tokens":
            return f"the mean of {places} positions"
        if self.tokens == "class":
            return "the class token"
        if self.tokens == "all" and self.prefix:
            more = "1 other token" if self.prefix == 1 else f"{self.prefix} other tokens"
            return f"the mean of {of} and {more}"
        return f"the mean of {of}"


def read_as(layer: str, shape: OutputShape, tokens: Tokens) -> OutputShape:
    """The same output with other tokens read; only layers of tokens have a choice.

    Raises:
        BackboneError: The class token is wanted, and the layer has none.
    """
    if shape.kind == "tokens" and tokens == "class" and not shape.prefix:
        raise BackboneError(
            f"layer {layer!r} has no known class token, and returns what is read as {shape.read}; "
            "expected tokens: patches or all, or other layers"
        )
    if shape.kind.startswith("map") and tokens == "class":
        raise BackboneError(
            f"layer {layer!r} returns feature maps, which have no class token; expected tokens: "
            "patches or all, or other layers"
        )
    return replace(shape, tokens=tokens)


def hidden(output: object) -> object:
    """The tensor of what a module returned: of several results, the first.

    Layers of transformers return what passes on first, attention weights and more after it.
    """
    several = tuple(output.values()) if isinstance(output, Mapping) else output
    if isinstance(several, tuple | list) and several:
        first = hidden(several[0])
        return first if isinstance(first, torch.Tensor) else output
    return output


def output_shape(
    layer: str,
    output: object,
    *,
    n_images: int,
    channels_last: bool,
    prefix_tokens: int | None,
    image_size: tuple[int, int] = (1, 1),
) -> OutputShape:
    """Read the shape of what a module returned for a batch of at least two images.

    Where the shape leaves it open, `channels_last` says that channels are the last axis. Without
    `prefix_tokens`, tokens before the patches are found from the token count: patches have the
    height and width of the image in proportion, which `image_size` gives.

    Raises:
        BackboneError: The output is no tensor, has not one row per image, or is of a shape that
            holds no units.
    """
    output = hidden(output)
    if not isinstance(output, torch.Tensor):
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
            prefix = _prefix(n_tokens, prefix_tokens, image_size)
            grid = _grid(n_tokens - prefix, image_size) or (1, n_tokens - prefix)
            return OutputShape("tokens", n_units, *grid, prefix=prefix)
        case (_, first, second, third):
            # two sides that are equal are those of a map; else as declared
            one_pair = (first == second) != (second == third)
            if first == second if one_pair else channels_last:
                return OutputShape("map_channels_last", third, first, second)
            return OutputShape("map", first, second, third)
    raise BackboneError(f"layer {layer!r} returns shape {size}, expected 2 to 4 dimensions")


def _prefix(n_tokens: int, declared: int | None, size: tuple[int, int]) -> int:
    if declared is not None:
        return declared if n_tokens > declared else 0
    return next((prefix for prefix in (0, 1) if _grid(n_tokens - prefix, size)), 0)


def _grid(n_patches: int, size: tuple[int, int]) -> tuple[int, int] | None:
    """Rows and columns of the patches of an image; None where they form no such grid."""
    height, width = size
    rows = math.isqrt(n_patches * height // width)
    columns = n_patches // rows if rows else 0
    is_grid = rows * columns == n_patches and rows * width == columns * height
    return (rows, columns) if is_grid else None


def units(output: Tensor, shape: OutputShape) -> Tensor:
    """What is read of a layer, one value per unit, shape (batch, n_units), float32."""
    if shape.kind == "vector":
        return output.float()
    if shape.kind == "tokens":
        first = shape.prefix if shape.tokens == "patches" else 0
        read = output[:, first:].float()
        return read[:, 0] if shape.tokens == "class" else read.mean(dim=1)
    dims = (1, 2) if shape.kind == "map_channels_last" else (2, 3)
    return output.float().mean(dim=dims)


@dataclass(frozen=True)
class Reduction:
    """How a feature map becomes a few positions; Krug & Stober 2025 keep at most 8 x 8."""

    side: int
    """At most this many rows and columns."""
    by: Literal["mean", "sample"] = "mean"
    """The mean of each window of ceil(height / side) x ceil(width / side), as their probes take
    it, or its middle alone, as their clusters of groups do. Windows lie side by side, without
    padding, so that rows and columns that fill no window are left out of means."""
    is_aligned: bool = False
    """Whether maps are shifted first, as `aligned` does."""

    @property
    def described(self) -> str:
        """Such as "the mean of each window, at most 8 x 8"."""
        kept = "the mean" if self.by == "mean" else "the middle"
        first = ", each shifted first to its most salient position" if self.is_aligned else ""
        return f"{kept} of each window, at most {self.side} x {self.side}{first}"

    def grid(self, shape: OutputShape) -> tuple[int, int]:
        """Rows and columns that are kept."""
        rows, columns = (
            size // window if self.by == "mean" else len(range(window // 2, size, window))
            for size, window in zip((shape.height, shape.width), self._window(shape), strict=True)
        )
        return rows, columns

    def _window(self, shape: OutputShape) -> tuple[int, int]:
        return math.ceil(shape.height / self.side), math.ceil(shape.width / self.side)

    def of(self, output: Tensor, shape: OutputShape, gradient: Tensor | None = None) -> Tensor:
        """Positions of what a layer returned, shape (batch, n_units, n_positions), float32.

        Aligned positions need the gradient of a class score at the layer, in its output's shape:
        its mean size over units says how salient a position is.
        """
        if shape.kind == "vector":
            return output.float()[:, :, None]
        maps = _as_maps(output, shape).float()
        if gradient is not None:
            maps = aligned(maps, _as_maps(gradient, shape).float().abs().mean(dim=1))
        rows, columns = self._window(shape)
        if self.by == "mean":
            kept = torch.nn.functional.avg_pool2d(maps, (rows, columns))
        else:
            kept = maps[:, :, rows // 2 :: rows, columns // 2 :: columns]
        return torch.flatten(kept, 2)


def _as_maps(output: Tensor, shape: OutputShape) -> Tensor:
    """Shape (batch, n_units, height, width)."""
    if shape.kind == "tokens":
        output = output[:, shape.prefix :].transpose(1, 2)
        return output.reshape(len(output), shape.n_units, shape.height, shape.width)
    return output.permute(0, 3, 1, 2) if shape.kind == "map_channels_last" else output


def aligned(maps: Tensor, saliency: Tensor) -> Tensor:
    """Shift each image's feature maps so that its most salient position is in the centre.

    Zeros move in, and what moves out is lost. An image whose saliency is the same everywhere
    stays as it is, as in the toolbox behind Krug & Stober 2025. Maps have shape (batch, n_units,
    height, width), saliency (batch, height, width).
    """
    height, width = saliency.shape[1:]
    flat = saliency.flatten(1)
    place = flat.argmax(dim=1)
    is_flat = flat.amax(dim=1) == flat.amin(dim=1)
    rows = _taken(height, place // width, is_flat)[:, :, None]
    columns = _taken(width, place % width, is_flat)[:, None, :]
    inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    taken = rows.clamp(0, height - 1) * width + columns.clamp(0, width - 1)
    index = taken.flatten(1)[:, None].expand(-1, maps.shape[1], -1)
    shifted = maps.flatten(2).gather(2, index).view(maps.shape)
    return torch.where(inside[:, None], shifted, 0.0)


def _taken(size: int, most_salient: Tensor, is_flat: Tensor) -> Tensor:
    """Where each place of a shifted axis is taken from, (batch, size); it may lie outside."""
    moved = torch.where(is_flat, 0, size // 2 - most_salient)
    return torch.arange(size, device=moved.device) - moved[:, None]
