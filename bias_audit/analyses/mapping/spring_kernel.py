"""Fruchterman-Reingold forces between all pairs of vertices, compiled."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from bias_audit.analyses.mapping.compiled import compiled

Values = npt.NDArray[np.floating]

_NEAREST = 0.01


@compiled
def add_springs(
    x: Values, y: Values, edges: npt.NDArray[np.uint8], spacing: float, total: Values
) -> None:
    """Write the displacement of each vertex by all others to `total`.

    Vertices repel each other by spacing^2 / distance, and those joined by an edge attract each
    other by distance^2 / spacing (Fruchterman & Reingold 1991, Software: Practice and Experience
    21:1129-1164).

    Args:
        x: First coordinate, shape (n_vertices,), of the type in which forces are computed.
        y: Second coordinate, same shape and type.
        edges: 1 where two vertices are joined, shape (n_vertices, n_vertices), symmetric.
        spacing: Distance at which the two forces of an edge are equal.
        total: Receives the sums, shape (2, n_vertices), same type.
    """
    real = x.dtype.type
    repulsion, attraction = real(spacing * spacing), real(1 / spacing)
    for i in range(len(x)):
        own_x, own_y = x[i], y[i]
        sum_x, sum_y = real(0), real(0)
        for j in range(len(x)):
            dx, dy = own_x - x[j], own_y - y[j]
            distance = max(np.sqrt(dx * dx + dy * dy), real(_NEAREST))
            force = repulsion / (distance * distance) - real(edges[i, j]) * distance * attraction
            sum_x += force * dx
            sum_y += force * dy
        total[0, i], total[1, i] = sum_x, sum_y
