"""The measures by which layouts are compared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from scipy.spatial import Delaunay, QhullError, procrustes
from sklearn.manifold import trustworthiness
from sklearn.neighbors import NearestNeighbors

from bias_audit.analyses.mapping.group_maps import rasters
from bias_audit.analyses.mapping.layout import Distance, comparable
from bias_audit.arrays import FloatArray, IntArray
from bias_audit.results.blocks import Measure

_LONGEST = 4.0
"""Times the median edge. Longer ones cross gaps between patches, or run along the hull."""


def neighbours(positions: FloatArray) -> IntArray:
    """Edges of the Delaunay triangulation of the units, without its long ones.

    Args:
        positions: Shape (n_units, 2), not all on one line; units may share a place.

    Returns:
        Pairs of units, the smaller first, each once, shape (n_edges, 2).

    Raises:
        scipy.spatial.QhullError: The units lie on one line, or are fewer than three.
    """
    places, unit_of = np.unique(positions, axis=0, return_inverse=True)
    triangles = Delaunay(places).simplices
    pairs = np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [0, 2]]])
    pairs = np.unique(np.sort(pairs, axis=1), axis=0)
    lengths = np.linalg.norm(places[pairs[:, 0]] - places[pairs[:, 1]], axis=1)
    pairs = pairs[lengths <= _LONGEST * np.median(lengths)]
    return _of_units(pairs, unit_of.reshape(-1), len(places))


def _of_units(pairs: IntArray, place_of: IntArray, n_places: int) -> IntArray:
    """Edges between places as edges between units; units of one place form a chain."""
    order = np.argsort(place_of, kind="stable")
    first = order[np.searchsorted(place_of[order], np.arange(n_places))]
    same = place_of[order[1:]] == place_of[order[:-1]]
    chain = np.stack([order[:-1][same], order[1:][same]], axis=1)
    edges = np.sort(np.concatenate([first[pairs], chain]), axis=1)
    return np.asarray(np.unique(edges, axis=0), dtype=np.int64)


@dataclass(frozen=True)
class Neighbours:
    """What a layout keeps of the neighbours that units have by their signatures; 1 is all."""

    trustworthiness: float
    """Less the nearer, by rank of signatures, those are that the layout brought in wrongly."""
    continuity: float
    """Less the nearer, by rank in the layout, those are that it lost."""
    preservation: float
    """Mean share of a unit's nearest by signature that are among its nearest in the layout."""


