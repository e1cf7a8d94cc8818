"""A mean over random draws has the error of a further draw in its place."""

from __future__ import annotations

import numpy as np
import pytest

from bias_audit.statistics.draws import compared_with_a_further_draw, mean_of
from bias_audit.statistics.inference import FloatArray, Measured, bounds, quantile_for

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
def test_alike_layers_have_the_freedom_of_one_and_independent_ones_of_all(n: int) -> None:
    rng = np.random.default_rng(1)
    values = rng.standard_normal((3, n))
    orthogonal = np.linalg.qr(rng.standard_normal((N, 3)))[0].T
    for influences, layers in ((orthogonal, 3), (orthogonal[[0, 0, 0]], 1)):
        found = compared_with_a_further_draw(
            [_draws(row, each) for row, each in zip(values, influences, strict=True)]
        )
        for measure, row in zip(found, values, strict=True):
            assert measure.value == pytest.approx(row.mean())
            assert measure.seed_freedom == pytest.approx((n - 1) * layers)
            of_draws = float((measure.influence[N:] ** 2).sum())
            assert of_draws == pytest.approx(values.var(axis=1, ddof=1).mean() * (1 + 1 / n))


@pytest.mark.parametrize(("n", "layers"), [(3, 1), (2, 6)])
def test_its_interval_covers_a_further_draw(n: int, layers: int) -> None:
    """Draws vary far more than images do, independently at every layer."""
    rng, trials = np.random.default_rng(2), 600
    influences = 1e-3 * np.linalg.qr(rng.standard_normal((N, layers)))[0].T
    covered = 0
    for _ in range(trials):
        values = rng.standard_normal((layers, n + 1))
        found = compared_with_a_further_draw(
            [_draws(row, each) for row, each in zip(values[:, :n], influences, strict=True)]
        )
        lower, upper = bounds(found[0], quantile_for(found[0], 0.95))
        covered += lower <= values[0, n] <= upper
    assert covered / trials == pytest.approx(0.95, abs=3 * np.sqrt(0.05 * 0.95 / trials))


def test_draws_that_are_alike_add_nothing() -> None:
    (found,) = compared_with_a_further_draw([_draws(np.full(4, 0.3), np.full(N, 0.01))])
    assert not found.influence[N:].any()
    assert found.freedom == pytest.approx(N - 1)
