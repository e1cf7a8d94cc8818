"""Score intervals against scipy and Tango's statistic; worst-case bounds against completions."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from bias_audit.statistics.estimate import (
    agreeing_pairs,
    wilson_bounds,
    wilson_interval,
    worst_case,
)


@pytest.mark.parametrize(("count", "total"), [(0, 1), (1, 1), (3, 7), (0, 40), (40, 40), (9, 30)])
@pytest.mark.parametrize("level", [0.9, 0.95])
def test_wilson_is_scipys(count: int, total: int, level: float) -> None:
    expected = binomtest(count, total).proportion_ci(level, method="wilson")
    found = wilson_interval(count / total, total, level=level)
    assert found == pytest.approx((expected.low, expected.high))


@given(st.floats(0.01, 0.99), st.floats(1, 1e4), st.floats(0.1, 5))
def test_wilsons_bounds_are_where_the_score_test_just_rejects(
    share: float, n: float, quantile: float
) -> None:
    for bound in wilson_bounds(share, n, quantile):
        score = abs(share - bound) / math.sqrt(bound * (1 - bound) / n)
        assert score == pytest.approx(quantile, rel=1e-6)


def _tango(before: int, after: int, n: int, difference: float) -> float:
    """Tango's score of a difference; `before` and `after` are the pairs where one alone has it."""
    b = -before - after + (2 * n - before + after) * difference
    c = -after * difference * (1 - difference)
    share = (math.sqrt(b**2 - 8 * n * c) - b) / (4 * n)
    variance = n * (2 * share + difference * (1 - difference))
    return (before - after - n * difference) / math.sqrt(variance)


@given(st.integers(1, 10_000), st.floats(0.1, 5))
def test_pairs_that_agree_have_tangos_interval(n: int, quantile: float) -> None:
    half = agreeing_pairs(n, quantile)
    assert 0 < half < 1
    assert _tango(0, 0, n, half) == pytest.approx(-quantile)
    assert agreeing_pairs(math.inf, quantile) == 0


def test_tangos_score_without_a_difference_is_mcnemars() -> None:
    """So that the oracle above is the statistic it is said to be."""
    assert _tango(9, 4, 50, 0.0) == pytest.approx(5 / math.sqrt(13))


SUMMARIES: dict[Literal["mean", "gap"], Callable[..., Any]] = {"mean": np.mean, "gap": np.ptp}
GRID = (0.0, 0.25, 0.5, 0.75, 1.0)


@settings(max_examples=80, deadline=None, derandomize=True)
@given(
    values=st.lists(st.none() | st.sampled_from(GRID), min_size=1, max_size=5),
    summary=st.sampled_from(list(SUMMARIES)),
)
def test_bounds_are_the_extremes_over_all_completions(
    values: list[float | None], summary: Literal["mean", "gap"]
) -> None:
    # every summary takes its extremes where unmeasured values are 0, 1 or a measured value
    choices = [GRID if value is None else (value,) for value in values]
    found = [float(SUMMARIES[summary](filled)) for filled in itertools.product(*choices)]
    assert worst_case(values, summary) == pytest.approx((min(found), max(found)))


@pytest.mark.parametrize("values", [[], [1.5]])
def test_what_has_no_bounds_is_refused(values: list[float | None]) -> None:
    with pytest.raises(ValueError, match="expected"):
        worst_case(values, "mean")
