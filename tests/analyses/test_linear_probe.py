"""A planted attribute is found, an absent one is not, at the layer it was planted in."""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt
import pytest

from bias_audit.analyses.methods.linear_probe import PLUGIN, Params
from bias_audit.shapes.group_table import GroupTable
from bias_audit.shapes.layer_curve import CurvePoint, LayerCurve
from bias_audit.shapes.printed import interval
from bias_audit.statistics.estimate import Estimate
from tests.analyses.planted import AGE, GENDER, make_subject, planted

QUICK = Params()


def _points(block: object) -> dict[tuple[str, str], CurvePoint]:
    assert isinstance(block, LayerCurve)
    return {(curve.target, p.layer): p for curve in block.curves for p in curve.points}


def test_planted_effect_is_found_and_null_is_not() -> None:
    outcome = PLUGIN.run(planted(), QUICK)
    points = _points(outcome.blocks[0])
    planted_point, null = points["age", "late"], points["gender", "late"]
    assert planted_point.lift is not None
    assert null.lift is not None
    assert null.estimate is not None
    assert planted_point.lift.lower > 0.2
    assert null.lift.lower < 0 < null.lift.upper
    assert null.estimate.lower < 0.5 < null.estimate.upper
    texts = [finding.text for finding in outcome.findings]
    assert any(t.startswith("Age can be read from layer 2 of 2 (late), signif") for t in texts)
    assert any(t.startswith("It was not shown that gender can be read") for t in texts)
    assert not any("is the easiest" in t for t in texts), "one claim alone has no order"


def test_null_data_raise_no_more_false_alarms_than_claimed() -> None:
    """Gender is absent by construction; layers of noise, over several folds, are the trials.

    Without the widening for overlapping folds about one trial in five falls outside.
    """
    holds, alarms, n = [], [], 200
    for seed in range(6):
        rng = np.random.default_rng(seed)
        codes = (np.arange(n) % 2)[:, None]
        layers = {f"layer{i}": rng.standard_normal((n, 6)) for i in range(25)}
        outcome = PLUGIN.run(make_subject(codes, layers, (GENDER,), seed=seed), QUICK)
        lifts = [p.lift for p in _points(outcome.blocks[0]).values() if p.lift is not None]
        holds += [lift.lower <= 0 <= lift.upper for lift in lifts]
        alarms += [lift.lower > 0 for lift in lifts]
    assert len(holds) == 150
    # Three binomial standard errors from 0.95 and 0.025.
    assert np.mean(holds) >= 0.895
    assert np.mean(alarms) <= 0.064


def test_separable_groups_get_no_point_interval() -> None:
    subject = planted(n=120, strength=40)
    outcome = PLUGIN.run(subject, Params(targets=("age",)))
    for block in outcome.blocks[:2]:
        point = _points(block)["age", "late"]
        assert point.estimate is not None
        assert point.lift is not None
        assert point.estimate.value == point.estimate.upper == 1
        assert 0.85 < point.estimate.lower < 1
        assert "score interval" in point.estimate.method
        assert point.lift.lower < point.lift.value <= point.lift.upper


def test_the_best_of_many_layers_is_no_claim_by_itself() -> None:
    """Null data of few people, several images each: the usual way to be fooled."""
    alarms = 0
    for seed in range(25):
        rng = np.random.default_rng(seed)
        people = np.repeat(np.arange(30), 4)
        own = {f"layer{n}": rng.standard_normal((30, 16))[people] for n in range(6)}
        layers = {name: u + 0.5 * rng.standard_normal(u.shape) for name, u in own.items()}
        subject = make_subject(
            (people % 2)[:, None], layers, (GENDER,), clusters=people, seed=seed
        )
        (finding,) = PLUGIN.run(subject, Params()).findings
        alarms += finding.weight > 0
        assert (finding.weight > 0) == ("It was not shown" not in finding.text)
    assert alarms <= 3  # 2.5 % of 25 is less than one; more than 3 has a chance of 0.3 %


