"""Units placed by the first two principal components of their signatures."""

from __future__ import annotations

import numpy as np

from bias_audit.analyses.mapping.layout import Distance, Layout, comparable
from bias_audit.arrays import FloatArray
from bias_audit.config.schema import Strict


class Params(Strict):
    """There is nothing to set."""


def place(
    signatures: FloatArray,
    distance: Distance,
    rng: np.random.Generator,  # noqa: ARG001
    params: Params,  # noqa: ARG001
) -> FloatArray:
    """Project signatures, scaled as the distance sees them, to shape (n_units, 2).

    The second coordinate is 0 where signatures have one dimension. Axes point so that the largest
    loading of each is positive, which makes the result unique.
    """
    rows = comparable(signatures, distance)
    _, _, axes = np.linalg.svd(rows - rows.mean(axis=0), full_matrices=False)
    axes = axes[:2]
    largest = np.abs(axes).argmax(axis=1)
    axes = axes * np.sign(axes[np.arange(len(axes)), largest])[:, None]
    positions = np.zeros((len(rows), 2))
    positions[:, : len(axes)] = (rows - rows.mean(axis=0)) @ axes.T
    return positions


PLUGIN = Layout(title="PCA", params_type=Params, place=place)
