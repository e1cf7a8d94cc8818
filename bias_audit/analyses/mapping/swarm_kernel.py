"""The force between all pairs of units of a swarm, compiled."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from bias_audit.analyses.mapping.compiled import compiled

Values = npt.NDArray[np.floating]

_NEAREST = 0.01
_FARTHEST = 64.0
"""Repulsion at a larger distance is below 15 exp(-32) = 2e-13, and is taken for that."""


@compiled
def add_forces(
    x: Values, y: Values, local_share: float, pull: npt.NDArray[np.float32], total: Values
) -> None:
    """Write the sum over all others of (place of the other - own place) x force to `total`.

    The exponential is a polynomial, so that the loop becomes vector instructions: with
    u = d / 128 in [0, 1/2], exp(-d / 2) is the 64th power of the 6th-order Taylor polynomial of
    exp(-u). The error of a force is below 1e-8, apart from the rounding of the type in use.

    Args:
        x: First coordinate, shape (n_units,), of the type in which forces are computed.
        y: Second coordinate, same shape and type.
        local_share: Weight of local forces; 1 less that of the global ones.
        pull: Global forces, shape (n_units, n_units); (0, 0) where there are none.
        total: Receives the sums, shape (2, n_units), same type.
    """
    real = x.dtype.type
    one, share, rest = real(1), real(local_share), real(1 - local_share)
    pulled = pull.shape[0] > 0
    for i in range(len(x)):
        own_x, own_y = x[i], y[i]
        sum_x, sum_y = real(0), real(0)
        for j in range(len(x)):
            dx, dy = x[j] - own_x, y[j] - own_y
            distance = max(np.sqrt(dx * dx + dy * dy), real(_NEAREST))
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
