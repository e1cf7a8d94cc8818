"""Layouts that are trained: a self-organizing map and a particle swarm."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from bias_audit.arrays import Float32Array, FloatArray, IntArray


def train_map(
    rows: FloatArray, start: FloatArray, order: IntArray, *, sigma: float, rate: float
) -> FloatArray:
    """Show rows, (n_rows, n_dimensions), to the map one after the other, as MiniSom does.

    The cell nearest to a row, and its neighbours by a Gaussian of width sigma, move towards it by
    the rate; both fall with the number t of rows shown, as 1 / (1 + 2 t / len(order)). Neighbours
    beyond 6 sigma, whose weight is below 2e-8, stay where they are. Weights, at the start and at
    the end, have shape (side, side, n_dimensions); `order`, shape (n_shown,), is repeated by
    epoch.
    """
    # The import loads numba, which takes a second: only those who train a map pay for it.
    from bias_audit.analyses.mapping.kernels import show  # noqa: PLC0415

    weights = np.array(start, dtype=np.float32)
    show(np.ascontiguousarray(rows, dtype=np.float32), weights, order, sigma, rate)
    return weights.astype(np.float64)


def nearest_cells(rows: FloatArray, weights: FloatArray) -> IntArray:
    """Cell of each row, shape (n_rows, 2): the one of the nearest weights, the first of equals."""
    cells = weights.reshape(-1, weights.shape[-1])
    square = (cells**2).sum(axis=1)
    winners = (square[None] - 2 * rows @ cells.T).argmin(axis=1)
    return np.stack(np.unravel_index(winners, weights.shape[:2]), axis=1).astype(np.int64)


Values = npt.NDArray[np.floating]
_INITIAL_RADIUS = 5.0
"""Root mean square distance from the centre, about that of a UMAP: forces depend on distances, so
layouts in other units must start at the same size."""
_JITTER = 1e-3
"""Relative; two units at one place would exert no force on each other for ever."""
_PRECISE_BELOW = 0.5
"""Share of local forces. While global forces prevail, units contract by many orders of magnitude
and towards one line; across it their places would drown in single precision."""

_SMALLEST_RADIUS, _LARGEST_RADIUS = 1e-30, 1e6
"""Far outside either, forces are linear in the places, so that shape does not depend on size; only
global forces over thousands of steps, or between three units, lead there."""


def refine(
    positions: FloatArray, steps: int, rng: np.random.Generator, *, device: str = "cpu"
) -> FloatArray:
    """Spread a layout's units, shape (n_units, 2) in any scale, by local forces alone.

    0 steps leave the layout as it is but for its size; `rng` separates units that share a place.
    `device` is as of `swarm`.
    """
    centred = positions - positions.mean(axis=0)
    radius = float(np.sqrt((centred**2).sum(axis=1).mean())) or 1.0
    start = centred * (_INITIAL_RADIUS / radius)
    jitter = _INITIAL_RADIUS * _JITTER * rng.standard_normal(start.shape)
    return swarm(start + jitter, steps, device=device)


def swarm(
    positions: FloatArray,
    steps: int,
    distances: Float32Array | None = None,
    *,
    device: str = "cpu",
) -> FloatArray:
    """Move units, shape (n_units, 2), by the forces between all pairs, about one centre.

    No pair is left out. Memory is that of the distances; without them, that of the positions. Over
    the steps weight passes from global forces, which follow from the distances of signatures,
    (n_units, n_units), to local ones. There are no global ones in a refinement. Forces are
    computed on `device`, as a config names it.

    Raises:
        BackboneError: The device is not there.
    """
    centre = positions.mean(axis=0)
    places = (positions - centre).T
    n_units = len(positions)
    pull = np.zeros((0, 0), dtype=np.float32)
    if distances is not None:
        # Like units attract each other, unlike ones repel: 1.5 (1 - d^3) - 0.5 exp(-d / 2), where
        # d^3 is relative to the largest distance.
        largest = np.float32(distances.max(initial=0)) or np.float32(1)
        force = np.exp(distances / np.float32(-2))
        force *= np.float32(-0.5)
        force += np.float32(1.5) * (1 - (distances / largest) ** 3)
        pull = np.asarray(force, dtype=np.float32)
    add_forces = _forces_on(device, pull)
    for time in np.linspace(-3, 6, steps):
        local_share = float((np.tanh(time) + 1) / 2)
        is_precise = distances is not None and local_share < _PRECISE_BELOW
        x, y = np.ascontiguousarray(places, dtype=np.float64 if is_precise else np.float32)
        total = np.empty((2, n_units), dtype=x.dtype)
        add_forces(x, y, local_share, total)
        places = places + total / (2 * n_units)
        places -= places.mean(axis=1, keepdims=True)
        radius = float(np.sqrt((places**2).sum(axis=0).mean()))
        if radius:
            places *= min(max(radius, _SMALLEST_RADIUS), _LARGEST_RADIUS) / radius
    return np.asarray(places.T + centre, dtype=np.float64)


_ROWS = 256
"""Units whose forces are computed at once on a device."""
_Forces = Callable[[Values, Values, float, Values], None]


def _forces_on(device: str, pull: Float32Array) -> _Forces:
    """`kernels.add_forces` with its pull, which is compiled for processors; or the same in torch.

    Devices without float64, such as Apple's, leave the work to the processor.
    """
    # These imports take a second or more: only those who draw a map pay for them.
    import torch  # noqa: PLC0415

    from bias_audit.analyses.mapping.kernels import NEAREST, add_forces  # noqa: PLC0415
    from bias_audit.device import device_for  # noqa: PLC0415

    place = device_for(device)
    if place.type in {"cpu", "mps"}:
        return lambda x, y, share, total: add_forces(x, y, share, pull, total)
    pulled = torch.from_numpy(pull).to(place)

    def forces(x: Values, y: Values, share: float, total: Values) -> None:
        at = torch.from_numpy(np.stack([x, y])).to(place)
        for first in range(0, len(x), _ROWS):
            rows = slice(first, first + _ROWS)
            away = at[:, None, :] - at[:, rows, None]
            distance = away.square().sum(dim=0).sqrt().clamp(min=NEAREST)
            force = share * (1.5 / (distance + 1) ** 3 - 15 * torch.exp(distance / -2))
            if len(pulled):
                force += (1 - share) * pulled[rows]
            total[:, rows] = (force * away).sum(dim=2).cpu().numpy()

    return forces
