"""Resampled clusters, repetitions and random draws: no interval is a point, and all cover."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from bias_audit.arrays import FloatArray
from bias_audit.statistics.bootstrap import (
    cluster_weights,
    compared_with_a_further_draw,
    mean_of,
    mean_over_pairs,
    mean_over_repetitions,
    percentile_interval,
)
from bias_audit.statistics.inference import Measured, bounds, quantile_for


def test_weights_count_draws_of_whole_clusters() -> None:
    clusters = np.array([7, 7, 2, 9, 9, 9, 40])
    weights = cluster_weights(clusters, 400, np.random.default_rng(0))
    assert weights.shape == (400, 7)
    for images in ([0, 1], [3, 4, 5]):
        assert (weights[:, images] == weights[:, images[:1]]).all()
    one_of_each = weights[:, [0, 2, 3, 6]]
    assert (one_of_each.sum(axis=1) == 4).all()
    # Each cluster's weight is Binomial(4, 1/4): mean 1, variance 3/4.
    np.testing.assert_allclose(one_of_each.mean(axis=0), 1, atol=0.2)
    np.testing.assert_allclose(one_of_each.var(axis=0), 0.75, atol=0.25)


def test_no_spread_is_no_interval() -> None:
    assert percentile_interval(np.ones(100), level=0.95) is None
    assert percentile_interval(np.full(5, np.nan), level=0.95) is None
    draws = np.append(np.linspace(0, 1, 101), np.nan)
    assert percentile_interval(draws, level=0.9) == pytest.approx((0.05, 0.95))


N = 40


def _draws(values: FloatArray, influence: FloatArray) -> list[Measured]:
    """Of one layer, with a unit for each draw after the images."""
    padded = np.concatenate([influence, np.zeros(len(values))])
    return [
        Measured(float(value), padded, N, np.ones(N), "images", is_share=False) for value in values
    ]


def test_a_mean_of_draws_has_the_mean_influence_and_no_error_of_draws() -> None:
    rng = np.random.default_rng(0)
    many = [_draws(np.array([value]), rng.standard_normal(N))[0] for value in (0.2, 0.4, 0.9)]
    found = mean_of(many)
    assert found.value == pytest.approx(0.5)
    np.testing.assert_allclose(found.influence, np.mean([m.influence for m in many], axis=0))
    assert found.seed_freedom == 0


@pytest.mark.parametrize("n", [2, 5])
def test_each_layer_has_the_larger_of_its_own_variance_and_the_mean_of_all(n: int) -> None:
    values = np.random.default_rng(1).standard_normal((3, n)) * np.array([[0.1], [1], [3]])
    found = compared_with_a_further_draw([_draws(row, np.full(N, 0.1)) for row in values])
    own = values.var(axis=1, ddof=1)
    for measure, row, variance in zip(found, values, own, strict=True):
        assert measure.value == pytest.approx(row.mean())
        assert measure.seed_freedom == n - 1
        of_draws = float((measure.influence[N:] ** 2).sum())
        assert of_draws == pytest.approx(max(variance, own.mean()) * (1 + 1 / n))


@pytest.mark.parametrize("shared", [0.0, 0.9])
def test_intervals_cover_a_further_draw_whether_layers_share_it_or_not(shared: float) -> None:
    """Draws vary far more than images do, three times as much at the last layer."""
    rng, trials, n = np.random.default_rng(2), 600, 3
    spread = np.array([1.0, 1.0, 1.0, 3.0])[:, None]
    covered = 0
    for _ in range(trials):
        common = np.sqrt(shared) * rng.standard_normal((1, n + 1))
        values = spread * (common + np.sqrt(1 - shared) * rng.standard_normal((4, n + 1)))
        found = compared_with_a_further_draw(
            [_draws(row, np.full(N, 1e-6)) for row in values[:, :n]]
        )
        lower, upper = bounds(found[-1], quantile_for(found[-1], 0.95))
        covered += lower <= values[-1, n] <= upper
    assert covered / trials >= 0.95 - 3 * np.sqrt(0.05 * 0.95 / trials)


def test_draws_that_are_alike_add_nothing() -> None:
    (found,) = compared_with_a_further_draw([_draws(np.full(4, 0.3), np.full(N, 0.01))])
    assert not found.influence[N:].any()
    assert found.freedom == pytest.approx(N - 1)


def test_the_interval_is_scipys() -> None:
    values = np.random.default_rng(0).standard_normal(7)
    found = mean_over_repetitions(values, level=0.9)
    low, high = stats.t.interval(0.9, 6, loc=values.mean(), scale=stats.sem(values))
    assert (found.value, found.lower, found.upper) == pytest.approx((values.mean(), low, high))
    assert found.n == 7
    cut = mean_over_repetitions(values, level=0.9, within=(values.mean(), 9.0))
    assert (cut.lower, cut.upper) == (cut.value, found.upper)


def test_pairs_that_are_sums_of_their_repetitions_have_the_interval_of_these() -> None:
    values = np.random.default_rng(0).standard_normal(6)
    pairs = values[:, None] + values[None]
    found = mean_over_pairs(pairs, level=0.95)
    single = mean_over_repetitions(2 * values, level=0.95)
    assert (found.value, found.lower, found.upper) == pytest.approx(
        (single.value, single.lower, single.upper)
    )


def test_intervals_over_pairs_cover() -> None:
    """Of points on a plane, the mean squared distance; pairs taken as independent would not."""
    rng = np.random.default_rng(0)
    covered = naive = 0
    for _ in range(1000):
        points = rng.standard_normal((8, 20)) * rng.uniform(0.5, 1.5, size=(8, 1))
        pairs = ((points[:, None] - points[None]) ** 2).mean(axis=-1)
        truth = 2 * (1 + 1 / 12)
        found = mean_over_pairs(pairs, level=0.95)
        covered += found.lower <= truth <= found.upper
        single = mean_over_repetitions(pairs[np.triu_indices(8, 1)], level=0.95)
        naive += single.lower <= truth <= single.upper
    assert covered > 900
    assert naive < 850
