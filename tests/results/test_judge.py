from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from scipy.stats import binom, norm
from scipy.stats import t as student
from statsmodels.stats.multitest import multipletests

from bias_audit.results.judge import hold, judge
from bias_audit.results.numbers import Number
from bias_audit.shapes.layer_curve import best_point
from bias_audit.statistics.estimate import Estimate, interval_at
from bias_audit.statistics.inference import share_estimate
from tests.results.judged import criterion, curve, normal, subject, table, verdict


@pytest.mark.parametrize(
    ("margin", "passing", "failing", "undecided"),
    [
        ({"at_most": 0.6}, 0.5, 0.7, 0.6),
        ({"at_least": 0.6}, 0.7, 0.5, 0.6),
        ({"within": [0.4, 0.6]}, 0.5, 0.7, 0.41),
        ({"within": [0.4, 0.6]}, 0.5, 0.3, 0.61),
    ],
)
def test_an_interval_within_passes_beyond_fails_and_else_nothing_is_decided(
    margin: dict[str, Any], passing: float, failing: float, undecided: float
) -> None:
    for value, outcome in ((passing, "PASS"), (failing, "FAIL"), (undecided, "INCONCLUSIVE")):
        found = verdict(criterion(layer="last", **margin), curve([normal(value)]))
        assert found.outcome == outcome
        assert found.n_examined == 1
        counts = (found.n_pass, found.n_fail, found.n_undecided, found.n_missing)
        assert counts == tuple(outcome == name for name in ("PASS", "FAIL", "INCONCLUSIVE", ""))
        assert found.deciding is not None
        assert found.deciding.estimate == normal(value)


def test_no_difference_found_in_few_images_is_not_a_pass() -> None:
    """The interval holds chance, so a test finds nothing; it also reaches over the margin."""
    found = verdict(criterion(at_most=0.6), curve([normal(0.5, se=0.2, n=12)]))
    assert found.outcome == "INCONCLUSIVE"
    with_power = norm.ppf(0.975) + norm.ppf(0.8)
    assert found.n_to_decide == math.ceil(12 * (with_power * 0.2 / 0.1) ** 2)


def test_all_must_pass_and_no_interval_is_widened_for_it() -> None:
    at_the_limit = 0.6 - 1.97 * 0.01
    found = verdict(criterion(), table([]), curve([normal(at_the_limit)] * 200))
    assert (found.outcome, found.n_pass) == ("PASS", 200)
    assert found.deciding is not None and found.deciding.estimate is not None
    assert found.deciding.estimate.level == 0.95


def test_one_of_many_fails_only_beyond_its_adjusted_interval() -> None:
    alone = normal(0.6 + 2.2 * 0.01)
    assert verdict(criterion(), curve([alone])).outcome == "FAIL"
    many = verdict(criterion(), curve([alone, *[normal(0.5)] * 9]))
    assert many.outcome == "INCONCLUSIVE"
    assert many.adjusted_level == pytest.approx(1 - 0.05 / 10)
    far = normal(0.6 + 2.9 * 0.01)
    failed = verdict(criterion(), curve([far, *[normal(0.5)] * 9]))
    assert (failed.outcome, failed.n_fail, failed.n_pass) == ("FAIL", 1, 9)
    assert failed.deciding is not None and failed.deciding.estimate is not None
    assert failed.deciding.layer == "l0"
    assert failed.deciding.estimate.lower == pytest.approx(far.value - 0.01 * norm.ppf(0.9975))
    assert failed.deciding.estimate.lower > 0.6


@pytest.mark.parametrize("seed", range(20))
def test_failing_numbers_are_those_that_holm_rejects(seed: int) -> None:
    rng = np.random.default_rng(seed)
    z = rng.normal(rng.uniform(0, 3), 1.2, rng.integers(2, 30))
    found = verdict(criterion(), curve([normal(0.6 + 0.01 * each) for each in z]))
    p_values = np.where(z > 0, 2 * norm.sf(np.abs(z)), 1.0)  # beyond means above
    assert found.n_fail == multipletests(p_values, 0.05, method="holm")[0].sum()


