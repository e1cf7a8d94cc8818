"""How concentrated groups are on a map of faces, in bits, against chance.

Source: d'Aquin 2023: the relative entropy of the hits of a concept's images against the hits of
all images. Few images always hit few cells, so that the relative entropy of a small group is high
by chance alone; what labels in random order give is subtracted.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import digamma

from bias_audit.analyses.families import family_row
from bias_audit.analyses.mapping.group_maps import FaceMap
from bias_audit.analyses.mapping.permutation import Exchange, exchange, permuted
from bias_audit.arrays import FloatArray, IntArray
from bias_audit.config.schema import Multiplicity
from bias_audit.groups import Group
from bias_audit.results.blocks import HypothesisFamily
from bias_audit.statistics.bootstrap import cluster_weights
from bias_audit.statistics.multiplicity import Family, MaybeP, Resampled, gatekeep, resampling_p

_BLOCK = 32
"""Draws held at a time."""


@dataclass(frozen=True)
class Hits:
    """What is counted, by intersection and cell of the map, and summed over groups."""

    cells: IntArray
    """Cell of the map of each hit, shape (n_hits,)."""
    n_cells: int
    labels: IntArray
    """Intersection of each hit, shape (n_hits,)."""
    clusters: IntArray
    """Shape (n_hits,)."""
    members: FloatArray
    """1 where an intersection is part of a group, shape (n_groups, n_intersections)."""

    @classmethod
    def of(
        cls, face_map: FaceMap, labels: IntArray, clusters: IntArray, members: FloatArray
    ) -> Hits:
        """Hits of images, those of one cluster and intersection in one cell counted once.

        Args:
            face_map: Where the images lie.
            labels: Intersection of each image, shape (n_images,).
            clusters: Cluster of each image, shape (n_images,).
            members: As the attribute.
        """
        found = np.unique(np.stack([clusters, labels, face_map.cells]), axis=1)
        return cls(found[2], face_map.n_cells, found[1], found[0], members)

    def table(self, labels: IntArray, weights: FloatArray | None = None) -> FloatArray:
        """Hits of each intersection, shape (n_intersections, n_cells).

        Args:
            labels: Intersection of each hit, shape (n_hits,).
            weights: Of each hit, shape (n_hits,); default: 1.
        """
        n_labels = self.members.shape[1]
        places = labels * self.n_cells + self.cells
        counts = np.bincount(places, weights, minlength=n_labels * self.n_cells)
        return counts.reshape(n_labels, self.n_cells).astype(np.float64)


@dataclass(frozen=True)
class Concentration:
    """Relative entropies of the groups, and what chance gives."""

    bits: FloatArray
    """Of each group, shape (n_groups,); NaN for groups without images."""
    information: float
    """About the intersection in the cell of the map, in bits per image: the mean of the relative
    entropies of the intersections, weighted by their hits."""
    permuted: FloatArray
    """Relative entropies under labels in random order, shape (n_draws, n_groups)."""
    permuted_information: FloatArray
    """Shape (n_draws,)."""
    resampled: FloatArray
    """Under clusters of images drawn with replacement, shape (n_resampled, n_groups)."""
    n_fixed: int
    """Hits whose label no permutation can change."""

    @property
    def excess(self) -> FloatArray:
        """Relative entropies beyond the mean under labels in random order, shape (n_groups,)."""
        return np.asarray(self.bits - self.permuted.mean(axis=0), dtype=np.float64)

    @property
    def excess_information(self) -> float:
        """Information beyond the mean under labels in random order."""
        return self.information - float(self.permuted_information.mean())


def relative_entropy(hits: FloatArray, everything: FloatArray, logs: FloatArray) -> FloatArray:
    """Relative entropy, in bits, of where groups lie against where all images lie.

    The sum over cells of p log2(p / q), p being the share of the group's images in a cell and q
    that of all images. A cell that a group hits is hit by all images, so nothing is smoothed.
    Logarithms of counts are those of Grassberger 2003 (arXiv:physics/0307138), because shares of
    few images look concentrated; the value can fall below 0 by chance.

    Args:
        hits: Whole numbers for each group, shape (n_groups, n_cells).
        everything: Of all images, shape (n_cells,), at least the hits of each group.
        logs: See `log_counts`; one for each number of hits.

    Returns:
        Shape (n_groups,); NaN for groups without hits.
    """
    size, total = hits.sum(axis=1), float(everything.sum())
    n = np.where(size > 0, size, 1)
    gain = logs[hits.astype(np.int64)] - logs[everything.astype(np.int64)] + np.log(total)
    bits = ((hits * gain).sum(axis=1) / n - np.log(n)) / np.log(2)
    return np.where(size > 0, bits, np.nan)


def log_counts(largest: int) -> FloatArray:
    """Grassberger's G(n), which takes the place of log n, for n = 0 .. largest; G(0) is 0."""
    n = np.arange(1, largest + 1)
    sign = np.where(n % 2, -1, 1)
    values = digamma(n) + sign * (digamma((n + 1) / 2) - digamma(n / 2)) / 2
    return np.concatenate([[0.0], values])


