"""Arrays of a run, checked before they are drawn: a run folder may have been changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from bias_audit.results.blocks import GroupMatrix, UnitMap

Arrays = Mapping[str, npt.NDArray[Any]]


def rasters_of(block: UnitMap, arrays: Arrays) -> npt.NDArray[np.floating[Any]]:
    """The maps to draw, shape (n_groups, side, side).

    Raises:
        ValueError: The array has another shape or type, or no map of a group that has images.
    """
    rasters = arrays[block.rasters]
    side = rasters.shape[-1] if rasters.ndim else 0
    _check(rasters, (len(block.groups), max(side, 1), max(side, 1)), block.title, block.rasters)
    broken = [
        group.label
        for group, n, raster in zip(block.groups, block.counts, rasters, strict=True)
        if n > 0 and not np.isfinite(raster).all()
    ]
    if broken:
        raise ValueError(
            f'{block.title}: array "{block.rasters}": expected numbers for every group that has '
            f"images, got NaN or infinity for {_some(broken)}"
        )
    return rasters


def matrix_of(block: GroupMatrix, arrays: Arrays) -> npt.NDArray[np.floating[Any]]:
    """The matrix to draw, shape (n_groups, n_groups), NaN for groups without images.

    Raises:
        ValueError: It has another shape or type, holds infinity, or no number at all.
    """
    values, n = arrays[block.values], len(block.groups)
    _check(values, (n, n), block.title, block.values)
    if np.isinf(values).any() or not np.isfinite(values).any():
        raise ValueError(
            f'{block.title}: array "{block.values}": expected numbers, NaN for groups without '
            f"images; got {'infinity' if np.isinf(values).any() else 'NaN alone'}"
        )
    return values


def _check(array: npt.NDArray[Any], shape: tuple[int, ...], title: str, key: str) -> None:
    if array.shape != shape or array.dtype.kind != "f":
        raise ValueError(
            f'{title}: array "{key}": expected floats of shape {shape}, got {array.dtype} of '
            f"shape {array.shape}"
        )


def _some(names: Sequence[str], most: int = 3) -> str:
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return f"{', '.join(names[:most])}{rest}"
