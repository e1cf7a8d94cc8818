"""How well a layout keeps the neighbours of units, and how alike layouts of one layer are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.spatial import procrustes
from sklearn.manifold import trustworthiness
from sklearn.neighbors import NearestNeighbors

from bias_audit.arrays import FloatArray


@dataclass(frozen=True)
class Neighbours:
    """What a layout keeps of the neighbours that units have by their signatures; 1 is all."""

    trustworthiness: float
    """Less the nearer, by rank of signatures, those are that the layout brought in wrongly."""
    continuity: float
    """Less the nearer, by rank in the layout, those are that it lost."""
    preservation: float
    """Mean share of a unit's nearest by signature that are among its nearest in the layout."""


def kept_neighbours(rows: FloatArray, positions: FloatArray, most: int = 10) -> Neighbours:
    """Compare the nearest units by signature and in a layout.

    Trustworthiness and continuity are those of Venna & Kaski 2001 (ICANN, LNCS 2130:485-491).

    Args:
        rows: Signatures whose Euclidean distances are compared, shape (n_units, n_groups); see
            `layout.comparable`.
        positions: Shape (n_units, 2).
        most: Neighbours per unit; fewer than half the units are looked at.
    """
    n_neighbors = max(1, min(most, (len(rows) - 1) // 2))
    near, near_in_layout = _nearest(rows, n_neighbors), _nearest(positions, n_neighbors)
    kept = (near[:, :, None] == near_in_layout[:, None, :]).any(axis=2)
    return Neighbours(
        trustworthiness=float(trustworthiness(rows, positions, n_neighbors=n_neighbors)),
        continuity=float(trustworthiness(positions, rows, n_neighbors=n_neighbors)),
        preservation=float(kept.mean()),
    )


def _nearest(points: FloatArray, n_neighbors: int) -> npt.NDArray[np.int64]:
    """Indices of the nearest others of every point, shape (n_points, n_neighbors)."""
    search = NearestNeighbors(n_neighbors=n_neighbors).fit(points)
    return np.asarray(search.kneighbors(return_distance=False), dtype=np.int64)


def disparities(layouts: list[FloatArray]) -> FloatArray:
    """Procrustes disparity of every pair of layouts of the same units.

    It is the sum of squares left between two layouts of unit size after the best shift, rotation,
    reflection and scaling (Gower 1975, Psychometrika 40:33-51): 0 for the same shape, 1 for
    unrelated ones. All units at one place have no shape, and disparity 1 to everything.

    Args:
        layouts: Each of shape (n_units, 2).

    Returns:
        Shape (n_layouts, n_layouts), symmetric, 0 on the diagonal.
    """
    result = np.zeros((len(layouts), len(layouts)))
    for i, one in enumerate(layouts):
        for j, other in enumerate(layouts[:i]):
            result[i, j] = result[j, i] = disparity(one, other)
    return result


def disparity(one: FloatArray, other: FloatArray) -> float:
    """Of two layouts of the same units; see `disparities`."""
    if not np.ptp(one, axis=0).any() or not np.ptp(other, axis=0).any():
        return 1.0
    return float(procrustes(one, other)[2])
