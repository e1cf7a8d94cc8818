"""Where simulated audits are made: here, or on several processes."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager
from typing import Final

import torch

from bias_audit.selftest.sizes import Mode

_MOST: Final = 8


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
