"""Discriminants are scikit-learn's, predict as well as logistic regression, and do not leak."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
import torch
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LogisticRegressionCV
from sklearn.metrics import log_loss, roc_auc_score

from bias_audit.analyses.probing.discriminant import (
    FoldSums,
    Labelling,
    LinearMap,
    Standardised,
    agreement,
    cross_fit,
)
from bias_audit.analyses.probing.probes import ProbeSettings

SHRINKAGES = ProbeSettings().shrinkages
CPU = torch.device("cpu")
Array = npt.NDArray[np.float64]


def drawn(
    n: int, n_units: int, n_classes: int, *, strength: float = 1.0, seed: int = 0
) -> tuple[Array, npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Correlated units of very different sizes, classes and folds."""
    rng = np.random.default_rng(seed)
    codes, folds = np.arange(n) % n_classes, np.arange(n) // n_classes % 5
    mixing = rng.standard_normal((n_units, n_units))
    means = strength * rng.standard_normal((n_classes, n_units))
    units = (rng.standard_normal((n, n_units)) + means[codes]) @ mixing
    return units * np.geomspace(0.01, 100, n_units) + 50, codes, folds


def fitted(units: Array, codes: npt.NDArray[np.int64], folds: npt.NDArray[np.int64]) -> LinearMap:
    standardised = Standardised(units)
    labelling = Labelling(codes, int(codes.max()) + 1)
    (probes,) = cross_fit(FoldSums.of(standardised, folds), [labelling], SHRINKAGES)
    return standardised.linear_map(probes)


def predicted(
    units: Array, codes: npt.NDArray[np.int64], folds: npt.NDArray[np.int64]
) -> npt.NDArray[np.float32]:
    return fitted(units, codes, folds).probabilities(
        units, np.arange(len(codes)), folds, device=CPU
    )


def loss(codes: npt.NDArray[np.int64], probabilities: Array) -> float:
    """Cross-entropy in nats; single precision leaves sums a little off 1."""
    return float(log_loss(codes, probabilities / probabilities.sum(axis=1, keepdims=True)))


@pytest.mark.parametrize("n_units", [12, 200])
@pytest.mark.parametrize("shrinkage", [0.003, 0.3, 1.0])
def test_log_odds_are_those_of_scikit_learn(n_units: int, shrinkage: float) -> None:
    """Up to the one factor that says how sure they are; also with more units than images."""
    units, codes, folds = drawn(150, n_units, 3)
    standardised = Standardised(units)
    sums = FoldSums.of(standardised, folds)
    ((*probes,),) = cross_fit(sums, [Labelling(codes, 3)], [shrinkage])
    scaled = (units - units.mean(axis=0)) / units.std(axis=0)
    for fold, probe in enumerate(probes):
        train, labels = scaled[folds != fold], codes[folds != fold]
        # scikit-learn shrinks towards the mean variance within classes, this towards 1
        variance = np.mean([train[labels == k].var(axis=0) for k in range(3)])
        share = shrinkage / (shrinkage + (1 - shrinkage) * variance)
        model = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=float(share))
        theirs = model.fit(train, labels).decision_function(scaled[folds == fold])
        ours = (sums.rows(sums.places[fold]) @ probe.weights + probe.bias).double().numpy()
        ours, theirs = (x - x.mean(axis=1, keepdims=True) for x in (ours, theirs))
        ours, theirs = (x - x.mean(axis=0) for x in (ours, theirs))
        slope = float((ours * theirs).sum() / (theirs * theirs).sum())
        np.testing.assert_allclose(ours, slope * theirs, atol=2e-4 * np.abs(ours).max())


