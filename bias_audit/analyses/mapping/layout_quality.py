"""How well layouts show a layer's units: what each keeps, over newly drawn images, and ranks.

Measures of robustness are those of Krug, Ratul, Olson & Stober, arXiv:2204.03528.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import ndimage, stats
from scipy.sparse import csr_array
from scipy.spatial import QhullError, procrustes

from bias_audit.analyses.mapping.layout import Distance, comparable, rasters
from bias_audit.arrays import Float32Array, FloatArray, IntArray
from bias_audit.shapes.measures import Entry, Measure
from bias_audit.shapes.robustness_curves import (
    RobustnessCurve,
    RobustnessCurves,
    RobustnessPanel,
    RobustnessPoint,
)
from bias_audit.statistics.bootstrap import mean_over_pairs, mean_over_repetitions
from bias_audit.statistics.estimate import Estimate

BLURS = (1.0, 2.0, 4.0, 8.0, 16.0)
"""Standard deviations of the Gaussian, in raster cells."""
SHRINKS = (2, 4, 5, 10, 20)
"""Factors that divide the side of a raster."""
HIGH_QUANTILE = 0.9
"""A raster cell is highly active above this quantile of the group's values over units."""
_NEIGHBOURS = 10
_BLOCK = 1024
"""Images read at a time."""

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
RULE = (
    "In every repetition the layouts are ranked by each measure; equal ones share their ranks, "
    "and those without a value come last. The layout with the lowest mean rank, over measures "
    "and repetitions, is recommended. Another is tied with it unless its mean rank is "
    "significantly higher (paired one-sided t test, Bonferroni-adjusted for the number of "
    "others). With the confidence of the intervals, the layout that is best in the long run is "
    "the recommended one or tied with it (Hsu 1984, Annals of Statistics 12:1136-1144)."
)


def weights_within_groups(
    codes: IntArray, clusters: IntArray, rng: np.random.Generator
) -> IntArray:
    """Draw clusters of images with replacement, as many of each group as it has.

    Groups, clusters and the result, how often an image was drawn, are by image, shape (n_images,).
    A cluster counts to the group of its first image.
    """
    _, first, cluster = np.unique(clusters, return_index=True, return_inverse=True)
    drawn = np.zeros(len(first), dtype=np.int64)
    for group in np.unique(codes[first]):
        members = np.flatnonzero(codes[first] == group)
        np.add.at(drawn, rng.choice(members, size=len(members)), 1)
    return drawn[cluster]


def weighted_contrasts(units: Float32Array, codes: IntArray, weights: IntArray) -> FloatArray:
    """Profiles of weighted images less their mean over groups, shape (n_present, n_units).

    Units have shape (n_images, n_units) and may be memory-mapped; groups and weights (n_images,).
    The groups are those with an image of positive weight, ascending.
    """
    drawn = np.flatnonzero(weights)
    present, group = np.unique(codes[drawn], return_inverse=True)
    total = np.zeros((len(present), units.shape[1]))
    for start in range(0, len(drawn), _BLOCK):
        part = slice(start, start + _BLOCK)
        images = drawn[part]
        by_group = csr_array(
            (weights[images].astype(np.float64), (group[part], np.arange(len(images)))),
            shape=(len(present), len(images)),
        )
        total += by_group @ units[images].astype(np.float64)
    means = total / np.bincount(group, weights[drawn])[:, None]
    return np.asarray(means - means.mean(axis=0), dtype=np.float64)


