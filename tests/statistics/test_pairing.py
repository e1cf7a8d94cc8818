"""Units of two audits are joined through what they share; differences have the right error."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bias_audit.arrays import FloatArray
from bias_audit.statistics.comparison import UnitsOf, join
from bias_audit.statistics.inference import Measured, independent_difference
from bias_audit.statistics.inference import estimate as interval_of


def _units(
    images: list[int], clusters: list[int] | None = None, seeds: tuple[str, ...] = ()
) -> UnitsOf:
    own = list(range(len(images))) if clusters is None else clusters
    return UnitsOf({str(i): c for i, c in zip(images, own, strict=True)}, seeds, max(own) + 1)


def _mean(values: FloatArray) -> Measured:
    n = len(values)
    influence = (values - values.mean()) / n * np.sqrt(n / (n - 1))
    weight = np.full(n, 1 / n)
    return Measured(float(values.mean()), influence, n, weight, "images", is_share=False)


def _se(before: Measured, after: Measured, one: UnitsOf, other: UnitsOf) -> float:
    first, second = join(one, other).together(before, after)
    return (second - first).standard_error


def test_the_same_images_are_paired_whatever_their_order() -> None:
    rng = np.random.default_rng(0)
    values = rng.standard_normal(50)
    order = rng.permutation(50)
    before, after = _mean(values), _mean((values + 0.5)[order])
    one, other = _units(list(range(50))), _units(order.tolist())
    assert join(one, other).n_shared == 50
    assert _se(before, after, one, other) == pytest.approx(0, abs=1e-12)


def test_audits_without_a_shared_image_are_independent() -> None:
    rng = np.random.default_rng(1)
    before, after = (_mean(rng.standard_normal(40)) for _ in range(2))
    one, other = _units(list(range(40))), _units(list(range(40, 80)))
    assert join(one, other).n_shared == 0
    expected = np.hypot(before.standard_error, after.standard_error)
    assert _se(before, after, one, other) == pytest.approx(expected)


def test_partial_overlap_has_the_spread_that_resampling_shows() -> None:
    """Means of 60 images before and 60 after, 30 of them shared, with correlated values."""
    rng = np.random.default_rng(2)
    one, other = _units(list(range(60))), _units(list(range(30, 90)))
    moved, errors = [], []
    for _ in range(1500):
        person = rng.standard_normal(90)
        early, late = (person + 0.3 * rng.standard_normal(90) for _ in range(2))
        before, after = _mean(early[:60]), _mean(late[30:])
        moved.append(after.value - before.value)
        errors.append(_se(before, after, one, other))
    assert np.mean(errors) == pytest.approx(np.std(moved), rel=0.06)


def test_clusters_that_differ_are_joined_into_one_unit() -> None:
    """Images 0 and 1 are one person before, 1 and 2 after: all three belong together."""
    one, other = _units([0, 1, 2, 3], [0, 0, 1, 2]), _units([0, 1, 2, 3], [0, 1, 1, 2])
    joined = join(one, other)
    assert joined.n_units == 2
    assert len(set(joined.before[:2])) == 1
    assert joined.before[0] == joined.after[0] == joined.after[1]
    assert joined.before[2] == joined.after[2] != joined.before[0]


def test_seeds_are_shared_by_content_alone() -> None:
    one, other = _units([0, 1], seeds=("a", "b")), _units([0, 1], seeds=("b", "c"))
    joined = join(one, other)
    assert joined.before[3] == joined.after[2]
    assert joined.n_units == 5


@pytest.mark.parametrize("drawn", [("a", "b"), ("c", "d")])
def test_seeds_of_one_side_alone_keep_their_few_degrees_of_freedom(drawn: tuple[str, str]) -> None:
    """Seeds that both sides drew cancel; others count as few, however many the images are."""
    rng = np.random.default_rng(5)
    before, after = (
        replace(own, influence=np.append(own.influence, [0.3, -0.3]), seed_freedom=1.0)
        for own in (_mean(rng.standard_normal(80)) for _ in range(2))
    )
    one = _units(list(range(80)), seeds=("a", "b"))
    other = _units(list(range(40, 120)), seeds=drawn)
    first, second = join(one, other).together(before, after)
    found = second - first
    assert found.clusters == pytest.approx((40 * 4 + 80) ** 2 / (40 * 16 + 80))
    if drawn == one.seeds:
        assert found.freedom == pytest.approx(found.clusters - 1)
    else:
        images, seeds = found.standard_error**2 - 4 * 0.3**2, 4 * 0.3**2
        own = images**2 / (found.clusters - 1) + seeds**2
        assert found.freedom == pytest.approx((images + seeds) ** 2 / own)
        assert found.freedom < 2


@settings(deadline=None, max_examples=30)
@given(st.floats(0, 3), st.floats(0, 3))
def test_noise_of_both_adds_in_squares(first: float, second: float) -> None:
    values = np.random.default_rng(3).standard_normal(20)
    units = _units(list(range(20)))
    pair = join(units, units).together(_mean(values), _mean(values), noise=(first, second))
    assert (pair[1] - pair[0]).standard_error == pytest.approx(np.hypot(first, second))


def test_the_units_of_a_difference_are_those_of_both_sides() -> None:
    """Shared images are counted once; an overlap adds what one side alone has."""
    values = np.random.default_rng(4).standard_normal(40)
    for start, expected in ((0, 40), (40, 80), (20, (40 + 80) ** 2 / (40 + 320))):
        one, other = _units(list(range(40))), _units(list(range(start, start + 40)))
        first, second = join(one, other).together(_mean(values), _mean(values))
        assert (second - first).clusters == pytest.approx(expected)


def test_independent_intervals_add_in_squares_on_each_side() -> None:
    one, other = (
        interval_of(Measured(v, np.full(25, s / 5), 25, np.ones(25), "images"), level=0.95)
        for v, s in ((0.9, 0.05), (0.5, 0.02))
    )
    found = independent_difference(one, other)
    assert found.value == pytest.approx(0.4)
    below = np.hypot(one.value - one.lower, other.upper - other.value)
    assert found.value - found.lower == pytest.approx(below)
    # as Wilson's interval of 0.9
    assert found.upper - found.value < found.value - found.lower
    with pytest.raises(ValueError, match="one level"):
        independent_difference(one, interval_of(_mean(np.arange(5.0)), level=0.9))
