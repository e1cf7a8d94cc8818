"""Adjustment of many tests: error rates under nulls, statsmodels' numbers, and gates."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm
from statsmodels.stats.multitest import multipletests

from bias_audit.statistics.multiplicity import (
    Family,
    Method,
    adjusted,
    draws_needed,
    gatekeep,
    is_rejected,
    max_t,
    resampling_p,
    smallest_attainable,
)

ALPHA = 0.05
P_VALUES = st.lists(st.none() | st.floats(1e-6, 1), min_size=1, max_size=40)


def correlated(
    rng: np.random.Generator, rows: int, tests: int, correlation: float
) -> npt.NDArray[Any]:
    shared = rng.standard_normal((rows, 1))
    own = rng.standard_normal((rows, tests))
    return np.asarray(np.sqrt(correlation) * shared + np.sqrt(1 - correlation) * own)


def test_a_resampled_p_counts_the_observed_value_and_ties() -> None:
    draws = np.array([0.0, 1.0, 2.0, 3.0])
    assert resampling_p(5.0, draws) == 1 / 5
    assert resampling_p(2.0, draws) == 3 / 5
    assert resampling_p(0.1 + 0.2, np.array([0.3] * 9)) == 1.0
    assert resampling_p(5.0, np.array([np.nan, 0.0])) == 2 / 3


def test_resampled_p_values_of_a_null_are_uniform() -> None:
    rng = np.random.default_rng(0)
    draws = rng.standard_normal((2000, 100))
    p_values = np.array([resampling_p(own[0], own[1:]) for own in draws])
    for alpha in (0.05, 0.2, 0.5):
        assert np.mean(p_values <= alpha) == pytest.approx(
            alpha, abs=3 * math.sqrt(alpha * (1 - alpha) / 2000)
        )


@settings(max_examples=30, deadline=None, derandomize=True)
@given(P_VALUES, st.sampled_from([("holm", "holm"), ("benjamini_hochberg", "fdr_bh")]))
def test_adjusted_p_values_are_statsmodels_and_keep_gaps_and_order(
    p_values: list[float | None], methods: tuple[Method, str]
) -> None:
    method, name = methods
    result = adjusted(p_values, method)
    assert [p is None for p in result] == [p is None for p in p_values]
    known = [p for p in p_values if p is not None]
    found = [p for p in result if p is not None]
    if known:
        np.testing.assert_allclose(found, multipletests(known, method=name)[1])
    order = np.argsort(known, kind="stable")
    assert (np.diff(np.array(found)[order]) >= -1e-12).all()
    assert all(after >= before for before, after in zip(known, found, strict=True))


def test_what_is_no_p_value_is_refused() -> None:
    with pytest.raises(ValueError, match="above 0"):
        adjusted([0.5, 0.0], "holm")
    with pytest.raises(ValueError, match="max_t"):
        adjusted([0.5], "max_t")
    with pytest.raises(ValueError, match=r"\(B, 2\)"):
        max_t([1.0, 2.0], np.zeros((5, 3)), alpha=ALPHA)


@pytest.mark.parametrize("correlation", [0.0, 0.8])
def test_no_more_than_alpha_of_all_null_families_have_a_false_rejection(
    correlation: float,
) -> None:
    rng, runs, tests = np.random.default_rng(1), 800, 20
    false = {"holm": 0, "max_t": 0, "benjamini_hochberg": 0}
    for _ in range(runs):
        draws = correlated(rng, 400, tests, correlation)
        observed, null = draws[0], draws[1:]
        p_values = [resampling_p(t, own) for t, own in zip(observed, null.T, strict=True)]
        for method in ("holm", "benjamini_hochberg"):
            false[method] += any(p is not None and p <= ALPHA for p in adjusted(p_values, method))
        false["max_t"] += any(
            p is not None and p <= ALPHA for p in max_t(list(observed), null, alpha=ALPHA).adjusted
        )
    allowed = ALPHA + 3 * math.sqrt(ALPHA * (1 - ALPHA) / runs)
    assert all(count / runs <= allowed for count in false.values()), false
    # max-T is exact under permutation, whatever the dependence: not conservative either
    assert false["max_t"] / runs >= ALPHA - 3 * math.sqrt(ALPHA * (1 - ALPHA) / runs)


def test_benjamini_hochberg_keeps_the_share_of_false_discoveries_and_finds_effects() -> None:
    rng, shares, found = np.random.default_rng(2), [], []
    effects = np.zeros(100)
    effects[:25] = 3.5
    for _ in range(400):
        p_values = norm.sf(effects + rng.standard_normal(100))
        rejected = np.array(
            [is_rejected(p, alpha=ALPHA) for p in adjusted(list(p_values), "benjamini_hochberg")]
        )
        shares.append(rejected[25:].sum() / max(1, rejected.sum()))
        found.append(rejected[:25].mean())
    assert np.mean(shares) <= ALPHA + 3 * np.std(shares) / math.sqrt(400)
    assert np.mean(found) > 0.7


def test_max_t_finds_more_than_holm_where_tests_are_correlated() -> None:
    rng, tests = np.random.default_rng(3), 40
    wins = {"holm": 0, "max_t": 0}
    for _ in range(150):
        draws = correlated(rng, 1000, tests, 0.9)
        observed = draws[0] + 2.5 * (np.arange(tests) == 0)
        p_values = [resampling_p(t, own) for t, own in zip(observed, draws[1:].T, strict=True)]
        wins["holm"] += is_rejected(adjusted(p_values, "holm")[0], alpha=ALPHA)
        wins["max_t"] += is_rejected(
            max_t(list(observed), draws[1:], alpha=ALPHA).adjusted[0], alpha=ALPHA
        )
    assert wins["max_t"] > wins["holm"] + 15


@settings(max_examples=60, deadline=None, derandomize=True)
@given(seed=st.integers(0, 1000), tests=st.integers(1, 12), draws=st.integers(1, 200))
def test_max_t_lies_between_the_raw_p_and_the_union_bound_and_its_critical_value_decides(
    seed: int, tests: int, draws: int
) -> None:
    rng = np.random.default_rng(seed)
    null = rng.standard_normal((draws, tests))
    observed = rng.standard_normal(tests) + 1
    result = max_t(list(observed), null, alpha=0.1)
    for statistic, own, p in zip(observed, null.T, result.adjusted, strict=True):
        assert p is not None
        raw = resampling_p(statistic, own)
        assert raw <= p + 1e-12
        assert p * (1 + draws) <= 1 + np.count_nonzero(null >= statistic) + 1e-9  # union bound
        assert is_rejected(p, alpha=0.1) == (statistic > result.critical)
    order = np.argsort(-observed)
    assert (np.diff([result.adjusted[i] for i in order]) >= 0).all()


def test_max_t_leaves_out_what_was_not_measured() -> None:
    null = np.array([[9.0, 1.0, np.nan], [9.0, 2.0, 0.0], [9.0, np.nan, np.nan]])
    result = max_t([None, 1.5, 0.5], null, alpha=0.25)
    assert result.adjusted == (None, 2 / 4, 3 / 4)
    assert max_t([None], np.zeros((3, 1)), alpha=0.25).critical == math.inf
    assert max_t([9.0], np.zeros((3, 1)), alpha=0.05).critical == math.inf


@pytest.mark.parametrize("method", ["holm", "benjamini_hochberg", "max_t"])
@pytest.mark.parametrize("tests", [1, 2, 18, 126, 1000])
@pytest.mark.parametrize("alpha", [0.01, 0.05, 0.1, 0.025])
def test_the_draws_needed_are_just_enough_for_one_effect(
    method: Method, tests: int, alpha: float
) -> None:
    def best(draws: int) -> bool:
        smallest = 1 / (1 + draws)
        if method == "max_t":
            null = np.zeros((draws, tests))
            p = max_t([1.0] + [0.0] * (tests - 1), null, alpha=alpha).adjusted[0]
        else:
            p = adjusted([smallest] + [1.0] * (tests - 1), method)[0]
        assert p == pytest.approx(smallest_attainable(tests, draws=draws, method=method))
        return is_rejected(p, alpha=alpha)

    needed = draws_needed(tests, alpha=alpha, method=method)
    assert best(needed)
    assert not best(needed - 1)


def test_a_family_is_tested_only_behind_an_open_gate() -> None:
    families = [
        Family("global", (0.01,)),
        Family("marginals", (0.2, 0.9, None)),
        Family("pairs", (0.001, 0.002)),
        Family("cells", (0.001,)),
    ]
    first, second, third, fourth = gatekeep(families, alpha=ALPHA)
    assert first.rejected == (True,) and first.reason == "tested first"
    assert second.is_open and second.rejected == (False, False, None)
    assert not third.is_open and third.adjusted == third.rejected == (None, None)
    assert third.reason == "not tested, because no test in marginals was significant"
    assert fourth.reason == "not tested, because pairs was not tested"
    assert all(g.is_open for g in gatekeep(families, alpha=0.3))
    free = gatekeep(families, alpha=ALPHA, gates=False)
    assert free[3].rejected == (True,) and free[3].reason == (
        "tested, because no gates were declared"
    )


def test_a_family_without_p_values_opens_no_gate() -> None:
    _, second = gatekeep([Family("global", (None,)), Family("cells", (0.001,))], alpha=ALPHA)
    assert "nothing could be tested in global" in second.reason


def test_a_cell_needs_a_rejected_parent() -> None:
    marginals = Family("marginals", (0.01, 0.5, 0.5))
    cells = Family("cells", (0.01, 0.01, 0.2, 0.01), parents=((0, 1), (1, 2), (0, 2), ()))
    _, gated = gatekeep([marginals, cells], alpha=ALPHA)
    assert gated.rejected == (True, None, False, None)
    assert gated.adjusted == (0.01, None, 0.2, None)
    for parents in (((0,),), ((0,), (1,), (2,), (3,))):
        with pytest.raises(ValueError, match="parents"):
            gatekeep([marginals, Family("cells", cells.adjusted, parents)], alpha=ALPHA)


def test_gates_keep_the_error_of_all_families_at_alpha_when_nothing_is_there() -> None:
    rng, runs = np.random.default_rng(5), 2000
    with_gates, without = 0, 0
    for _ in range(runs):
        families = [
            Family(name, adjusted(list(rng.uniform(1e-9, 1, size)), "holm"))
            for name, size in (("global", 1), ("marginals", 18), ("pairs", 95), ("cells", 126))
        ]
        gated, free = (gatekeep(families, alpha=ALPHA, gates=on) for on in (True, False))
        with_gates += any(any(own.rejected) for own in gated)
        without += any(any(own.rejected) for own in free)
    assert with_gates / runs <= ALPHA + 3 * math.sqrt(ALPHA * (1 - ALPHA) / runs)
    assert without / runs > 2 * ALPHA