def test_the_lift_is_over_the_strongest_control_or_guessing() -> None:
    """A control that knows the labels better than the layer takes all the lift.

    Where it is the only one that may be the strongest, the lift is the paired difference.
    """
    subject = planted(n=120, strength=1.0)
    codes = subject.faces.table.codes
    knowing = _Known(np.eye(3)[codes[:, 0]].astype(np.float32))
    outcome = PLUGIN.run(dataclasses.replace(subject, controls=(knowing,)), QUICK)
    n_controls, strongest = 0, set()
    for block in outcome.blocks[:3]:
        assert isinstance(block, LayerCurve)
        for curve in block.curves:
            for point in curve.points:
                if point.estimate is None or point.lift is None:
                    continue
                n_controls += len(point.controls)
                values = [control.estimate.value for control in point.controls]
                floor = max([*values, block.chance[curve.target]])
                observed = point.estimate.value - floor
                assert point.lift.value >= observed - 1e-9
                if curve.target == "age" and point.strongest == "knowing":
                    assert point.lift.value == pytest.approx(observed)
                assert point.lift.lower <= min(c.lift.lower for c in point.controls)
                strongest.add((curve.target, point.strongest))
    assert n_controls == 3 * 3 * 2 * 2
    assert ("age", "knowing") in strongest
    texts = [finding.text for finding in outcome.findings]
    (age,) = (t for t in texts if t.startswith("Age can"))
    assert (
        "can be read from layer 2 of 2 (late), but what the backbone adds cannot be deter"
    ) in age
    assert "it can be read from knowing alone as well" in age


@dataclasses.dataclass(frozen=True)
class _Known:
    """A control whose numbers are the labels."""

    codes: npt.NDArray[np.float32]
    kind: str = "knowing"
    name: str = "knowing"
    fingerprint: str = "knowing"
    by_layer: bool = False

    def units(self, layer: str) -> npt.NDArray[np.float32]:
        assert layer
        return self.codes


def test_every_declared_group_has_a_row() -> None:
    rng = np.random.default_rng(0)
    ages, genders = np.repeat([0, 1], [60, 43]), rng.integers(2, size=103)
    genders[60:] = 0
    genders[60:63] = 1
    subject = make_subject(
        np.stack([ages, genders], axis=1), {"late": rng.standard_normal((103, 5)) + ages[:, None]}
    )
    outcome = PLUGIN.run(subject, QUICK)
    tables = {b.target: b for b in outcome.blocks if isinstance(b, GroupTable)}
    assert [len(tables[name].rows) for name in ("age", "gender", "intersection")] == [3, 2, 6]
    rows = {row.group.label: row for row in tables["intersection"].rows}
    assert rows["middle / male"].reason == "3 images, fewer than the 5 folds"
    assert rows["old / male"].reason == "no images"
    assert rows["old / male"].estimate is None
    measured = [row for row in rows.values() if row.estimate is not None]
    assert {row.group.label for row in measured} == {
        "young / female",
        "young / male",
        "middle / female",
    }
    named = [row.by_chance for row in measured]
    assert sum(share for share in named if share is not None) == pytest.approx(1)
    assert any("3 of 6 groups of the intersection" in limit for limit in outcome.limits)


def test_unmeasurable_target_says_so() -> None:
    codes = np.stack([np.arange(60) % 3, np.zeros(60, dtype=int)], axis=1)
    rng = np.random.default_rng(0)
    subject = make_subject(codes, {"late": rng.standard_normal((60, 3))})
    outcome = PLUGIN.run(subject, QUICK)
    block = outcome.blocks[0]
    assert isinstance(block, LayerCurve)
    curves = {curve.target: curve for curve in block.curves}
    assert curves["gender"].points == ()
    assert curves["gender"].not_measured is not None
    assert "1 of 2 groups" in curves["gender"].not_measured
    assert curves["age"].not_measured is None


def test_one_attribute_and_two_clustered_images_each() -> None:
    codes = np.repeat(np.arange(90) % 3, 2)[:, None]
    rng = np.random.default_rng(0)
    units = np.eye(3)[codes[:, 0]] + rng.standard_normal((180, 3))
    subject = make_subject(codes, {"late": units}, (AGE,), clusters=np.repeat(np.arange(90), 2))
    outcome = PLUGIN.run(subject, QUICK)
    point = _points(outcome.blocks[0])["age", "late"]
    assert point.estimate is not None
    assert point.estimate.n == 90
    assert "clusters" in point.estimate.method
    table = outcome.blocks[3]
    assert isinstance(table, GroupTable)
    assert [(row.n, row.estimate and row.estimate.n) for row in table.rows] == [(60, 30)] * 3


@pytest.mark.parametrize(
    ("numbers", "text"),
    [
        ((0.833, 0.82, 0.85), "0.83 [0.82, 0.85]"),
        ((0.013, 0.002, 0.03), "0.013 [0.002, 0.030]"),
        ((1.0, 0.93, 1.0), "1.00 [0.93, 1.00]"),
        ((0.0, -0.2, 0.2), "0.00 [\N{MINUS SIGN}0.20, 0.20]"),
    ],
)
def test_a_bound_is_never_rounded_onto_a_boundary(
    numbers: tuple[float, float, float], text: str
) -> None:
    assert interval(Estimate(*numbers, level=0.95, n=10, method="")) == text
