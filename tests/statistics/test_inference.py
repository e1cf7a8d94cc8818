"""Scores, intervals and tests are one statement; few and unequal clusters count as they should."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy.stats import binomtest, norm, t

from bias_audit.arrays import FloatArray
from bias_audit.statistics.estimate import allowing_for_choice, interval_at, wilson_bounds
from bias_audit.statistics.inference import (
    Measured,
    bounds,
    choice_among,
    difference,
    estimate,
    joint_draws,
    measured,
    normal_score,
    p_above,
    p_apart,
    quantile_for,
    quantile_of,
    score,
    share_estimate,
    too_unequal,
    widening,
)
from bias_audit.statistics.influence import auc, average

SHARES = st.floats(1e-6, 1 - 1e-6) | st.sampled_from([0.0, 1.0])
ERRORS = st.floats(1e-4, 0.3)
TRIALS = st.floats(1, 1e4) | st.just(np.inf)


def made(value: float, error: float, n: int = 50, **options: Any) -> Measured:
    """Of n single images, all with the same contribution."""
    return Measured(value, np.full(n, error / np.sqrt(n)), n, np.ones(n), "images", **options)


def of_draws(value: float, influence: FloatArray) -> Measured:
    return Measured(value, influence, len(influence), np.ones(len(influence)), "images")


# --- The score and the interval


@given(SHARES, st.floats(0.01, 0.99), ERRORS, TRIALS, st.sampled_from([0.0, 0.2, 0.5]))
def test_a_shares_interval_ends_where_its_score_says(
    share: float, null: float, error: float, trials: float, offset: float
) -> None:
    assume(abs(share - null) > 1e-3)
    found = made(share, error, trials=trials).above(offset)
    lower, upper = bounds(found, abs(score(found, null - offset)))
    assert (lower if share > null else upper) == pytest.approx(null - offset, abs=1e-6)


@given(st.floats(-0.9, 0.9), st.floats(-0.05, 0.05), st.just(0.0) | ERRORS, TRIALS)
def test_a_differences_interval_ends_where_its_score_says(
    value: float, null: float, error: float, trials: float
) -> None:
    assume(abs(value - null) > 1e-3 and (error > 0 or np.isfinite(trials)))
    found = made(value, error, is_share=False, trials=trials)
    lower, upper = bounds(found, abs(score(found, null)))
    assert (lower if value > null else upper) == pytest.approx(null, abs=1e-6)


@given(
    SHARES, st.floats(0.01, 0.99), ERRORS, st.booleans(), st.floats(0.5, 0.999), st.floats(0.05, 1)
)
def test_a_test_rejects_what_the_interval_leaves_out(
    value: float, null: float, error: float, is_share: bool, level: float, choice: float
) -> None:
    found = made(value, error, n=12, is_share=is_share, trials=20, choice=choice)
    made_of = estimate(found, level=level)
    p_value = p_apart(found, null)
    assume(abs(p_value - (1 - level)) > 1e-6)
    assert (p_value < 1 - level) == (not made_of.lower <= null <= made_of.upper)
    assert p_above(found, null) == pytest.approx(p_value / 2 if value >= null else 1 - p_value / 2)


@given(st.floats(0.05, 0.95), ERRORS, st.floats(0.02, 1))
def test_a_normal_score_is_as_rare_as_the_score(value: float, error: float, choice: float) -> None:
    found = made(value, error, n=12, choice=choice)
    normal = normal_score(found, 0.5)
    assume(0 < abs(normal) < 8)
    assert quantile_of(found, normal) == pytest.approx(score(found, 0.5), rel=1e-6)
    assert p_apart(found, 0.5) == pytest.approx(
        min(1, 2 * t.sf(abs(score(found, 0.5)), 11) / choice)
    )


def test_without_spread_and_without_a_count_nothing_is_significant() -> None:
    nothing = made(0.3, 0.0, is_share=False)
    assert score(nothing) == 0
    assert p_above(nothing) == 0.5


# --- Wilson's interval, with a t quantile


@pytest.mark.parametrize("level", [0.9, 0.95])
@pytest.mark.parametrize(("count", "n"), [(0, 30), (30, 30), (1, 12), (9, 30), (75, 150)])
def test_a_share_of_single_images_has_wilsons_interval_with_a_t_quantile(
    count: int, n: int, level: float
) -> None:
    found = share_estimate(np.arange(n) < count, np.arange(n) + 7, level=level)
    assert found is not None
    quantile = t.ppf((1 + level) / 2, n - 1)
    assert n - 1 <= found.counted <= n
    of_n, of_fewer = (wilson_bounds(count / n, k, quantile) for k in (n, n - 1))
    assert of_fewer[0] <= found.lower <= of_n[0]
    assert of_n[1] <= found.upper <= of_fewer[1]
    if count in {0, n}:
        as_normal = 1 - 2 * norm.sf(quantile)
        expected = binomtest(count, n).proportion_ci(as_normal, method="wilson")
        assert (found.lower, found.upper) == pytest.approx((expected.low, expected.high))
    assert (found.value, found.n, found.scale) == (count / n, n, "wilson")
    assert (found.clusters, found.freedom) == pytest.approx((n, n - 1))


@pytest.mark.parametrize("value", [0.0, 0.4, 1.0])
def test_widening_divides_what_a_share_counts(value: float) -> None:
    hits = np.arange(30) < 30 * value
    plain, wider = (
        share_estimate(hits, np.arange(30), level=0.9, widened=w) for w in (1.0, widening(5, 1.0))
    )
    assert plain is not None and wider is not None
    assert wider.n == plain.n == 30
    assert wider.counted == pytest.approx(plain.counted / 2.25, rel=0.05)
    assert wider.upper - wider.lower > 1.2 * (plain.upper - plain.lower)


def test_images_of_one_person_count_once_and_nothing_has_no_share() -> None:
    assert share_estimate(np.empty(0), np.empty(0, dtype=np.int64), level=0.95) is None
    once = share_estimate(np.arange(10) < 4, np.arange(10), level=0.95)
    often = share_estimate(
        np.repeat(np.arange(10) < 4, 5), np.repeat(np.arange(10), 5), level=0.95
    )
    assert once is not None and often is not None
    assert often.n == 10
    assert (often.lower, often.upper) == pytest.approx((once.lower, once.upper))


def _coverage(rng: np.random.Generator, sizes: FloatArray, trials: int, *, shares: bool) -> float:
    """Of 95 % intervals of a mean, where images of a cluster are alike."""
    clusters = np.repeat(np.arange(len(sizes)), sizes.astype(np.int64))
    hits = 0
    for _ in range(trials):
        own = rng.random(len(sizes))
        own = (own < 0.7).astype(np.float64) if shares else own
        statistic = average(own[clusters], clusters)
        found = measured(statistic, clusters, n_clusters=len(sizes), is_share=shares)
        made_of = estimate(found, level=0.95)
        hits += made_of.lower <= (0.7 if shares else 0.5) <= made_of.upper
    return hits / trials


@pytest.mark.parametrize("shares", [True, False])
@pytest.mark.parametrize(
    "sizes",
    [np.ones(12), np.repeat([1.0, 5.0], [20, 10]), np.linspace(1, 15, 18).round()],
    ids=["equal", "two sizes", "many sizes"],
)
def test_intervals_of_unequal_clusters_cover(sizes: FloatArray, shares: bool) -> None:
    trials = 500
    found = _coverage(np.random.default_rng(0), sizes, trials, shares=shares)
    assert found >= 0.95 - 3 * np.sqrt(0.95 * 0.05 / trials)


# --- Differences without spread


def test_an_auc_counts_as_much_as_hanley_and_mcneil_allow() -> None:
    """Of 30 against 20 that are ranked without an error, at the AUC where pairs share most."""
    member = np.arange(50) < 30
    found = auc(member.astype(np.float64), member, np.zeros(50, dtype=np.int64))
    assert found is not None
    a = np.linspace(0.01, 0.99, 99)
    shared = 24 * ((1 - a) / (2 - a) + a / (1 + a))
    assert found.trials == pytest.approx(600 / (1 + shared.max()))
    assert min(20, 30) < found.trials < 50


def test_two_perfect_aucs_differ_by_no_more_than_tango_allows() -> None:
    member = np.arange(60) % 2 == 0
    folds = np.arange(60) // 2 % 3
    perfect = auc(member.astype(np.float64), member, folds)
    assert perfect is not None and perfect.value == 1
    one, other = (measured(perfect, np.arange(60), n_clusters=60) for _ in range(2))
    found = difference(one, other, level=0.95)
    z2 = t.ppf(0.975, 59) ** 2
    half = z2 / (perfect.trials + z2)
    assert (found.value, found.lower, found.upper) == pytest.approx((0, -half, half))
    assert half > 0.05
    wider = difference(one, other, level=0.99)
    assert interval_at(found, 0.99) == pytest.approx((wider.lower, wider.upper))


def test_a_perfect_auc_of_a_dozen_images_of_noise_does_not_exclude_guessing() -> None:
    """In five folds, one or two images of a kind each: chance often ranks them all rightly."""
    member, folds = np.arange(12) % 2 == 0, np.arange(12) // 2 % 5
    perfect = auc(member.astype(np.float64), member, folds)
    assert perfect is not None and perfect.value == 1
    found = measured(perfect, np.arange(12), n_clusters=12, widened=widening(5, 1.0))
    made_of = estimate(found, level=0.95)
    assert made_of.lower < 0.5
    assert p_above(found, 0.5) > 0.025


# --- Effective clusters, and seeds


@pytest.mark.parametrize(
    ("weight", "clusters"),
    [
        (np.r_[1000.0, np.ones(19)], 1.0),
        (np.ones(20), 20.0),
        (np.r_[np.ones(20), np.zeros(9)], 20),
    ],
)
def test_the_quantile_is_that_of_effective_clusters_minus_one(
    weight: FloatArray, clusters: float
) -> None:
    found = Measured(0.5, np.full(len(weight), 0.01), 20, weight, "clusters")
    assert found.clusters == pytest.approx(clusters, rel=0.01)
    freedom = max(1.0, found.clusters - 1)
    assert quantile_for(found, 0.95) == pytest.approx(t.ppf(0.975, freedom))
    assert quantile_for(replace(found, choice=0.2), 0.95) == pytest.approx(t.ppf(0.995, freedom))


def test_few_people_in_a_group_are_given_as_the_reason() -> None:
    few = Measured(0.5, np.full(5, 0.01), 5, np.r_[100.0, np.ones(4)], "clusters")
    assert "worth 1.0 of equal size" in (too_unequal(few) or "")
    assert too_unequal(estimate(few, level=0.95)) == too_unequal(few)
    assert too_unequal(replace(few, weight=np.ones(5))) is None


@given(st.floats(0.001, 1), st.floats(0.001, 1), st.integers(1, 9))
def test_freedom_of_images_and_seeds_joins_by_satterthwaite(
    images: float, seeds: float, seed_freedom: int
) -> None:
    influence = np.r_[np.full(25, images / 5), seeds]
    found = Measured(0.5, influence, 25, np.ones(25), "images", seed_freedom=float(seed_freedom))
    total = images**2 + seeds**2
    expected = total**2 / (images**4 / 24 + seeds**4 / seed_freedom)
    assert found.freedom == pytest.approx(max(1, expected))
    assert found.standard_error**2 == pytest.approx(total)
    # A difference keeps the freedom of its seeds.
    fixed = replace(found, influence=np.zeros(26), seed_freedom=0.0)
    assert (fixed - found).freedom == pytest.approx(found.freedom)


# --- Joint draws, and the choice of a layer


@pytest.mark.parametrize("n_measures", [3, 30])
def test_joint_draws_have_the_correlations_of_the_influences(n_measures: int) -> None:
    """With fewer and with more measures than units."""
    rng = np.random.default_rng(6)
    influence = rng.standard_normal((20, n_measures)) + rng.standard_normal((20, 1))
    measures = [of_draws(0.5, row) for row in influence.T]
    draws = joint_draws(measures, 20_000, rng)
    expected = influence.T @ influence
    errors = np.sqrt(np.diag(expected))
    np.testing.assert_allclose(
        draws.T @ draws / len(draws), expected / np.outer(errors, errors), atol=0.05
    )
    assert np.abs(draws.mean(axis=0)).max() < 0.04


def test_joint_draws_of_what_has_no_spread_are_independent() -> None:
    flat = [of_draws(1.0, np.zeros(9)) for _ in range(3)]
    draws = joint_draws(flat, 20_000, np.random.default_rng(0))
    np.testing.assert_allclose(np.cov(draws.T), np.eye(3), atol=0.05)


@pytest.mark.parametrize("k", [2, 5, 17])
def test_layers_that_are_alike_cost_nothing_and_independent_ones_what_sidak_says(k: int) -> None:
    rng = np.random.default_rng(1)
    alike = [of_draws(0.5 + 0.01 * i, np.ones(40)) for i in range(k)]
    assert choice_among(alike, rng) == pytest.approx(1, abs=0.08)
    independent = [of_draws(0.5, row) for row in np.eye(k)]
    sidak = (1 - 0.95 ** (1 / k)) / 0.05
    assert choice_among(independent, rng) == pytest.approx(sidak, rel=0.1)
    assert choice_among(independent, rng) >= 1 / k
    assert choice_among(alike[:1], rng) == 1


def test_intervals_of_the_layer_chosen_cover_by_the_choice() -> None:
    """Twelve correlated layers without a difference; the highest is looked at."""
    rng, trials = np.random.default_rng(2), 1500
    influence = rng.standard_normal((100, 12)) + rng.standard_normal((100, 1))
    influence *= 0.02 / np.linalg.norm(influence, axis=0)
    values = 0.7 + rng.standard_normal((trials, 100)) @ influence
    choice = choice_among([of_draws(0.7, row) for row in influence.T], rng)
    covered, naive = 0, 0
    for row in values:
        best = int(row.argmax())
        alone = estimate(
            replace(of_draws(row[best], influence[:, best]), is_share=False), level=0.95
        )
        chosen = allowing_for_choice(alone, choice)
        naive += alone.lower <= 0.7
        covered += chosen.lower <= 0.7 <= chosen.upper
    assert covered / trials >= 0.95 - 3 * np.sqrt(0.05 * 0.95 / trials)
    assert naive / trials < 0.92
