"""The lift over the strongest baseline is neither flattered nor hidden by how many there are."""

from __future__ import annotations

import numpy as np
import pytest

from bias_audit.arrays import FloatArray
from bias_audit.statistics.comparison import lift_over
from bias_audit.statistics.inference import Measured, estimate

N = 200
ERROR = 0.02


def _influences(rng: np.random.Generator, n_baselines: int, correlation: float) -> FloatArray:
    """Of single images on each difference, shape (N, n_baselines), each with the same error."""
    shared, own = rng.standard_normal((N, 1)), rng.standard_normal((N, n_baselines))
    found = np.sqrt(correlation) * shared + np.sqrt(1 - correlation) * own
    return np.asarray(ERROR * found / np.linalg.norm(found, axis=0))


def _differences(values: FloatArray, influences: FloatArray) -> dict[str, Measured]:
    return {
        f"baseline {i}": Measured(float(value), influence, N, np.ones(N), "images", is_share=False)
        for i, (value, influence) in enumerate(zip(values, influences.T, strict=True))
    }


@pytest.mark.parametrize("correlation", [0.0, 0.8])
def test_over_equally_strong_baselines_it_is_centred_and_covers(correlation: float) -> None:
    """The smallest of four differences by itself is below the truth in nearly all draws."""
    rng, trials, truth = np.random.default_rng(1), 500, 0.1
    influences = _influences(rng, 4, correlation)
    draws = truth + rng.standard_normal((trials, N)) @ influences
    found = [lift_over(_differences(row, influences), level=0.95, rng=rng) for row in draws]
    allowed = 3 * np.sqrt(0.025 * 0.975 / trials)
    assert np.mean([e.value > truth for e in found]) == pytest.approx(0.5, abs=0.07)
    assert np.mean([e.upper < truth for e in found]) <= 0.025 + allowed
    assert np.mean([e.lower > truth for e in found]) <= 0.025 + allowed
    assert np.mean(draws.min(axis=1) > truth) < 0.35


def test_over_one_clearly_strongest_baseline_it_is_the_paired_difference() -> None:
    rng = np.random.default_rng(2)
    influences = _influences(rng, 3, 0.5)
    differences = _differences(np.array([0.3, 0.05, 0.35]), influences)
    found = lift_over(differences, level=0.95, rng=rng)
    alone = estimate(differences["baseline 1"], level=0.95)
    assert (found.value, found.lower, found.upper) == pytest.approx(
        (alone.value, alone.lower, alone.upper)
    )
    only = {"baseline 1": differences["baseline 1"]}
    assert lift_over(only, level=0.95, rng=rng) == alone


def test_its_lower_bound_is_the_lowest_of_all_and_the_value_lies_within() -> None:
    rng = np.random.default_rng(3)
    for _ in range(20):
        influences = _influences(rng, 5, 0.3) * rng.uniform(0.2, 3, 5)
        differences = _differences(rng.uniform(-0.1, 0.1, 5), influences)
        found = lift_over(differences, level=0.95, rng=rng)
        assert found.lower <= found.value <= found.upper
        lowest = min(estimate(each, level=0.95).lower for each in differences.values())
        assert found.lower == min(lowest, found.value)
        assert found.value >= min(each.value for each in differences.values())


def test_differences_of_few_clusters_have_wider_bounds() -> None:
    """Both bounds are those of Student's t, here of nine degrees of freedom."""
    rng = np.random.default_rng(4)
    influences = _influences(rng, 3, 0.5)
    many = _differences(np.full(3, 0.1), influences)
    few = {
        name: Measured(each.value, each.influence, N, weight, "clusters", is_share=False)
        for name, each in many.items()
        for weight in [np.repeat([1.0, 0.0], [10, N - 10])]
    }
    wide, narrow = (
        lift_over(each, level=0.95, rng=np.random.default_rng(5)) for each in (few, many)
    )
    assert wide.clusters == pytest.approx(10)
    assert wide.freedom == pytest.approx(9)
    assert wide.upper - wide.value > 1.1 * (narrow.upper - narrow.value)
    assert wide.value - wide.lower > 1.1 * (narrow.value - narrow.lower)
