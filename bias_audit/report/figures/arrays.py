"""Arrays of a run, checked before they are drawn: a run folder may have been changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from bias_audit.results.blocks import AttributionMaps, DifferenceMap, GroupMatrix, UnitMap

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


def difference_rasters_of(
    block: DifferenceMap, arrays: Arrays
) -> tuple[npt.NDArray[np.floating[Any]], npt.NDArray[np.floating[Any]]]:
    """The maps to draw and their masks, both of shape (n_differences, side, side).

    Raises:
        ValueError: An array has another shape or type, or no map of a comparison that has images.
    """
    rasters, masks = arrays[block.rasters], arrays[block.masks]
    side = max(rasters.shape[-1] if rasters.ndim else 0, 1)
    shape = len(block.differences), side, side
    _check(rasters, shape, block.title, block.rasters)
    _check(masks, shape, block.title, block.masks)
    broken = [
        entry.label
        for entry, raster in zip(block.differences, rasters, strict=True)
        if min(entry.counts) > 0 and not np.isfinite(raster).all()
    ]
    if broken or not np.isin(masks, (-1, 0, 1)).all():
        raise ValueError(
            f'{block.title}: arrays "{block.rasters}" and "{block.masks}": expected numbers for '
            "every comparison that has images, and masks of -1, 0 and 1; got others for "
            f"{_some(broken) or 'masks'}"
        )
    return rasters, masks


def attribution_maps_of(block: AttributionMaps, arrays: Arrays) -> npt.NDArray[np.floating[Any]]:
    """The maps to draw, shape (n_methods, n_groups, side, side).

    Raises:
        ValueError: The array has another shape or type, no map of a group that has one, or
            negative values.
    """
    maps = arrays[block.maps]
    side = max(maps.shape[-1] if maps.ndim else 0, 1)
    shape = len(block.methods), len(block.groups), side, side
    _check(maps, shape, block.title, block.maps)
    broken = [
        group.label
        for column, (group, reason) in enumerate(zip(block.groups, block.reasons, strict=True))
        if reason is None and not (np.isfinite(maps[:, column]) & (maps[:, column] >= 0)).all()
    ]
    if broken:
        raise ValueError(
            f'{block.title}: array "{block.maps}": expected numbers of at least 0 for every group '
            f"with a map, got others for {_some(broken)}"
        )
    return maps


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


def tree_of(block: GroupMatrix, arrays: Arrays) -> npt.NDArray[np.floating[Any]]:
    """The dendrogram of the groups that have numbers, shape (n - 1, 4).

    Raises:
        ValueError: It is no linkage of at most as many groups as the block has.
    """
    tree = arrays[block.tree or ""]
    n = len(tree) + 1 if tree.ndim else 0
    _check(tree, (min(n, len(block.groups)) - 1, 4), block.title, block.tree or "")
    before = n + np.arange(len(tree))[:, None]
    if not (np.isfinite(tree).all() and (tree[:, :2] >= 0).all() and (tree[:, :2] < before).all()):
        raise ValueError(
            f'{block.title}: array "{block.tree}": expected each merge to join groups or earlier '
            "merges"
        )
    return tree


def _check(array: npt.NDArray[Any], shape: tuple[int, ...], title: str, key: str) -> None:
    if array.shape != shape or array.dtype.kind != "f":
        raise ValueError(
            f'{title}: array "{key}": expected floats of shape {shape}, got {array.dtype} of '
            f"shape {array.shape}"
        )


def _some(names: Sequence[str], most: int = 3) -> str:
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return f"{', '.join(names[:most])}{rest}"
