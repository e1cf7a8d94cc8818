"""Laws of sureness: no unit, zero exactly where nothing is decided, larger the surer."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm

from bias_audit.statistics.estimate import Estimate
from bias_audit.statistics.sureness import (
    LEAST,
    MOST,
    sureness,
    sureness_above,
    sureness_of_p,
    weight_of,
)

VALUES = st.floats(-10, 10)
REACHES = st.floats(0.01, 10)
FACTORS = st.floats(0.01, 100)


def interval(value: float, below: float, above: float) -> Estimate:
    return Estimate(value, value - below, value + above, 0.95, 100, "made up")


@given(VALUES, REACHES, REACHES, VALUES, FACTORS, VALUES)
def test_neither_unit_nor_origin_matters(
    value: float, below: float, above: float, null: float, factor: float, shift: float
) -> None:
    other = interval(factor * value + shift, factor * below, factor * above)
    expected = sureness(interval(value, below, above), null)
    assert sureness(other, factor * null + shift) == pytest.approx(expected, rel=1e-6, abs=1e-6)


@given(VALUES, REACHES, REACHES, VALUES)
def test_direction_does_not_matter(value: float, below: float, above: float, null: float) -> None:
    turned = interval(-value, above, below)
    assert sureness(turned, -null) == sureness(interval(value, below, above), null)


@given(VALUES, REACHES, REACHES, VALUES)
def test_it_is_zero_exactly_where_the_interval_includes_no_effect(
    value: float, below: float, above: float, null: float
) -> None:
    found = interval(value, below, above)
    assert (sureness(found, null) == 0) == (found.lower <= null <= found.upper)


@given(st.floats(0.1, 10), st.floats(0.05, 0.9), st.floats(0.1, 0.9))
def test_a_narrower_interval_is_surer(value: float, share: float, narrower: float) -> None:
    wide, narrow = (
        interval(value, reach, reach) for reach in (share * value, narrower * share * value)
    )
    assert sureness(narrow) > sureness(wide) > 0


def test_only_the_side_of_no_effect_counts() -> None:
    assert sureness(interval(3, 1, 50)) == sureness_above(3, 2) == 2
    assert sureness_above(-3, -4) == 0


def test_no_width_is_finite() -> None:
    assert sureness(interval(1, 0, 0)) == sureness(interval(-1e-9, 0, 0)) == MOST
    assert sureness(interval(0, 0, 0)) == 0


@given(st.floats(1e-12, 1), st.floats(0.001, 0.2))
def test_a_test_is_as_sure_as_the_normal_interval_of_its_p_value(
    p_value: float, alpha: float
) -> None:
    reach = float(norm.isf(alpha / 2))
    normal = interval(float(norm.isf(p_value / 2)), reach, reach)
    assert sureness_of_p(p_value, alpha) == pytest.approx(sureness(normal), abs=1e-9)


def test_no_p_value_is_beyond_the_scale() -> None:
    assert sureness_of_p(0.0, 0.05) == MOST


@given(st.floats(0, MOST))
def test_what_is_decided_has_a_weight_and_nothing_else_has(found: float) -> None:
    assert weight_of(found, is_decided=True) >= max(LEAST, found) > 0
    assert weight_of(found, is_decided=False) == 0
