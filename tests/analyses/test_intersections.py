"""Groups within groups: what is planted is found, what is not is not, and nothing is hidden."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from sklearn.metrics import roc_auc_score

from bias_audit.analyses.analysis import Outcome, Subject
from bias_audit.analyses.families import declared_families
from bias_audit.analyses.intersecting.group_tests import extremes, residual_map
from bias_audit.analyses.intersecting.published_claims import middle_levels, pairwise_auc
from bias_audit.analyses.methods.intersections import PLUGIN, Params
from bias_audit.analyses.probing.probes import ProbeSpec, out_of_fold_scores
from bias_audit.analyses.targets import targets_of
from bias_audit.config.schema import Multiplicity, SmallGroups
from bias_audit.groups import Attribute
from bias_audit.results.finding import Finding
from bias_audit.shapes.group_ledger import GroupLedger
from bias_audit.shapes.group_table import GroupRow, GroupTable
from bias_audit.shapes.test_families import HypothesisFamilies
from bias_audit.statistics.inference import Measured
from tests.analyses.planted import AGE, GENDER, make_subject

RACE = Attribute("race", ("x", "y"))
QUICK = Params(shrinkage=0.3)


def _codes(n: int, sizes: tuple[int, ...], seed: int = 0) -> npt.NDArray[np.int64]:
    """Every cell alike, in random order."""
    flat = np.random.default_rng(seed).permutation(np.arange(n) % int(np.prod(sizes)))
    return np.stack(np.unravel_index(flat, sizes), axis=1).astype(np.int64)


def _two(n: int = 480, strength: float = 3.0, seed: int = 0, **options: Any) -> Subject:
    """Gender moves a unit, in the middle age alone."""
    codes = _codes(n, (3, 2), seed)
    units = np.random.default_rng(seed + 1).standard_normal((n, 8))
    units[:, 0] += strength * (codes[:, 1] - 0.5) * (codes[:, 0] == 1)
    return make_subject(codes, {"late": units}, seed=seed, **options)


def _three(
    n: int = 720, strength: float = 3.0, seed: int = 0, shown: tuple[int, ...] = (1,)
) -> Subject:
    """Age moves three units, race nothing, and gender one, in the ages that show it."""
    codes = _codes(n, (3, 2, 2), seed)
    units = np.random.default_rng(seed + 1).standard_normal((n, 8))
    units[:, 0] += strength * (codes[:, 2] - 0.5) * np.isin(codes[:, 0], shown)
    units[np.arange(n), 1 + codes[:, 0]] += strength
    return make_subject(codes, {"late": units}, (AGE, RACE, GENDER), seed=seed)


def _tables(outcome: Outcome, quantity: str) -> dict[tuple[str, tuple[str, ...]], GroupTable]:
    """By target and the attributes that span the groups."""
    return {
        (block.target, tuple(name for name, _ in block.rows[0].group.levels)): block
        for block in outcome.blocks
        if isinstance(block, GroupTable) and block.quantity == quantity
    }


def _rows(
    outcome: Outcome, target: str, *given: str, quantity: str = "within_auc"
) -> dict[str, GroupRow]:
    rows = _tables(outcome, quantity)[target, given].rows
    return {row.group.label: row for row in rows}


def _families(subject: Subject) -> list[HypothesisFamilies]:
    blocks = PLUGIN.run(subject, QUICK).blocks
    return [block for block in blocks if isinstance(block, HypothesisFamilies)]


def _findings(outcome: Outcome, key: str) -> list[Finding]:
    """Those of which an estimate's name begins so."""
    return [f for f in outcome.findings if any(name.startswith(key) for name in f.estimates)]


def _texts(outcome: Outcome, start: str) -> list[str]:
    return [f.text for f in outcome.findings if f.text.startswith(start)]


def test_an_attribute_shown_in_one_group_alone_is_found_there_and_interacts() -> None:
    covered, alone = 0, 0
    for seed in range(6):
        outcome = PLUGIN.run(_two(seed=seed), QUICK)
        rows = _rows(outcome, "gender", "age")
        middle = rows["middle"].estimate
        assert middle is not None and middle.lower > 0.85
        assert (rows["middle"].adjusted_p or 1) < 0.01
        others = [rows[label].estimate for label in ("young", "old")]
        covered += sum(e is not None and e.lower < 0.5 < e.upper for e in others)
        extra = _rows(outcome, "gender", "age", quantity="interaction")
        middle, old = extra["middle"].estimate, extra["old"].estimate
        assert middle is not None and middle.lower > 0.15
        assert old is not None and old.upper < 0
        (read,) = _findings(outcome, "within_auc_gender")
        alone += "can be read in 1 of 3 groups of age" in read.text
        (extra_one,) = _findings(outcome, "interaction_gender_age")
        assert extra_one.text.startswith("Gender is easier to read for middle at late")
        assert read.weight > 0 and extra_one.weight > 0
    assert covered >= 9  # of 12, at 95 %
    assert alone >= 4