def test_families_of_true_values_within_the_margin_seldom_fail_and_effects_are_found() -> None:
    rng = np.random.default_rng(5)
    draws, m = 600, 8
    false = sum(
        verdict(criterion(), curve([normal(v) for v in rng.normal(0.6, 0.01, m)])).outcome
        == "FAIL"
        for _ in range(draws)
    )
    assert false / draws < 0.05
    planted = rng.normal(0.6, 0.01, (50, m))
    planted[:, 3] += 0.06
    outcomes = [verdict(criterion(), curve([normal(v) for v in row])).outcome for row in planted]
    assert outcomes.count("FAIL") > 45


def test_a_family_with_one_value_beyond_the_margin_seldom_passes() -> None:
    rng = np.random.default_rng(6)
    values = rng.normal(0.55, 0.01, (600, 8))
    values[:, 0] = rng.normal(0.6001, 0.01, 600)
    passed = [verdict(criterion(), curve([normal(v) for v in row])).outcome for row in values]
    assert passed.count("PASS") / 600 < 0.05
    within = rng.normal(0.55, 0.01, (50, 8))
    passed = [verdict(criterion(), curve([normal(v) for v in row])).outcome for row in within]
    assert passed.count("PASS") > 40


def share(hits: int, n: int) -> Estimate:
    found = share_estimate(np.arange(n) < hits, np.arange(n), level=0.95)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("hits", "seen", "margin"),
    [
        (20, 40, {"at_most": 0.6}),
        (26, 40, {"at_most": 0.6}),
        (36, 40, {"at_least": 0.8}),
        (3, 60, {"at_most": 0.1}),
        (30, 60, {"within": [0.4, 0.6]}),
        (33, 60, {"within": [0.4, 0.6]}),
    ],
)
def test_the_images_that_would_decide_a_share_do_so_in_four_of_five(
    hits: int, seen: int, margin: dict[str, Any]
) -> None:
    """Of every number of hits there can be; a count moves the chance by some points at once."""
    asked = criterion(layer="last", **margin)
    now = verdict(asked, curve([share(hits, seen)]))
    assert now.outcome == "INCONCLUSIVE" and now.n_to_decide is not None
    powers = []
    for n in range(now.n_to_decide - 3, now.n_to_decide + 4):
        chances = binom.pmf(np.arange(n + 1), n, hits / seen)
        likely = np.flatnonzero(chances > 1e-5)
        held = [hold(asked, [replace(LIKE, estimate=share(int(k), n))]) for k in likely]
        powers.append(chances[likely][[not each.undecided for each in held]].sum())
    assert 0.78 <= np.mean(powers) <= 0.83


LIKE = Number("backbone", "linear_probe", 0, 0, "share", "share", "target", "layer")


def mean_of(values: npt.NDArray[np.float64]) -> Estimate:
    """With Student's t interval."""
    n, value = len(values), float(values.mean())
    half = float(student.ppf(0.975, n - 1) * values.std(ddof=1) / math.sqrt(n))
    return Estimate(value, value - half, value + half, 0.95, n, "t", freedom=n - 1.0)


@pytest.mark.parametrize(
    ("value", "margin"),
    [(0.6, {"at_most": 0.0}), (0.5, {"at_least": 0.0}), (0.0, {"within": [-0.5, 0.5]})],
)
def test_the_images_that_would_decide_a_difference_do_so_in_four_of_five(
    value: float, margin: dict[str, Any]
) -> None:
    rng, trials = np.random.default_rng(4), 1500
    seen = rng.standard_normal(12)
    seen = value + (seen - seen.mean()) / seen.std(ddof=1)
    asked = criterion(layer="last", **margin)
    n = verdict(asked, curve([mean_of(seen)])).n_to_decide
    assert n is not None
    draws = value + rng.standard_normal((trials, n))
    decided = [verdict(asked, curve([mean_of(row)])).outcome != "INCONCLUSIVE" for row in draws]
    assert np.mean(decided) == pytest.approx(0.8, abs=0.035)


@pytest.mark.parametrize("m", [1, 6])
def test_a_value_that_is_one_of_many_needs_more_images_to_fail_but_not_to_pass(m: int) -> None:
    """The level of each is that of Holm's first step where it fails, its own where it passes."""
    others = [normal(0.5, se=0.001)] * (m - 1)
    for value, level in ((0.59, 0.95), (0.61, 1 - 0.05 / m)):
        found = verdict(criterion(), curve([*others, normal(value, n=400)]))
        with_power = norm.ppf((1 + level) / 2) + norm.ppf(0.8)
        assert found.n_to_decide == math.ceil(400 * with_power**2)


