"""Comparisons of numbers: over the strongest baseline, between two audits, and as ranks."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.special import ndtri
from scipy.stats import norm

from bias_audit.arrays import FloatArray, IntArray
from bias_audit.statistics.estimate import Estimate, interval_at, quantile
from bias_audit.statistics.inference import (
    Measured,
    bounds,
    by_cluster,
    estimate,
    joint_draws,
    quantile_for,
    quantile_of,
)
from bias_audit.statistics.multiplicity import adjusted, is_rejected

_DRAWS = 4000


def lift_over(
    differences: Mapping[str, Measured], *, level: float, rng: np.random.Generator
) -> Estimate:
    """The smallest of several paired differences, allowing for which of them is the smallest.

    The smallest of several estimates lies below the smallest true difference on average, the more
    so the nearer the baselines are to each other. So, after Chernozhukov, Lee & Rosen 2013
    (Econometrica 81:667-737), each difference is raised by a common number of its standard errors
    before the smallest is taken: by the median of the largest joint error for the value, and by
    its upper quantile for the upper bound. Only baselines that may be the strongest count. Where
    several are equally strong the value is about as often too low as too high; where others are
    one or two errors weaker, it is too high by up to half an error. The lower bound is the lowest
    of all, each by itself (intersection-union, Berger 1982), which needs no allowance.

    Differences are a number minus each baseline, over the same images, by the baseline's name.
    """
    measures = list(differences.values())
    if len(measures) == 1:
        return estimate(measures[0], level=level)
    draws = joint_draws(measures, _DRAWS, rng)
    # value: raised by the median of the largest error; upper: by its upper quantile
    value, upper = (
        _raised(measures, draws[:, _contenders(measures, reach)], share)
        for share, reach in ((0.5, 0.75), ((1 + level) / 2, 2.0))
    )
    lower = min(bounds(m, quantile_for(m, level))[0] for m in measures)
    weakest = min(measures, key=lambda measure: measure.value)
    return Estimate(
        value,
        min(lower, value),
        max(upper, value),
        level=level,
        n=weakest.n,
        method=f"smallest of {len(measures)} paired differences (intersection bounds), "
        f"{weakest.unit}",
        freedom=min(measure.freedom for measure in measures),
        clusters=min(measure.clusters for measure in measures),
        choice=weakest.choice,
    )


def _raised(measures: Sequence[Measured], draws: FloatArray, share: float) -> float:
    """The smallest difference, each raised by a quantile of the largest of joint errors."""
    alone = draws.shape[1] == 1  # whose quantile is known without the draws' chance
    normal = float(ndtri(share) if alone else np.quantile(draws.max(axis=1), share))
    if normal <= 0:  # the median of a single error
        return min(m.value for m in measures)
    return min(bounds(m, quantile_of(m, normal))[1] for m in measures)


def _contenders(measures: Sequence[Measured], reach: float) -> list[int]:
    """Differences that may be the smallest: those not far above it, by their own error.

    As moments are selected by Andrews & Soares 2010 (Econometrica 78:119-157), a difference counts
    unless it lies above the smallest by some multiple of sqrt(log n) standard errors, n clusters:
    for an upper bound, which must not miss one, by two; for the value, which baselines that are
    weaker would raise, by three quarters.
    """
    least = min(measures, key=lambda measure: measure.value)
    return [
        place
        for place, measure in enumerate(measures)
        if (above := measure - least).value
        <= reach * np.sqrt(np.log(max(2.0, above.clusters))) * above.standard_error
    ]


@dataclass(frozen=True)
class UnitsOf:
    """The independent units of one side: clusters of images, then what seeds drew."""

    clusters: Mapping[str, int]
    """Unit of each image, by the image's name."""
    seeds: Sequence[str]
    """Names of the units after the clusters."""
    n_clusters: int

    @property
    def total(self) -> int:
        """Length of every influence."""
        return self.n_clusters + len(self.seeds)


@dataclass(frozen=True)
class Joined:
    """Units of both sides together: what shares an image, or a seed, is one."""

    before: IntArray
    """Joint unit of each unit before, shape (n_before,)."""
    after: IntArray
    """Shape (n_after,)."""
    n_units: int
    n_clusters: int
    """The first units are clusters; those of seeds alone follow."""
    n_shared: int
    """Images on both sides."""

    def together(
        self, before: Measured, after: Measured, *, noise: tuple[float, float] = (0.0, 0.0)
    ) -> tuple[Measured, Measured]:
        """Both measures over the joint units, so that `inference.difference` pairs them.

        Influences have the shapes of `before` and `after`. `noise` is the standard deviation of
        each by other causes than which images there are; each becomes a unit of its own.
        """
        sides = (before, self.before, (noise[0], 0.0)), (after, self.after, (0.0, noise[1]))
        one, other = (
            replace(
                measured,
                influence=np.append(by_cluster(measured.influence, units, self.n_units), extra),
                weight=by_cluster(measured.weight, units[: len(measured.weight)], self.n_clusters),
            )
            for measured, units, extra in sides
        )
        return one, other