def test_values_within_a_group_are_those_of_its_images_alone() -> None:
    subject = _three()
    outcome = PLUGIN.run(subject, QUICK)
    codes = subject.faces.table.codes
    (target,) = targets_of(subject.faces.table, ["gender"])
    scores = out_of_fold_scores(subject, ProbeSpec(target, "late", QUICK.probes))
    table = _tables(outcome, "within_auc")["gender", ("age", "race")]
    for number, row in enumerate(table.rows):
        inside = (codes[:, 0] == number // 2) & (codes[:, 1] == number % 2)
        hits, pairs = 0.0, 0
        for fold in np.unique(scores.folds):
            own = inside & (scores.folds == fold)
            n = int(np.prod(np.bincount(scores.codes[own], minlength=2)))
            if n:
                hits += n * roc_auc_score(scores.codes[own], scores.probabilities[own, 1])
                pairs += n
        assert row.n == inside.sum()
        assert row.estimate is not None
        assert row.estimate.value == pytest.approx(hits / pairs)


def test_families_are_the_declared_ones_and_every_hypothesis_is_counted() -> None:
    first, second, third = _families(_three())
    declared = declared_families((AGE, RACE, GENDER))
    assert {f.name: f.n_hypotheses for f in first.families} == declared
    within = {f.name: f.n_hypotheses for f in second.families}
    # age within 2 races, 2 genders; race within 3 ages, 2 genders; gender within 3 ages, 2 races
    assert within == {"global": 1, "within marginals": 14, "within pairs": 4 + 6 + 6}
    assert third.families[1].n_hypotheses == 14 + 16 + 12
    # of the findings besides: three statements on extremes, and the published claims
    n_families = sum(len(block.families) for block in (first, second, third)) + 3 + 1
    assert PLUGIN.families(QUICK, (AGE, RACE, GENDER)) == n_families
    for block in (first, second, third):
        for family in block.families:
            assert family.n_tested == family.n_hypotheses
            assert family.method == "single-step max-T"


def test_null_data_raise_no_more_false_alarms_than_claimed() -> None:
    """Nothing is planted: any finding with weight is false; three questions and the claims."""
    alarms, holds = [], []
    for seed in range(30):
        outcome = PLUGIN.run(_three(n=240, strength=0, seed=seed), QUICK)
        alarms += [
            any(f.weight > 0 for f in found)
            for found in (
                *(_findings(outcome, key) for key in ("within", "interaction", "cell_auc")),
                [f for f in outcome.findings if f.claim],
            )
        ]
        for quantity, null in (("within_auc", 0.5), ("interaction", 0.0)):
            for table in _tables(outcome, quantity).values():
                estimates = [row.estimate for row in table.rows if row.estimate is not None]
                holds += [e.lower <= null <= e.upper for e in estimates]
    assert len(alarms) == 120
    assert np.sum(alarms) <= 13  # 5 % is 6; three binomial standard errors more
    assert len(holds) > 1500
    assert 0.93 <= np.mean(holds) <= 0.985


def test_closed_gates_say_so() -> None:
    subject = _three(n=240, strength=0, seed=1)
    _, within, _ = _families(subject)
    assert within.families[0].rejected == 0
    assert [f.is_open for f in within.families] == [True, False, False]
    texts = _texts(PLUGIN.run(subject, QUICK), "Whether gender can be read")
    assert texts and all("was not tested, because" in text for text in texts)
    _, within, _ = _families(replace(subject, multiplicity=Multiplicity(gatekeeping=False)))
    assert all(f.is_open for f in within.families)


def _sparse(policy: SmallGroups) -> Subject:
    """No old man, four old women, and seven young men."""
    codes = np.array([(0, 0)] * 60 + [(0, 1)] * 7 + [(1, 0)] * 60 + [(1, 1)] * 60 + [(2, 0)] * 4)
    units = np.random.default_rng(0).standard_normal((len(codes), 5)) + codes[:, [1]]
    return replace(make_subject(codes, {"late": units}), small_groups=policy)


def test_small_and_empty_groups_are_in_the_table_and_in_the_ledger() -> None:
    outcome = PLUGIN.run(_sparse(SmallGroups()), QUICK)
    within = _rows(outcome, "gender", "age")
    assert within["old"].estimate is None
    assert within["old"].reason == "in the smallest group: no images"
    assert within["young"].estimate is not None
    assert "7 independent" in (within["young"].reason or "")
    cells = _rows(outcome, "intersection", "age", "gender", quantity="cell_auc")
    assert len(cells) == 6
    assert cells["old / male"].reason == "no images"
    assert cells["old / male"].estimate is cells["old / female"].estimate is None
    (ledger,) = (block for block in outcome.blocks if isinstance(block, GroupLedger))
    actions = {(e.group.label, e.action) for e in ledger.entries}
    assert {("old", "suppressed"), ("young", "shrunk"), ("old / male", "suppressed")} <= actions
    assert any("1 of 3 groups have no value" in limit for limit in outcome.limits)


def test_the_policy_on_small_groups_is_kept() -> None:
    shrunk, hidden, pooled = (
        {label: row.estimate for label, row in _rows(outcome, "gender", "age").items()}
        for policy in ("shrink", "suppress", "pool")
        for outcome in [PLUGIN.run(_sparse(SmallGroups(policy=policy)), QUICK)]
    )
    assert [label for label, estimate in hidden.items() if estimate] == ["middle"]
    together = "all groups with fewer than 10 images"
    assert [label for label, estimate in pooled.items() if estimate] == ["middle", together]
    # among its images only young ones are of both genders, so only these can be compared
    joined, young = pooled[together], shrunk["young"]
    assert joined is not None and young is not None
    assert joined.value == pytest.approx(young.value)


def test_one_attribute_is_nothing_to_intersect_and_two_are_in_no_claim() -> None:
    assert not _claims(PLUGIN.run(_two(n=120), QUICK))
    codes = _codes(60, (3,))
    subject = make_subject(codes, {"late": np.eye(3)[codes[:, 0]]}, (AGE,))
    outcome = PLUGIN.run(subject, QUICK)
    assert (outcome.blocks, outcome.findings) == ((), ())
    assert "nothing to intersect" in outcome.limits[0]


def test_an_attribute_of_one_level_has_rows_that_say_why() -> None:
    codes = _codes(120, (3, 2))
    codes[:, 1] = 0
    subject = make_subject(codes, {"late": np.eye(3)[codes[:, 0]] + np.zeros((120, 3))})
    outcome = PLUGIN.run(subject, QUICK)
    rows = _rows(outcome, "gender", "age").values()
    assert [row.estimate for row in rows] == [None] * 3
    assert all("1 of 2 groups of gender" in (row.reason or "") for row in rows)


def test_clusters_count_once() -> None:
    single = _two(n=240)
    codes, units = single.faces.table.codes, single.activations.units("late")
    twice = make_subject(
        np.repeat(codes, 2, axis=0),
        {"late": np.repeat(units, 2, axis=0)},
        clusters=np.repeat(np.arange(240), 2),
    )
    for row in _rows(PLUGIN.run(twice, QUICK), "gender", "age").values():
        assert row.estimate is not None
        assert (row.n, row.estimate.n) == (160, 80)


def test_residuals_are_those_of_a_weighted_regression() -> None:
    rng = np.random.default_rng(0)
    codes = np.stack(np.unravel_index(np.arange(12), (4, 3)), axis=1)[[0, 1, 3, 4, 5, 6, 8, 9, 11]]
    weights, values = rng.uniform(1, 9, len(codes)), rng.standard_normal(len(codes))
    design = np.column_stack(
        [
            np.ones(len(codes)),
            *(codes[:, 0] == i for i in (1, 2, 3)),
            *(codes[:, 1] == i for i in (1, 2)),
        ]
    ).astype(float)
    root = np.sqrt(weights)
    beta, *_ = np.linalg.lstsq(design * root[:, None], values * root, rcond=None)
    remainder = residual_map(codes, weights)
    np.testing.assert_allclose(remainder @ values, values - design @ beta, atol=1e-10)
    np.testing.assert_allclose(remainder @ design, 0, atol=1e-10)


def _measured(values: npt.NDArray[np.float64], noise: npt.NDArray[np.float64]) -> list[Measured]:
    return [
        Measured(float(value), row, len(row), np.ones(len(row)), "images")
        for value, row in zip(values, noise, strict=True)
    ]


def test_the_true_best_is_among_those_not_distinguishable_from_the_best() -> None:
    """Ten groups that differ little: the best observed is often not the best."""
    truth, kept, picked, false = np.linspace(0.5, 0.6, 10), 0, 0, 0
    for seed in range(100):
        rng = np.random.default_rng(seed)
        influence = 0.003 * rng.standard_normal((10, 200))
        drawn = _measured(truth + influence @ rng.standard_normal(200), influence)
        found = extremes(drawn, n_draws=499, alpha=0.05, rng=rng)
        picked += found.highest == 9
        kept += 9 in {found.highest, *found.like_highest}
        flat = _measured(0.5 + influence @ rng.standard_normal(200), influence)
        false += extremes(flat, n_draws=499, alpha=0.05, rng=rng).claim > 0
    assert picked < 80
    assert kept >= 90
    assert false <= 12


def test_distant_extremes_are_distinguished() -> None:
    rng = np.random.default_rng(0)
    values = _measured(np.array([0.5, 0.55, 0.9, 0.91]), 0.001 * rng.standard_normal((4, 200)))
    found = extremes(values, n_draws=999, alpha=0.05, rng=rng)
    assert (found.highest, found.lowest) == (3, 0)
    assert (found.like_highest, found.like_lowest) == ((2,), ())
    assert 0.3 < found.claim < 0.41


@pytest.mark.parametrize(
    ("n", "middle"), [(9, [2, 3, 4, 5, 6]), (6, [2, 3]), (4, [1, 2]), (3, [1]), (2, [])]
)
def test_middle_levels(n: int, middle: list[int]) -> None:
    assert list(middle_levels(n)) == middle


def _claims(outcome: Outcome) -> dict[str, str | None]:
    return {f.claim: f.result for f in outcome.findings if f.claim}


AGE_MOST, RACE_LESS, MIDDLE, CONFUSED = (
    "age is the most separable attribute",
    "race is less separable than age",
    "gender is separable mainly in the middle-aged",
    "the most frequent confusions do not change gender",
)


def test_published_claims_are_supported_and_contradicted_by_what_is_planted() -> None:
    agreeing = PLUGIN.run(_three(strength=2.0), QUICK)
    verdicts = _claims(agreeing)
    assert verdicts[AGE_MOST] == verdicts[RACE_LESS] == verdicts[MIDDLE] == "agrees"
    # race is not encoded, so it is what changes; gender does too, in ages that do not show it
    assert verdicts[CONFUSED] != "agrees"
    opposite = _claims(PLUGIN.run(_three(strength=2.0, shown=(0, 2)), QUICK))
    assert opposite[MIDDLE] == "disagrees"
    for finding in agreeing.findings:
        if finding.claim:
            assert (finding.weight > 0) == (finding.result != "inconclusive")
            assert finding.estimates


def test_clear_genders_are_never_confused_and_the_claim_is_supported() -> None:
    subject = _three(strength=9.0, shown=(0, 1, 2))
    verdicts = _claims(PLUGIN.run(subject, QUICK))
    assert verdicts[CONFUSED] == "agrees"
    assert verdicts[MIDDLE] != "agrees"


def test_claims_about_what_cannot_be_read_are_not_examined() -> None:
    """Nothing is encoded at first, then age alone: the claims about gender stay unexamined."""
    nothing = PLUGIN.run(_three(strength=0.0), QUICK)
    assert set(_claims(nothing).values()) == {"not examined"}
    for finding in nothing.findings:
        if finding.claim:
            assert "cannot be read there beyond chance" in finding.text
            assert (finding.weight, finding.estimates) == (0, {})
    ages = _claims(PLUGIN.run(_three(strength=2.0, shown=()), QUICK))
    assert ages[AGE_MOST] == ages[RACE_LESS] == "agrees"
    assert ages[MIDDLE] == ages[CONFUSED] == "not examined"


def test_the_balanced_comparison_does_not_depend_on_the_number_of_levels() -> None:
    """Levels equally far apart, two or six of them; the macro AUC would differ."""
    values = []
    for n_levels in (2, 6):
        attribute = Attribute("age", tuple(map(str, range(n_levels))))
        codes = _codes(1800, (n_levels,))
        units = np.random.default_rng(0).standard_normal((1800, 6)) + 1.2 * np.eye(6)[codes[:, 0]]
        subject = make_subject(codes, {"late": units}, (attribute,))
        (target,) = targets_of(subject.faces.table)
        found = pairwise_auc(out_of_fold_scores(subject, ProbeSpec(target, "late", QUICK.probes)))
        assert found is not None
        values.append(found.value)
    assert values[0] == pytest.approx(values[1], abs=0.02)
