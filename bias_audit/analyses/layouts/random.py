"""Units placed at random, which shows what a map owes to its layout."""

from __future__ import annotations

import numpy as np

from bias_audit.analyses.mapping.layout import Distance, Layout
from bias_audit.arrays import FloatArray
from bias_audit.config.schema import Strict


class Params(Strict):
    """There is nothing to set."""


def place(
    signatures: FloatArray,
    distance: Distance,  # noqa: ARG001
    rng: np.random.Generator,
    params: Params,  # noqa: ARG001
) -> FloatArray:
    """Positions of shape (n_units, 2), uniform over the unit square."""
    return rng.uniform(size=(len(signatures), 2))


PLUGIN = Layout(title="random", params_type=Params, place=place)
