"""Audits on this machine: one after the other, or several at once where it has room for them."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import active_children, get_context, parent_process
from multiprocessing.connection import wait
from typing import Final

from pydantic import Field

from bias_audit.config.schema import Strict
from bias_audit.deferred import torch
from bias_audit.progress import Progress
from bias_audit.zoo.executor import Done, Executor, Task, Work
from bias_audit.zoo.run import LineProgress

_CORES: Final = 8
"""Of one audit at a time: a forward pass gains little from more."""
_BYTES: Final = 8 * 2**30
"""Of memory for each."""


class Params(Strict):
    """How many audits at a time."""

    processes: int | None = Field(
        default=None,
        ge=1,
        le=64,
        description="Audits at a time, each in a process with its share of the cores; default: "
        "one for every 8 cores and 8 GiB of memory.",
    )


def _run(work: Work, tasks: Sequence[Task], params: Params, progress: Progress) -> Iterator[Done]:
    n_cores = os.cpu_count() or 1
    fit = max(1, min(n_cores // _CORES, _memory() // _BYTES))
    n_processes = min(params.processes or fit, len(tasks))
    if n_processes > 1:
        yield from _at_once(work, tasks, n_processes, max(1, n_cores // n_processes), progress)
        return
    for place, task in enumerate(tasks, start=1):
        progress.say(f"Audit {place} of {len(tasks)}: {task.label}")
        yield work(task, progress)


def _memory() -> int:
    """Of this machine, in bytes; where the system does not say, that of one audit."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return _BYTES


def _at_once(
    work: Work, tasks: Sequence[Task], n_processes: int, threads: int, progress: Progress
) -> Iterator[Done]:
    progress.say(f"{len(tasks)} audits, {n_processes} at a time with {threads} threads each")
    began = time.monotonic()
    # Fresh processes: a forked one would inherit threads that PyTorch has started.
    with ProcessPoolExecutor(
        n_processes, mp_context=get_context("spawn"), initializer=_begin, initargs=(threads,)
    ) as pool:
        waiting = {pool.submit(work, task, LineProgress(task.label)): task for task in tasks}
        try:
            for number, future in enumerate(as_completed(waiting), start=1):
                task = waiting[future]
                try:
                    done = future.result()
                except BrokenProcessPool:
                    seconds = time.monotonic() - began
                    why = "its process was lost, perhaps for want of memory; rerun to resume"
                    done = Done(task.key, seconds, error=why)
                progress.say(f"{number} of {len(tasks)}: {task.label} ended")
                yield done
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for process in active_children():
                process.terminate()
            raise


def _begin(threads: int) -> None:
    """In a process of its own, which ends with the command, however that ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the command receives it too, and says so
    torch.set_num_threads(threads)
    command = parent_process()
    if command is not None:
        threading.Thread(target=_end_with, args=(command.sentinel,), daemon=True).start()


def _end_with(sentinel: int) -> None:
    wait([sentinel])
    os._exit(1)


PLUGIN = Executor(title="this machine", params_type=Params, run=_run)
