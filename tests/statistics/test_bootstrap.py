"""Clusters are drawn whole, and no interval is a point."""

from __future__ import annotations

import numpy as np
import pytest

from bias_audit.statistics.bootstrap import cluster_weights, percentile_interval


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
