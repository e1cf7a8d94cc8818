"""Which units of a layout are neighbours."""

from __future__ import annotations

import numpy as np
from scipy.spatial import Delaunay

from bias_audit.arrays import FloatArray, IntArray

_LONGEST = 4.0
"""Times the median edge. Longer ones cross gaps between patches, or run along the hull."""


def neighbours(positions: FloatArray) -> IntArray:
    """Edges of the Delaunay triangulation of the units, without its long ones.

    Args:
        positions: Shape (n_units, 2), not all on one line; units may share a place.

    Returns:
        Pairs of units, the smaller first, each once, shape (n_edges, 2).

    Raises:
        scipy.spatial.QhullError: The units lie on one line, or are fewer than three.
    """
    places, unit_of = np.unique(positions, axis=0, return_inverse=True)
    triangles = Delaunay(places).simplices
    pairs = np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [0, 2]]])
    pairs = np.unique(np.sort(pairs, axis=1), axis=0)
    lengths = np.linalg.norm(places[pairs[:, 0]] - places[pairs[:, 1]], axis=1)
    pairs = pairs[lengths <= _LONGEST * np.median(lengths)]
    return _of_units(pairs, unit_of.reshape(-1), len(places))


def _of_units(pairs: IntArray, place_of: IntArray, n_places: int) -> IntArray:
    """Edges between places as edges between units; units of one place form a chain."""
    order = np.argsort(place_of, kind="stable")
    first = order[np.searchsorted(place_of[order], np.arange(n_places))]
    same = place_of[order[1:]] == place_of[order[:-1]]
    chain = np.stack([order[:-1][same], order[1:][same]], axis=1)
    edges = np.sort(np.concatenate([first[pairs], chain]), axis=1)
    return np.asarray(np.unique(edges, axis=0), dtype=np.int64)
