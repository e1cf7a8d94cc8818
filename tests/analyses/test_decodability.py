"""Curves allow for the choice of a layer, seeds count as draws, and only claims are ordered."""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt
import pytest

from bias_audit.analyses.methods.linear_probe import PLUGIN, Params
from bias_audit.analyses.probing.decodability import (
    GUESSING,
    Decodability,
    Recheck,
    decodability,
    probe_targets,
)
from bias_audit.analyses.probing.probes import ProbeSettings, ProbeSpec, out_of_fold_scores
from bias_audit.analyses.probing.sentences import findings_of
from bias_audit.analyses.probing.separability import AUC
from bias_audit.analyses.targets import targets_of
from bias_audit.shapes.layer_curve import LayerCurve
from bias_audit.statistics.inference import normal_score
from tests.analyses.planted import AGE, GENDER, make_subject, planted

N = 120
SETTINGS = ProbeSettings(folds=3, shrinkage=0.3)


@dataclasses.dataclass(frozen=True)
class _Draw:
    """Random weights: numbers that know a little about the labels, more in some draws."""

    seed: int
    known: npt.NDArray[np.float32]
    kind: str = "random weights"
    by_layer: bool = False

    @property
    def name(self) -> str:
        return f"{self.kind}, seed {self.seed}"

    @property
    def fingerprint(self) -> str:
        return self.name

    def units(self, layer: str) -> npt.NDArray[np.float32]:
        assert layer
        noise = np.random.default_rng(self.seed).standard_normal((N, 4))
        return (noise + self.seed / 3 * self.known).astype(np.float32)


def _found(n_draws: int) -> Decodability:
    subject = planted(n=N)
    known = np.eye(3)[subject.faces.table.codes[:, 0]][:, [0]].astype(np.float32)
    draws = tuple(_Draw(seed, known) for seed in range(n_draws))
    subject = dataclasses.replace(subject, controls=draws)
    targets = targets_of(subject.faces.table, ["age"])
    ((found,),) = decodability(subject, probe_targets(subject, targets, SETTINGS), AUC, level=0.95)
    return found


def test_random_weights_are_compared_with_a_further_draw() -> None:
    """Between n draws of variance s^2 it varies by s^2 (1 + 1 / n), with n - 1 freedom.

    Numbers that do not depend on the layer say no more of s^2 at two layers than at one.
    """
    n = 4
    found = _found(n)
    subject = planted(n=N)
    known = np.eye(3)[subject.faces.table.codes[:, 0]][:, [0]].astype(np.float32)
    (target,) = targets_of(subject.faces.table, ["age"])
    values = []
    for seed in range(n):
        spec = ProbeSpec(target, "late", SETTINGS, _Draw(seed, known))
        statistic = AUC.of(out_of_fold_scores(subject, spec), np.arange(N))
        assert statistic is not None
        values.append(statistic.value)
    comparison = found.comparisons[1]
    assert comparison is not None and comparison.layer == "late"
    over = comparison.differences["random weights"]
    assert over.value == pytest.approx(comparison.probe.value - np.mean(values))
    of_seeds = float((over.influence[N:] ** 2).sum())
    of_images = float((over.influence[:N] ** 2).sum())
    assert of_seeds == pytest.approx(np.var(values, ddof=1) * (1 + 1 / n))
    assert over.seed_freedom == pytest.approx(n - 1)
    assert over.freedom == pytest.approx(
        (of_images + of_seeds) ** 2 / (of_images**2 / (over.clusters - 1) + of_seeds**2 / (n - 1))
    )


def test_one_draw_of_random_weights_and_shuffles_vary_as_images_alone() -> None:
    comparison = _found(1).comparisons[0]
    assert comparison is not None
    assert set(comparison.differences) == {"random weights", "shuffled labels", GUESSING}
    for over in comparison.differences.values():
        assert not over.influence[N:].any()
        assert over.freedom == pytest.approx(over.clusters - 1)


def test_a_claim_is_what_the_adjusted_p_value_says() -> None:
    """The same draws decide whether a lift's simultaneous bound and its p-value are a finding."""
    found = _found(2)
    for comparison in found.comparisons:
        assert comparison is not None and comparison.adjusted_p is not None
        assert (comparison.claim > 0) == (comparison.adjusted_p <= 0.05)
        assert normal_score(comparison.narrowest) == min(
            normal_score(each) for each in comparison.differences.values()
        )


def test_alike_layers_cost_less_than_layers_of_noise() -> None:
    """The share of the error rate that a curve leaves to its best layer."""
    rng = np.random.default_rng(0)
    codes = (np.arange(N) % 2)[:, None]
    noise = [rng.standard_normal((N, 4)) for _ in range(6)]
    choices = []
    for layers in (noise[:1] * 6, noise):
        subject = make_subject(codes, {f"l{i}": u for i, u in enumerate(layers)}, (GENDER,))
        block = PLUGIN.run(subject, Params.model_validate(SETTINGS.model_dump())).blocks[0]
        assert isinstance(block, LayerCurve)
        choices.append(block.curves[0].choice)
    assert choices[0] == pytest.approx(1, abs=0.08)
    assert choices[1] is not None
    assert 1 / 6 <= choices[1] < 0.3


def _both(strength: float) -> tuple[Decodability, ...]:
    """Age is encoded strongly, gender by as much as is said."""
    codes = np.stack([np.arange(360) % 3, np.arange(360) // 3 % 2], axis=1)
    units = np.random.default_rng(0).standard_normal((360, 6))
    units[np.arange(360), codes[:, 0]] += 3
    units[:, 3] += strength * codes[:, 1]
    subject = make_subject(codes, {"late": units}, (AGE, GENDER))
    targets = targets_of(subject.faces.table, ["age", "gender"])
    (found,) = decodability(subject, probe_targets(subject, targets, SETTINGS), AUC, level=0.95)
    return found


def test_attributes_are_ordered_only_among_claims_that_stand() -> None:
    one_claim, both = _both(0.0), _both(1.0)
    assert [r.is_claimed for r in one_claim] == [True, False]
    assert all(r.is_claimed for r in both)
    assert not any("is the easiest" in f.text for f in findings_of(one_claim, alpha=0.05))
    *_, order = findings_of(both, alpha=0.05)
    assert "age is the easiest" in order.text
    over = order.estimates["age_over_gender"]
    assert over.lower > 0
    lifts = [c.lift.value for r in both for c in r.comparisons if c is not None]
    assert over.value == pytest.approx(lifts[0] - lifts[1])
    fallen = {"gender": Recheck("late", {2: None, 4: None})}
    assert not any("is the easiest" in f.text for f in findings_of(both, fallen, alpha=0.05))
