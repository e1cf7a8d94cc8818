"""Particle swarm that spreads units over a disc, optionally pulled by signature distances.

Forces and schedule follow Krug, Ratul, Olson & Stober (arXiv:2204.03528).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
Float32Array = npt.NDArray[np.float32]

_BLOCK = 256
_NEAREST = 0.01
_INITIAL_RADIUS = 5.0
"""Root mean square distance from the centre, about that of a UMAP: forces depend on distances, so
layouts in other units must start at the same size."""
_JITTER = 1e-3
"""Relative; two units at one place would exert no force on each other for ever."""


def refine(positions: FloatArray, steps: int, rng: np.random.Generator) -> FloatArray:
    """Spread a layout's units, by local forces alone.

    Args:
        positions: Shape (n_units, 2), in any scale.
        steps: 0 leaves the layout as it is but for its size.
        rng: Separates units that share a place.

    Returns:
        Shape (n_units, 2).
    """
    centred = positions - positions.mean(axis=0)
    radius = float(np.sqrt((centred**2).sum(axis=1).mean())) or 1.0
    start = centred * (_INITIAL_RADIUS / radius)
    return swarm(start + _INITIAL_RADIUS * _JITTER * rng.standard_normal(start.shape), steps)


def swarm(positions: FloatArray, steps: int, distances: Float32Array | None = None) -> FloatArray:
    """Move units by the forces between all pairs.

    Args:
        positions: Where they start, shape (n_units, 2).
        steps: Number of moves; over them weight passes from global to local forces.
        distances: Signature distances for the global force, shape (n_units, n_units); None for
            no global force, as in a refinement.

    Returns:
        Shape (n_units, 2).
    """
    places = positions.astype(np.float32)
    pull = None if distances is None else _global_force(distances)
    for time in np.linspace(-3, 6, steps, dtype=np.float32):
        local_share = np.float32((np.tanh(time) + 1) / 2)
        moves = np.empty_like(places)
        for start in range(0, len(places), _BLOCK):
            rows = slice(start, start + _BLOCK)
            force = local_share * _local_force(places[rows], places)
            if pull is not None:
                force += (1 - local_share) * pull[rows]
            force /= 2
            total = force.sum(axis=1, keepdims=True)
            moves[rows] = (force @ places - total * places[rows]) / len(places)
        places += moves
    return places.astype(np.float64)


def _global_force(distances: Float32Array) -> Float32Array:
    largest = float(distances.max(initial=0)) or 1.0
    force = 1.5 * (1 - (distances / largest) ** 3) - 0.5 * np.exp(-distances / 2)
    return np.asarray(force, dtype=np.float32)


def _local_force(some: Float32Array, places: Float32Array) -> Float32Array:
    """Attraction less repulsion, shape (n_some, n_units); positive pulls together."""
    distance = np.hypot(
        some[:, :1] - places[:, 0][None], some[:, 1:] - places[:, 1][None], dtype=np.float32
    )
    np.maximum(distance, np.float32(_NEAREST), out=distance)
    attraction = np.float32(1.5) / (distance + 1) ** 3
    return np.asarray(attraction - 15 * np.exp(-distance / 2), dtype=np.float32)
