"""Cluster tests find what is planted, keep alpha on null data, and equal brute force."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from scipy.spatial import Delaunay
from scipy.stats import binom

from bias_audit.analyses.mapping import cluster_permutation
from bias_audit.analyses.mapping.cluster_permutation import (
    Threshold,
    TwoGroups,
    cluster_test,
    statistics,
    unit_test,
)
from bias_audit.analyses.mapping.label_permutation import exchange, permuted
from bias_audit.analyses.mapping.neighbourhood import neighbours
from bias_audit.analyses.mapping.region_effects import differences_by_unit, region_effect

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


def _most_rejections(runs: int) -> int:
    """What a test that rejects with chance alpha exceeds once in a thousand times."""
    return int(binom.isf(0.001, runs, ALPHA))


def test_statistics_are_those_of_a_regression_with_a_constant_per_stratum() -> None:
    rng = np.random.default_rng(0)
    n, strata = 60, rng.integers(0, 4, 60)
    labels = rng.random(n) < 0.4
    units = rng.standard_normal((n, 5)) + strata[:, None] + 0.5 * labels[:, None]
    found = statistics(_groups(units, labels, strata), labels[None])
    indicators = np.eye(4)[strata]
    contrast = labels - indicators @ np.linalg.lstsq(indicators, labels.astype(float))[0]
    for unit in range(5):
        design = np.column_stack([labels, indicators])
        value = np.linalg.lstsq(design, units[:, unit])[0][0]
        null = units[:, unit] - indicators @ np.linalg.lstsq(indicators, units[:, unit])[0]
        sd = np.sqrt((null**2).sum() / (n - 4))
        assert found.effect[0, unit] == pytest.approx(value / sd, rel=1e-4)
        t = (contrast @ null) / np.sqrt((contrast**2 * null**2).sum()) * np.sqrt((n - 5) / n)
        assert found.t[0, unit] == pytest.approx(t, rel=1e-4)


def test_blocks_do_not_change_statistics(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    groups = _groups(rng.standard_normal((40, 9)), rng.random(40) < 0.5, rng.integers(0, 3, 40))
    labels = permuted(groups.exchange, 11, rng)
    whole = statistics(groups, labels)
    monkeypatch.setattr(cluster_permutation, "_UNITS", 4)
    monkeypatch.setattr(cluster_permutation, "_DRAWS", 3)
    pieces = statistics(groups, labels)
    np.testing.assert_allclose(whole.t, pieces.t, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(whole.effect, pieces.effect, rtol=1e-4, atol=1e-5)


def test_p_values_are_those_of_all_labellings() -> None:
    """Eight images, four of each group: 70 labellings, every region found by walking the line."""
    rng = np.random.default_rng(3)
    units = rng.standard_normal((8, 6))
    labels = np.array([1, 1, 1, 1, 0, 0, 0, 0], dtype=bool)
    units[labels, 1:4] += 1.6
    groups, loose = _groups(units, labels), Threshold(0.3, 0.0)

    def heaviest(of: npt.NDArray[Any]) -> tuple[float, list[tuple[int, ...]]]:
        t = statistics(groups, of[None])
        signs = loose.signs(t, groups.freedom)[0]
        runs = [
            (sign, [place for place, _ in members])
            for sign, members in itertools.groupby(enumerate(signs), key=lambda e: int(e[1]))
        ]
        regions = [tuple(members) for sign, members in runs if sign]
        masses = [float(np.abs(t.t[0, list(region)]).sum()) for region in regions]
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
    runs, rejected = 200, 0
    positions = np.random.default_rng(0).random((30, 2))
    edges = neighbours(positions)
    near = np.exp(-((positions[:, None] - positions[None]) ** 2).sum(axis=2) / 0.05)
    for seed in range(runs):
        rng = np.random.default_rng(seed)
        strata = rng.integers(0, 3, 60)
        labels = rng.random(60) < np.array([0.2, 0.5, 0.8])[strata]
        units = rng.standard_normal((60, 30)) @ near + 2 * strata[:, None]
        groups = _groups(units, labels, strata)
        if test == "clusters":
            found = cluster_test(groups, edges, ANY, n_draws=99, rng=rng)
        else:
            found, _ = unit_test(groups, edges, alpha=ALPHA, n_draws=99, rng=rng)
        rejected += found.p_value <= ALPHA
    assert rejected <= _most_rejections(runs)


def test_noise_of_people_is_not_taken_for_a_difference() -> None:
    """Ten images of each of 24 people who differ strongly; labels are dealt to people."""
    runs, rejected, naive = 100, 0, 0
    edges = _line(12)
    for seed in range(runs):
        rng = np.random.default_rng(seed)
        people = np.repeat(np.arange(24), 10)
        labels = rng.permutation(np.arange(24) % 2 == 0)[people]
        units = 2 * rng.standard_normal((24, 12))[people] + rng.standard_normal((240, 12))
        found = cluster_test(
            _groups(units, labels, clusters=people), edges, ANY, n_draws=99, rng=rng
        )
        rejected += found.p_value <= ALPHA
        found = cluster_test(_groups(units, labels), edges, ANY, n_draws=99, rng=rng)
        naive += found.p_value <= ALPHA
    assert rejected <= _most_rejections(runs)
    assert naive > 50


def test_a_group_that_only_varies_more_does_not_differ() -> None:
    runs, rejected = 200, 0
    for seed in range(runs):
        rng = np.random.default_rng(seed)
        labels = np.arange(120) < 15
        units = rng.standard_normal((120, 12)) * np.where(labels, 3, 1)[:, None]
        found = cluster_test(_groups(units, labels), _line(12), ANY, n_draws=99, rng=rng)
        rejected += found.p_value <= ALPHA
    # only approximately exact with 15 images of such spread, but not what a pooled t would give
    assert rejected <= 0.1 * runs


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


def test_neighbours_are_delaunays_and_units_of_one_place_are_joined() -> None:
    positions = np.random.default_rng(0).random((50, 2))
    edges = {tuple(edge) for edge in neighbours(positions)}
    triangles = Delaunay(positions).simplices
    every = {
        tuple(sorted((int(a), int(b)))) for t in triangles for a, b in itertools.combinations(t, 2)
    }
    assert edges <= every
    assert len(edges) > 0.9 * len(every)
    twice = np.concatenate([positions, positions[:3]])
    assert {(0, 50), (1, 51), (2, 52)} <= {tuple(edge) for edge in neighbours(twice)}


def test_patches_far_apart_are_no_neighbours() -> None:
    rng = np.random.default_rng(0)
    patches = np.concatenate([0.02 * rng.random((40, 2)), 0.9 + 0.02 * rng.random((40, 2))])
    edges = neighbours(patches)
    assert not ((edges[:, 0] < 40) & (edges[:, 1] >= 40)).any()


def test_effects_of_regions_cover_the_planted_one() -> None:
    hits, truth = 0, 0.5
    for seed in range(100):
        rng = np.random.default_rng(seed)
        people = np.repeat(np.arange(40), 3)
        labels = (np.arange(40) % 2 == 0)[people]
        units = rng.standard_normal((40, 6))[people] + rng.standard_normal((120, 6))
        units[labels] += truth * np.sqrt(2)
        groups = _groups(units, labels, clusters=people)
        scale = np.full(6, np.sqrt(2))
        found = region_effect(groups, np.arange(6), scale, level=0.95)
        assert found is not None
        assert found.n == 40
        hits += found.lower <= truth <= found.upper
        by_unit, _ = differences_by_unit(groups, scale)
        assert found.value == pytest.approx(by_unit.mean(), rel=1e-6)
    assert hits >= 88
