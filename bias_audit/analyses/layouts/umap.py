"""Units placed by UMAP of their signature distances (McInnes, Healy & Melville 2018)."""

from __future__ import annotations

import warnings

import numpy as np
from pydantic import Field

from bias_audit.analyses.mapping.layout import Distance, Layout, pairwise
from bias_audit.arrays import FloatArray
from bias_audit.config.schema import Strict

_ENOUGH_FOR_SPECTRAL = 16


class Params(Strict):
    """Parameters of UMAP."""

    n_neighbors: int = Field(
        default=15, ge=2, description="Neighbours per unit; at most one less than the units."
    )
    min_dist: float = Field(default=0.1, ge=0, le=0.99, description="Nearest that units may lie.")


def place(
    signatures: FloatArray, distance: Distance, rng: np.random.Generator, params: Params
) -> FloatArray:
    """Positions of shape (n_units, 2); the same for the same generator state."""
    with warnings.catch_warnings():
        # Of umap's parametric variant, which is not used here.
        warnings.filterwarnings("ignore", "Tensorflow not installed", ImportWarning)
        # The import compiles for seconds: only those who draw a map pay for it.
        from umap import UMAP  # noqa: PLC0415

    n_units = len(signatures)
    reducer = UMAP(
        n_neighbors=min(params.n_neighbors, n_units - 1),
        min_dist=params.min_dist,
        metric="precomputed",
        init="spectral" if n_units >= _ENOUGH_FOR_SPECTRAL else "random",
        random_state=int(rng.integers(2**31 - 1)),
        n_jobs=1,
    )
    with warnings.catch_warnings():
        # No new units are ever mapped into the layout.
        warnings.filterwarnings("ignore", "using precomputed metric")
        return np.asarray(reducer.fit_transform(pairwise(signatures, distance)), dtype=np.float64)


PLUGIN = Layout(title="UMAP", params_type=Params, place=place)
