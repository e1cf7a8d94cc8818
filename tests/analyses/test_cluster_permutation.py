"""Cluster tests find what is planted, keep alpha on null data, and equal brute force."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from scipy.spatial import Delaunay
from scipy.stats import binom, norm, ttest_ind
from statsmodels.api import OLS

from bias_audit.analyses.mapping.differences import differences_by_unit, region_effect
from bias_audit.analyses.mapping.labellings import TwoGroups, exchange, permuted
from bias_audit.analyses.mapping.layout import neighbours
from bias_audit.analyses.mapping.permutation import Threshold, cluster_test, statistics, unit_test

ANY = Threshold(0.05, 0.0)
ALPHA = 0.05


def _line(n: int) -> npt.NDArray[np.int64]:
    return np.stack([np.arange(n - 1), np.arange(1, n)], axis=1)


def _groups(
    units: npt.NDArray[Any],
    labels: npt.NDArray[Any],
    strata: npt.NDArray[Any] | None = None,
    clusters: npt.NDArray[Any] | None = None,
) -> TwoGroups:
    n = len(labels)
    return TwoGroups(
        units.astype(np.float32),
        np.arange(n),
        labels.astype(bool),
        np.zeros(n, dtype=np.int64) if strata is None else strata,
        np.arange(n) if clusters is None else clusters,
    )


def _rejections(
    draw: Callable[[np.random.Generator], TwoGroups],
    test: str = "clusters",
    *,
    runs: int = 200,
    edges: npt.NDArray[np.int64] | None = None,
) -> int:
    """How often a test rejects at alpha that two groups drawn without a difference are alike."""
    rejected = 0
    for seed in range(runs):
        rng = np.random.default_rng(seed)
        groups = draw(rng)
        lines = _line(groups.units.shape[1]) if edges is None else edges
        if test == "clusters":
            found = cluster_test(groups, lines, ANY, n_draws=99, rng=rng)
        else:
            found, _ = unit_test(groups, lines, alpha=ALPHA, n_draws=99, rng=rng)
        rejected += found.p_value <= ALPHA
    return rejected


def _oracle(
    units: npt.NDArray[Any],
    labels: npt.NDArray[Any],
    strata: npt.NDArray[Any],
    clusters: npt.NDArray[Any],
) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Difference and error by unit, cluster after cluster, with the whole projection matrix."""
    indicators = np.eye(strata.max() + 1)[strata]
    design = np.column_stack([labels, indicators])
    hat = design @ np.linalg.pinv(design)
    values = np.linalg.lstsq(design, units)[0][0]
    residuals = units - hat @ units
    contrast = labels - indicators @ np.linalg.lstsq(indicators, labels.astype(float))[0]
    variance = np.zeros(units.shape[1])
    for cluster in np.unique(clusters):
        own = clusters == cluster
        c = contrast[own]
        left = 1 - c @ hat[np.ix_(own, own)] @ c / (c @ c)
        variance += (c @ residuals[own]) ** 2 / left
    return values, np.sqrt(variance) / (contrast**2).sum()


def test_differences_of_two_groups_are_welchs() -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(40) < 9
    units = rng.standard_normal((40, 5)) * np.where(labels, 3, 1)[:, None]
    groups = _groups(units, labels)
    found, oracle = (
        groups.labelled(labels[None]).differences(groups.centred(slice(None))),
        ttest_ind(units[labels], units[~labels], equal_var=False),
    )
    np.testing.assert_allclose(found.value / found.error, [oracle.statistic], rtol=1e-4)
    np.testing.assert_allclose(found.freedom, [oracle.df], rtol=1e-4)
    np.testing.assert_allclose(np.abs(found.z), [norm.isf(oracle.pvalue / 2)], atol=2e-3)


