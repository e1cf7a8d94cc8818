"""A mean over random draws has the error of a further draw in its place."""

from __future__ import annotations

import numpy as np
import pytest

from bias_audit.arrays import FloatArray
from bias_audit.statistics.bootstrap import compared_with_a_further_draw, mean_of
from bias_audit.statistics.inference import Measured, bounds, quantile_for

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
