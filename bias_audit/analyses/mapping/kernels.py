"""Compiling the loops over all pairs of units, which numpy can only do through large arrays."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar, cast

import numba
import numpy as np
import numpy.typing as npt

from bias_audit.arrays import Float32Array

F = TypeVar("F", bound=Callable[..., object])

_OPTIONS: Final[dict[str, Any]] = {
    # Not "nnan" and "ninf": with them, a comparison with a number that is none means nothing.
    "fastmath": {"reassoc", "contract", "arcp", "nsz", "afn"},
    "error_model": "numpy",
}


def compiled(function: F) -> F:
    """Compile a loop at its first call, for one thread and in one order of summation.

    Results hence do not depend on the number of cores. Sums may be rearranged into vector
    instructions; infinities and NaN stay what they are. The machine code is kept beside the source
    or in the user's cache, and compiled again in every process where neither can be written to.
    """
    try:
        made = numba.njit(function, cache=True, **_OPTIONS)
    except RuntimeError:  # numba found no place for a cache
        made = numba.njit(function, **_OPTIONS)
    return cast("F", made)


Values = npt.NDArray[np.floating]

NEAREST: Final = 0.01
_FARTHEST = 64.0
"""Repulsion at a larger distance is below 15 exp(-32) = 2e-13, and is taken for that."""


@compiled
def add_forces(
    x: Values, y: Values, local_share: float, pull: npt.NDArray[np.float32], total: Values
) -> None:
    """Write the sum over all others of (place of the other - own place) x force to `total`.

    The exponential is a polynomial, so that the loop becomes vector instructions: with u = d / 128
    in [0, 1/2], exp(-d / 2) is the 64th power of the 6th-order Taylor polynomial of exp(-u). The
    error of a force is below 1e-8, apart from the rounding of the type in use. Coordinates,
    (n_units,), have the type in which forces are computed; `local_share` is the weight of local
    forces, 1 less that of the global ones, `pull`, (n_units, n_units), or (0, 0) where there are
    none. `total`, (2, n_units), receives the sums.
    """
    real = x.dtype.type
    one, share, rest = real(1), real(local_share), real(1 - local_share)
    pulled = pull.shape[0] > 0
    for i in range(len(x)):
        own_x, own_y = x[i], y[i]
        sum_x, sum_y = real(0), real(0)
        for j in range(len(x)):
            dx, dy = x[j] - own_x, y[j] - own_y
            distance = max(np.sqrt(dx * dx + dy * dy), real(NEAREST))
            u = min(distance, real(_FARTHEST)) * real(1 / 128)
            power = real(1 / 24) - u * (real(1 / 120) - u * real(1 / 720))
            power = one - u * (one - u * (real(1 / 2) - u * (real(1 / 6) - u * power)))
            power *= power  # in a loop of six, nothing would become vector instructions
            power *= power
            power *= power
            power *= power
            power *= power
            power *= power
            near = distance + one
            force = share * (real(1.5) / (near * near * near) - real(15) * power)
            if pulled:
                force += rest * pull[i, j]
            sum_x += force * dx
            sum_y += force * dy
        total[0, i], total[1, i] = sum_x, sum_y


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
    """Show rows to the map in order, changing its weights; see `som_and_swarm.train_map`."""
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


@compiled
def add_springs(
    x: Values, y: Values, edges: npt.NDArray[np.uint8], spacing: float, total: Values
) -> None:
    """Write the displacement of each vertex by all others to `total`.

    Vertices repel each other by spacing^2 / distance, and those joined by an edge attract each
    other by distance^2 / spacing (Fruchterman & Reingold 1991, Software: Practice and Experience
    21:1129-1164).

    Arrays are as of `add_forces`; `edges` are 1 where two vertices are joined, symmetric, and
    `spacing` is the distance at which the two forces of an edge are equal.
    """
    real = x.dtype.type
    repulsion, attraction = real(spacing * spacing), real(1 / spacing)
    for i in range(len(x)):
        own_x, own_y = x[i], y[i]
        sum_x, sum_y = real(0), real(0)
        for j in range(len(x)):
            dx, dy = own_x - x[j], own_y - y[j]
            distance = max(np.sqrt(dx * dx + dy * dy), real(NEAREST))
            force = repulsion / (distance * distance) - real(edges[i, j]) * distance * attraction
            sum_x += force * dx
            sum_y += force * dy
        total[0, i], total[1, i] = sum_x, sum_y