def kept_neighbours(rows: FloatArray, positions: FloatArray) -> dict[str, float]:
    """What a layout keeps of the neighbours that units have by their signatures; 1 is all.

    The "trustworthiness" is less the nearer, by rank of signatures, those are that the layout
    brought in wrongly, the "continuity" less the nearer, by rank in the layout, those are that it
    lost (Venna & Kaski 2001, ICANN, LNCS 2130:485-491); the "preservation" is the mean share of a
    unit's nearest by signature that are among its nearest in the layout.

    Signatures, (n_units, n_groups), are compared by their Euclidean distances, see
    `layout.comparable`, positions have shape (n_units, 2); fewer than half the units are looked
    at.
    """
    from sklearn.manifold import trustworthiness  # noqa: PLC0415  only where it is used
    from sklearn.neighbors import NearestNeighbors  # noqa: PLC0415

    n_neighbors = max(1, min(_NEIGHBOURS, (len(rows) - 1) // 2))
    near, near_in_layout = (
        NearestNeighbors(n_neighbors=n_neighbors).fit(points).kneighbors(return_distance=False)
        for points in (rows, positions)
    )
    kept = (near[:, :, None] == near_in_layout[:, None, :]).any(axis=2)
    return {
        "trustworthiness": float(trustworthiness(rows, positions, n_neighbors=n_neighbors)),
        "continuity": float(trustworthiness(positions, rows, n_neighbors=n_neighbors)),
        "preservation": float(kept.mean()),
    }


def disparities(layouts: list[FloatArray]) -> FloatArray:
    """Procrustes disparity of every pair of layouts of the same units, each of shape (n_units, 2).

    It is the sum of squares left between two layouts of unit size after the best shift, rotation,
    reflection and scaling (Gower 1975, Psychometrika 40:33-51): 0 for the same shape, 1 for
    unrelated ones. All units at one place have no shape, and disparity 1 to everything. The result
    is symmetric, (n_layouts, n_layouts), with a diagonal of 0.
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


def blur_curve(rasters: Float32Array) -> FloatArray:
    """Relative L1 change of rasters under growing Gaussian blur, shape (len(BLURS),).

    Rasters are finite, (n_groups, side, side); empty ones do not change.
    """
    blurred = (ndimage.gaussian_filter(rasters, (0, s, s), mode="nearest") for s in BLURS)
    return np.array([_change(rasters, other) for other in blurred])


def shrink_curve(rasters: Float32Array, factors: Sequence[int] = SHRINKS) -> FloatArray:
    """Relative L1 change of rasters shrunk by block means and enlarged again, (n_factors,).

    They are enlarged linearly; each factor divides the side. Rasters are as of `blur_curve`.
    """
    n_groups, side, _ = rasters.shape
    changes = []
    for factor in factors:
        small = rasters.reshape(n_groups, side // factor, factor, side // factor, factor)
        enlarged = ndimage.zoom(
            small.mean(axis=(2, 4)), (1, factor, factor), order=1, mode="nearest", grid_mode=True
        )
        changes.append(_change(rasters, np.asarray(enlarged, dtype=np.float32)))
    return np.array(changes)


def _change(rasters: Float32Array, other: Float32Array) -> float:
    size = float(np.abs(rasters).sum(dtype=np.float64))
    return float(np.abs(rasters - other).sum(dtype=np.float64)) / size if size else 0.0


def area_under(curve: FloatArray, strengths: Sequence[float]) -> float:
    """Mean height of a curve that starts at (0, 0), by the trapezoidal rule."""
    places = np.concatenate(([0.0], strengths))
    heights = np.concatenate(([0.0], curve))
    return float(np.trapezoid(heights, places) / places[-1])


def active_regions(rasters: Float32Array, values: FloatArray) -> tuple[float, float]:
    """Mean number by group, and mean area, of the connected components of high activity.

    The threshold comes from the values of units, (n_groups, n_units), hence is the same for every
    layout of them. Cells of the rasters, (n_groups, side, side), that share an edge are connected;
    areas are shares of the raster, 0 without any component.
    """
    thresholds = np.quantile(values, HIGH_QUANTILE, axis=1)
    high = rasters > thresholds[:, None, None]
    numbers = [ndimage.label(part)[1] for part in high]
    total = sum(numbers)
    return total / len(rasters), float(high.sum() / rasters[0].size / total) if total else 0.0


@dataclass(frozen=True)
class Quality:
    """One layout, measured."""

    measures: dict[str, float | None]
    """By key, all but the disparity; None for those of maps where units on one line span none."""
    blur: FloatArray | None = None
    """Change of the maps by `BLURS`, shape (n_blurs,)."""
    shrink: FloatArray | None = None
    """Change of the maps by `SHRINKS`, shape (n_shrinks,)."""


def quality(signatures: FloatArray, distance: Distance, positions: FloatArray) -> Quality:
    """Every measure of one layout but the disparity, which takes two.

    Signatures, (n_units, n_groups), are contrasted profiles, none of them 0; positions, (n_units,
    2), are in [0, 1]. The distance is that by which units were placed.
    """
    places = kept_neighbours(comparable(signatures, distance), positions)
    values = signatures.T
    try:
        drawn = rasters(positions, values)
    except QhullError:
        return Quality({**places, **dict.fromkeys(("blur", "shrink", "regions", "region_area"))})
    number, area = active_regions(drawn, values)
    blur, shrink = blur_curve(drawn), shrink_curve(drawn)
    maps = {
        "blur": area_under(blur, BLURS),
        "shrink": area_under(shrink, SHRINKS),
        "regions": number,
        "region_area": 100 * area,
    }
    return Quality({**places, **maps}, blur, shrink)


@dataclass(frozen=True)
class Repeated:
    """One layout, measured in every repetition."""

    name: str
    found: tuple[Quality, ...]
    """By repetition."""
    disparities: FloatArray
    """Of every two repetitions, shape (n_repetitions, n_repetitions)."""

    @property
    def table(self) -> FloatArray:
        """Shape (n_repetitions, n_measures), NaN where there is no value.

        The disparity is the mean to the other repetitions.
        """
        apart = self.disparities.sum(axis=1) / (len(self.found) - 1)
        rows = [
            {**each.measures, DISPARITY: mean}
            for each, mean in zip(self.found, apart, strict=True)
        ]
        return np.array([[row[key] for key in MEASURES] for row in rows], dtype=np.float64)

    def estimates(self, level: float) -> tuple[Estimate | None, ...]:
        """Of every measure; None where a repetition has no value."""
        found: list[Estimate | None] = []
        for key, values in zip(MEASURES, self.table.T, strict=True):
            within = RANGES[key]
            if key == DISPARITY:
                found.append(mean_over_pairs(self.disparities, level=level, within=within))
            elif np.isnan(values).any():
                found.append(None)
            else:
                found.append(mean_over_repetitions(values, level=level, within=within))
        return tuple(found)


def ranked(layouts: Sequence[Repeated], level: float) -> tuple[Entry, ...]:
    """The layouts with intervals and whether they are recommended, best mean rank first."""
    ranks = mean_ranks(np.stack([layout.table for layout in layouts], axis=1))
    order = np.argsort(ranks.mean(axis=0), kind="stable")
    two_sided = 1 - 2 * (1 - level) / max(1, len(layouts) - 1)
    methods = []
    for i in order:
        standing: Literal["recommended", "tied", "behind"] = "recommended"
        if i != order[0]:
            apart = mean_over_repetitions(ranks[:, i] - ranks[:, order[0]], level=two_sided)
            standing = "behind" if apart.lower > 0 else "tied"
        within = (1, len(layouts))
        methods.append(
            Entry(
                name=layouts[i].name,
                values=(
                    mean_over_repetitions(ranks[:, i], level=level, within=within),
                    *layouts[i].estimates(level),
                ),
                standing=standing,
            )
        )
    return tuple(methods)


def mean_ranks(values: FloatArray) -> FloatArray:
    """Rank of each layout, averaged over the measures, (n_repetitions, n_layouts); 1 is best.

    Values have shape (n_repetitions, n_layouts, n_measures), measures in the order of `MEASURES`;
    NaN where there is none.
    """
    sign = np.array([-1.0 if m.better == "higher" else 1.0 for m in MEASURES.values()])
    losses = np.where(np.isnan(values), np.inf, values * sign)
    return np.asarray(stats.rankdata(losses, axis=1).mean(axis=2), dtype=np.float64)


def robustness(
    layer: str, layouts: Mapping[str, Sequence[Quality]], level: float
) -> RobustnessCurves:
    """Curves of every layout under both disturbances."""
    blur = {name: [found.blur for found in repeated] for name, repeated in layouts.items()}
    shrink = {name: [found.shrink for found in repeated] for name, repeated in layouts.items()}
    disturbances = (
        ("Gaussian blur", "standard deviation, in cells of 100", BLURS, blur),
        ("shrinking and enlarging", "factor of the side", SHRINKS, shrink),
    )
    return RobustnessCurves(
        title=f"Robustness of the maps of {layer}",
        noun="layout",
        layer=layer,
        metric="relative change of the maps",
        panels=tuple(
            RobustnessPanel(
                disturbance=disturbance,
                strength=strength,
                curves=tuple(
                    RobustnessCurve(method=name, points=_points(strengths, repeated, level))
                    for name, repeated in curves.items()
                ),
            )
            for disturbance, strength, strengths, curves in disturbances
        ),
    )


def _points(
    strengths: Sequence[float], repeated: Sequence[FloatArray | None], level: float
) -> tuple[RobustnessPoint, ...]:
    """Means over repetitions; none where a repetition has no map."""
    known = [curve for curve in repeated if curve is not None]
    if len(known) < len(repeated):
        return ()
    by_strength = np.stack(known, axis=1)
    return tuple(
        RobustnessPoint(
            strength=float(strength),
            change=mean_over_repetitions(values, level=level, within=(0.0, np.inf)),
        )
        for strength, values in zip(strengths, by_strength, strict=True)
    )
