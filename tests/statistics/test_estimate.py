from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit, logit
from scipy.stats import binomtest, norm
from scipy.stats import t as student

from bias_audit.statistics.estimate import (
    Estimate,
    Scale,
    agreeing_pairs,
    allowing_for_choice,
    at_level,
    interval_at,
    p_of_no_difference,
    quantile,
    standard_error,
    wilson_bounds,
    wilson_interval,
)

SHARES = st.floats(0.01, 0.99)
LEVELS = st.floats(0.5, 0.999)


def normal(value: float, se: float, level: float = 0.95) -> Estimate:
    half = float(norm.ppf((1 + level) / 2)) * se
    return Estimate(value, value - half, value + half, level, 100, "normal")


def logistic(value: float, se: float, level: float = 0.95) -> Estimate:
    half = float(norm.ppf((1 + level) / 2)) * se
    low, high = (float(expit(logit(value) + sign * half)) for sign in (-1, 1))
    return Estimate(value, low, high, level, 100, "logit normal", scale="logit")


def wilson(count: int, n: int, level: float = 0.95) -> Estimate:
    found = binomtest(count, n).proportion_ci(level, "wilson")
    return Estimate(count / n, found.low, found.high, level, n, "Wilson", scale="wilson")


@given(st.floats(-10, 10), st.floats(0.01, 5), LEVELS, LEVELS)
def test_a_normal_interval_is_that_of_the_other_level(
    value: float, se: float, own: float, other: float
) -> None:
    expected = normal(value, se, other)
    assert interval_at(normal(value, se, own), other) == pytest.approx(
        (expected.lower, expected.upper), rel=1e-9, abs=1e-9
    )
    assert standard_error(normal(value, se, own)) == pytest.approx(se)


@given(SHARES, st.floats(0.01, 2), LEVELS, LEVELS)
def test_a_logit_interval_is_that_of_the_other_level(
    value: float, se: float, own: float, other: float
) -> None:
    expected = logistic(value, se, other)
    found = interval_at(logistic(value, se, own), other)
    assert found == pytest.approx((expected.lower, expected.upper), abs=1e-9)


@given(st.integers(0, 40), LEVELS, LEVELS)
def test_wilsons_interval_is_exact_at_every_level(count: int, own: float, other: float) -> None:
    expected = wilson(count, 40, other)
    found = interval_at(wilson(count, 40, own), other)
    assert found == pytest.approx((expected.lower, expected.upper), abs=1e-9)


@pytest.mark.parametrize("scale", ["identity", "logit", "wilson"])
@given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1), LEVELS, LEVELS)
def test_intervals_are_nested_and_their_own_at_their_own_level(
    scale: str, a: float, b: float, c: float, level: float, other: float
) -> None:
    low, value, high = sorted((a, b, c))
    if scale == "wilson":
        low, high = wilson_interval(value, 30, level=0.95)
    made = Estimate(value, low, high, 0.95, 30, "any", scale=scale)  # type: ignore[arg-type]
    assert interval_at(made, 0.95) == (low, high)
    narrow, wide = (interval_at(made, each) for each in sorted((level, other)))
    assert wide[0] <= narrow[0] + 1e-12
    assert narrow[1] <= wide[1] + 1e-12
    if scale != "identity":
        assert 0 <= wide[0] <= wide[1] <= 1


def test_a_lopsided_interval_stays_lopsided() -> None:
    made = Estimate(1.0, 0.5, 3.0, 0.95, 30, "percentile bootstrap")
    low, high = interval_at(made, 0.99)
    ratio = norm.ppf(0.995) / norm.ppf(0.975)
    assert (1.0 - low, high - 1.0) == pytest.approx((0.5 * ratio, 2.0 * ratio))


def test_a_share_without_a_logit_keeps_a_one_sided_interval_of_shares() -> None:
    made = Estimate(1.0, 0.8, 1.0, 0.95, 12, "score", scale="logit")
    low, high = interval_at(made, 0.999)
    assert high == 1.0
    assert low == pytest.approx(1 - 0.2 * norm.ppf(0.9995) / norm.ppf(0.975))
    assert interval_at(Estimate(1.0, 0.3, 1.0, 0.95, 2, "", scale="logit"), 0.999999)[0] == 0.0


