"""Shrinkage: its limits, and what it is worth on simulated groups and for what tables hold."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit, logit

from bias_audit.statistics.estimate import Estimate, wilson_interval
from bias_audit.statistics.shrinkage import shrink, shrink_counts, shrink_estimates

CELLS = np.array(list(itertools.product(range(9), range(7), range(2))))
NAMES = ("age", "race", "gender")


def additive(rng: np.random.Generator, codes: npt.NDArray[Any] = CELLS) -> npt.NDArray[Any]:
    sizes = codes.max(axis=0) + 1
    effects = [rng.normal(0, 0.5, size) for size in sizes]
    return np.asarray(np.sum([own[codes[:, i]] for i, own in enumerate(effects)], axis=0))


def test_noisy_groups_without_interaction_take_the_regression() -> None:
    rng = np.random.default_rng(0)
    truth = additive(rng)
    errors = np.full(len(CELLS), 0.1)
    # residuals that are smaller than their errors leave nothing between groups
    fit = shrink(truth + 0.02 * rng.standard_normal(len(CELLS)), errors, CELLS, level=0.95)
    assert fit.tau == 0
    assert not fit.weights.any()
    matrix = np.column_stack(
        [
            np.ones(len(CELLS)),
            *(CELLS[:, i] == k for i, n in enumerate((9, 7, 2)) for k in range(1, n)),
        ]
    )
    # equal errors: generalised least squares are ordinary ones
    y = np.random.default_rng(1).standard_normal(len(CELLS))
    flat = shrink(y, np.full(len(CELLS), 50.0), CELLS, level=0.95)
    expected = matrix @ np.linalg.lstsq(matrix, y, rcond=None)[0]
    np.testing.assert_allclose(flat.values, expected, atol=1e-9)


def test_exact_groups_keep_their_values_and_their_intervals() -> None:
    y = np.random.default_rng(2).standard_normal(len(CELLS))
    errors = np.full(len(CELLS), 1e-5)
    fit = shrink(y, errors, CELLS, level=0.95)
    np.testing.assert_allclose(fit.values, y, atol=1e-8)
    np.testing.assert_allclose(fit.weights, 1, atol=1e-8)
    np.testing.assert_allclose(fit.upper - fit.lower, 2 * 1.959964e-5, rtol=1e-4)


@pytest.mark.parametrize("tau", [0.1, 0.3, 0.6])
def test_simulated_groups_are_nearer_the_truth_and_covered(tau: float) -> None:
    raw, shrunk, covered = [], [], []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        truth = additive(rng) + tau * rng.standard_normal(len(CELLS))
        errors = rng.uniform(0.2, 0.9, len(CELLS))
        y = truth + errors * rng.standard_normal(len(CELLS))
        fit = shrink(y, errors, CELLS, level=0.95)
        raw.append(np.mean((y - truth) ** 2))
        shrunk.append(np.mean((fit.values - truth) ** 2))
        covered.append(np.mean((fit.lower <= truth) & (truth <= fit.upper)))
    assert np.mean(shrunk) < 0.6 * np.mean(raw)
    assert 0.93 <= np.mean(covered) <= 0.97


def test_tau_is_found() -> None:
    found = []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        truth = additive(rng) + 0.5 * rng.standard_normal(len(CELLS))
        errors = rng.uniform(0.2, 0.6, len(CELLS))
        y = truth + errors * rng.standard_normal(len(CELLS))
        found.append(shrink(y, errors, CELLS, level=0.95).tau ** 2)
    assert np.mean(found) == pytest.approx(0.25, abs=0.03)


def test_a_strong_interaction_in_a_large_cell_survives_and_in_a_tiny_one_does_not() -> None:
    rng = np.random.default_rng(3)
    truth = additive(rng) + 0.1 * rng.standard_normal(len(CELLS))
    truth[[40, 90]] += 3.0
    errors = np.full(len(CELLS), 0.5)
    errors[40], errors[90] = 0.1, 3.0
    y = truth + errors * rng.standard_normal(len(CELLS))
    y[90] = truth[90]
    fit = shrink(y, errors, CELLS, level=0.95)
    assert abs(fit.values[40] - truth[40]) < 0.5
    assert fit.lower[40] > truth[40] - 1
    assert fit.weights[40] > 0.75
    assert fit.weights[90] < 0.1


@pytest.mark.parametrize(
    ("codes", "told"),
    [
        (np.arange(9)[:, None], "an intercept alone (too few groups for effects of age)"),
        (CELLS[:14], "main effects of race and gender, 8 coefficients"),
        (
            CELLS[[0, 1, 2, 3, 4, 6, 8]],
            "main effects of gender (too few groups for effects of race)",
        ),
        (CELLS[:14:2], "an intercept alone (too few groups for effects of race)"),
        (CELLS, "main effects of age, race and gender, 16 coefficients"),
    ],
)
def test_a_model_with_too_many_effects_is_reduced_and_says_so(
    codes: npt.NDArray[Any], told: str
) -> None:
    names = NAMES[: codes.shape[1]]
    y = np.random.default_rng(0).standard_normal(len(codes))
    fit = shrink(y, np.ones(len(codes)), codes, level=0.95, names=names)
    assert told in fit.said


@pytest.mark.parametrize("n", [1, 2, 3])
def test_up_to_three_groups_are_left_as_they_are(n: int) -> None:
    y = np.arange(n, dtype=float)
    fit = shrink(y, np.ones(n), CELLS[:n], level=0.95)
    assert fit.values.tolist() == y.tolist()
    assert fit.upper - y == pytest.approx(1.959964)
    assert "No value was stabilised" in fit.said


def test_ten_thousand_cells_and_missing_ones() -> None:
    codes = np.array(list(itertools.product(range(10), repeat=4)))
    rng = np.random.default_rng(0)
    kept = rng.random(len(codes)) < 0.9
    codes = codes[kept]
    truth = additive(rng, codes)
    fit = shrink(truth + rng.standard_normal(len(codes)), np.ones(len(codes)), codes, level=0.95)
    assert fit.tau < 0.2
    assert np.mean((fit.values - truth) ** 2) < 0.05


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 10_000),
    n=st.integers(1, 40),
    spread=st.floats(0.01, 100),
    shift=st.floats(-50, 50),
)
def test_weights_are_shares_and_values_follow_a_change_of_units(
    seed: int, n: int, spread: float, shift: float
) -> None:
    rng = np.random.default_rng(seed)
    codes = CELLS[rng.choice(len(CELLS), n, replace=False)]
    y, errors = rng.standard_normal(n), rng.uniform(0.1, 3, n)
    one = shrink(y, errors, codes, level=0.9)
    other = shrink(shift + spread * y, spread * errors, codes, level=0.9)
    assert ((one.weights >= 0) & (one.weights <= 1)).all()
    assert ((one.lower < one.values) & (one.values < one.upper)).all()
    np.testing.assert_allclose(other.values, shift + spread * one.values, rtol=1e-5, atol=1e-4)
    np.testing.assert_allclose(other.weights, one.weights, atol=1e-5)


@pytest.mark.parametrize(
    ("values", "errors"),
    [([0.0, np.nan], [1, 1]), ([0.0, 1.0], [1, 0]), ([0.0, 1.0], [1, np.inf]), ([0.0], [1, 1])],
)
def test_what_cannot_be_used_is_refused(values: list[float], errors: list[float]) -> None:
    with pytest.raises(ValueError, match="expected"):
        shrink(np.array(values), np.array(errors), CELLS[:2], level=0.95)


def share(hits: float, n: int) -> Estimate:
    lower, upper = wilson_interval(hits / n, n, level=0.95)
    return Estimate(hits / n, lower, upper, 0.95, n, "Wilson", scale="wilson")


@pytest.mark.parametrize("base", [0.0, -1.5])
@pytest.mark.parametrize(("fewest", "most"), [(5, 15), (10, 50)])
def test_simulated_recalls_are_nearer_the_truth_and_covered(
    base: float, fewest: int, most: int
) -> None:
    raw, shrunk, covered = [], [], []
    for seed in range(30):
        rng = np.random.default_rng(seed)
        effects = [rng.normal(0, 0.5, size) for size in (9, 7, 2)]
        logits = base + np.sum([own[CELLS[:, i]] for i, own in enumerate(effects)], axis=0)
        truth = expit(logits + 0.25 * rng.standard_normal(len(CELLS)))
        n = rng.integers(fewest, most, len(CELLS))
        hits = rng.binomial(n, truth)
        estimates = [share(float(h), int(m)) for h, m in zip(hits, n, strict=True)]
        result, _ = shrink_estimates(estimates, CELLS)
        found = np.array([(e.value, e.lower, e.upper) for e in result if e is not None])
        raw.append(np.mean((hits / n - truth) ** 2))
        shrunk.append(np.mean((found[:, 0] - truth) ** 2))
        covered.append(np.mean((found[:, 1] <= truth) & (truth <= found[:, 2])))
    assert np.mean(shrunk) < 0.5 * np.mean(raw)
    # counts of few images are far from normal: not quite as near to nominal as normal values are
    assert 0.92 <= np.mean(covered) <= 0.98


def test_many_images_leave_the_raw_share() -> None:
    rng = np.random.default_rng(0)
    truth = rng.uniform(0.1, 0.9, len(CELLS))
    estimates = [share(round(t * 1_000_000), 1_000_000) for t in truth]
    result, _ = shrink_estimates(estimates, CELLS)
    for before, after in zip(estimates, result, strict=True):
        assert after is not None
        assert after.value == pytest.approx(before.value, abs=1e-4)
        assert (after.lower, after.upper) == pytest.approx((before.lower, before.upper), abs=1e-3)


@pytest.mark.parametrize("hit", [0.0, 1.0])
def test_a_level_without_a_hit_or_a_miss_stays_finite(hit: float) -> None:
    n = np.full(len(CELLS), 10.0)
    hits = np.round(n * 0.5)
    hits[CELLS[:, 0] == 2] = 10 * hit
    fit = shrink_counts(hits, n, CELLS, level=0.95)
    extreme = expit(fit.values[CELLS[:, 0] == 2])
    assert np.abs(extreme - hit).max() < 0.06
    assert np.isfinite(fit.upper - fit.lower).all()
    everywhere = shrink_counts(n * hit, n, CELLS, level=0.95)
    assert np.abs(expit(everywhere.values) - hit).max() < 0.06


def test_missing_estimates_stay_missing_and_do_not_count() -> None:
    rng = np.random.default_rng(1)
    estimates: list[Estimate | None] = [share(float(k), 20) for k in rng.integers(0, 21, 30)]
    whole, said = shrink_estimates(estimates, CELLS[:30], names=("age", "race", "gender"))
    assert said is not None and "30 groups" in said and "logit scale" in said
    gaps, _ = shrink_estimates(
        [*estimates[:15], None, None, *estimates[15:]],
        np.concatenate([CELLS[:15], CELLS[100:102], CELLS[15:30]]),
    )
    assert gaps[15:17] == (None, None)
    assert (*gaps[:15], *gaps[17:]) == whole
    assert shrink_estimates([None, None], CELLS[:2]) == ((None, None), None)


def test_too_few_groups_have_no_shrunk_value_and_a_reason() -> None:
    result, said = shrink_estimates([share(3, 10), share(4, 10)], CELLS[:2])
    assert result == (None, None)
    assert said is not None and "No value was stabilised" in said


def test_scales_take_their_errors_from_their_intervals() -> None:
    rng = np.random.default_rng(2)
    y, errors = rng.standard_normal(40), rng.uniform(0.1, 1, 40)
    z = 1.959963984540054
    plain = [
        Estimate(v, v - z * e, v + z * e, 0.95, 50, "m") for v, e in zip(y, errors, strict=True)
    ]
    expected = shrink(y, errors, CELLS[:40], level=0.95)
    result, said = shrink_estimates(plain, CELLS[:40])
    found = [e.value for e in result if e is not None]
    np.testing.assert_allclose(found, expected.values, rtol=1e-9)
    assert said is not None and "logit" not in said
    on_logit = [
        Estimate(
            float(expit(e.value)), float(expit(e.lower)), float(expit(e.upper)), 0.95, 10**6, "m",
            scale="logit",
        )
        for e in plain
    ]  # fmt: skip
    result, said = shrink_estimates(on_logit, CELLS[:40])
    found = [float(logit(e.value)) for e in result if e is not None]
    np.testing.assert_allclose(found, expected.values, rtol=1e-6)
    assert said is not None and "logit" in said


def test_an_auc_of_one_has_a_finite_error_and_mixed_scales_are_refused() -> None:
    perfect = Estimate(1.0, 0.9, 1.0, 0.95, 30, "score", scale="logit")
    others = [replace(perfect, value=v, lower=v - 0.1, upper=v + 0.05) for v in (0.6, 0.7, 0.8)]
    result, _ = shrink_estimates([perfect, *others], CELLS[:4])
    assert result[0] is not None
    assert 0.6 < result[0].lower < result[0].value < result[0].upper <= 1
    with pytest.raises(ValueError, match="one scale"):
        shrink_estimates([perfect, replace(perfect, scale="wilson")], CELLS[:2])


def test_an_interval_without_width_has_no_error_to_shrink_by() -> None:
    estimates = [Estimate(v, v - 0.1, v + 0.1, 0.95, 9, "m") for v in (0.1, 0.4, 0.3, 0.2)]
    point = Estimate(0.5, 0.5, 0.5, 0.95, 1, "m")
    result, _ = shrink_estimates([*estimates, point], CELLS[:5])
    assert result[-1] is None
    assert None not in result[:-1]


@pytest.mark.parametrize("n", [2, 10, 1000])
@pytest.mark.parametrize(
    ("value", "lower", "upper"),
    [
        (0.9999, 0.9990, 0.99999),  # nearer to 1 than half an image of ten
        (1.0, 0.999, 1.0),
        (0.0, 0.0, 0.001),
        (0.5, 0.0, 1.0),
    ],
)
def test_intervals_at_the_ends_have_errors_however_few_the_images(
    value: float, lower: float, upper: float, n: int
) -> None:
    ends = Estimate(value, lower, upper, 0.95, n, "clustered influence", scale="logit")
    middle = replace(ends, value=0.6, lower=0.5, upper=0.7)
    found, _ = shrink_estimates([ends, *[middle] * 11], CELLS[:12])
    told = found[0]
    assert told is not None
    assert 0 < told.lower < told.value < told.upper < 1
