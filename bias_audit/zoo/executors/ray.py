"""Audits on a Ray cluster, one task each, tried again when a worker is lost.

All nodes must see the zoo's folder, the cache, the faces and local weights under the same paths,
as on a shared file system. What a lost worker had stored is used when its audit is tried again.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from importlib import import_module
from typing import Any

import torch
from pydantic import Field

from bias_audit.config.schema import Strict
from bias_audit.errors import OutputError
from bias_audit.progress import Progress
from bias_audit.zoo.executor import Done, Executor, Task, Work
from bias_audit.zoo.lines import LineProgress

_POLL_SECONDS = 1.0
_TOLD_SECONDS = 60.0


class Params(Strict):
    """Which cluster, and what each audit takes of it."""

    address: str | None = Field(
        default=None,
        description='Such as "auto", "ray://head:10001" or "10.0.0.1:6379"; default: a cluster of '
        "this machine, for as long as the command runs.",
    )
    cpus: float = Field(default=1, gt=0, description="Processor cores reserved for an audit.")
    gpus: float = Field(
        default=0, ge=0, description="GPUs reserved for an audit; 0.25 shares one."
    )
    retries: int = Field(
        default=2,
        ge=0,
        le=20,
        description="Times an audit is tried again when its worker is lost.",
    )


def _run(work: Work, tasks: Sequence[Task], params: Params, progress: Progress) -> Iterator[Done]:
    ray = _imported()
    with _connected(ray, params, progress):
        remote = ray.remote(
            num_cpus=params.cpus,
            num_gpus=params.gpus,
            max_retries=params.retries,
            retry_exceptions=False,
        )(_work_remotely)
        threads = max(1, int(params.cpus))
        waiting = {remote.remote(work, task, threads): task for task in tasks}
        progress.say(f"{len(tasks)} audits handed to the cluster")
        try:
            yield from _collected(ray, waiting, progress)
        except BaseException:
            for reference in waiting:
                ray.cancel(reference, force=True)
            raise


def _work_remotely(work: Work, task: Task, threads: int) -> Done:
    """Runs on a worker; its lines are shown where the command runs."""
    torch.set_num_threads(threads)
    return work(task, LineProgress(task.label))


def _collected(ray: Any, waiting: dict[Any, Task], progress: Progress) -> Iterator[Done]:
    began = told = time.monotonic()
    total = len(waiting)
    while waiting:
        ready, _ = ray.wait(list(waiting), num_returns=1, timeout=_POLL_SECONDS)
        for reference in ready:
            task = waiting.pop(reference)
            done = _outcome(ray, reference, task, time.monotonic() - began)
            progress.say(f"{total - len(waiting)} of {total}: {task.label} ended")
            yield done
        if time.monotonic() - told > _TOLD_SECONDS:
            told = time.monotonic()
            progress.say(f"{total - len(waiting)} of {total} audits ended")


def _outcome(ray: Any, reference: Any, task: Task, seconds: float) -> Done:
    try:
        done: Done = ray.get(reference)
    except ray.exceptions.RayError as error:
        why = f"its worker was lost ({_first_line(error)}); the next run goes on from there"
        return Done(task.key, seconds, error=why)
    if done.error is None and not (task.folder / "audit.json").is_file():
        return replace(
            done,
            error=f"the worker wrote its result to {task.folder.absolute()}, which is not seen "
            "here; expected a file system that all nodes of the cluster share",
        )
    return done


def _imported() -> Any:
    """Ray is an extra: only those who ask for it need it."""
    try:
        return import_module("ray")
    except ImportError as error:
        raise OutputError(
            "executor ray: expected the package ray, which is not installed; "
            "pip install 'bias-audit[ray]'"
        ) from error


@contextmanager
def _connected(ray: Any, params: Params, progress: Progress) -> Iterator[None]:
    if ray.is_initialized():
        yield
        return
    where = params.address or "a cluster of this machine"
    progress.say(f"Connecting to {where}")
    try:
        ray.init(address=params.address, log_to_driver=True, logging_level="WARNING")
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise OutputError(
            f"executor ray: no cluster could be reached at {where} ({_first_line(error)}); start "
            "one with `ray start --head`, or correct --address"
        ) from error
    try:
        yield
    finally:
        ray.shutdown()


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


PLUGIN = Executor(title="Ray cluster", params_type=Params, run=_run)
