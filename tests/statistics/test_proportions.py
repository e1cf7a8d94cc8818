"""Shares against scipy."""

from __future__ import annotations

import pytest
from scipy.stats import binomtest

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