@pytest.mark.parametrize("n_classes", [2, 7])
def test_predictions_are_as_good_as_those_of_logistic_regression(n_classes: int) -> None:
    units, codes, folds = drawn(700, 60, n_classes, strength=0.25, seed=1)
    ours, theirs = predicted(units, codes, folds).astype(np.float64), np.zeros((700, n_classes))
    scaled = (units - units.mean(axis=0)) / units.std(axis=0)
    for fold in range(5):
        model = LogisticRegressionCV(
            Cs=np.geomspace(1e-4, 1, 5),
            cv=4,
            scoring="neg_log_loss",
            max_iter=2000,
            l1_ratios=(0,),
            use_legacy_attributes=False,
        )
        model.fit(scaled[folds != fold], codes[folds != fold])
        theirs[folds == fold] = model.predict_proba(scaled[folds == fold])

    def auc(p: Array) -> float:
        values = p[:, 1] if n_classes == 2 else p / p.sum(axis=1, keepdims=True)
        return float(roc_auc_score(codes, values, multi_class="ovr"))

    assert auc(ours) > auc(theirs) - 0.01
    assert loss(codes, ours) < loss(codes, theirs) + 0.01


def test_a_fold_chooses_without_the_labels_it_predicts() -> None:
    units, codes, folds = drawn(300, 30, 3, strength=0.3)
    other = np.where(folds == 2, (codes + 1) % 3, codes)
    one, two = (fitted(units, labels, folds) for labels in (codes, other))
    np.testing.assert_array_equal(one.weights[2], two.weights[2])
    assert np.abs(one.weights[0] - two.weights[0]).max() > 0.01 * np.abs(one.weights[0]).max()


@pytest.mark.parametrize("n_units", [5, 400])
def test_nothing_to_learn_gives_base_rates(n_units: int) -> None:
    rng = np.random.default_rng(2)
    codes, folds = rng.permutation(np.arange(500) % 4), np.arange(500) % 5
    for units in (rng.standard_normal((500, n_units)), np.ones((500, n_units))):  # and none varies
        found = predicted(units, codes, folds)
        assert loss(codes, found.astype(np.float64)) < np.log(4) + 0.03
        assert found.max() < 0.5


def test_where_all_is_clear_probabilities_are_sure_and_finite() -> None:
    units, codes, folds = drawn(60, 8, 2, strength=30.0)
    found = predicted(units, codes, folds)
    assert found[np.arange(60), codes].min() > 0.9
    assert np.isfinite(fitted(units, codes, folds).weights).all()


def test_labellings_do_not_depend_on_what_is_fitted_with_them() -> None:
    units, codes, folds = drawn(200, 20, 4, strength=0.5)
    sums = FoldSums.of(Standardised(units), folds)
    labellings = [Labelling(codes, 4), Labelling(codes % 2, 2), Labelling(codes[::-1].copy(), 4)]
    together = cross_fit(sums, labellings, SHRINKAGES)
    for labelling, probes in zip(labellings, together, strict=True):
        (alone,) = cross_fit(sums, [labelling], SHRINKAGES)
        for one, other in zip(probes, alone, strict=True):
            assert one.shrinkage == other.shrinkage
            torch.testing.assert_close(one.weights, other.weights, rtol=1e-3, atol=1e-5)


def test_images_are_read_in_pieces_and_units_that_do_not_vary_are_left_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    units, codes, folds = drawn(120, 6, 2)
    whole = fitted(units, codes, folds)
    constant = np.insert(units, 3, 7.0, axis=1)
    monkeypatch.setattr("bias_audit.analyses.probing.discriminant._BLOCK", 7)
    pieces = fitted(constant, codes, folds)
    np.testing.assert_array_equal(pieces.weights[:, 3], 0)
    np.testing.assert_allclose(
        np.delete(pieces.weights, 3, axis=1), whole.weights, rtol=1e-3, atol=1e-5
    )


def test_probes_of_folds_agree_where_there_is_something_to_learn() -> None:
    found = []
    for strength in (0.0, 1.0):
        units, codes, folds = drawn(900, 20, 3, strength=strength)
        sums, labelling = FoldSums.of(Standardised(units), folds), Labelling(codes, 3)
        (probes,) = cross_fit(sums, [labelling], SHRINKAGES)
        found.append(agreement(sums, labelling, probes))
    assert found[0] < 0.8
    assert found[1] > 0.85


def test_undefined_numbers_are_refused() -> None:
    units, *_ = drawn(60, 5, 2)
    units[3, 2] = np.nan
    with pytest.raises(ValueError, match="finite"):
        Standardised(units)


