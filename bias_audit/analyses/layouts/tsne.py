"""Units placed by t-SNE of their signature distances, started from their principal components.

van der Maaten & Hinton 2008 (JMLR 9:2579-2605); Kobak & Berens 2019 (Nature Communications
10:5416) on the start.
"""

from __future__ import annotations

import numpy as np
from pydantic import Field
from threadpoolctl import threadpool_limits

from bias_audit.analyses.layouts import pca
from bias_audit.analyses.mapping.layout import Distance, Layout, pairwise
from bias_audit.arrays import FloatArray
from bias_audit.config.schema import Strict

_SPREAD = 1e-4
_ENOUGH_FOR_A_TREE = 16


class Params(Strict):
    """Parameters of t-SNE."""

    perplexity: float = Field(
        default=30,
        ge=1,
        description="Effective neighbours per unit; at most a third of the units.",
    )


def place(
    signatures: FloatArray, distance: Distance, rng: np.random.Generator, params: Params
) -> FloatArray:
    """Positions of shape (n_units, 2); the same for the same generator state."""
    from sklearn.manifold import TSNE  # noqa: PLC0415  only where it is used

    n_units = len(signatures)
    start = pca.place(signatures, distance, rng, pca.Params())
    # Units of one place would stay there: no force parts them.
    spread = float(start[:, 0].std()) or 1.0
    start = _SPREAD * (start / spread + 0.01 * rng.standard_normal(start.shape))
    reducer = TSNE(
        perplexity=max(1.0, min(params.perplexity, (n_units - 1) / 3)),
        metric="precomputed",
        init=start.astype(np.float32),
        method="barnes_hut" if n_units >= _ENOUGH_FOR_A_TREE else "exact",
        random_state=int(rng.integers(2**31 - 1)),
        n_jobs=1,
    )
    # The sum over units runs in parallel: its rounding would depend on the number of cores.
    with threadpool_limits(limits=1, user_api="openmp"):
        placed = reducer.fit_transform(pairwise(signatures, distance))
    return np.asarray(placed, dtype=np.float64)


PLUGIN = Layout(title="t-SNE", params_type=Params, place=place)
