"""Lifts, ranks and differences of two audits have the error that they say."""

from __future__ import annotations

import itertools
from dataclasses import replace

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bias_audit.arrays import FloatArray
from bias_audit.statistics.comparison import UnitsOf, groups_alike, join, lift_over, rank_ranges
from bias_audit.statistics.estimate import Estimate
from bias_audit.statistics.inference import Measured, estimate, independent_difference
from bias_audit.statistics.inference import estimate as interval_of

N = 200
ERROR = 0.02


def _influences(rng: np.random.Generator, n_baselines: int, correlation: float) -> FloatArray:
    """Of single images on each difference, shape (N, n_baselines), each with the same error."""
    shared, own = rng.standard_normal((N, 1)), rng.standard_normal((N, n_baselines))
    found = np.sqrt(correlation) * shared + np.sqrt(1 - correlation) * own
    return np.asarray(ERROR * found / np.linalg.norm(found, axis=0))


def _differences(values: FloatArray, influences: FloatArray) -> dict[str, Measured]:
    return {
        f"baseline {i}": Measured(float(value), influence, N, np.ones(N), "images", is_share=False)
        for i, (value, influence) in enumerate(zip(values, influences.T, strict=True))
    }


@pytest.mark.parametrize("correlation", [0.0, 0.8])
def test_over_equally_strong_baselines_it_is_centred_and_covers(correlation: float) -> None:
    """The smallest of four differences by itself is below the truth in nearly all draws."""
    rng, trials, truth = np.random.default_rng(1), 500, 0.1
    influences = _influences(rng, 4, correlation)
    draws = truth + rng.standard_normal((trials, N)) @ influences
    found = [lift_over(_differences(row, influences), level=0.95, rng=rng) for row in draws]
    allowed = 3 * np.sqrt(0.025 * 0.975 / trials)
    assert np.mean([e.value > truth for e in found]) == pytest.approx(0.5, abs=0.07)
    assert np.mean([e.upper < truth for e in found]) <= 0.025 + allowed
    assert np.mean([e.lower > truth for e in found]) <= 0.025 + allowed
    assert np.mean(draws.min(axis=1) > truth) < 0.35


def test_over_one_clearly_strongest_baseline_it_is_the_paired_difference() -> None:
    rng = np.random.default_rng(2)
    influences = _influences(rng, 3, 0.5)
    differences = _differences(np.array([0.3, 0.05, 0.35]), influences)
    found = lift_over(differences, level=0.95, rng=rng)
    alone = estimate(differences["baseline 1"], level=0.95)
    assert (found.value, found.lower, found.upper) == pytest.approx(
        (alone.value, alone.lower, alone.upper)
    )
    only = {"baseline 1": differences["baseline 1"]}
    assert lift_over(only, level=0.95, rng=rng) == alone


def test_its_lower_bound_is_the_lowest_of_all_and_the_value_lies_within() -> None:
    rng = np.random.default_rng(3)
    for _ in range(20):
        influences = _influences(rng, 5, 0.3) * rng.uniform(0.2, 3, 5)
        differences = _differences(rng.uniform(-0.1, 0.1, 5), influences)
        found = lift_over(differences, level=0.95, rng=rng)
        assert found.lower <= found.value <= found.upper
        lowest = min(estimate(each, level=0.95).lower for each in differences.values())
        assert found.lower == min(lowest, found.value)
        assert found.value >= min(each.value for each in differences.values())


def test_differences_of_few_clusters_have_wider_bounds() -> None:
    """Both bounds are those of Student's t, here of nine degrees of freedom."""
    rng = np.random.default_rng(4)
    influences = _influences(rng, 3, 0.5)
    many = _differences(np.full(3, 0.1), influences)
    few = {
        name: Measured(each.value, each.influence, N, weight, "clusters", is_share=False)
        for name, each in many.items()
        for weight in [np.repeat([1.0, 0.0], [10, N - 10])]
    }
    wide, narrow = (
        lift_over(each, level=0.95, rng=np.random.default_rng(5)) for each in (few, many)
    )
    assert wide.clusters == pytest.approx(10)
    assert wide.freedom == pytest.approx(9)
    assert wide.upper - wide.value > 1.1 * (narrow.upper - narrow.value)
    assert wide.value - wide.lower > 1.1 * (narrow.value - narrow.lower)


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