def test_rare_classes_are_predicted_as_often_as_they_are() -> None:
    """Estimated means of few images are too far out in many units, which is taken off again."""
    rng = np.random.default_rng(3)
    codes = np.r_[np.zeros(500), np.ones(60), np.full(40, 2)].astype(np.int64)
    folds = np.arange(600) % 5
    units = rng.standard_normal((600, 700))
    units += (0.25 * rng.standard_normal((3, 700)))[codes]
    found = predicted(units, codes, folds)
    shares = found.mean(axis=0) / (np.bincount(codes) / 600)
    assert shares.min() > 0.6
    right = found.argmax(axis=1) == codes
    assert min(right[codes == k].mean() for k in range(3)) > 0.8


@pytest.mark.parametrize("offset", [0.0, 1e6])
def test_a_map_gives_what_was_fitted_wherever_the_units_lie(offset: float) -> None:
    rng = np.random.default_rng(4)
    codes, folds = np.arange(200) % 2, np.arange(200) // 2 % 5
    units = rng.standard_normal((200, 5)) + 0.5 * codes[:, None] + offset
    standardised = Standardised(units)
    sums = FoldSums.of(standardised, folds)
    (probes,) = cross_fit(sums, [Labelling(codes, 2)], SHRINKAGES)
    by_map = standardised.linear_map(probes).probabilities(
        units, np.arange(200), folds, device=CPU
    )
    for fold, probe in enumerate(probes):
        there = sums.places[fold]
        np.testing.assert_allclose(
            by_map[there], probe.probabilities(sums.rows(there)).numpy(), atol=1e-4
        )


def test_units_too_small_for_single_precision_are_left_out() -> None:
    units, codes, folds = drawn(60, 5, 2)
    tiny = (np.abs(units[:, :1]) * 1e-43).astype(np.float32)
    found = fitted(np.hstack([units.astype(np.float32), tiny]), codes, folds)
    np.testing.assert_array_equal(found.weights[:, -1], 0)
    assert np.isfinite(found.weights).all()


@pytest.mark.parametrize(("n_units", "shrinkages"), [(20, SHRINKAGES), (500, [0.1]), (20, [1.0])])
def test_directions_are_taken_away_without_reading_the_images_again(
    n_units: int, shrinkages: Sequence[float]
) -> None:
    rng = np.random.default_rng(6)
    units, codes, folds = drawn(180, n_units, 3)
    deviation = units.std(axis=0)
    directions = np.linalg.qr(rng.standard_normal((n_units, 2)))[0]
    left, right = torch.from_numpy(directions * deviation[:, None]), directions.T / deviation
    right = torch.from_numpy(right.T.copy())
    centre = torch.from_numpy(units.mean(axis=0) + 0.1 * deviation)
    standardised, labelling = Standardised(units, beside=left), Labelling(codes, 3)
    sums = FoldSums.of(standardised, folds, reused=True)
    (before,) = cross_fit(sums, [labelling], shrinkages)
    less = sums.less(left, right, centre)
    (found,) = cross_fit(less, [labelling], shrinkages)
    rows = less.rows(np.arange(180))
    there = [rows[places].double() for places in less.places]
    read = replace(
        less,
        taken=None,
        factors=None,
        units=replaced(standardised, rows),
        sums=torch.stack([each.sum(dim=0) for each in there]),
        products=torch.stack([each.T @ each for each in there]),
    )
    (expected,) = cross_fit(read, [labelling], shrinkages)
    for one, other, places in zip(found, expected, less.places, strict=True):
        assert one.shrinkage == other.shrinkage
        torch.testing.assert_close(
            one.probabilities(rows[places]), other.probabilities(rows[places]), rtol=0, atol=2e-3
        )
    assert any(
        not torch.allclose(*pair) for pair in zip(before[0].bias, found[0].bias, strict=True)
    )
    changed = torch.from_numpy(units) - (torch.from_numpy(units) - centre) @ right @ left.T
    changed /= torch.from_numpy(deviation)
    expected_gaps = torch.cdist(changed, changed)
    torch.testing.assert_close(
        torch.cdist(rows.double(), rows.double()), expected_gaps, rtol=1e-3, atol=1e-3
    )


def replaced(standardised: Standardised, rows: torch.Tensor) -> Standardised:
    """As if these rows had been read."""
    made = copy(standardised)
    made.held = rows
    return made
