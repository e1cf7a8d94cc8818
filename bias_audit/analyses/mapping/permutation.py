"""Permutation tests of clusters of neighbouring units."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.stats import norm

from bias_audit.analyses.mapping.welch import Labelled, Pieces, less_means, made_alike
from bias_audit.arrays import Float32Array, IntArray
from bias_audit.statistics.multiplicity import MaxT, max_t, resampling_p

Labels = npt.NDArray[np.bool_ | np.int64]
"""Whether an image is of the first of two groups, or the number of its group."""


@dataclass(frozen=True)
class _Class:
    """Clusters that may exchange their labels; all have their images in the same strata."""

    images: tuple[IntArray, ...]
    """Of each cluster, sorted by stratum."""
    is_pure: bool
    """Whether each cluster has one label and one stratum; such clusters may differ in size."""


@dataclass(frozen=True)
class Exchange:
    """Which images may receive which labels."""

    labels: Labels
    """As annotated, shape (n_images,)."""
    singles: tuple[IntArray, ...]
    """Images that are clusters of their own, by stratum."""
    classes: tuple[_Class, ...]
    n_fixed: int
    """Images whose label no permutation can change."""


def exchange(labels: Labels, strata: IntArray, clusters: IntArray) -> Exchange:
    """Find the clusters that may exchange labels.

    Clusters of one label and one stratum exchange their label with the others of that stratum,
    whatever their sizes. A cluster with several labels, or in several strata (one person at two
    ages), exchanges its labels as a whole with clusters that have as many images in the same
    strata. A permutation changes neither kind into the other, so the permutations form a group.

    Args:
        labels: Of two groups or of many, shape (n_images,).
        strata: Number of the stratum of each image, shape (n_images,).
        clusters: Cluster per image, shape (n_images,).
    """
    order = np.lexsort((strata, clusters))
    starts = np.flatnonzero(np.diff(clusters[order], prepend=np.nan))
    groups = np.split(order, starts[1:])
    alone = np.array([members[0] for members in groups if len(members) == 1], dtype=np.int64)
    single = {int(s): alone[strata[alone] == s] for s in np.unique(strata)}
    found: dict[tuple[str | int, ...], list[IntArray]] = defaultdict(list)
    for members in groups:
        if len(members) > 1:
            found[_key(labels[members], strata[members])].append(members)
    classes = []
    for key, images in found.items():
        pure = key[0] == "pure"
        if pure:
            images += [np.array([i]) for i in single.pop(int(key[1]), ())]
        classes.append(_Class(tuple(images), pure))
    singles = tuple(images for images in single.values() if len(images))
    return Exchange(labels, singles, tuple(classes), _fixed(labels, singles, classes))


def _key(labels: Labels, strata: IntArray) -> tuple[str | int, ...]:
    """Equal for clusters that may exchange labels; of one cluster's images."""
    if len(np.unique(labels)) == 1 and len(np.unique(strata)) == 1:
        return "pure", int(strata[0])
    return tuple(strata.tolist())


def _fixed(labels: Labels, singles: tuple[IntArray, ...], classes: list[_Class]) -> int:
    fixed = sum(len(images) for images in singles if len(np.unique(labels[images])) == 1)
    for each in classes:
        vectors = {tuple(labels[images][: 1 if each.is_pure else None]) for images in each.images}
        if len(vectors) == 1:
            fixed += sum(map(len, each.images))
    return fixed


def permuted(how: Exchange, n_draws: int, rng: np.random.Generator) -> Labels:
    """Draw labellings that are as likely as the annotated one if groups do not differ.

    Returns:
        Shape (n_draws, n_images).
    """
    drawn = np.tile(how.labels, (n_draws, 1))
    for images in how.singles:
        drawn[:, images] = rng.permuted(drawn[:, images], axis=1)
    for each in how.classes:
        taken = rng.permuted(np.tile(np.arange(len(each.images)), (n_draws, 1)), axis=1)
        images = np.concatenate(each.images)
        if each.is_pure:
            own = how.labels[[members[0] for members in each.images]]
            place = np.repeat(np.arange(len(each.images)), [len(m) for m in each.images])
            drawn[:, images] = own[taken][:, place]
        else:
            vectors = how.labels[np.stack(each.images)]
            drawn[:, images] = vectors[taken].reshape(n_draws, -1)
    return drawn


_UNITS = 256
_DRAWS = 128
_NODES = 2**21
"""Units x draws whose clusters are found at a time."""
_TIE = 1e-4
"""Relative: a labelling that repeats the annotated one must not lose to it by rounding."""
_ROUNDING = 1e-5
"""Relative spread within strata below which a unit counts as constant: float32 knows no less."""


