"""Many simulated audits of one kind, each with a generator of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Final, Literal, TypeVar

import numpy as np
import torch

from bias_audit.arrays import FloatArray
from bias_audit.files import digest
from bias_audit.progress import Progress, Step
from bias_audit.results.selftest import Outcome, PowerCurve, PowerPoint
from bias_audit.selftest.checks.planted import Effect, claims
from bias_audit.selftest.run import processes_for, started
from bias_audit.statistics.bootstrap import mean_over_repetitions
from bias_audit.statistics.estimate import Estimate
from bias_audit.statistics.proportions import wilson_interval

Mode = Literal["full", "quick"]


@dataclass(frozen=True)
class Sizes:
    """Trials of each check."""

    effects: tuple[float, ...]
    """Population AUC of the best direction, ascending; the last is strong."""
    planted: int
    """Audits with a planted attribute, per effect."""
    null: int
    """Audits of permuted labels, per condition."""
    mixed: int
    """Audits of which half of the layers hold the attribute."""
    coverage: tuple[tuple[int, int], ...]
    """Images per group, and audits of that size with and without clusters."""
    training_sets: int
    """Behind each population value."""
    accuracy: int
    """Large audits whose AUC is compared with a closed form."""
    engine: int
    """Audits that are fitted by scikit-learn too."""
    adverse: int = 0
    """Audits of nothing with baselines, in each adverse condition."""
    deciding: int = 0
    """Repetitions with the number of images that a criterion names."""
    maps: int = 0
    """Difference maps of groups that do not differ, per condition; of few, one chance claim would
    be beyond what is tolerated."""


FULL: Final = Sizes(
    effects=(0.6, 0.7, 0.8, 0.95),
    planted=60,
    null=200,
    mixed=120,
    coverage=((10, 200), (30, 200), (100, 120), (300, 40)),
    training_sets=40,
    accuracy=16,
    engine=8,
    adverse=400,
    deciding=2000,
    maps=300,
)
QUICK: Final = Sizes(
    effects=(0.95,),
    planted=10,
    null=10,
    mixed=8,
    coverage=((30, 15),),
    training_sets=10,
    accuracy=4,
    engine=2,
    adverse=0,
    deciding=100,
)
SIZES: Final[dict[Mode, Sizes]] = {"full": FULL, "quick": QUICK}


LEVEL = 0.95
"""Coverage of Monte-Carlo intervals."""


@dataclass(frozen=True)
class Tolerance:
    """What a check accepts."""

    lowest: float
    highest: float

    def outcome(self, estimate: Estimate) -> Outcome:
        """OK within, NOT OK beyond, otherwise UNDECIDED."""
        if estimate.lower > self.highest or estimate.upper < self.lowest:
            return "NOT OK"
        inside = estimate.lower >= self.lowest and estimate.upper <= self.highest
        return "OK" if inside else "UNDECIDED"

    def outcome_of_all(self, whole: Estimate, parts: Mapping[str, Estimate]) -> Outcome:
        """That of the whole, unless a part is beyond."""
        if any(self.outcome(part) == "NOT OK" for part in parts.values()):
            return "NOT OK"
        return self.outcome(whole)


def share(hits: FloatArray) -> Estimate:
    """A mean of numbers in [0, 1] over simulated audits, with Wilson's interval.

    Numbers of one audit may depend on each other, so that they count for less; numbers between 0
    and 1 vary less than the interval takes them to, which is conservative.

    Args:
        hits: Shape (n_audits,) or (n_audits, n_per_audit).
    """
    by_audit = hits.reshape(len(hits), -1)
    n_audits, each = by_audit.shape
    value, n = float(by_audit.mean()), float(by_audit.size)
    if each > 1 and n_audits > 1:
        spread = float(by_audit.mean(axis=1).var(ddof=1)) / n_audits
        if spread > 0:
            n = float(np.clip(value * (1 - value) / spread, n_audits, n))
    lower, upper = wilson_interval(value, n, level=LEVEL)
    return Estimate(value, lower, upper, LEVEL, by_audit.size, "Wilson, over simulated audits")


def mean(numbers: FloatArray) -> Estimate:
    """A mean of numbers over simulated audits with Student's t interval, shape (n_audits,)."""
    return mean_over_repetitions(numbers, level=LEVEL)


def largest(numbers: FloatArray) -> Estimate:
    """A largest number, which has no Monte-Carlo interval."""
    value = float(numbers.max())
    return Estimate(value, value, value, LEVEL, len(numbers), "largest of all")


T = TypeVar("T")
Trial = Callable[[np.random.Generator], T]


@dataclass
class Trials:
    """Makes simulated audits, one after the other or on several processes.

    Results depend on the seed and the purpose alone, not on the order or on the processes.
    """

    seed: int
    step: Step
    executor: Executor | None = None
    """Where to make them; None: here."""

    def run(self, trial: Trial[T], n: int, *purpose: str) -> list[T]:
        """Make n trials of one kind.

        Args:
            trial: Makes one; importable, with picklable arguments bound.
            n: How many.
            purpose: Names the kind.
        """
        start = int(digest(*purpose)[:16], 16)
        seeds = [(self.seed, start, index) for index in range(n)]
        results = []
        for result in self._made(trial, seeds):
            results.append(result)
            self.step.advance()
        return results

    def _made(self, trial: Trial[T], seeds: list[tuple[int, int, int]]) -> Iterator[T]:
        if self.executor is None:
            with one_thread():
                yield from (_one(trial, seed) for seed in seeds)
            return
        futures = [self.executor.submit(_one, trial, seed) for seed in seeds]
        yield from (future.result() for future in futures)


def _one(trial: Trial[T], seed: tuple[int, int, int]) -> T:
    return trial(np.random.default_rng(seed))


@contextmanager
def one_thread() -> Iterator[None]:
    """Simulated audits are small: more threads only wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


PER_GROUP: Final = (10, 30, 100)
AUCS: Final = (0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)
TRIALS: Final[dict[Mode, int]] = {"full": 40, "quick": 4}


def power_curves(
    mode: Mode, *, seed: int, progress: Progress, processes: int | None = None
) -> tuple[PowerCurve, ...]:
    """Share of simulated audits that claim a planted attribute, by its strength.

    Args:
        mode: "full" makes ten times as many audits as "quick".
        seed: Of all simulated audits.
        progress: Where to report.
        processes: On how many to make them; default: by mode.
    """
    n = TRIALS[mode]
    total = n * len(PER_GROUP) * len(AUCS)
    with (
        started(processes_for(mode) if processes is None else processes) as executor,
        progress.step("Power of the audit", total=total, unit="simulation") as step,
    ):
        trials = Trials(seed, step, executor)
        return tuple(
            PowerCurve(
                per_group=size, points=tuple(_point(Effect(auc, size), n, trials) for auc in AUCS)
            )
            for size in PER_GROUP
        )


def _point(effect: Effect, n: int, trials: Trials) -> PowerPoint:
    made = trials.run(partial(claims, effect), n, "power", str(effect.per_group), str(effect.auc))
    return PowerPoint(auc=effect.auc, claimed=share(np.array(made)))
