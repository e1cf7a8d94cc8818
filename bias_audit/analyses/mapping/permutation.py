"""Permutation tests of clusters of neighbouring units."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.stats import norm

from bias_audit.analyses.mapping.labellings import Labels, TwoGroups, permuted
from bias_audit.arrays import Float32Array, IntArray
from bias_audit.statistics.multiplicity import MaxT, max_t, resampling_p

_UNITS = 256
_DRAWS = 128
_NODES = 2**21
"""Units x draws whose clusters are found at a time."""
_TIE = 1e-4
"""Relative: a labelling that repeats the annotated one must not lose to it by rounding."""


@dataclass(frozen=True)
class Statistics:
    """Of every unit, for one or more labellings."""

    z: Float32Array
    """Of `Welch`, shape (n_draws, n_units)."""
    effect: Float32Array
    """Difference of the groups in standard deviations within strata, shape as `z`."""


def statistics(groups: TwoGroups, labels: Labels, *, alike: bool = False) -> Statistics:
    """The difference of two groups at each unit, with strata held constant.

    Labels are labellings, shape (n_draws, n). If `alike`, values are first made alike in both
    groups, see `TwoGroups.made_alike`; effects then are those that the values themselves would
    have at the same `value / error`.
    """
    n_units = groups.units.shape[1]
    shape = len(labels), n_units
    z, effect = np.zeros(shape, dtype=np.float32), np.zeros(shape, dtype=np.float32)
    freedom = max(1, len(groups.images) - len(groups.pieces.stratum_sizes))
    for first in range(0, n_units, _UNITS):
        columns = slice(first, first + _UNITS)
        values = groups.centred(columns)
        spread = np.sqrt((values**2).sum(axis=0, dtype=np.float64) / freedom)
        error = groups.labelled(groups.labels[None]).differences(values).error
        values = groups.made_alike(values) if alike else values
        for start in range(0, len(labels), _DRAWS):
            rows = slice(start, start + _DRAWS)
            found = groups.labelled(labels[rows]).differences(values)
            z[rows, columns] = found.z
            difference = found.t * error if alike else found.value
            np.divide(difference, spread, out=effect[rows, columns], where=spread > 0)
    return Statistics(z, effect)


def _draws(groups: TwoGroups, n_draws: int, rng: np.random.Generator) -> tuple[Statistics, ...]:
    """Of permuted labels, among values as they are and made alike.

    The former make a test exact if images are exchangeable, whatever their distribution; the
    latter keep its level where the groups vary unequally and images are few. A p-value is the
    larger of both.
    """
    labels = permuted(groups.exchange, n_draws, rng)
    return statistics(groups, labels), statistics(groups, labels, alike=True)


@dataclass(frozen=True)
class Threshold:
    """What makes a unit a candidate: it says how large regions are, not whether they are real."""

    p_value: float
    """Two-sided, of the unit by itself."""
    effect: float
    """Smallest difference, in standard deviations within strata; 0 for none."""

    def signs(self, found: Statistics) -> npt.NDArray[np.int8]:
        """+1 and -1 where the first group is higher or lower by enough, else 0; shape as `z`."""
        needed = norm.isf(self.p_value / 2)
        beyond = (np.abs(found.z) >= needed) & (np.abs(found.effect) >= self.effect)
        return np.asarray(np.sign(found.z) * beyond, dtype=np.int8)


@dataclass(frozen=True)
class Region:
    """Neighbouring units at which two groups differ in one direction."""

    units: IntArray
    """Largest |z| first."""
    sign: int
    """+1 where the first group is higher."""
    mass: float
    """Sum of |z|."""
    p_value: float
    """Share of labellings whose heaviest region is as heavy."""


@dataclass(frozen=True)
class MapTest:
    """What a test found on one map."""

    regions: tuple[Region, ...]
    """Smallest p first, then heaviest."""
    p_value: float
    """Of no difference anywhere on the map."""
    n_fixed: int
    """Images whose label no permutation changed."""


def cluster_test(
    groups: TwoGroups,
    edges: IntArray,
    threshold: Threshold,
    *,
    n_draws: int,
    rng: np.random.Generator,
) -> MapTest:
    """Test regions by their mass against the heaviest region of permuted labels.

    The null is that the means of the two groups are equal in every stratum. The test is exact if
    labels are exchangeable among the images of a stratum, and approximate where the groups vary
    unequally; see `labellings`. Layout and edges, of shape (n_edges, 2), must not depend on how
    these images are labelled; see `Halves`. With B draws, p-values are (1 + b) / (1 + B).
    """
    found = statistics(groups, groups.labels[None])
    signs = threshold.signs(found)
    heaviest = [
        _masses(drawn.z, threshold.signs(drawn), edges) for drawn in _draws(groups, n_draws, rng)
    ]

    def p_value(_: IntArray, mass: float) -> float:
        return max(resampling_p(mass * (1 - _TIE), each) for each in heaviest)

    regions = _regions(found.z[0], signs[0], edges, p_value)
    least = regions[0].p_value if regions else 1.0
    return MapTest(regions, least, groups.exchange.n_fixed)


def unit_test(
    groups: TwoGroups, edges: IntArray, *, alpha: float, n_draws: int, rng: np.random.Generator
) -> tuple[MapTest, MaxT]:
    """Test every unit by its |z| against the largest |z| of permuted labels (single-step max-T).

    The test does not know the layout; `edges` only join rejected neighbours to regions, each with
    the smallest p-value of its units.
    """
    observed = statistics(groups, groups.labels[None]).z[0]
    sizes = (np.abs(observed) * (1 - _TIE)).tolist()
    tested = [max_t(sizes, np.abs(drawn.z), alpha=alpha) for drawn in _draws(groups, n_draws, rng)]
    p_values = np.array([each.adjusted for each in tested], dtype=np.float64).max(axis=0)
    signs = np.where(p_values <= alpha, np.sign(observed), 0).astype(np.int8)
    regions = _regions(observed, signs, edges, lambda units, _: float(p_values[units].min()))
    found = MaxT(tuple(p_values.tolist()), max(each.critical for each in tested))
    return MapTest(regions, float(p_values.min()), groups.exchange.n_fixed), found


def _components(signs: npt.NDArray[np.int8], edges: IntArray) -> IntArray:
    """Number of the region of every unit in every draw, shape as `signs`."""
    n_draws, n_units = signs.shape
    # One graph for all draws: unit u of draw d is vertex d x n_units + u.
    one, other = signs[:, edges[:, 0]], signs[:, edges[:, 1]]
    draw, edge = np.nonzero((one == other) & (one != 0))
    ends = draw[:, None] * n_units + edges[edge]
    n = n_draws * n_units
    graph = coo_array((np.ones(len(ends), dtype=np.int8), (ends[:, 0], ends[:, 1])), shape=(n, n))
    return np.asarray(connected_components(graph, directed=False)[1].reshape(signs.shape))


def _masses(z: Float32Array, signs: npt.NDArray[np.int8], edges: IntArray) -> Float32Array:
    """Mass of the heaviest region of each draw, shape (n_draws,); 0 without any."""
    step = max(1, _NODES // z.shape[1])
    heaviest = np.zeros(len(z))
    for first in range(0, len(z), step):
        rows = slice(first, first + step)
        numbers = _components(signs[rows], edges)
        mass = np.bincount(numbers.ravel(), weights=(np.abs(z[rows]) * (signs[rows] != 0)).ravel())
        heaviest[rows] = mass[numbers].max(axis=1)
    return heaviest.astype(np.float32)


def _regions(
    z: Float32Array,
    signs: npt.NDArray[np.int8],
    edges: IntArray,
    p_value: Callable[[IntArray, float], float],
) -> tuple[Region, ...]:
    """Connected units of one sign, smallest p first; p is found from the units and their mass."""
    numbers = _components(signs[None], edges)[0]
    found = []
    for number in np.unique(numbers[signs != 0]):
        units = np.flatnonzero(numbers == number)
        units = units[np.argsort(-np.abs(z[units]), kind="stable")]
        mass = float(np.abs(z[units]).sum())
        found.append(Region(units, int(signs[units[0]]), mass, p_value(units, mass)))
    return tuple(sorted(found, key=lambda region: (region.p_value, -region.mass)))
