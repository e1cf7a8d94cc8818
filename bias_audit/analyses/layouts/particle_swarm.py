"""Units placed by a particle swarm from random places, first by global, then by local forces.

As in Krug, Ratul, Olson & Stober (arXiv:2204.03528).
"""

from __future__ import annotations

import numpy as np
from pydantic import Field

from bias_audit.analyses.mapping.layout import Distance, Layout, pairwise
from bias_audit.analyses.mapping.som_and_swarm import swarm
from bias_audit.arrays import FloatArray
from bias_audit.config.schema import Strict


class Params(Strict):
    """Parameters of the swarm."""

    steps: int = Field(
        default=1000, ge=1, le=10_000, description="Moves, from global to local forces."
    )


def place(
    signatures: FloatArray,
    distance: Distance,
    rng: np.random.Generator,
    params: Params,
    device: str = "cpu",
) -> FloatArray:
    """Positions of shape (n_units, 2); the same for the same generator state."""
    start = rng.uniform(size=(len(signatures), 2))
    return swarm(start, params.steps, pairwise(signatures, distance), device=device)


PLUGIN = Layout(title="particle swarm", params_type=Params, place=place, place_on=place)