Z = 1.959963984540054


def made(value: float, error: float) -> Estimate:
    return Estimate(value, value - Z * error, value + Z * error, 0.95, 100, "made")


def test_values_far_apart_have_their_rank_and_equal_ones_leave_all_open() -> None:
    far = rank_ranges([made(value, 0.01) for value in (0.5, 0.9, 0.7)], alpha=0.05)
    assert [(each.best, each.worst, each.alike) for each in far] == [
        (3, 3, ()),
        (1, 1, ()),
        (2, 2, ()),
    ]
    equal = rank_ranges([made(0.7, 0.01)] * 3, alpha=0.05)
    assert [(each.best, each.worst) for each in equal] == [(1, 3)] * 3
    assert groups_alike(equal) == ((0, 1, 2),)
    assert groups_alike(far) == ((0,), (1,), (2,))


@pytest.mark.parametrize("spread", [0.0, 0.5, 3.0])
def test_all_ranks_are_covered_as_often_as_promised(spread: float) -> None:
    """Independent normal errors, true values equal, near and far; a tie may take either rank."""
    rng = np.random.default_rng(3)
    truth = np.arange(6) * spread * 0.01
    missed = 0
    for _ in range(400):
        errors = rng.uniform(0.005, 0.02, len(truth))
        found = rank_ranges(
            [
                made(value, error)
                for value, error in zip(truth + rng.normal(0, errors), errors, strict=True)
            ],
            alpha=0.05,
        )
        # The best and the worst rank that a value can truly claim.
        best = [1 + int((truth > value).sum()) for value in truth]
        worst = [int((truth >= value).sum()) for value in truth]
        missed += any(
            each.best > b or each.worst < w for each, b, w in zip(found, best, worst, strict=True)
        )
    assert missed / 400 <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 400)


def test_ranks_agree_with_the_pairs_told_apart() -> None:
    rng = np.random.default_rng(0)
    values = rng.uniform(0.5, 0.9, 12)
    found = rank_ranges([made(value, 0.02) for value in values], alpha=0.05)
    for i, each in enumerate(found):
        apart = [j for j in range(12) if j != i and j not in each.alike]
        assert each.best == 1 + sum(values[j] > values[i] for j in apart)
        assert each.worst == 12 - sum(values[j] < values[i] for j in apart)
        assert all(i in found[j].alike for j in each.alike), "alike is mutual"


def test_a_choice_among_layers_widens_and_never_narrows() -> None:
    pair = [made(0.70, 0.01), made(0.7325, 0.01)]
    assert rank_ranges(pair, alpha=0.05)[0].alike == ()
    assert rank_ranges(pair, alpha=0.05, choices=[17, 17])[0].alike == (1,)


def test_an_interval_that_is_wider_on_one_side_counts_with_that_side() -> None:
    high = Estimate(0.99, 0.90, 0.995, 0.95, 50, "made", scale="logit")
    assert rank_ranges([high, made(0.92, 0.001)], alpha=0.05)[0].alike == (1,), "below it is wide"
    assert rank_ranges([high, made(1.02, 0.001)], alpha=0.05)[0].alike == (), "above it is narrow"


@pytest.mark.parametrize("seed", range(8))
def test_groups_are_the_maximal_cliques_of_what_is_not_told_apart(seed: int) -> None:
    """Errors of very different size make groups that are no runs of neighbours."""
    rng = np.random.default_rng(seed)
    made_up = [
        made(v, e) for v, e in zip(rng.uniform(0, 1, 12), rng.uniform(0.01, 0.2, 12), strict=True)
    ]
    found = rank_ranges(made_up, alpha=0.05)
    graph = nx.Graph(
        (i, j) for i, j in itertools.combinations(range(12), 2) if j in found[i].alike
    )
    graph.add_nodes_from(range(12))
    assert groups_alike(found) == tuple(sorted(tuple(sorted(c)) for c in nx.find_cliques(graph)))


def test_one_value_alone_is_first_and_last() -> None:
    (only,) = rank_ranges([made(0.5, 0.1)], alpha=0.05)
    assert (only.best, only.worst, only.alike) == (1, 1, ())
