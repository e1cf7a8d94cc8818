"""How much of a map survives blurring and shrinking, and how it falls into active regions.

The measures of Krug, Ratul, Olson & Stober (arXiv:2204.03528), computed from rasters, never from
a drawing.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from bias_audit.arrays import FloatArray

Rasters = npt.NDArray[np.float32]

BLURS = (1.0, 2.0, 4.0, 8.0, 16.0)
"""Standard deviations of the Gaussian, in raster cells."""
SHRINKS = (2, 4, 5, 10, 20)
"""Factors that divide the side of a raster."""
HIGH_QUANTILE = 0.9
"""A raster cell is highly active above this quantile of the group's values over units."""


def blur_curve(rasters: Rasters, widths: tuple[float, ...] = BLURS) -> FloatArray:
    """Relative L1 change of rasters under growing Gaussian blur.

    Args:
        rasters: Shape (n_groups, side, side), finite.
        widths: Standard deviations in raster cells.

    Returns:
        Change by width, shape (n_widths,): 0 where nothing changes; 0 for empty rasters.
    """
    blurred = (
        ndimage.gaussian_filter(rasters, (0, width, width), mode="nearest") for width in widths
    )
    return np.array([_change(rasters, other) for other in blurred])


def shrink_curve(rasters: Rasters, factors: tuple[int, ...] = SHRINKS) -> FloatArray:
    """Relative L1 change of rasters that are shrunk by block means and enlarged linearly again.

    Args:
        rasters: Shape (n_groups, side, side), finite.
        factors: Each divides the side.

    Returns:
        Change by factor, shape (n_factors,).
    """
    return np.array([_change(rasters, _shrunk(rasters, factor)) for factor in factors])


def area_under(curve: FloatArray, strengths: tuple[float, ...]) -> float:
    """Mean height of a curve that starts at (0, 0), by the trapezoidal rule."""
    places = np.concatenate(([0.0], strengths))
    heights = np.concatenate(([0.0], curve))
    return float(np.trapezoid(heights, places) / places[-1])


def active_regions(rasters: Rasters, values: FloatArray) -> tuple[float, float]:
    """Number and size of the connected components of high activity.

    The threshold comes from the values of units, hence is the same for every layout of them.
    Cells that share an edge are connected.

    Args:
        rasters: Shape (n_groups, side, side), finite.
        values: What was drawn, shape (n_groups, n_units).

    Returns:
        Mean number by group, and mean area of a component as a share of the raster (0 without
        any).
    """
    thresholds = np.quantile(values, HIGH_QUANTILE, axis=1)
    high = rasters > thresholds[:, None, None]
    numbers = [ndimage.label(part)[1] for part in high]
    total = sum(numbers)
    return total / len(rasters), float(high.sum() / rasters[0].size / total) if total else 0.0


def _shrunk(rasters: Rasters, factor: int) -> Rasters:
    n_groups, side, _ = rasters.shape
    small = rasters.reshape(n_groups, side // factor, factor, side // factor, factor)
    enlarged = ndimage.zoom(
        small.mean(axis=(2, 4)), (1, factor, factor), order=1, mode="nearest", grid_mode=True
    )
    return np.asarray(enlarged, dtype=np.float32)


def _change(rasters: Rasters, other: Rasters) -> float:
    size = float(np.abs(rasters).sum(dtype=np.float64))
    return float(np.abs(rasters - other).sum(dtype=np.float64)) / size if size else 0.0
