"""How alike two maps of an image are."""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

_WINDOW: Final = 7
_STABLE: Final = (0.01**2, 0.03**2)


def rank_correlation(one: Tensor, other: Tensor) -> Tensor:
    """Spearman's correlation over the cells of two maps; 0 where one of them is flat.

    Args:
        one: Shape (n, side, side).
        other: The same.

    Returns:
        Shape (n,).
    """
    first, second = (_ranks(maps.flatten(1).double()) for maps in (one, other))
    spread = (first.square().sum(1) * second.square().sum(1)).sqrt()
    return torch.where(spread > 0, (first * second).sum(1) / spread.clamp(min=1e-300), 0.0)


def _ranks(values: Tensor) -> Tensor:
    """Centred ranks, ties at their mean, shape (n, n_cells)."""
    ordered = values.sort(dim=1).values.contiguous()
    low = torch.searchsorted(ordered, values.contiguous())
    high = torch.searchsorted(ordered, values.contiguous(), right=True)
    ranks = (low + high).double() / 2
    return ranks - ranks.mean(dim=1, keepdim=True)


def structural_similarity(one: Tensor, other: Tensor) -> Tensor:
    """SSIM of two maps, each scaled to [0, 1] (Wang et al. 2004), with a flat window of 7 cells.

    Args:
        one: Shape (n, side, side).
        other: The same.

    Returns:
        Shape (n,).
    """
    x, y = (_scaled(maps.double()) for maps in (one, other))
    mean_x, mean_y = _local(x), _local(y)
    cells = _WINDOW**2
    sample = cells / (cells - 1)
    var_x = sample * (_local(x * x) - mean_x**2)
    var_y = sample * (_local(y * y) - mean_y**2)
    joint = sample * (_local(x * y) - mean_x * mean_y)
    low, high = _STABLE
    top = (2 * mean_x * mean_y + low) * (2 * joint + high)
    bottom = (mean_x**2 + mean_y**2 + low) * (var_x + var_y + high)
    return (top / bottom).mean(dim=(1, 2))


def _scaled(maps: Tensor) -> Tensor:
    least, most = maps.amin(dim=(1, 2), keepdim=True), maps.amax(dim=(1, 2), keepdim=True)
    return (maps - least) / (most - least).clamp(min=1e-300)


def _local(maps: Tensor) -> Tensor:
    return avg_pool2d(maps[:, None], _WINDOW, stride=1)[:, 0]
