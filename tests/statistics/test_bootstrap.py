"""Clusters are drawn whole, intervals cover, and no interval is a point."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

from bias_audit.statistics.auc import macro_auc, weighted_macro_auc
from bias_audit.statistics.bootstrap import cluster_weights, difference, percentile_interval
from bias_audit.statistics.estimate import Estimate


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


def test_weights_repeat_for_a_seed() -> None:
    clusters = np.arange(30)
    one, two = (cluster_weights(clusters, 5, np.random.default_rng(1)) for _ in range(2))
    np.testing.assert_array_equal(one, two)


def test_no_spread_is_no_interval() -> None:
    assert percentile_interval(np.ones(100), level=0.95) is None
    assert percentile_interval(np.full(5, np.nan), level=0.95) is None
    draws = np.append(np.linspace(0, 1, 101), np.nan)
    assert percentile_interval(draws, level=0.9) == pytest.approx((0.05, 0.95))


def test_difference_of_degenerate_estimates_has_an_extent() -> None:
    one = Estimate(1.0, 0.9, 1.0, level=0.95, n=40, method="score")
    other = Estimate(0.5, 0.4, 0.6, level=0.95, n=40, method="bootstrap")
    result = difference(one, other, np.full(50, 0.5), degenerate=True)
    assert result.value == 0.5
    assert (result.lower, result.upper) == pytest.approx((0.5 - np.hypot(0.1, 0.1), 0.6))
    paired = difference(one, other, np.linspace(0.45, 0.55, 101), degenerate=False)
    assert (paired.lower, paired.upper) == pytest.approx((0.4525, 0.5475))


def test_interval_of_an_auc_covers_the_truth() -> None:
    truth, hits, trials = float(norm.cdf(1 / np.sqrt(2))), 0, 200
    for seed in range(trials):
        rng = np.random.default_rng(seed)
        codes = np.repeat([0, 1], 50)
        score = rng.normal(codes, 1)
        scores = np.stack([-score, score], axis=1)
        weights = cluster_weights(np.arange(100), 200, rng)
        interval = percentile_interval(weighted_macro_auc(scores, codes, weights), level=0.95)
        assert interval is not None
        value = macro_auc(scores, codes)
        assert value is not None
        assert interval[0] <= value <= interval[1]
        hits += interval[0] <= truth <= interval[1]
    # 0.95 less three binomial standard errors and the percentile method's small-sample shortfall.
    assert 0.88 <= hits / trials <= 1
