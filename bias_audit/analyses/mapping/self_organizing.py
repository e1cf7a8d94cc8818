"""Training of a self-organizing map (Kohonen 1990, Proceedings of the IEEE 78:1464-1480)."""

from __future__ import annotations

import numpy as np

from bias_audit.arrays import FloatArray, IntArray


def train_map(
    rows: FloatArray, start: FloatArray, order: IntArray, *, sigma: float, rate: float
) -> FloatArray:
    """Show rows to the map one after the other, as the package MiniSom does.

    The cell nearest to a row, and its neighbours by a Gaussian of width sigma, move towards it by
    the rate; both fall with the number t of rows shown, as 1 / (1 + 2 t / len(order)). Neighbours
    beyond 6 sigma, whose weight is below 2e-8, stay where they are.

    Args:
        rows: Shape (n_rows, n_dimensions).
        start: Weights at the start, shape (side, side, n_dimensions).
        order: Rows in the order in which they are shown, shape (n_shown,); repeated by epoch.
        sigma: Width of the neighbourhood at the start, in cells.
        rate: Share of the way that the nearest cell moves at the start.

    Returns:
        Weights, shape (side, side, n_dimensions).
    """
    # The import loads numba, which takes a second: only those who train a map pay for it.
    from bias_audit.analyses.mapping.som_kernel import show  # noqa: PLC0415

    weights = np.array(start, dtype=np.float32)
    show(np.ascontiguousarray(rows, dtype=np.float32), weights, order, sigma, rate)
    return weights.astype(np.float64)


def nearest_cells(rows: FloatArray, weights: FloatArray) -> IntArray:
    """Cell of each row, shape (n_rows, 2): the one of the nearest weights, the first of equals."""
    cells = weights.reshape(-1, weights.shape[-1])
    square = (cells**2).sum(axis=1)
    winners = (square[None] - 2 * rows @ cells.T).argmin(axis=1)
    return np.stack(np.unravel_index(winners, weights.shape[:2]), axis=1).astype(np.int64)
