"""Intervals over repetitions cover what they say, also where pairs share repetitions."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from bias_audit.statistics.bootstrap import mean_over_pairs, mean_over_repetitions


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