def test_a_value_on_the_margin_is_never_decided_by_more_images() -> None:
    found = verdict(criterion(), curve([normal(0.6)]))
    assert found.outcome == "INCONCLUSIVE"
    assert found.n_to_decide is None
    assert "lies on the margin" in found.reason


def test_the_detectable_distance_is_decided_with_the_power_promised() -> None:
    rng = np.random.default_rng(7)
    distance = verdict(criterion(), curve([normal(0.5)])).detectable
    assert distance is not None
    values = rng.normal(0.6 + distance, 0.01, 2000)
    failed = sum(verdict(criterion(), curve([normal(v)])).outcome == "FAIL" for v in values)
    assert failed / 2000 == pytest.approx(0.8, abs=0.03)
    passed = [verdict(criterion(), curve([normal(v - 2 * distance)])).outcome for v in values]
    assert passed.count("PASS") / 2000 == pytest.approx(0.8, abs=0.03)


def test_a_missing_number_forbids_a_pass_but_not_a_failure() -> None:
    recall = criterion(quantity="recall")
    found = verdict(recall, table([normal(0.5), None, None]))
    assert (found.outcome, found.n_missing, found.n_pass) == ("INCONCLUSIVE", 2, 1)
    assert "2 of 3 numbers missing: suppressed (2)" in found.reason
    assert found.n_to_decide is None
    assert found.deciding is not None and found.deciding.estimate is None
    assert verdict(recall, table([normal(0.7), None])).outcome == "FAIL"
    assert verdict(recall, table([normal(0.5), normal(0.5)])).outcome == "PASS"


def test_nothing_matched_is_inconclusive_and_says_why() -> None:
    found = verdict(criterion(target="age"), curve([normal(0.5)]))
    assert (found.outcome, found.n_examined, found.deciding) == ("INCONCLUSIVE", 0, None)
    assert "no macro_auc of age" in found.reason
    (broken,) = judge([criterion()], [subject(failed=True)])
    assert broken.outcome == "INCONCLUSIVE"
    assert "not computed: Question" in broken.reason


def test_layers_are_every_the_last_the_best_or_a_named_one() -> None:
    block = curve([normal(0.7), normal(0.9), normal(0.5)])
    layers = {
        name: verdict(criterion(layer=name, at_most=0.6), block)
        for name in ("every", "last", "l0", "best", "l9")
    }
    assert {name: v.n_examined for name, v in layers.items()} == {
        "every": 3, "last": 1, "l0": 1, "best": 1, "l9": 0,
    }  # fmt: skip
    assert layers["last"].outcome == "PASS"
    best = layers["best"].deciding
    assert best is not None and best.layer == "l1"
    assert layers["l9"].outcome == "INCONCLUSIVE"


def test_the_best_of_several_layers_pays_for_the_choice() -> None:
    just = normal(0.6 + 2.1 * 0.01)
    assert verdict(criterion(layer="best"), curve([just])).outcome == "FAIL"
    chosen = verdict(criterion(layer="best"), curve([just, normal(0.6), normal(0.6)]))
    assert chosen.outcome == "INCONCLUSIVE"
    assert chosen.n_examined == 1
    assert chosen.deciding is not None and chosen.deciding.estimate is not None
    assert chosen.deciding.estimate.choice == pytest.approx(1 / 3)
    lower = just.value - 0.01 * norm.ppf(1 - 0.025 / 3)
    assert chosen.deciding.estimate.lower == pytest.approx(lower)
    at_least = criterion(layer="best", at_most=None, at_least=0.6)
    assert verdict(at_least, curve([just])).outcome == "PASS"
    assert verdict(at_least, curve([just, normal(0.6), normal(0.6)])).outcome == "INCONCLUSIVE"


def test_layers_that_are_alike_cost_what_their_curve_says() -> None:
    just = normal(0.6 + 2.1 * 0.01)
    layers = [just, normal(0.6), normal(0.6)]
    asked = criterion(layer="best")
    assert verdict(asked, curve(layers, choice=1.0)).outcome == "FAIL"
    assert verdict(asked, curve(layers, choice=0.5)).outcome == "INCONCLUSIVE"


