"""Measures of confidence against closed forms, and temperatures that are planted."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import softmax

from bias_audit.statistics.calibration import (
    CONFIDENCE,
    cross_fitted_temperatures,
    fitted_temperature,
    losses,
)

PROBABILITIES = np.array([[0.5, 0.3, 0.2], [1 / 3, 1 / 3, 1 / 3], [0.98, 0.01, 0.01]])
LOGITS = np.log(PROBABILITIES) + np.array([[0.0], [2.0], [-1.0]])
ENTROPIES = -(PROBABILITIES * np.log(PROBABILITIES)).sum(axis=1)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("softmax", [0.5, 1 / 3, 0.98]),
        ("calibrated", [0.5, 1 / 3, 0.98]),
        ("margin", [0.2, 0.0, 0.97]),
        ("entropy", 1 - ENTROPIES / np.log(3)),
        ("energy", [0.0, 2.0, -1.0]),
    ],
)
def test_measures_have_their_closed_forms(name: str, expected: list[float]) -> None:
    np.testing.assert_allclose(CONFIDENCE[name](LOGITS), expected, atol=1e-12)


@pytest.mark.parametrize("name", CONFIDENCE)
def test_more_confident_is_larger_and_large_scores_are_no_trouble(name: str) -> None:
    unsure, sure = CONFIDENCE[name](np.array([[1.0, 1.0, 1.0], [2000.0, 0.0, -2000.0]]))
    assert sure > unsure
    assert np.isfinite([unsure, sure]).all()


def _drawn(n: int, temperature: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Scores that are so many times too large, and right classes drawn from the true ones."""
    rng = np.random.default_rng(seed)
    true = 1.5 * rng.standard_normal((n, 4))
    cumulated = softmax(true, axis=1).cumsum(axis=1)
    codes = (rng.random((n, 1)) > cumulated).sum(axis=1)
    return true * temperature, codes


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_a_planted_temperature_is_found(temperature: float) -> None:
    logits, codes = _drawn(20_000, temperature)
    found = fitted_temperature(logits, codes)
    assert found == pytest.approx(temperature, rel=0.04)
    for other in (0.9 * found, 1.1 * found):
        assert losses(logits / found, codes).mean() < losses(logits / other, codes).mean()


def test_scores_that_say_the_opposite_count_for_nothing() -> None:
    logits = np.tile([3.0, 0.0], (50, 1))
    assert fitted_temperature(logits, np.ones(50, dtype=np.int64)) > 99


def test_an_image_never_decides_its_own_temperature() -> None:
    logits, codes = _drawn(200, 3.0)
    folds = np.arange(200) % 5
    found = cross_fitted_temperatures(logits, codes, folds)
    changed = np.where(folds == 2, (codes + 1) % 4, codes)
    others = cross_fitted_temperatures(logits, changed, folds)
    assert (found[folds == 2] == others[folds == 2]).all()
    assert (found[folds != 2] != others[folds != 2]).all()
    assert found[folds == 2][0] == fitted_temperature(logits[folds != 2], codes[folds != 2])
