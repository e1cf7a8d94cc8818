"""Units placed on the grid of a self-organizing map of their signatures.

As in Krug, Ratul, Olson & Stober (arXiv:2204.03528); the distance is that of `comparable` rows.
"""

from __future__ import annotations

import numpy as np
from pydantic import Field

from bias_audit.analyses.mapping.layout import Distance, Layout, comparable
from bias_audit.analyses.mapping.som_and_swarm import nearest_cells, train_map
from bias_audit.arrays import FloatArray, IntArray
from bias_audit.config.schema import Strict

_CIRCLE = 0.2


class Params(Strict):
    """Parameters of the self-organizing map."""

    epochs: int = Field(default=10, ge=1, le=1000, description="How often each unit is shown.")
    sigma: float = Field(default=1.0, gt=0, description="Width of the neighbourhood, in cells.")
    rate: float = Field(default=0.5, gt=0, le=1, description="Share of the way that cells move.")


def place(
    signatures: FloatArray, distance: Distance, rng: np.random.Generator, params: Params
) -> FloatArray:
    """Positions of shape (n_units, 2), in cells of a square grid of more cells than units."""
    rows = comparable(signatures, distance)
    n_units, n_dimensions = rows.shape
    side = int(np.sqrt(n_units)) + 1
    start = rows[rng.integers(n_units, size=side * side)].reshape(side, side, n_dimensions)
    order = np.concatenate([rng.permutation(n_units) for _ in range(params.epochs)])
    weights = train_map(rows, start, order, sigma=params.sigma, rate=params.rate)
    return spread(nearest_cells(rows, weights))


def spread(cells: IntArray) -> FloatArray:
    """Places of units in their cells, both of shape (n_units, 2).

    Those that share a cell lie on a circle of radius 0.2 about it.
    """
    _, cell, size = np.unique(cells, axis=0, return_inverse=True, return_counts=True)
    cell = cell.ravel()
    order = np.argsort(cell, kind="stable")
    turn = np.empty(len(cells))
    turn[order] = np.arange(len(cells)) - np.repeat(np.cumsum(size) - size, size)
    angle = 2 * np.pi * turn / size[cell]
    offset = np.stack([np.cos(angle), np.sin(angle)], axis=1) * (size[cell] > 1)[:, None]
    return np.asarray(cells + _CIRCLE * offset, dtype=np.float64)


PLUGIN = Layout(title="self-organizing map", params_type=Params, place=place)
