"""Correlations are numpy's; their intervals cover, also where images come in clusters."""

from __future__ import annotations

import numpy as np
import pytest

from bias_audit.statistics.inference import Measured, by_cluster, correlation_estimate
from bias_audit.statistics.influence import pearson


def _measured(x: np.ndarray, y: np.ndarray, clusters: np.ndarray) -> Measured:
    found = pearson(x, y)
    assert found is not None
    n = int(clusters.max()) + 1
    influence = by_cluster(found.influence, clusters, n)
    weight = by_cluster(found.weight, clusters, n)
    return Measured(found.value, influence, n, weight, "images", is_share=False)


def test_value_and_influence() -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal(50)
    y = 0.5 * x + rng.standard_normal(50)
    found = pearson(x, y)
    assert found is not None
    assert found.value == pytest.approx(np.corrcoef(x, y)[0, 1])
    assert found.influence.sum() == pytest.approx(0, abs=1e-12)
    # The influence of an image is what a little more weight on it changes.
    weights = np.ones(50)
    weights[7] += 1e-5
    moved = np.cov(x, y, aweights=weights, bias=True)
    value = moved[0, 1] / np.sqrt(moved[0, 0] * moved[1, 1])
    shrink = np.sqrt(50 / 49)
    assert (value - found.value) / 1e-5 == pytest.approx(found.influence[7] / shrink, rel=1e-3)


@pytest.mark.parametrize(("slope", "per_person"), [(0.0, 1), (0.0, 4), (1.0, 1), (1.0, 4)])
def test_intervals_cover(slope: float, per_person: int) -> None:
    rng = np.random.default_rng(1)
    truth = slope / np.sqrt(slope**2 + 1)
    people = np.repeat(np.arange(60), per_person)
    hits = 0
    for _ in range(300):
        x = rng.standard_normal(60)
        y = slope * x + rng.standard_normal(60)
        estimate = correlation_estimate(_measured(x[people], y[people], people), level=0.95)
        hits += estimate.lower <= truth <= estimate.upper
    assert 0.90 <= hits / 300 <= 0.99


def test_bounds_stay_within_one() -> None:
    x = np.arange(6.0)
    estimate = correlation_estimate(_measured(x, 2 * x, np.arange(6)), level=0.95)
    assert -1 <= estimate.lower <= estimate.value <= estimate.upper <= 1
    assert estimate.value == pytest.approx(1)


def test_constant_numbers_have_no_correlation() -> None:
    rng = np.random.default_rng(0)
    assert pearson(np.full(20, 3.0), rng.standard_normal(20)) is None
    assert pearson(np.arange(2.0), np.arange(2.0)) is None
