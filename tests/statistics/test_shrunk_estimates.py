"""Shrinkage of the estimates that tables hold: shares, AUCs and plain numbers."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from scipy.special import expit, logit

from bias_audit.statistics.estimate import Estimate
from bias_audit.statistics.proportions import wilson_interval
from bias_audit.statistics.shrinkage import shrink, shrink_counts, shrink_estimates

CELLS = np.array(list(itertools.product(range(9), range(7), range(2))))


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
    assert said is not None and "Nothing was shrunk" in said


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
