"""Placing a layer's units in the plane so that units of similar signature are near."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

import numpy as np
import numpy.typing as npt

from bias_audit.arrays import FloatArray
from bias_audit.config.schema import Strict

P = TypeVar("P", bound=Strict)
Distance = Literal["cosine", "euclidean", "correlation"]


@dataclass(frozen=True)
class Layout(Generic[P]):
    """A way to place units."""

    title: str
    params_type: type[P]
    place: Callable[[FloatArray, Distance, np.random.Generator, P], FloatArray]
    """Of signatures, shape (n_units, n_groups), positions in any scale, shape (n_units, 2)."""


def comparable(signatures: FloatArray, distance: Distance) -> FloatArray:
    """Signatures whose Euclidean geometry is that of the distance, shape (n_units, n_groups).

    Rows are centred for the correlation and scaled to length 1 for the correlation and the
    cosine; a silent unit stays 0, which is equally far from all others.
    """
    rows = signatures
    if distance == "correlation":
        rows = rows - rows.mean(axis=1, keepdims=True)
    if distance == "euclidean":
        return rows
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    scaled = np.zeros_like(rows)
    np.divide(rows, length, out=scaled, where=length > _SILENT * length.max(initial=0.0))
    return scaled


_SILENT = 1e-6


def silent_units(signatures: FloatArray) -> npt.NDArray[np.bool_]:
    """Units whose signature is zero for every group, next to the largest one, shape (n_units,)."""
    length = np.linalg.norm(signatures, axis=1)
    return np.asarray(length <= _SILENT * length.max(initial=0.0), dtype=np.bool_)


def pairwise(signatures: FloatArray, distance: Distance) -> npt.NDArray[np.float32]:
    """Distance of every pair of units, shape (n_units, n_units).

    A silent unit has cosine and correlation distance 1 to the others and 0 to silent ones.
    """
    rows = comparable(signatures, distance)
    products = rows @ rows.T
    square = np.diag(products)
    if distance == "euclidean":
        result = np.sqrt(np.maximum(square[:, None] + square[None] - 2 * products, 0))
    else:
        result = np.clip(1 - products, 0, 2)
        silent = square == 0
        result[np.ix_(silent, silent)] = 0
    np.fill_diagonal(result, 0)
    return result.astype(np.float32)


def unit_square(positions: FloatArray) -> FloatArray:
    """Positions scaled to [0, 1] along each axis; 0.5 along an axis without extent."""
    low, extent = positions.min(axis=0), np.ptp(positions, axis=0)
    scaled = np.full_like(positions, 0.5)
    np.divide(positions - low, extent, out=scaled, where=extent > 0)
    return scaled