def concentration(
    hits: Hits, *, n_draws: int, n_resampled: int, rng: np.random.Generator
) -> Concentration:
    """Measure every group under the labels as annotated, in random order, and resampled.

    Labels of all attributes are permuted together, whole clusters of images at a time and only
    among clusters of as many hits: many hits of one person look concentrated, and a group of such
    people would for that alone. The map, which never saw a label, stays as it is.

    Args:
        hits: Of the images.
        n_draws: Permutations.
        n_resampled: Bootstrap draws of clusters.
        rng: Draws both.
    """
    weights = cluster_weights(hits.clusters, n_resampled, rng)
    logs = log_counts(max(len(hits.labels), int(weights.sum(axis=1).max(initial=0))))
    bits, information = _measured(hits, hits.table(hits.labels), logs)
    how = exchange(hits.labels, _cluster_sizes(hits.clusters), hits.clusters)
    draws = [_measured(hits, hits.table(labels), logs) for labels in _in_blocks(how, n_draws, rng)]
    resampled = [
        _measured(hits, hits.table(hits.labels, row.astype(np.float64)), logs)[0]
        for row in weights
    ]
    return Concentration(
        bits=bits,
        information=information,
        permuted=np.array([found for found, _ in draws]),
        permuted_information=np.array([found for _, found in draws]),
        resampled=np.array(resampled),
        n_fixed=how.n_fixed,
    )


def _cluster_sizes(clusters: IntArray) -> IntArray:
    """Hits of the cluster of each hit, shape (n_hits,)."""
    number = np.unique(clusters, return_inverse=True)[1]
    return np.bincount(number)[number].astype(np.int64)


def _in_blocks(how: Exchange, n_draws: int, rng: np.random.Generator) -> Iterator[IntArray]:
    for first in range(0, n_draws, _BLOCK):
        yield from permuted(how, min(_BLOCK, n_draws - first), rng).astype(np.int64)


def _measured(hits: Hits, table: FloatArray, logs: FloatArray) -> tuple[FloatArray, float]:
    """Relative entropy of each group, and the information about the intersection."""
    everything = table.sum(axis=0)
    groups = hits.members @ table
    size = table.sum(axis=1)
    own = relative_entropy(table[size > 0], everything, logs)
    information = float(own @ size[size > 0] / size.sum())
    return relative_entropy(groups, everything, logs), information


@dataclass(frozen=True)
class ToTest:
    """One family."""

    name: str
    groups: tuple[Group, ...]
    places: tuple[int, ...]
    """Of the groups among those of the `Concentration`."""


@dataclass(frozen=True)
class TestedGroup:
    """What was found of one group; None where it was not tested."""

    p_value: float | None
    discovery: float | None
    """Adjusted to point at something."""
    verdict: float | None
    """Adjusted to decide something; None also where a gate stayed closed."""
    is_rejected: bool


@dataclass(frozen=True)
class TestedFamilies:
    """All groups after their tests."""

    by_place: dict[int, TestedGroup]
    """By place among the groups of the `Concentration`."""
    rows: tuple[HypothesisFamily, ...]
    p_global: float


def tested(
    found: Concentration,
    is_measured: Sequence[bool],
    families: Sequence[ToTest],
    plan: Multiplicity,
) -> TestedFamilies:
    """Test that the map tells anything of the intersections, then the groups by family.

    Args:
        found: With its draws.
        is_measured: Whether a group has images enough, by its place.
        families: From coarse to fine.
        plan: Of the audit.
    """
    p_global = resampling_p(found.information, found.permuted_information)
    steps = [Family("global", (p_global,))]
    before: ToTest | None = None
    resampled = [_resampled(found, is_measured, family) for family in families]
    for family, one in zip(families, resampled, strict=True):
        parents = None if before is None else _parents(family.groups, before.groups)
        steps.append(Family(family.name, one.adjusted(plan.verdicts, plan.alpha), parents))
        before = family
    gated = gatekeep(steps, alpha=plan.alpha, gates=plan.gatekeeping)
    n_draws = len(found.permuted)
    p_values: list[tuple[MaybeP, ...]] = [(p_global,), *(one.p_values for one in resampled)]
    rows = tuple(
        family_row(
            step,
            method="max_t" if number == 0 else plan.verdicts,
            alpha=plan.alpha,
            draws=n_draws,
            p_values=p_values[number],
        )
        for number, step in enumerate(gated)
    )
    by_place = {}
    for family, one, step in zip(families, resampled, gated[1:], strict=True):
        discovery = one.adjusted(plan.discovery, plan.alpha)
        for i, place in enumerate(family.places):
            by_place[place] = TestedGroup(
                one.p_values[i], discovery[i], step.adjusted[i], bool(step.rejected[i])
            )
    return TestedFamilies(by_place, rows, p_global)


def _resampled(found: Concentration, is_measured: Sequence[bool], family: ToTest) -> Resampled:
    places = list(family.places)
    draws = found.permuted[:, places]
    centre, spread = draws.mean(axis=0), draws.std(axis=0)
    spread = np.where(spread > 0, spread, 1)
    observed = (found.bits[places] - centre) / spread
    return Resampled(
        tuple(
            float(t) if is_measured[place] else None
            for t, place in zip(observed, places, strict=True)
        ),
        (draws - centre) / spread,
    )


def _parents(groups: Sequence[Group], before: Sequence[Group]) -> tuple[tuple[int, ...], ...]:
    """For each group, the groups of the family before it that contain it."""
    sets = [set(group.levels) for group in before]
    return tuple(
        tuple(i for i, levels in enumerate(sets) if levels <= set(group.levels))
        for group in groups
    )