def test_a_changed_level_is_told() -> None:
    made = normal(0.0, 1.0)
    assert at_level(made, 0.95) is made
    changed = at_level(made, 0.99)
    assert changed.level == 0.99
    assert changed.method == "normal, from 95 % to 99 %"
    assert standard_error(changed) == pytest.approx(1.0)


def of_clusters(scale: Scale, freedom: float, level: float = 0.95) -> Estimate:
    """A share, a difference of shares or a plain number that rests on few clusters."""
    reach = float(student.ppf((1 + level) / 2, freedom))
    if scale == "wilson":
        low, high = wilson_bounds(0.3, 25, reach)
    else:
        half = max(reach * 0.05, agreeing_pairs(25, reach) if scale == "paired" else 0.0)
        low, high = 0.3 - half, 0.3 + half
        if scale == "paired":
            low, high = max(-1.0, low), min(1.0, high)
    return Estimate(0.3, low, high, level, 12, "t", scale=scale, effective=25.0, freedom=freedom)


@pytest.mark.parametrize("scale", ["identity", "wilson", "paired"])
@given(st.floats(3, 200), st.floats(0.8, 0.999))
def test_intervals_of_few_clusters_keep_their_students_t(
    scale: Scale, freedom: float, level: float
) -> None:
    made, expected = of_clusters(scale, freedom), of_clusters(scale, freedom, level)
    found = interval_at(made, level)
    if scale == "paired" and abs(made.upper - 0.3 - 0.05 * quantile(0.95, freedom)) > 1e-6:
        # Where pairs that agree set the bounds, the spread is not known: never narrower.
        assert found[0] <= expected.lower + 1e-9 < expected.upper - 1e-9 <= found[1]
    else:
        assert found == pytest.approx((expected.lower, expected.upper), rel=1e-6)


@pytest.mark.parametrize("scale", ["identity", "wilson", "paired"])
@given(st.floats(1, 200), st.floats(0.05, 1), st.floats(0.8, 0.999))
def test_a_choice_takes_its_share_of_the_error_rate_at_every_level(
    scale: Scale, freedom: float, choice: float, level: float
) -> None:
    alone = of_clusters(scale, freedom)
    chosen = allowing_for_choice(alone, choice)
    assert (chosen.level, chosen.choice) == (0.95, choice)
    stricter = interval_at(alone, 1 - 0.05 * choice)
    assert (chosen.lower, chosen.upper) == pytest.approx(stricter)
    if scale != "paired":
        assert interval_at(chosen, level) == pytest.approx(
            interval_at(alone, 1 - (1 - level) * choice), rel=1e-6
        )
    assert standard_error(allowing_for_choice(normal(0.3, 0.05), choice)) == pytest.approx(0.05)


@given(st.floats(-1, 1), st.floats(0.01, 1), st.floats(2, 100), st.floats(0.1, 1), LEVELS)
def test_the_p_value_of_no_difference_is_that_of_the_interval(
    value: float, se: float, freedom: float, choice: float, level: float
) -> None:
    half = float(student.ppf(0.975, freedom)) * se
    alone = Estimate(value, value - half, value + half, 0.95, 9, "t", freedom=freedom)
    chosen = allowing_for_choice(alone, choice)
    p_value = p_of_no_difference(chosen)
    if value and p_value < 1:
        expected = 2 * student.sf(abs(value) / se, freedom) / choice
        assert p_value == pytest.approx(expected, rel=1e-6)
    if abs(p_value - (1 - level)) > 1e-6:
        lower, upper = interval_at(chosen, level)
        assert (p_value < 1 - level) == (not lower <= 0 <= upper)


def test_no_difference_and_an_interval_without_extent_have_p_values() -> None:
    assert p_of_no_difference(normal(0.0, 0.1)) == 1
    assert 0 < p_of_no_difference(Estimate(0.2, 0.2, 0.2, 0.95, 9, "point")) < 1e-300


@pytest.mark.parametrize("level", [0.0, 1.0, -1.0, math.nan])
def test_a_level_that_is_no_coverage_is_refused(level: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        interval_at(normal(0.0, 1.0), level)
