"""Several pieces of work of one process at once, each on one core."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import copy_context
from functools import partial
from typing import TypeVar

from threadpoolctl import threadpool_limits

from bias_audit.deferred import torch

Item = TypeVar("Item")
Result = TypeVar("Result")

_HERE = threading.local()
"""`is_worker` is set in the threads of `side_by_side`, which start none of their own."""


def side_by_side(
    work: Callable[[Item], Result], items: Sequence[Item], workers: int
) -> Iterator[Result]:
    """What `work` gives for every item, in their order, by so many workers or fewer.

    Each computes on one core, so that numbers do not depend on how many there are. What stops one
    stops all; those that have begun end first.
    """
    workers = min(workers, len(items), torch.get_num_threads())
    if workers < 2 or getattr(_HERE, "is_worker", False):  # noqa: PLR2004
        yield from map(work, items)
        return
    with on_one_core(), threadpool_limits(1, user_api="blas"):
        pool = ThreadPoolExecutor(workers, thread_name_prefix="beside", initializer=_begin)
        try:
            runs = [partial(copy_context().run, work, item) for item in items]
            for future in [pool.submit(run) for run in runs]:
                yield future.result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


@contextmanager
def on_one_core() -> Iterator[None]:
    """Tensors are computed by this thread alone, and by each that starts meanwhile.

    Small ones gain little by a second thread, and where other processes use its core they wait
    for it at each operation, ten times as long as they compute.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _begin() -> None:
    _HERE.is_worker = True
    torch.set_num_threads(1)
