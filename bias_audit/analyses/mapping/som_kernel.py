"""The updates of a self-organizing map, compiled."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from bias_audit.analyses.mapping.compiled import compiled
from bias_audit.arrays import Float32Array

_REACH = 6.0
"""In widths of the neighbourhood."""


@compiled
def nearest(row: Float32Array, weights: Float32Array) -> tuple[int, int]:
    """The cell whose weights are nearest to a row, the first of equals.

    Cells at a distance that is infinite or NaN come last.
    """
    height, width, n_dimensions = weights.shape
    best, best_i, best_j = np.float32(np.inf), 0, 0
    for i in range(height):
        for j in range(width):
            square = np.float32(0)
            for k in range(n_dimensions):
                gap = weights[i, j, k] - row[k]
                square += gap * gap
            if square < best:
                best, best_i, best_j = square, i, j
    return best_i, best_j


@compiled
def show(
    rows: Float32Array,
    weights: Float32Array,
    order: npt.NDArray[np.int64],
    sigma: float,
    rate: float,
) -> None:
    """Show rows to the map in order, changing its weights; see `self_organizing.train_map`."""
    height, width, n_dimensions = weights.shape
    for shown in range(len(order)):
        row = rows[order[shown]]
        best_i, best_j = nearest(row, weights)
        decay = 1 / (1 + 2 * shown / len(order))
        spread = 2 * (sigma * decay) ** 2
        reach = int(_REACH * sigma * decay) + 1
        for i in range(max(0, best_i - reach), min(height, best_i + reach + 1)):
            for j in range(max(0, best_j - reach), min(width, best_j + reach + 1)):
                square_steps = (i - best_i) ** 2 + (j - best_j) ** 2
                share = np.float32(rate * decay * np.exp(-square_steps / spread))
                for k in range(n_dimensions):
                    weights[i, j, k] += share * (row[k] - weights[i, j, k])
