"""What is known is found, and measured rightly."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Final

import numpy as np
from scipy.stats import norm
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from bias_audit.analyses.probing.probes import ProbeSettings, ProbeSpec, probe
from bias_audit.analyses.targets import targets_of
from bias_audit.config.schema import Criterion
from bias_audit.results.judge import POWER, growth, hold
from bias_audit.results.numbers import Number
from bias_audit.results.selftest import SelfTestRow
from bias_audit.selftest.simulated import Design, audited, draw, is_claimed, subject_of
from bias_audit.selftest.trials import LEVEL, Sizes, Tolerance, Trials, largest, row, share
from bias_audit.statistics.bootstrap import mean_over_repetitions
from bias_audit.statistics.inference import share_estimate
from bias_audit.statistics.influence import macro_auc

PER_GROUP = 30
_FOUND = Tolerance(0.9, 1)
_LARGE = 300
_FEW_UNITS = 6
_KNOWN_AUC = 0.75
_CLOSE = Tolerance(-0.02, 0.02)


@dataclass(frozen=True)
class Effect:
    """A binary attribute planted in the last of three layers."""

    auc: float
    """Population AUC of the best direction, in [0.5, 1)."""
    per_group: int

    @property
    def design(self) -> Design:
        """Levels 0 and 1 move a unit each by d, so that the best direction has an AUC of Phi(d).

        The means are d * sqrt(2) apart, and the AUC of two Gaussians is Phi(distance / sqrt(2)).
        """
        layers = {"early": 0.0, "middle": 0.0, "late": separation_of(self.auc)}
        return Design(self.per_group, layers, n_levels=2)


def separation_of(auc: float) -> float:
    """The separation of two levels whose best direction has this AUC."""
    return float(norm.ppf(auc))


def claims(effect: Effect, rng: np.random.Generator) -> float:
    """1 if the planted attribute is claimed to be linearly decodable, else 0."""
    return float(is_claimed(audited(draw(effect.design, rng), rng)))


def deviation(rng: np.random.Generator) -> float:
    """Estimated AUC minus that of the best direction, in a large sample of few units."""
    design = Design(_LARGE, {"late": separation_of(_KNOWN_AUC)}, n_levels=2, n_units=_FEW_UNITS)
    (result,) = audited(draw(design, rng), rng)
    found = result.comparisons[0]
    if found is None:
        raise ValueError("expected an AUC of the planted attribute")
    return found.probe.value - _KNOWN_AUC


def rows(sizes: Sizes, trials: Trials) -> Iterator[SelfTestRow]:
    """Power, and the value of the AUC."""
    power = {}
    for auc in sizes.effects:
        one = partial(claims, Effect(auc, PER_GROUP))
        made = trials.run(one, sizes.planted, "planted", str(auc))
        power[f"AUC {auc:g}"] = share(np.array(made))
    strongest = f"AUC {sizes.effects[-1]:g}"
    yield row(
        "The audit finds that a planted attribute can be read",
        f"two groups of {PER_GROUP}, in one of three layers, {strongest} of the best direction",
        "close to 100 % (at least 90 %)",
        power[strongest],
        _FOUND,
        parts=power,
        only_whole=True,
    )
    made = trials.run(deviation, sizes.accuracy, "accuracy")
    found = mean_over_repetitions(np.array(made), level=LEVEL)
    yield row(
        "AUC of a planted attribute minus its known value",
        f"two groups of {_LARGE}, {_FEW_UNITS} units, AUC {_KNOWN_AUC:g} of the best direction",
        "0 (within 0.02)",
        found,
        _CLOSE,
        scale="number",
    )


_PER_LEVEL = 60
_AGREES = Tolerance(0, 0.001)


def disagreement(rng: np.random.Generator) -> float:
    """Difference of the macro AUC of one simulated audit from that by scikit-learn.

    Both fit linear discriminants to the same folds with the same shrinkage, of two groups: how
    sure the probabilities are does not reorder these.
    """
    sample = draw(Design(_PER_LEVEL, {"layer": float(rng.uniform(0, 2))}, n_levels=2), rng)
    subject = subject_of(sample, int(rng.integers(2**31)))
    (target,) = targets_of(subject.faces.table)
    found = probe(subject, ProbeSpec(target, "layer", ProbeSettings()))
    scores, units = found.scores, sample.by_layer["layer"].astype(np.float64)
    units = (units - units.mean(axis=0)) / units.std(axis=0)
    other = np.empty(scores.probabilities.shape)
    for fold, shrinkage in enumerate(found.shrinkage):
        inside = scores.folds == fold
        train, codes = units[~inside], scores.codes[~inside]
        # scikit-learn shrinks towards the mean variance within groups, not towards 1
        variance = np.mean([train[codes == k].var(axis=0) for k in np.unique(codes)])
        share = shrinkage / (shrinkage + (1 - shrinkage) * variance)
        model = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=float(share))
        other[inside] = model.fit(train, codes).predict_proba(units[inside])
    ours = macro_auc(scores.probabilities, scores.codes, scores.folds)
    theirs = macro_auc(other, scores.codes, scores.folds)
    if ours is None or theirs is None:
        raise ValueError("expected images of every group in some fold")
    return abs(ours.value - theirs.value)


def engine_rows(sizes: Sizes, trials: Trials) -> Iterator[SelfTestRow]:
    """The largest difference from scikit-learn."""
    found = largest(np.array(trials.run(disagreement, sizes.engine, "engine")))
    yield row(
        "Macro AUC of the probes against scikit-learn's, largest difference",
        f"same folds and shrinkage, two groups of {_PER_LEVEL}, no to strong signal",
        "0 (at most 0.001)",
        found,
        _AGREES,
        scale="number",
    )


_TRUE: Final = 0.8
_MARGIN: Final = 0.7
_SEEN: Final = 50
_NEAR: Final = Tolerance(POWER - 0.04, POWER + 0.04)
_CRITERION: Final = Criterion(
    name="recall is high",
    quantity="recall",
    target="any",
    at_least=_MARGIN,
    rationale="Its true value lies within the margin.",
)


def _number(hits: int, n: int) -> Number:
    right = np.arange(n) < hits
    found = share_estimate(right, np.arange(n), level=0.95)
    return Number("simulated", "", 0, 0, "share", "share", "target", "layer", estimate=found)


def decides(rng: np.random.Generator) -> float:
    """1 if as many images as were said to decide do so; the value seen first is the true one."""
    seen = _number(round(_TRUE * _SEEN), _SEEN)
    n = round(_SEEN * growth(_CRITERION, seen, 1))
    made = hold(_CRITERION, (_number(int(rng.binomial(n, _TRUE)), n),))
    return float(bool(made.passing or made.failing))


def deciding_rows(sizes: Sizes, trials: Trials) -> Iterator[SelfTestRow]:
    """The share of repetitions that decide."""
    if sizes.deciding:
        found = share(np.array(trials.run(decides, sizes.deciding, "deciding")))
        yield row(
            "The suggested number of images makes a criterion conclusive",
            f"a share of {_TRUE:g} against a margin of {_MARGIN:g}",
            f"{100 * POWER:g} % (within 4 points)",
            found,
            _NEAR,
        )