@pytest.mark.parametrize("kind", ["images", "people", "people in several strata"])
def test_differences_are_those_of_a_regression(kind: str) -> None:
    """With a constant per stratum and HC2 (statsmodels), or its form for clusters, as permuted."""
    rng = np.random.default_rng(0)
    strata, labels, clusters = np.arange(60) % 3, rng.random(60) < 0.4, np.arange(60)
    if kind == "people":
        strata, clusters = np.sort(strata), np.repeat(np.arange(15), np.tile([2, 3, 4, 5, 6], 3))
        labels = (np.arange(15) % 5 < 2)[clusters]
    elif kind != "images":
        clusters = rng.integers(0, 20, 60)
    units = rng.standard_normal((60, 5)) + strata[:, None] + 0.5 * labels[:, None]
    groups = _groups(units, labels, strata, clusters)
    draws = np.concatenate([labels[None], permuted(groups.exchange, 3, rng)])
    found = groups.labelled(draws).differences(groups.centred(slice(None)))
    for draw, own in enumerate(draws):
        value, error = _oracle(units, own, strata, clusters)
        np.testing.assert_allclose(found.value[draw], value, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(found.error[draw], error, rtol=1e-4)
    if kind == "images":
        fits = [
            OLS(unit, np.column_stack([labels, np.eye(3)[strata]]).astype(float)).fit(
                cov_type="HC2"
            )
            for unit in units.T
        ]
        np.testing.assert_allclose(found.error[0], [fit.bse[0] for fit in fits], rtol=1e-4)
    effects = statistics(groups, labels[None]).effect[0]
    for stratum in range(3):
        units[strata == stratum] -= units[strata == stratum].mean(axis=0)
    spread = np.sqrt((units**2).sum(axis=0) / 57)
    np.testing.assert_allclose(effects, found.value[0] / spread, rtol=1e-4)


def test_values_made_alike_have_no_difference_and_one_spread() -> None:
    rng = np.random.default_rng(0)
    people = np.repeat(np.arange(30), 2)
    labels = people < 10
    units = rng.standard_normal((60, 4)) * np.where(labels, 3, 1)[:, None] + 5 * labels[:, None]
    units[:, 3] = labels * rng.standard_normal(60)  # constant in one group
    groups = _groups(units, labels, clusters=people)
    alike = groups.made_alike(groups.centred(slice(None)))
    found = groups.labelled(labels[None])
    np.testing.assert_allclose(found.differences(alike).value, 0, atol=1e-5)
    np.testing.assert_allclose(found.spreads(alike)[:, 0, :3], 1, rtol=1e-4)
    np.testing.assert_allclose(alike[~labels, 3], 0, atol=1e-6)


def test_p_is_no_smaller_than_few_labellings_allow() -> None:
    """Two pairs of people can exchange labels, all others are fixed: there are four labellings."""
    rng = np.random.default_rng(0)
    people = np.repeat(np.arange(20), np.r_[1, 1, 2, 2, np.arange(3, 19)])
    labels = (np.arange(20) % 2 == 0)[people]
    strata = np.where(people < 4, people // 2, 0)
    for last in np.unique(people)[4:]:  # of both labels, and of a size that no other has
        labels[np.flatnonzero(people == last)[0]] ^= True
    units = rng.standard_normal((len(people), 8)) + 2 * labels[:, None]
    groups = _groups(units, labels, strata, people)
    assert len(np.unique(permuted(groups.exchange, 200, rng), axis=0)) == 4
    found = cluster_test(groups, _line(8), ANY, n_draws=400, rng=rng)
    assert 0.2 < found.p_value < 0.3
    by_unit, _ = unit_test(groups, _line(8), alpha=ALPHA, n_draws=400, rng=rng)
    assert by_unit.p_value > 0.2


def test_p_values_are_those_of_all_labellings() -> None:
    """Eight images, four of each group: 70 labellings, every region found by walking the line."""
    rng = np.random.default_rng(3)
    units = rng.standard_normal((8, 6))
    labels = np.array([1, 1, 1, 1, 0, 0, 0, 0], dtype=bool)
    units[labels, 1:4] += 1.6
    groups, loose = _groups(units, labels), Threshold(0.3, 0.0)

    def heaviest(of: npt.NDArray[Any]) -> tuple[float, list[tuple[int, ...]]]:
        found = statistics(groups, of[None])
        signs = loose.signs(found)[0]
        runs = [
            (sign, [place for place, _ in members])
            for sign, members in itertools.groupby(enumerate(signs), key=lambda e: int(e[1]))
        ]
        regions = [tuple(members) for sign, members in runs if sign]
        masses = [float(np.abs(found.z[0, list(region)]).sum()) for region in regions]
        return max(masses, default=0.0), regions

    observed, regions = heaviest(labels)
    assert regions
    null = []
    for chosen in itertools.combinations(range(8), 4):
        of = np.zeros(8, dtype=bool)
        of[list(chosen)] = True
        null.append(heaviest(of)[0])
    exact = np.mean([mass >= observed * (1 - 1e-5) for mass in null])
    found = cluster_test(groups, _line(6), loose, n_draws=20_000, rng=np.random.default_rng(0))
    assert {tuple(sorted(region.units)) for region in found.regions} == set(regions)
    assert found.p_value == pytest.approx(exact, abs=4 * np.sqrt(exact / 20_000))


def test_labels_stay_within_strata_and_clusters_move_as_a_whole() -> None:
    rng = np.random.default_rng(0)
    labels = np.array([1, 1, 0, 0, 0, 1, 1, 0, 1, 0, 0, 1, 1, 0], dtype=bool)
    strata = np.array([0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 0, 1, 0, 1])
    clusters = np.array([0, 0, 1, 1, 1, 2, 3, 4, 5, 6, 7, 7, 8, 8])
    how = exchange(labels, strata, clusters)
    drawn = permuted(how, 400, rng)
    assert len(np.unique(drawn, axis=0)) > 20
    for row in drawn:
        assert len(set(row[[0, 1]])) == len(set(row[[2, 3, 4]])) == 1
        # of the three people of stratum 0 with one label each, two have the label
        assert row[[0, 2, 5]].sum() == 2
        assert row[6:10].sum() == 2
        # the two clusters in both strata exchange whole vectors: (0, 1) and (1, 0)
        assert sorted([tuple(row[[10, 11]]), tuple(row[[12, 13]])]) == [(0, 1), (1, 0)]
    assert how.n_fixed == 0
    alone = exchange(labels[:6], np.array([0, 0, 1, 1, 1, 2]), clusters[:6])
    assert alone.n_fixed == 6
    np.testing.assert_array_equal(permuted(alone, 3, rng), np.tile(labels[:6], (3, 1)))


@pytest.mark.parametrize("test", ["clusters", "max_t"])
def test_null_labels_are_rejected_at_most_at_alpha(test: str) -> None:
    """Units depend on each other and on the stratum, labels on the stratum alone."""
    positions = np.random.default_rng(0).random((30, 2))
    near = np.exp(-((positions[:, None] - positions[None]) ** 2).sum(axis=2) / 0.05)

    def draw(rng: np.random.Generator) -> TwoGroups:
        strata = rng.integers(0, 3, 60)
        labels = rng.random(60) < np.array([0.2, 0.5, 0.8])[strata]
        return _groups(rng.standard_normal((60, 30)) @ near + 2 * strata[:, None], labels, strata)

    # A test that rejects with chance alpha exceeds this once in a thousand times.
    assert _rejections(draw, test, edges=neighbours(positions)) <= binom.isf(0.001, 200, ALPHA)


def test_noise_of_people_is_not_taken_for_a_difference() -> None:
    """Ten images of each of 24 people who differ strongly; labels are dealt to people."""
    people = np.repeat(np.arange(24), 10)

    def draw(rng: np.random.Generator, clusters: npt.NDArray[Any] | None = people) -> TwoGroups:
        labels = rng.permutation(np.arange(24) % 2 == 0)[people]
        units = 2 * rng.standard_normal((24, 12))[people] + rng.standard_normal((240, 12))
        return _groups(units, labels, clusters=clusters)

    assert _rejections(draw, runs=100) <= binom.isf(0.001, 100, ALPHA)
    assert _rejections(partial(draw, clusters=None), runs=100) > 50


@pytest.mark.parametrize("spread", [3, 1 / 3])
@pytest.mark.parametrize("test", ["clusters", "max_t"])
def test_a_small_group_that_only_varies_otherwise_does_not_differ(
    spread: float, test: str
) -> None:
    labels = np.arange(60) < 10

    def draw(rng: np.random.Generator) -> TwoGroups:
        units = rng.standard_normal((60, 12)) * np.where(labels, spread, 1)[:, None]
        return _groups(units, labels)

    # approximate with 10 images; an error that ignores unequal spread rejects in 17 to 20 %
    assert _rejections(draw, test) <= 0.1 * 200


@pytest.mark.parametrize("sizes", [(4, 1), (1, 4)])
def test_a_group_of_people_with_more_images_does_not_differ(sizes: tuple[int, int]) -> None:
    """Ten people against 50; what is noise of people must not count as so many images."""
    people = np.repeat(np.arange(60), np.where(np.arange(60) < 10, *sizes))

    def draw(rng: np.random.Generator) -> TwoGroups:
        noise = rng.standard_normal((60, 12))[people]
        units = noise + 0.5 * rng.standard_normal((len(people), 12))
        return _groups(units, people < 10, clusters=people)

    assert 0 < _rejections(draw) <= 0.1 * 200


def test_five_images_are_enough_for_a_large_difference() -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(55) < 5
    units = rng.standard_normal((55, 12))
    units[labels, 3:6] += 4
    for constant in (False, True):
        units[:, 4] = np.where(constant, labels, units[:, 4])  # no spread within groups
        found = cluster_test(
            _groups(units, labels), _line(12), Threshold(0.01, 0.2), n_draws=199, rng=rng
        )
        assert found.regions[0].p_value <= ALPHA
        assert set(found.regions[0].units) == {3, 4, 5}
        assert np.isfinite(found.regions[0].mass)


@pytest.mark.parametrize("sign", [1, -1])
def test_planted_units_lie_inside_the_regions_found(sign: int) -> None:
    rng = np.random.default_rng(0)
    positions = rng.random((100, 2))
    planted = np.flatnonzero(np.hypot(*(positions - 0.3).T) < 0.2)
    labels, strata = rng.random(300) < 0.5, rng.integers(0, 4, 300)
    units = rng.standard_normal((300, 100)) + strata[:, None]
    units[np.ix_(labels, planted)] += sign * 0.8
    groups = _groups(units, labels, strata)
    edges = neighbours(positions)
    found = cluster_test(groups, edges, Threshold(0.01, 0.2), n_draws=199, rng=rng)
    best = found.regions[0]
    assert best.p_value == 1 / 200
    assert best.sign == sign
    assert len(np.intersect1d(best.units, planted)) >= 0.9 * len(planted)
    assert len(best.units) <= len(planted) + 3
    by_unit, tested = unit_test(groups, edges, alpha=ALPHA, n_draws=199, rng=rng)
    rejected = np.concatenate([region.units for region in by_unit.regions])
    assert set(rejected) <= set(planted)
    assert len(rejected) > 0.8 * len(planted)
    assert 2 < tested.critical < 6


def test_a_difference_of_composition_is_none_of_the_attribute() -> None:
    """Units follow the stratum; the first group is mostly of one stratum."""
    rng = np.random.default_rng(0)
    strata = np.repeat([0, 1], 150)
    labels = rng.random(300) < np.where(strata == 0, 0.9, 0.1)
    units = rng.standard_normal((300, 20)) + 3 * strata[:, None]
    held = cluster_test(_groups(units, labels, strata), _line(20), ANY, n_draws=199, rng=rng)
    assert held.p_value > ALPHA
    free = cluster_test(_groups(units, labels), _line(20), ANY, n_draws=199, rng=rng)
    assert free.p_value == 1 / 200
    assert len(free.regions[0].units) == 20


def test_neighbours_are_delaunays_within_patches_and_join_units_of_one_place() -> None:
    rng = np.random.default_rng(0)
    positions = rng.random((50, 2))
    edges = {tuple(edge) for edge in neighbours(positions)}
    every = {
        tuple(sorted((int(a), int(b))))
        for triangle in Delaunay(positions).simplices
        for a, b in itertools.combinations(triangle, 2)
    }
    assert edges <= every
    assert len(edges) > 0.9 * len(every)
    twice = np.concatenate([positions, positions[:3]])
    assert {(0, 50), (1, 51), (2, 52)} <= {tuple(edge) for edge in neighbours(twice)}
    patches = np.concatenate([0.02 * rng.random((40, 2)), 0.9 + 0.02 * rng.random((40, 2))])
    assert not (np.diff(neighbours(patches) >= 40, axis=1)).any()


def _covered(draw: Callable[[np.random.Generator], TwoGroups], truth: float, runs: int) -> float:
    """How often the interval of the effect of all units, of scale 1, has the true one."""
    hits = 0
    for seed in range(runs):
        groups = draw(np.random.default_rng(seed))
        n_units = groups.units.shape[1]
        found = region_effect(groups, np.arange(n_units), np.ones(n_units), level=0.95)
        assert found is not None
        hits += found.lower <= truth <= found.upper
        by_unit = differences_by_unit(groups, np.ones(n_units)).value
        assert found.value == pytest.approx(by_unit.mean(), rel=1e-4)
        assert found.n == len(np.unique(groups.clusters))
    return hits / runs


def test_effects_of_regions_cover_the_planted_one() -> None:
    people = np.repeat(np.arange(40), 3)
    labels = (np.arange(40) % 2 == 0)[people]

    def draw(rng: np.random.Generator) -> TwoGroups:
        units = rng.standard_normal((40, 6))[people] + rng.standard_normal((120, 6))
        units[labels] += 0.5 * np.sqrt(2)
        return _groups(units / np.sqrt(2), labels, clusters=people)

    assert _covered(draw, 0.5, runs=100) >= 0.88


def test_effects_of_regions_cover_where_a_small_group_varies_more() -> None:
    """Ten images against 50; degrees of freedom of all images would give 92 %."""
    labels = np.arange(60) < 10

    def draw(rng: np.random.Generator) -> TwoGroups:
        return _groups(rng.standard_normal((60, 1)) * np.where(labels, 3, 1)[:, None], labels)

    assert 0.935 <= _covered(draw, 0, runs=400) <= 0.975