def join(before: UnitsOf, after: UnitsOf) -> Joined:
    """Join the units of two audits through the images and seeds that both have.

    Clusters may differ, as when near duplicates were added: then every connected set of clusters
    is one unit, so that no two units share an image. Units of one side alone stay as they are; a
    difference then has their influence in full, which makes a partial overlap exact.
    """
    shared = [image for image in before.clusters if image in after.clusters]
    edges = [(before.clusters[image], after.clusters[image]) for image in shared]
    places = {name: after.n_clusters + place for place, name in enumerate(after.seeds)}
    edges += [
        (before.n_clusters + place, places[name])
        for place, name in enumerate(before.seeds)
        if name in places
    ]
    ends: npt.NDArray[np.int64] = np.array(edges, dtype=np.int64).reshape(-1, 2)
    size = before.total + after.total
    graph = coo_array(
        (np.ones(len(ends)), (ends[:, 0], before.total + ends[:, 1])), shape=(size, size)
    )
    n_units, labels = connected_components(graph, directed=False)
    of_clusters = [labels[: before.n_clusters], labels[before.total :][: after.n_clusters]]
    is_cluster = np.isin(np.arange(n_units), np.concatenate(of_clusters))
    numbers = np.argsort(np.argsort(~is_cluster, kind="stable"))[labels].astype(np.int64)
    return Joined(
        numbers[: before.total],
        numbers[before.total :],
        int(n_units),
        int(is_cluster.sum()),
        len(shared),
    )


def clear_extremes(estimates: Sequence[Estimate], *, alpha: float) -> tuple[int, int] | None:
    """Places of the lowest and the highest, the first of equals, where these two differ.

    None where they do not differ significantly after correction for all pairs, or are one.
    """
    values = [estimate.value for estimate in estimates]
    if len(set(values)) < 2:  # noqa: PLR2004
        return None
    lowest, highest = values.index(min(values)), values.index(max(values))
    is_alike = highest in rank_ranges(estimates, alpha=alpha)[lowest].alike
    return None if is_alike else (lowest, highest)


_SMALLEST_P: Final = 1e-300


@dataclass(frozen=True)
class RankRange:
    """The ranks that one value may have among others; rank 1 is the highest."""

    best: int
    """The highest rank that the comparisons leave open."""
    worst: int
    """The lowest one."""
    alike: tuple[int, ...]
    """Places of the others that do not differ significantly from this one."""


def rank_ranges(
    estimates: Sequence[Estimate], *, alpha: float, choices: Sequence[int] = ()
) -> tuple[RankRange, ...]:
    """Rank confidence sets from all pairwise comparisons, adjusted by Holm.

    A rank is at least 1 + the number of values that are significantly higher, and at most all of
    them minus the number of those significantly lower: all sets contain the true ranks together
    with a probability of at least 1 - alpha. Source: Mogstad, Romano, Shaikh & Wilhelm 2024,
    Review of Economic Studies 91:476-518, with Holm's step-down procedure in place of the
    bootstrap.

    Values are compared as independent ones; over the same images they usually vary together, and
    then fewer pairs differ significantly than in a paired comparison.

    `alpha` is the chance of any wrong comparison. `choices` say among how many each estimate was
    picked because it is the highest (default: 1); its interval is widened by Bonferroni's rule for
    that.
    """
    n, picked = len(estimates), tuple(choices) or (1,) * len(estimates)
    values = [estimate.value for estimate in estimates]
    # Standard errors below and above each value, from its interval. The wider interval, of
    # Student's t where clusters are few, counts as a normal one.
    sides = []
    for one, k in zip(estimates, picked, strict=True):
        low, high = interval_at(one, 1 - (1 - one.level) / k)
        z = quantile(one.level)
        sides.append(((one.value - low) / z, (high - one.value) / z))
    # of each pair the higher one first
    pairs = [
        (i, j) if values[i] > values[j] else (j, i) for i, j in itertools.combinations(range(n), 2)
    ]
    p_values = []
    for i, j in pairs:
        # square-and-add of the distances that face each other (Newcombe; MOVER)
        difference, error = values[i] - values[j], math.hypot(sides[i][0], sides[j][1])
        p_value = 2 * norm.sf(difference / error) if error else float(difference == 0)
        p_values.append(max(_SMALLEST_P, float(p_value)))
    higher: list[set[int]] = [set() for _ in estimates]
    lower: list[set[int]] = [set() for _ in estimates]
    for (i, j), adjusted_p in zip(pairs, adjusted(p_values, "holm"), strict=True):
        if is_rejected(adjusted_p, alpha=alpha):
            higher[j].add(i)
            lower[i].add(j)
    return tuple(
        RankRange(
            best=1 + len(higher[i]),
            worst=n - len(lower[i]),
            alike=tuple(j for j in range(n) if j != i and j not in higher[i] | lower[i]),
        )
        for i in range(n)
    )


def groups_alike(found: Sequence[RankRange]) -> tuple[tuple[int, ...], ...]:
    """Largest sets within which no pair differs significantly, by their first member.

    What a compact letter display shows: insert and absorb, Piepho 2004, Journal of Computational
    and Graphical Statistics 13:456-466. A value may be in several.
    """
    n = len(found)
    sets = {frozenset(range(n))}
    for i, j in itertools.combinations(range(n), 2):
        if j in found[i].alike:
            continue
        split = {s - {k} for s in sets if {i, j} <= s for k in (i, j)}
        kept = {s for s in sets if not {i, j} <= s}
        sets = kept | {s for s in split if not any(s <= other for other in kept)}
    largest = [s for s in sets if not any(s < other for other in sets)]
    return tuple(sorted(tuple(sorted(s)) for s in largest if s))
