"""Many simulated audits of one kind, each with a generator of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch

from bias_audit.files import digest
from bias_audit.progress import Step

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
