"""The images that a criterion says would decide it do so as often as it says."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Final

import numpy as np

from bias_audit.config.schema import Criterion
from bias_audit.results.margins import POWER, growth, hold
from bias_audit.results.numbers import Number
from bias_audit.results.selftest import SelfTestRow
from bias_audit.selftest.trials import Sizes, Tolerance, Trials, share
from bias_audit.statistics.inference import share_estimate

_TRUE: Final = 0.8
_MARGIN: Final = 0.7
_SEEN: Final = 50
_NEAR: Final = Tolerance(POWER - 0.04, POWER + 0.04)


def _criterion() -> Criterion:
    return Criterion.model_validate(
        {
            "name": "recall is high",
            "quantity": "recall",
            "target": "any",
            "at_least": _MARGIN,
            "rationale": "Its true value lies within the margin.",
        }
    )


def _number(hits: int, n: int) -> Number:
    right = np.arange(n) < hits
    found = share_estimate(right, np.arange(n), level=0.95)
    return Number("simulated", "", 0, 0, "share", "share", "target", "layer", estimate=found)


def decides(rng: np.random.Generator) -> float:
    """1 if as many images as were said to decide do so; the value seen first is the true one."""
    criterion = _criterion()
    seen = _number(round(_TRUE * _SEEN), _SEEN)
    n = round(_SEEN * growth(criterion, seen, 1))
    made = hold(criterion, (_number(int(rng.binomial(n, _TRUE)), n),))
    return float(bool(made.passing or made.failing))


def rows(sizes: Sizes, trials: Trials) -> Iterator[SelfTestRow]:
    """The share of repetitions that decide."""
    if not sizes.deciding:
        return
    found = share(np.array(trials.run(partial(decides), sizes.deciding, "deciding")))
    yield SelfTestRow(
        check="The images that would decide a criterion do so",
        condition=f"a share of {_TRUE:g} against a margin of {_MARGIN:g}",
        expected=f"{100 * POWER:g} % (within 4 points)",
        scale="share",
        estimate=found,
        trials=sizes.deciding,
        seconds=0,
        outcome=_NEAR.outcome(found),
    )


def n_trials(sizes: Sizes) -> int:
    """Repetitions."""
    return sizes.deciding
