"""Many simulated audits of one kind, each with a generator of its own, and what they amount to."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Final, Literal, TypeVar

import numpy as np

from bias_audit.arrays import FloatArray
from bias_audit.deferred import torch
from bias_audit.files import digest
from bias_audit.progress import Step
from bias_audit.results.selftest import Outcome, Scale, SelfTestPart, SelfTestRow
from bias_audit.statistics.estimate import Estimate, wilson_interval

_MOST: Final = 8
"""Processes."""
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
        is_beyond = any(self.outcome(part) == "NOT OK" for part in parts.values())
        return "NOT OK" if is_beyond else self.outcome(whole)


def row(
    check: str,
    condition: str,
    expected: str,
    estimate: Estimate,
    tolerance: Tolerance,
    *,
    parts: Mapping[str, Estimate] | None = None,
    only_whole: bool = False,
    scale: Scale = "share",
) -> SelfTestRow:
    """One row of the self-test; parts are shown where there are several.

    A part that is beyond what is tolerated decides, unless `only_whole` does.
    """
    several = parts if parts and len(parts) > 1 else {}
    deciding = {} if only_whole else parts or {}
    return SelfTestRow(
        check=check,
        condition=condition,
        expected=expected,
        scale=scale,
        estimate=estimate,
        trials=estimate.n,
        seconds=0,
        outcome=tolerance.outcome_of_all(estimate, deciding),
        parts=tuple(SelfTestPart(name=name, estimate=e) for name, e in several.items()),
    )


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


def largest(numbers: FloatArray) -> Estimate:
    """A largest number, which has no Monte-Carlo interval."""
    value = float(numbers.max())
    return Estimate(value, value, value, LEVEL, len(numbers), "largest of all")


def processes_for(mode: Mode) -> int:
    """One per core for the full self-test; starting them takes longer than the quick one gains."""
    return 1 if mode == "quick" else min(_MOST, os.cpu_count() or 1)


@contextmanager
def started(processes: int) -> Iterator[Executor | None]:
    """Processes that start afresh; None where one is enough, which is this one."""
    if processes < 2:  # noqa: PLR2004
        yield None
        return
    executor = ProcessPoolExecutor(
        processes,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=torch.set_num_threads,
        initargs=(1,),
    )
    try:
        yield executor
    finally:
        executor.shutdown(wait=True, cancel_futures=True)


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
        """Make n trials of a kind, which `purpose` names; `trial` can be imported and pickled."""
        start = int(digest(*purpose)[:16], 16)
        seeds = [(self.seed, start, index) for index in range(n)]
        one, threads = partial(_one, trial), torch.get_num_threads()
        results: list[T] = []
        try:
            if self.executor is None:  # simulated audits are small: more threads only wait
                torch.set_num_threads(1)
            for result in self.executor.map(one, seeds) if self.executor else map(one, seeds):
                results.append(result)
                self.step.advance()
        finally:
            torch.set_num_threads(threads)
        return results


def _one(trial: Trial[T], seed: tuple[int, int, int]) -> T:
    return trial(np.random.default_rng(seed))
