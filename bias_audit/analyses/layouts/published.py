"""The layout of Krug & Stober 2025 (arXiv:2506.03664), with the settings of its authors' code.

Signatures are the contrasts of all intersections at all positions of a feature map. Units are
placed by UMAP with its defaults and spread by the local forces of the particle swarm.
"""

from __future__ import annotations

import numpy as np
from pydantic import Field

from bias_audit.activations.moments import Moments
from bias_audit.analyses.layouts import umap
from bias_audit.analyses.mapping.layout import Distance, Layout, unit_square
from bias_audit.analyses.mapping.som_and_swarm import swarm
from bias_audit.arrays import FloatArray
from bias_audit.config.schema import Strict
from bias_audit.errors import AnalysisError


class Params(Strict):
    """What of the signatures counts, and how long units are spread."""

    threshold: float = Field(
        default=0.01,
        ge=0,
        description="Positions whose contrast is at most this large for every unit are left out.",
    )
    steps: int = Field(default=100, ge=0, le=10_000, description="Moves by local forces.")


def signatures(moments: Moments, params: Params) -> FloatArray:
    """Contrasts of all groups that have images at the positions that differ, (n_units, n).

    Raises:
        AnalysisError: No contrast exceeds the threshold.
    """
    means = moments.mean[moments.count > 0]
    contrasts = np.moveaxis(means - means.mean(axis=0), 1, 0).reshape(means.shape[1], -1)
    largest = np.abs(contrasts).max(axis=0)
    if not (largest > params.threshold).any():
        raise AnalysisError(
            "layout published: expected contrasts between groups above threshold "
            f"{params.threshold:g}, got at most {largest.max():.2g}; set layout: {{kind: "
            "published, threshold: ...}}"
        )
    return np.asarray(contrasts[:, largest > params.threshold])


def place(
    rows: FloatArray,
    distance: Distance,
    rng: np.random.Generator,
    params: Params,
    device: str = "cpu",
) -> FloatArray:
    """Positions of shape (n_units, 2); the same for the same generator state."""
    start = unit_square(umap.place(rows, distance, rng, umap.Params()))
    return swarm(start, params.steps, device=device)


PLUGIN = Layout(
    title="UMAP of all positions, spread by particle swarm, as published",
    params_type=Params,
    place=place,
    place_on=place,
    settings={"distance": "euclidean", "refine_steps": 0},
    signatures=signatures,
)