def test_the_best_point_is_the_highest_with_intervals_that_allow_for_the_choice() -> None:
    estimates = [normal(0.7), None, normal(0.9), normal(0.9)]
    lifts = [normal(0.1), None, normal(0.2), normal(0.3)]
    for choice, share_left in ((0.4, 0.4), (None, 1 / 3)):
        (made,) = curve(estimates, lifts, choice=choice).curves
        own = made.model_copy(update={"lift_choice": choice})
        best = best_point(own)
        assert best is not None and best.layer == "l2"
        for found, alone in ((best.estimate, estimates[2]), (best.lift, lifts[2])):
            assert found is not None and alone is not None
            assert (found.value, found.level, found.choice) == (alone.value, 0.95, share_left)
            assert (found.lower, found.upper) == interval_at(alone, 1 - 0.05 * share_left)
    (one,) = curve([normal(0.7), None], choice=0.4).curves
    assert best_point(one) == one.points[0], "nothing was chosen"
    (none,) = curve([None, None]).curves
    assert best_point(none) is None


def test_a_choice_among_layers_of_no_effect_seldom_decides() -> None:
    rng = np.random.default_rng(8)
    asked = criterion(layer="best", at_least=0.6)
    rows = rng.normal(0.6, 0.01, (600, 10))
    outcomes = [verdict(asked, curve([normal(v) for v in row])).outcome for row in rows]
    assert outcomes.count("PASS") / 600 < 0.05


def test_a_lift_is_judged_by_its_own_interval() -> None:
    block = curve([normal(0.9)], [normal(0.02)])
    asked = criterion(of="lift", at_most=0.05)
    assert verdict(asked, block).outcome == "PASS"
    none = verdict(asked, curve([normal(0.9)]))
    assert none.outcome == "INCONCLUSIVE"
    assert "no lift was measured" in none.reason
    groups = verdict(criterion(quantity="recall", of="lift"), table([normal(0.5)]))
    assert "groups have no lift" in groups.reason


def test_only_groups_of_the_levels_asked_for_count() -> None:
    block = table([normal(0.5), normal(0.9), normal(0.5), normal(0.9)])
    chosen = criterion(quantity="recall", groups={"race": "x"})
    assert (verdict(chosen, block).outcome, verdict(chosen, block).n_examined) == ("PASS", 2)
    failed = verdict(criterion(quantity="recall", groups={"race": "y", "age": "a1"}), block)
    assert (failed.outcome, failed.n_examined) == ("FAIL", 1)
    assert failed.deciding is not None and failed.deciding.group is not None
    assert failed.deciding.group.label == "a1 / y"
    nobody = verdict(criterion(quantity="recall", groups={"race": "z"}), block)
    assert nobody.outcome == "INCONCLUSIVE"
    assert verdict(criterion(groups={"race": "x"}), curve([normal(0.5)])).n_examined == 0


def test_tables_at_several_layers_have_no_best_one() -> None:
    asked = criterion(quantity="recall", layer="best")
    assert verdict(asked, table([normal(0.5)])).outcome == "PASS"
    two = verdict(asked, table([normal(0.5)]), table([normal(0.5)], layer="l2"))
    assert two.outcome == "INCONCLUSIVE"
    assert "several layers (l0, l2)" in two.reason
    last = verdict(
        criterion(quantity="recall", layer="last"),
        table([normal(0.9)]),
        table([normal(0.5)], layer="l2"),
    )
    assert last.outcome == "PASS"


def test_every_backbone_asked_for_gets_a_verdict() -> None:
    subjects = [
        subject(curve([normal(0.5)]), name="one"),
        subject(curve([normal(0.7)]), name="two"),
    ]
    found = judge([criterion(), criterion(name="d", backbones=["two", "three"])], subjects)
    assert [(v.criterion.name, v.backbone, v.outcome) for v in found] == [
        ("c", "one", "PASS"),
        ("c", "two", "FAIL"),
        ("d", "two", "FAIL"),
        ("d", "three", "INCONCLUSIVE"),
    ]
    assert "audited: one, two" in found[-1].reason


def test_undecided_families_name_what_would_settle_them() -> None:
    """A value beyond the margin is the shorter way to a decision: one is enough to fail."""
    inside, outside = normal(0.595, n=100), normal(0.612, n=100)
    found = verdict(criterion(), curve([inside, outside]))
    assert found.outcome == "INCONCLUSIVE"
    assert found.deciding is not None and found.deciding.layer == "l1"
    hardest = verdict(criterion(), curve([normal(0.59), normal(0.595)]))
    assert hardest.deciding is not None and hardest.deciding.layer == "l1"
