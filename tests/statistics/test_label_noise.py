"""Wrong labels: the law of mixtures, the errors that explain a difference, and their bounds."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from bias_audit.arrays import FloatArray
from bias_audit.statistics.inference import Measured, estimate, quantile_for
from bias_audit.statistics.label_noise import GroupContrast, Labels, cleared


def _macro_auc(scores: FloatArray, labelled: FloatArray) -> float:
    """Over images that count for each level by the probability of that label, (n, n_levels)."""
    images, n_levels = np.arange(len(scores)), scores.shape[1]
    own, of_level = np.repeat(images, n_levels), np.tile(np.arange(n_levels), len(images))
    return float(
        np.mean(
            [
                roc_auc_score(of_level == k, scores[own, k], sample_weight=labelled.ravel())
                for k in range(n_levels)
            ]
        )
    )


def _drawn(counts: list[int]) -> tuple[FloatArray, FloatArray]:
    """Scores, and which label is right, (n, n_levels)."""
    truth = np.eye(len(counts))[np.repeat(np.arange(len(counts)), counts)]
    return truth + np.random.default_rng(0).standard_normal(truth.shape), truth


@pytest.mark.parametrize("counts", [[60, 60], [90, 20], [80, 30, 10], [40, 40, 40]])
@pytest.mark.parametrize("replaced", [0.1, 0.6])
def test_random_labels_take_their_share_of_the_distance_to_one_half(
    counts: list[int], replaced: float
) -> None:
    scores, truth = _drawn(counts)
    shares = np.array(counts) / sum(counts)
    labelled = (1 - replaced) * truth + replaced * shares
    clean, noisy = _macro_auc(scores, truth), _macro_auc(scores, labelled)
    assert noisy - 0.5 == pytest.approx((1 - replaced) * (clean - 0.5), abs=1e-12)
    error = float((labelled * (1 - truth)).sum() / len(truth))
    labels = Labels.among(np.array(counts), error)
    assert labels.replaced == pytest.approx(replaced)
    assert cleared(_measured(noisy), labels.replaced).value == pytest.approx(clean)


@pytest.mark.parametrize("n_levels", [2, 5])
def test_balanced_levels_confused_alike_follow_the_formula(n_levels: int) -> None:
    """1 - 2 e for two levels, 1 - e K / (K - 1) for K."""
    scores, truth = _drawn([30] * n_levels)
    error = 0.15
    labelled = (1 - error) * truth + error / (n_levels - 1) * (1 - truth)
    kept = (_macro_auc(scores, labelled) - 0.5) / (_macro_auc(scores, truth) - 0.5)
    assert kept == pytest.approx(1 - error * n_levels / (n_levels - 1))
    assert kept == pytest.approx(1 - Labels.among(np.full(n_levels, 30), error).replaced)


def _measured(value: float, seed: int = 0) -> Measured:
    """With a standard error of 0.01."""
    spread = np.random.default_rng(seed).standard_normal(400)
    influence = 0.01 * spread / np.sqrt((spread**2).sum())
    return Measured(value, influence, 400, np.ones(400), "images", is_share=False)


def _pair(high: float, low: float, disagreement: float = 0.0) -> GroupContrast:
    labels = Labels(0.5, disagreement)
    return GroupContrast.pair((_measured(high), _measured(low, 1)), (labels, labels))


@pytest.mark.parametrize("error", [0.04, 0.1, 0.3])
def test_the_planted_error_explains_the_difference(error: float) -> None:
    low = 0.5 + (1 - 2 * error) * 0.4
    contrast = _pair(0.9, low)
    found = contrast.explaining(quantile_for(contrast.observed, 0.95))
    assert found.error == pytest.approx(error, abs=1e-5)
    assert not found.is_own
    assert found.inconclusive is not None and 0 < found.inconclusive < error
    assert contrast.nearest is contrast.observed
    assert contrast.estimate(0.95) == estimate(contrast.observed, level=0.95)
    assert _pair(0.9, low, error).nearest.value == pytest.approx(0, abs=1e-12)
    assert _pair(0.9, low, error).estimate(0.95).lower < 0
    just_enough = _pair(0.9, low, 1.001 * found.inconclusive).estimate(0.95)
    too_few = _pair(0.9, low, 0.99 * found.inconclusive).estimate(0.95)
    assert just_enough.lower < 0.002
    assert 0 < too_few.lower < estimate(contrast.observed, level=0.95).lower


def test_what_no_label_error_explains_and_what_needs_none() -> None:
    assert _pair(0.9, 0.49).explaining(1.96).error is None
    alike = _pair(0.81, 0.8).explaining(1.96)
    assert alike.error is not None and alike.inconclusive is None
    # an additive model expects an AUC of 1.3, which labels of the first group cannot have hidden
    values = tuple(_measured(v, k) for k, v in enumerate((0.6, 0.95, 0.6, 0.95)))
    own = np.arange(4) == 0
    contrast = GroupContrast(
        _measured(-0.7), values, np.array([1.0, -1.0, 1.0, -1.0]), (Labels(),) * 4, own
    )
    found = contrast.explaining(1.96)
    assert found.is_own and found.error is None


def test_no_errors_within_the_disagreement_lead_beyond_the_ends() -> None:
    rng = np.random.default_rng(3)
    for _ in range(50):
        values = tuple(_measured(v, k) for k, v in enumerate(rng.uniform(0.45, 0.8, 4)))
        weights = rng.standard_normal(4)
        weights -= weights.mean()
        labels = tuple(Labels(0.5, d) for d in rng.uniform(0, 0.1, 4))
        observed = _measured(float(weights @ np.array([v.value for v in values])))
        contrast = GroupContrast(observed, values, weights, labels, np.arange(4) == 0)
        lowest, highest = contrast.ends
        most = np.array([label.replaced for label in labels])
        inside = [contrast.without_errors(most * rng.uniform(size=4)).value for _ in range(20)]
        assert lowest.value <= min(inside) <= max(inside) <= highest.value
        interval = contrast.estimate(0.95)
        assert interval.lower < lowest.value and highest.value < interval.upper