def kept_neighbours(rows: FloatArray, positions: FloatArray, most: int = 10) -> Neighbours:
    """Compare the nearest units by signature and in a layout.

    Trustworthiness and continuity are those of Venna & Kaski 2001 (ICANN, LNCS 2130:485-491).

    Args:
        rows: Signatures whose Euclidean distances are compared, shape (n_units, n_groups); see
            `layout.comparable`.
        positions: Shape (n_units, 2).
        most: Neighbours per unit; fewer than half the units are looked at.
    """
    n_neighbors = max(1, min(most, (len(rows) - 1) // 2))
    near, near_in_layout = _nearest(rows, n_neighbors), _nearest(positions, n_neighbors)
    kept = (near[:, :, None] == near_in_layout[:, None, :]).any(axis=2)
    return Neighbours(
        trustworthiness=float(trustworthiness(rows, positions, n_neighbors=n_neighbors)),
        continuity=float(trustworthiness(positions, rows, n_neighbors=n_neighbors)),
        preservation=float(kept.mean()),
    )


def _nearest(points: FloatArray, n_neighbors: int) -> npt.NDArray[np.int64]:
    """Indices of the nearest others of every point, shape (n_points, n_neighbors)."""
    search = NearestNeighbors(n_neighbors=n_neighbors).fit(points)
    return np.asarray(search.kneighbors(return_distance=False), dtype=np.int64)


def disparities(layouts: list[FloatArray]) -> FloatArray:
    """Procrustes disparity of every pair of layouts of the same units.

    It is the sum of squares left between two layouts of unit size after the best shift, rotation,
    reflection and scaling (Gower 1975, Psychometrika 40:33-51): 0 for the same shape, 1 for
    unrelated ones. All units at one place have no shape, and disparity 1 to everything.

    Args:
        layouts: Each of shape (n_units, 2).

    Returns:
        Shape (n_layouts, n_layouts), symmetric, 0 on the diagonal.
    """
    result = np.zeros((len(layouts), len(layouts)))
    for i, one in enumerate(layouts):
        for j, other in enumerate(layouts[:i]):
            result[i, j] = result[j, i] = disparity(one, other)
    return result


def disparity(one: FloatArray, other: FloatArray) -> float:
    """Of two layouts of the same units; see `disparities`."""
    if not np.ptp(one, axis=0).any() or not np.ptp(other, axis=0).any():
        return 1.0
    return float(procrustes(one, other)[2])


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


DISPARITY = "disparity"
MEASURES: Mapping[str, Measure] = {
    "trustworthiness": Measure(
        name="trustworthiness",
        better="higher",
        meaning="whether units that lie near each other respond alike (Venna & Kaski 2001)",
    ),
    "continuity": Measure(
        name="continuity",
        better="higher",
        meaning="whether units that respond alike lie near each other (Venna & Kaski 2001)",
    ),
    "preservation": Measure(
        name="neighbours kept",
        better="higher",
        meaning="share of a unit's ten nearest by response that are among its ten nearest",
    ),
    "blur": Measure(
        name="change by blur",
        better="lower",
        meaning="relative change of the maps under Gaussian blur, mean over strengths "
        f"up to {BLURS[-1]:g} of 100 raster cells",
    ),
    "shrink": Measure(
        name="change by shrinking",
        better="lower",
        meaning="relative change of the maps when shrunk and enlarged again, mean over factors "
        f"up to {SHRINKS[-1]}",
    ),
    "regions": Measure(
        name="active regions",
        better="lower",
        meaning="connected regions of high activity per map, above the 90th percentile of units",
    ),
    "region_area": Measure(
        name="area of a region (%)",
        better="higher",
        meaning="mean area of such a region, in percent of the map",
    ),
    DISPARITY: Measure(
        name="disparity",
        better="lower",
        meaning="Procrustes disparity between the layouts of two repetitions: 0 for one shape",
    ),
}
"""By the key that values have."""
RANGES: Mapping[str, tuple[float, float]] = {
    **dict.fromkeys(("trustworthiness", "continuity", "preservation", DISPARITY), (0.0, 1.0)),
    **dict.fromkeys(("blur", "shrink", "regions"), (0.0, np.inf)),
    "region_area": (0.0, 100.0),
}
"""The smallest and largest value of each measure."""


@dataclass(frozen=True)
class Quality:
    """One layout, measured."""

    measures: dict[str, float | None]
    """By key, all but the disparity; None for those of maps where units on one line span none."""
    blur: FloatArray | None
    """Change of the maps by `BLURS`, shape (n_blurs,)."""
    shrink: FloatArray | None
    """Change of the maps by `SHRINKS`, shape (n_shrinks,)."""


def quality(signatures: FloatArray, distance: Distance, positions: FloatArray) -> Quality:
    """Every measure of one layout but the disparity, which takes two.

    Args:
        signatures: Contrasted profiles of units, shape (n_units, n_groups), none of them 0.
        distance: By which units were placed.
        positions: In [0, 1], shape (n_units, 2).
    """
    neighbours = kept_neighbours(comparable(signatures, distance), positions)
    places: dict[str, float | None] = {
        "trustworthiness": neighbours.trustworthiness,
        "continuity": neighbours.continuity,
        "preservation": neighbours.preservation,
    }
    values = signatures.T
    try:
        drawn = rasters(positions, values)
    except QhullError:
        lost = dict.fromkeys(("blur", "shrink", "regions", "region_area"))
        return Quality(places | lost, None, None)
    number, area = active_regions(drawn, values)
    blur, shrink = blur_curve(drawn), shrink_curve(drawn)
    maps: dict[str, float | None] = {
        "blur": area_under(blur, BLURS),
        "shrink": area_under(shrink, SHRINKS),
        "regions": number,
        "region_area": 100 * area,
    }
    return Quality(places | maps, blur, shrink)
