"""Shares and recalls against scipy and scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn.metrics import balanced_accuracy_score

from bias_audit.statistics.balanced_accuracy import (
    balanced_accuracy,
    weighted_balanced_accuracy,
)
from bias_audit.statistics.proportions import proportion


@pytest.mark.parametrize(("count", "total"), [(0, 1), (1, 1), (3, 7), (0, 40), (40, 40), (9, 30)])
@pytest.mark.parametrize("level", [0.9, 0.95])
def test_wilson_is_scipys(count: int, total: int, level: float) -> None:
    estimate = proportion(count, total, level=level)
    assert estimate is not None
    expected = binomtest(count, total).proportion_ci(level, method="wilson")
    assert (estimate.lower, estimate.upper) == pytest.approx((expected.low, expected.high))
    assert estimate.n == total


def test_clusters_widen_and_nothing_has_no_share() -> None:
    assert proportion(0, 0, level=0.95) is None
    plain = proportion(20, 40, level=0.95)
    clustered = proportion(20, 40, level=0.95, n_clusters=10)
    as_ten = proportion(5, 10, level=0.95)
    assert plain is not None
    assert clustered is not None
    assert as_ten is not None
    assert clustered.lower < plain.lower
    assert (clustered.lower, clustered.upper) == (as_ten.lower, as_ten.upper)
    assert clustered.n == 10


def test_balanced_accuracy_is_sklearns_and_weights_repeat_images() -> None:
    rng = np.random.default_rng(0)
    codes, predicted = rng.integers(4, size=(2, 80))
    value = balanced_accuracy(predicted, codes, 4)
    assert value == pytest.approx(balanced_accuracy_score(codes, predicted))
    weights = rng.poisson(1.0, size=(150, 80)).astype(np.uint16)
    weights[3, codes == 1] = 0
    draws = weighted_balanced_accuracy(predicted, codes, 4, weights)
    for draw in (0, 3, 149):
        images = np.repeat(np.arange(80), weights[draw])
        kept = [(predicted[images] == codes[images])[codes[images] == c] for c in range(4)]
        expected = np.mean([hits.mean() for hits in kept if len(hits)])
        assert draws[draw] == pytest.approx(expected)


def test_balanced_accuracy_of_nothing_is_none() -> None:
    empty = np.empty(0, dtype=np.int64)
    assert balanced_accuracy(empty, empty, 3) is None
