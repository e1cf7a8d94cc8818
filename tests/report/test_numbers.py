from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bias_audit.analyses import wording
from bias_audit.durations import duration
from bias_audit.shapes import printed as numbers
from bias_audit.statistics.estimate import Estimate

FINITE = st.floats(-1, 2, allow_nan=False)
BOUNDED = FINITE | st.sampled_from((0.0, 1.0, 0.995, 0.9949, 0.004, -0.004, 0.005, 0.975))


def make(value: float, lower: float, upper: float) -> Estimate:
    return Estimate(value, lower, upper, 0.95, 700, "percentile bootstrap")


@pytest.mark.parametrize(
    ("numbers_in", "text"),
    [
        ((0.831, 0.822, 0.849), "0.83 [0.82, 0.85]"),
        ((0.8312, 0.8305, 0.8321), "0.83 [0.83, 0.83]"),
        ((1.0, 0.975, 1.0), "1.00 [0.97, 1.00]"),
        ((0.998, 0.98, 1.0), "0.998 [0.980, 1.000]"),
        ((0.0, -0.004, 0.2), "0.000 [\N{MINUS SIGN}0.004, 0.200]"),
    ],
)
def test_intervals_are_written_so_that_they_can_be_seen(
    numbers_in: tuple[float, float, float], text: str
) -> None:
    assert numbers.interval(make(*numbers_in)) == text


@given(st.integers(1, 5000), st.floats(1, 5000) | st.none())
def test_effective_clusters_stand_beside_n_where_a_finding_says_them(
    n: int, clusters: float | None
) -> None:
    found = replace(make(0.5, 0.4, 0.6), n=n, clusters=clusters)
    cell, heading = numbers.sample(n, found), numbers.sample_heading("n", [(n, found)])
    is_said = "worth" in wording.sample(found)
    assert cell == (f"{n:,} ({clusters:.1f})" if is_said else f"{n:,}")
    assert ("effective clusters" in heading) == is_said
    assert numbers.format_estimate(found).endswith(f", n = {cell}")
    assert numbers.sample(n, None) == f"{n:,}"


def test_a_p_value_at_the_floor_of_its_draws_says_so() -> None:
    least = "p \N{LESS-THAN OR EQUAL TO} 0.008 (the smallest possible here)"
    assert numbers.chance_of(1 / 125, 1 / 125) == least
    assert numbers.chance_of(2 / 125, 1 / 125) == "p = 0.016"
    assert numbers.chance_of(0.0005, 0.0005).endswith("0.0005 (the smallest possible here)")
    assert numbers.chance_of(0.0005) == "p < 0.001"


@given(BOUNDED, BOUNDED, BOUNDED)
def test_points_have_the_digits_of_percentages(value: float, lower: float, upper: float) -> None:
    made = make(value, lower, upper)
    points = numbers.points_interval(made).replace(" points ", " % ")
    assert points == numbers.percent_interval(made)


@given(FINITE, FINITE, FINITE)
def test_no_number_is_a_negative_zero(value: float, lower: float, upper: float) -> None:
    text = numbers.interval(make(value, lower, upper))
    parts = (
        text.replace("\N{MINUS SIGN}", "-")
        .replace("[", "")
        .replace("]", "")
        .replace((","), "")
        .split()
    )
    assert len(parts) == 3
    assert not any(part.startswith("-") and float(part) == 0 for part in parts)
    assert float(parts[0]) == pytest.approx(value, abs=0.0051)


def test_differences_show_their_sign() -> None:
    assert numbers.signed_interval(make(0.33, 0.31, 0.35)) == "+0.33 [0.31, 0.35]"
    assert numbers.signed_interval(make(-0.1, -0.2, 0.1)) == (
        "\N{MINUS SIGN}0.10 [\N{MINUS SIGN}0.20, 0.10]"
    )
    assert numbers.signed_interval(None) == "not measured"


def test_shares_are_percentages() -> None:
    assert numbers.percent_interval(make(0.125, 0.101, 0.152)) == "12.5 % [10.1, 15.2]"


@pytest.mark.parametrize(
    ("seconds", "text"), [(45.2, "45 s"), (725, "12 min 5 s"), (7380.4, "2 h 3 min")]
)
def test_durations_are_read_at_a_glance(seconds: float, text: str) -> None:
    assert duration(seconds) == text
