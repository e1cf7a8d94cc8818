"""What is planted is found, and measured rightly."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
from scipy.stats import norm

from bias_audit.results.selftest import SelfTestPart, SelfTestRow
from bias_audit.selftest.simulated import Design, audited, draw, is_claimed
from bias_audit.selftest.trials import Sizes, Tolerance, Trials, mean, share

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
        separation = separation_of(self.auc)
        layers = {"early": 0.0, "middle": 0.0, "late": separation}
        return Design(self.per_group, layers, n_levels=2)


def separation_of(auc: float) -> float:
    """The separation of two levels whose best direction has this AUC."""
    return float(norm.ppf(auc))


def claims(effect: Effect, rng: np.random.Generator) -> float:
    """1 if the planted attribute is claimed to be linearly decodable, else 0."""
    return float(is_claimed(audited(draw(effect.design, rng), rng)))


def rows(sizes: Sizes, trials: Trials) -> Iterator[SelfTestRow]:
    """Power, and the value of the AUC."""
    yield _power(sizes, trials)
    yield _accuracy(sizes, trials)


def n_trials(sizes: Sizes) -> int:
    """Of both checks."""
    return sizes.planted * len(sizes.effects) + sizes.accuracy


def _power(sizes: Sizes, trials: Trials) -> SelfTestRow:
    found = {}
    for auc in sizes.effects:
        trial = partial(claims, Effect(auc, PER_GROUP))
        found[f"AUC {auc:g}"] = share(
            np.array(trials.run(trial, sizes.planted, "planted", str(auc)))
        )
    largest = sizes.effects[-1]
    strong = found[f"AUC {largest:g}"]
    return SelfTestRow(
        check="A planted attribute is claimed to be linearly decodable",
        condition=f"two groups of {PER_GROUP}, in one of three layers, AUC {largest:g} of the "
        "best direction",
        expected="close to 100 % (at least 90 %)",
        scale="share",
        estimate=strong,
        trials=sizes.planted,
        seconds=0,
        outcome=_FOUND.outcome(strong),
        parts=tuple(SelfTestPart(name=name, estimate=e) for name, e in found.items())
        if len(found) > 1
        else (),
    )


def deviation(rng: np.random.Generator) -> float:
    """Estimated AUC minus that of the best direction, in a large sample of few units."""
    design = Design(_LARGE, {"late": separation_of(_KNOWN_AUC)}, n_levels=2, n_units=_FEW_UNITS)
    (result,) = audited(draw(design, rng), rng)
    found = result.comparisons[0]
    if found is None:
        raise ValueError("expected an AUC of the planted attribute")
    return found.probe.value - _KNOWN_AUC


def _accuracy(sizes: Sizes, trials: Trials) -> SelfTestRow:
    found = mean(np.array(trials.run(deviation, sizes.accuracy, "accuracy")))
    return SelfTestRow(
        check="AUC of a planted attribute, minus its known value",
        condition=f"two groups of {_LARGE}, {_FEW_UNITS} units, AUC {_KNOWN_AUC:g} of the best "
        "direction",
        expected="0 (within 0.02)",
        scale="number",
        estimate=found,
        trials=sizes.accuracy,
        seconds=0,
        outcome=_CLOSE.outcome(found),
    )