@dataclass(frozen=True)
class TwoGroups:
    """Images of two groups, in strata that have images of both."""

    units: Float32Array
    """Activations, shape (n_images, n_units); may be memory-mapped."""
    images: IntArray
    """Rows of `units` used, shape (n,)."""
    labels: Labels
    """Whether an image is of the first group, shape (n,)."""
    strata: IntArray
    """0 .. n_strata - 1, shape (n,)."""
    clusters: IntArray
    """Shape (n,)."""

    @cached_property
    def exchange(self) -> Exchange:
        """Which labels may be permuted."""
        return exchange(self.labels, self.strata, self.clusters)

    @cached_property
    def pieces(self) -> Pieces:
        """Images that every permutation gives one label, joined."""
        return Pieces.of(self.exchange, self.strata, self.clusters)

    def centred(self, columns: slice | IntArray) -> Float32Array:
        """Activations of some units less their mean in each stratum, shape (n, n_columns).

        Units that are constant within strata, up to rounding, become exactly 0.
        """
        values = self.units[:, columns][self.images].astype(np.float64)
        largest = np.abs(values).max(axis=0, initial=0)
        values = less_means(values, self.strata)
        values[:, np.abs(values).max(axis=0, initial=0) <= _ROUNDING * largest] = 0
        return values.astype(np.float32)

    def contrasts(self, labels: Labels) -> Float32Array:
        """Labels less their share in each stratum, shape (n_draws, n)."""
        size = np.bincount(self.strata)
        share = np.zeros((len(labels), len(size)), dtype=np.float32)
        for stratum in range(len(size)):
            share[:, stratum] = labels[:, self.strata == stratum].mean(axis=1)
        return np.asarray(labels.astype(np.float32) - share[:, self.strata], dtype=np.float32)

    def labelled(self, labels: Labels) -> Labelled:
        """The images under labellings of shape (n_draws, n)."""
        return Labelled.of(self.pieces, self.contrasts(labels), labels.astype(bool))

    def made_alike(self, centred: Float32Array) -> Float32Array:
        """Centred values without their difference, and with one spread in both groups."""
        labels = self.labels[None]
        return made_alike(self.pieces, centred, self.contrasts(labels), labels.astype(bool))


@dataclass(frozen=True)
class Statistics:
    """Of every unit, for one or more labellings."""

    z: Float32Array
    """Of `Welch`, shape (n_draws, n_units)."""
    effect: Float32Array
    """Difference of the groups in standard deviations within strata, shape as `z`."""


def statistics(groups: TwoGroups, labels: Labels, *, alike: bool = False) -> Statistics:
    """The difference of two groups at each unit, with strata held constant.

    Args:
        groups: The images.
        labels: Labellings, shape (n_draws, n).
        alike: Whether values are first made alike in both groups, see `TwoGroups.made_alike`;
            effects then are those that the values themselves would have at the same `value /
            error`.
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
    unequally; see `welch`. Layout and edges must not depend on how these images are labelled; see
    `Halves`.

    Args:
        groups: The images.
        edges: Neighbouring units, shape (n_edges, 2).
        threshold: For units to join a region.
        n_draws: Permutations B; p-values are (1 + b) / (1 + B).
        rng: Of the permutations.
    """
    found = statistics(groups, groups.labels[None])
    signs = threshold.signs(found)
    heaviest = [
        _masses(drawn.z, threshold.signs(drawn), edges) for drawn in _draws(groups, n_draws, rng)
    ]
    regions = [
        Region(units, sign, mass, max(resampling_p(mass * (1 - _TIE), each) for each in heaviest))
        for units, sign, mass in _regions(found.z[0], signs[0], edges)
    ]
    regions.sort(key=lambda region: (region.p_value, -region.mass))
    p_value = regions[0].p_value if regions else 1.0
    return MapTest(tuple(regions), p_value, groups.exchange.n_fixed)


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
    regions = [
        Region(units, sign, mass, float(p_values[units].min()))
        for units, sign, mass in _regions(observed, signs, edges)
    ]
    regions.sort(key=lambda region: (region.p_value, -region.mass))
    found = MaxT(tuple(p_values.tolist()), max(each.critical for each in tested))
    return MapTest(tuple(regions), float(p_values.min()), groups.exchange.n_fixed), found


def _components(signs: npt.NDArray[np.int8], edges: IntArray) -> IntArray:
    """Number of the region of every unit in every draw, shape as `signs`."""
    n_draws, n_units = signs.shape
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
    z: Float32Array, signs: npt.NDArray[np.int8], edges: IntArray
) -> list[tuple[IntArray, int, float]]:
    numbers = _components(signs[None], edges)[0]
    found = []
    for number in np.unique(numbers[signs != 0]):
        units = np.flatnonzero(numbers == number)
        units = units[np.argsort(-np.abs(z[units]), kind="stable")]
        found.append((units, int(signs[units[0]]), float(np.abs(z[units]).sum())))
    return found
