"""Worst-case bounds hold every completion, and no narrower ones do."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bias_audit.statistics.proportions import Summary, worst_case

SUMMARIES: dict[Summary, Callable[..., Any]] = {
    "mean": np.mean,
    "minimum": np.min,
    "maximum": np.max,
    "gap": np.ptp,
}
GRID = (0.0, 0.25, 0.5, 0.75, 1.0)


@settings(max_examples=80, deadline=None, derandomize=True)
@given(
    values=st.lists(st.none() | st.sampled_from(GRID), min_size=1, max_size=5),
    summary=st.sampled_from(list(SUMMARIES)),
)
def test_bounds_are_the_extremes_over_all_completions(
    values: list[float | None], summary: Summary
) -> None:
    # every summary takes its extremes where unmeasured values are 0, 1 or a measured value
    choices = [GRID if value is None else (value,) for value in values]
    found = [float(SUMMARIES[summary](filled)) for filled in itertools.product(*choices)]
    bounds = worst_case(values, summary)
    assert (bounds.lower, bounds.upper) == pytest.approx((min(found), max(found)))
    assert bounds.n_unmeasured == values.count(None)


def test_bounds_of_a_measured_summary_are_its_value() -> None:
    for summary, value in (("mean", 0.5), ("minimum", 0.2), ("maximum", 0.8), ("gap", 0.6)):
        bounds = worst_case([0.2, 0.5, 0.8], summary)  # type: ignore[arg-type]
        assert bounds.lower == bounds.upper == pytest.approx(value)


def test_weights_and_limits() -> None:
    bounds = worst_case([0.5, None], "mean", weights=[3, 1])
    assert (bounds.lower, bounds.upper) == (0.375, 0.625)
    bounds = worst_case([0.5, None], "gap", limits=(-1, 1))
    assert (bounds.lower, bounds.upper) == (0.0, 1.5)


@pytest.mark.parametrize(
    ("values", "options"),
    [([], {}), ([1.5], {}), ([0.5], {"weights": [0.0]}), ([0.5], {"weights": [1.0, 1.0]})],
)
def test_what_has_no_bounds_is_refused(
    values: list[float | None], options: dict[str, list[float]]
) -> None:
    with pytest.raises(ValueError, match="expected"):
        worst_case(values, "mean", weights=options.get("weights"))
