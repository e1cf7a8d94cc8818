"""Values at scattered units, interpolated to a raster."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.interpolate import LinearNDInterpolator
from scipy.spatial import Delaunay

from bias_audit.arrays import FloatArray

SIDE = 100


def rasters(positions: FloatArray, values: FloatArray) -> npt.NDArray[np.float32]:
    """Interpolate linearly between units, over one triangulation for all groups.

    Args:
        positions: Units in [0, 1], shape (n_units, 2), not all on one line.
        values: Shape (n_groups, n_units); NaN rows stay NaN.

    Returns:
        Shape (n_groups, 100, 100), row 0 at the bottom; 0 outside the units' convex hull.

    Raises:
        scipy.spatial.QhullError: The units lie on one line, or are fewer than three.
    """
    axis = np.linspace(0, 1, SIDE)
    grid = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    present = np.isfinite(values).all(axis=1)
    interpolate = LinearNDInterpolator(Delaunay(positions), values[present].T, fill_value=0.0)
    result = np.full((len(values), SIDE, SIDE), np.nan, dtype=np.float32)
    result[present] = interpolate(grid).T.reshape(-1, SIDE, SIDE)
    return result
