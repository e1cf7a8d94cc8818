"""The AUC is scikit-learn's; its weighted form is that of a repeated data set."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from bias_audit.statistics import auc
from bias_audit.statistics.auc import macro_auc, weighted_macro_auc
from bias_audit.statistics.auc_interval import auc_score_interval


def _by_sklearn(scores: np.ndarray, codes: np.ndarray) -> float:
    classes = [c for c in range(scores.shape[1]) if 0 < (codes == c).sum() < len(codes)]
    return float(np.mean([roc_auc_score(codes == c, scores[:, c]) for c in classes]))


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 2**31),
    n=st.integers(4, 60),
    n_classes=st.integers(2, 6),
    n_values=st.sampled_from([1, 2, 3, 1000]),
)
def test_equals_sklearn_with_ties_and_missing_classes(
    seed: int, n: int, n_classes: int, n_values: int
) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.integers(n_values, size=(n, n_classes)).astype(np.float32)
    codes = rng.integers(n_classes, size=n)
    if len(np.unique(codes)) < 2:
        assert macro_auc(scores, codes) is None
        return
    assert macro_auc(scores, codes) == pytest.approx(_by_sklearn(scores, codes), abs=1e-12)


@pytest.mark.parametrize("dtype", [np.uint16, np.float64])
def test_weighted_equals_the_repeated_data(
    dtype: type[np.generic], monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(3)
    scores = rng.integers(8, size=(50, 4)).astype(np.float32)
    codes = rng.integers(4, size=50)
    weights = rng.poisson(1.0, size=(23, 50)).astype(dtype)
    weights[0, codes == 2] = 0  # a class that a draw misses
    expected = []
    for draw in weights:
        images = np.repeat(np.arange(50), draw.astype(int))
        expected.append(_by_sklearn(scores[images], codes[images]))
    whole = weighted_macro_auc(scores, codes, weights)
    np.testing.assert_allclose(whole, expected, atol=1e-12)
    monkeypatch.setattr(auc, "_BLOCK_BYTES", 8 * 50 * 5)
    np.testing.assert_array_equal(weighted_macro_auc(scores, codes, weights), whole)


def test_a_draw_of_one_class_has_no_value() -> None:
    scores, codes = np.eye(3)[:, :2], np.array([0, 0, 1])
    values = weighted_macro_auc(scores, codes, np.array([[1, 1, 0], [1, 1, 1]]))
    assert np.isnan(values[0])
    assert np.isfinite(values[1])


def test_score_interval_at_one_depends_on_the_sample() -> None:
    small, large = (auc_score_interval(1.0, n, n, level=0.95) for n in (5, 500))
    assert small[1] == large[1] == 1
    assert small[0] < 0.8
    assert 0.99 < large[0] < 1
    assert auc_score_interval(0.0, 5, 5, level=0.95)[1] == pytest.approx(1 - small[0])


def test_score_interval_solves_its_own_equation() -> None:
    value, m, n = 0.8, 30, 60
    for theta in auc_score_interval(value, m, n, level=0.95):
        q = theta * (1 - theta)
        common = (m + n) / 2 - 1
        variance = q * (1 + common * ((1 - theta) / (2 - theta) + theta / (1 + theta))) / (m * n)
        assert abs(theta - value) / np.sqrt(variance) == pytest.approx(1.959964, abs=1e-4)
