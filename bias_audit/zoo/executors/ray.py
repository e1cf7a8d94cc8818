"""Audits on a Ray cluster, one task each, tried again when a worker is lost.

All nodes must have bias-audit and see the current folder, the zoo's, the cache, the faces and
local weights under the same paths, as on a shared file system; or the config names a store that
all of them reach, through which relative paths travel. What a lost worker had stored is used when
its audit is tried again.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import chdir, contextmanager
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from filelock import FileLock
from pydantic import Field

from bias_audit.config.schema import Strict
from bias_audit.deferred import torch
from bias_audit.errors import OutputError
from bias_audit.files import writing
from bias_audit.progress import Progress
from bias_audit.results.contributions import FOLDER
from bias_audit.software import software_of
from bias_audit.zoo.executor import Done, Executor, Task, Work
from bias_audit.zoo.object_store import ObjectStore, below, inputs_of
from bias_audit.zoo.run import LineProgress

_POLL_SECONDS = 1.0
_TOLD_SECONDS = 60.0
_REACH_SECONDS = 10.0
_ROOT: Final = Path(__file__).parents[3]
"""Where this package is imported from."""
_CODE: Final = "bias_audit.zoo.entries"
"""What workers do."""
_STORE_BYTES: Final = 100 * 2**20
"""Of shared memory, for a cluster of this machine; configs and messages alone pass through it."""


class Params(Strict):
    """Which cluster, and which part each audit takes."""

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
    store: str | None = Field(
        default=None,
        description='Such as "s3://bucket/zoo": faces, weights and results travel through this '
        "store, and nodes share no disk; any URL that fsspec opens.",
    )
    store_cache: Path = Field(
        default=Path("~/.cache/bias-audit/store"),
        description="Folder of every node for what it fetched from there, and for activations; "
        '"~" is the home of the user that Ray runs as.',
    )


def _run(work: Work, tasks: Sequence[Task], params: Params, progress: Progress) -> Iterator[Done]:
    try:  # Ray is an extra: only those who ask for it need it
        ray = import_module("ray")
    except ImportError as error:
        raise OutputError(
            "executor ray: expected the package ray, which is not installed; "
            "pip install 'bias-audit[ray]'"
        ) from error
    with _connected(ray, params, progress):
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        if not any(
            n.get("CPU", 0) >= params.cpus and n.get("GPU", 0) >= params.gpus for n in nodes
        ):
            progress.say(  # a cluster that grows may get such a node
                f"No node of the cluster has {params.cpus:g} cores and {params.gpus:g} GPUs at "
                "once: audits wait for one that does; interrupt, and lower executor.cpus or "
                "executor.gpus, if none will join"
            )
        variables = {}
        if "site-packages" not in _ROOT.parts:  # workers import a checkout as the command does
            paths = [str(_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
            variables["PYTHONPATH"] = os.pathsep.join(paths)
        remote = ray.remote(
            num_cpus=params.cpus,
            num_gpus=params.gpus,
            max_retries=params.retries,
            retry_exceptions=False,
            runtime_env={"env_vars": variables},
        )(_work_remotely)
        code = software_of(_CODE).code
        store = None if params.store is None else ObjectStore(params.store)
        waiting: dict[Any, Task] = {}
        try:
            for task in tasks:
                sent, place = _sent(task, store, progress) if store else (task, Path.cwd())
                waiting[remote.remote(work, sent, params, place, code)] = task
            progress.say(f"{len(tasks)} audits handed to the cluster")
            yield from _collected(ray, waiting, store, progress)
        except BaseException:
            for reference in waiting:
                ray.cancel(reference, force=True)
            raise


def _relative(path: Path) -> Path:
    """To the current folder, in whose place a worker without it has one of its own.

    Raises:
        OutputError: It does not lie below.
    """
    full, here = path.absolute(), Path.cwd()
    if not full.is_relative_to(here):
        raise OutputError(
            "executor.store: expected output.folder and output.cache below the folder of the "
            f"command, {here}, got {full}"
        )
    return full.relative_to(here)


def _sent(task: Task, store: ObjectStore, progress: Progress) -> tuple[Task, str]:
    """The task as a worker without the command's folder does it, and the list of its files."""
    output = task.config.output
    places = {"folder": _relative(task.folder), "cache": _relative(output.cache)}
    files = inputs_of(task.config)
    listed = store.put(files)
    progress.say(f"{task.label}: its {len(files)} files are in {store.url}")
    own = task.config.model_copy(update={"output": output.model_copy(update=places)})
    return replace(task, config=own), listed


def _brought(done: Done, store: ObjectStore | None) -> Done:
    """The result of a worker without the command's folder, fetched to where it belongs."""
    if store is None or done.stored is None:
        return done
    try:
        with TemporaryDirectory(prefix="bias-audit-") as kept:
            store.fetch(done.stored, Path.cwd(), kept=Path(kept))
    except OutputError as error:
        return replace(done, error=str(error), is_refused=True)
    return replace(done, stored=None)


def _work_remotely(work: Work, task: Task, params: Params, place: Path | str, code: str) -> Done:
    """Runs on a worker, where relative paths mean what they mean to the command in its folder.

    `place` is that folder, or the list of what the store has in its stead. Lines are shown where
    the command runs.
    """
    if why := _why_not(place, code):
        return Done(task.key, 0.0, error=why, is_refused=True)
    torch.set_num_threads(max(1, int(params.cpus)))
    if 0 < params.gpus < 1 and torch.cuda.is_available():
        torch.cuda.set_per_process_memory_fraction(params.gpus)
    if params.store is None or isinstance(place, Path):
        with chdir(place):
            return work(task, LineProgress(task.label))
    try:
        own = params.store_cache.expanduser().absolute()
        return _work_apart(work, task, ObjectStore(params.store), place, own)
    except OutputError as error:
        return Done(task.key, 0.0, error=str(error), is_refused=True)


def _work_apart(work: Work, task: Task, store: ObjectStore, listed: str, own: Path) -> Done:
    """In a folder of this node with the files of a list; results go into the store."""
    folder, shared = own / "inputs" / listed, own / "cache"
    store.fetch(listed, folder, kept=own / "objects")
    results, cache = folder / task.folder, folder / task.config.output.cache
    with writing(own), FileLock(own / "cache.lock", mode=0o600):
        shared.mkdir(parents=True, exist_ok=True, mode=0o700)
        cache.parent.mkdir(parents=True, exist_ok=True)
        if not cache.exists():  # activations serve other lists of files, too
            cache.symlink_to(shared, target_is_directory=True)
    with chdir(folder):
        done = work(task, LineProgress(task.label))
    files = list(below(results).values())
    if (results / "audit.json").is_file():  # comparisons need what single images contribute
        said = (results / "audit.json").read_text(encoding="utf-8")
        files += [path for path in below(cache / FOLDER).values() if path.stem in said]
    stored = store.put({path.relative_to(folder).as_posix(): path for path in files})
    with writing(results):
        shutil.rmtree(results, ignore_errors=True)
    return replace(done, stored=stored)


def _why_not(place: Path | str, code: str) -> str | None:
    """Why this node cannot do what the command wants; None where it can."""
    node = socket.gethostname()
    if isinstance(place, Path) and not place.is_dir():
        return (
            f"node {node} does not see {place}, where the command runs; expected a file system "
            "that all nodes of the cluster share, or executor.store"
        )
    if software_of(_CODE).code != code:
        return (
            f"node {node} has other code of bias-audit, in {_ROOT}; expected that of the "
            "command: install the same release on all nodes, and start Ray again"
        )
    return None


def _collected(
    ray: Any, waiting: dict[Any, Task], store: ObjectStore | None, progress: Progress
) -> Iterator[Done]:
    began = said = time.monotonic()
    total = len(waiting)
    while waiting:
        ready, _ = ray.wait(list(waiting), num_returns=1, timeout=_POLL_SECONDS)
        for reference in ready:
            task = waiting.pop(reference)
            done = _outcome(ray, reference, task, store, time.monotonic() - began)
            progress.say(f"{total - len(waiting)} of {total}: {task.label} ended")
            yield done
        if time.monotonic() - said > _TOLD_SECONDS:
            said = time.monotonic()
            progress.say(f"{total - len(waiting)} of {total} audits ended")


def _outcome(
    ray: Any, reference: Any, task: Task, store: ObjectStore | None, seconds: float
) -> Done:
    try:
        done = _brought(ray.get(reference), store)
    except ray.exceptions.RayTaskError as error:
        cause = error.cause if isinstance(error.cause, Exception) else error
        return Done(
            task.key, seconds, error=f"its worker reported an error ({_first_line(cause)})"
        )
    except ray.exceptions.RayError as error:
        why = f"its worker was lost ({_first_line(error)}); rerun to resume"
        return Done(task.key, seconds, error=why)
    if done.error is None and not (task.folder / "audit.json").is_file():
        return replace(
            done,
            error=f"the worker wrote its result to {task.folder.absolute()}, which is not seen "
            "here; expected a file system that all nodes of the cluster share, or executor.store",
            is_refused=True,
        )
    return done


@contextmanager
def _connected(ray: Any, params: Params, progress: Progress) -> Iterator[None]:
    if ray.is_initialized():
        yield
        return
    address = params.address or os.environ.get("RAY_ADDRESS") or "local"
    is_ours = address == "local"
    if is_ours:
        progress.say("Starting a cluster on this machine")
    else:
        progress.say(f"Connecting to {address}")
    options: dict[str, Any] = {
        "address": address,
        "log_to_driver": True,
        "logging_level": "WARNING",
    }
    if is_ours:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # an audit reports to no third party
        options |= {"object_store_memory": _STORE_BYTES, "include_dashboard": False}
    ours = signal.getsignal(signal.SIGTERM)
    try:
        _refuse_if_closed(ray, address)
        ray.init(**options)
    except (OSError, RuntimeError, ValueError, ImportError) as error:
        why = _first_line(error)
        raise OutputError(
            f"executor ray: no cluster could be started on this machine ({why}); start one with "
            "`ray start --head` and give --address auto"
            if is_ours
            else f"executor ray: no cluster could be reached at {address} ({why}); start one with "
            "`ray start --head`, or correct --address"
        ) from error
    signal.signal(signal.SIGTERM, ours)  # Ray takes it, and would end without a word
    try:
        yield
    finally:
        ray.shutdown()


def _refuse_if_closed(ray: Any, address: str) -> None:
    """Ray itself waits for minutes, and may end the process.

    Raises:
        OSError: Nothing answers there.
        ValueError: It is no address.
    """
    if address in {"auto", "local"}:
        return
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not (colon and host and port.isdigit()):
        raise ValueError("expected auto, HOST:PORT or ray://HOST:PORT")
    if host in {"localhost", "127.0.0.1"} and not address.startswith("ray://"):
        host = ray.util.get_node_ip_address()  # Ray itself dials this one then
    socket.create_connection((host.strip("[]"), int(port)), timeout=_REACH_SECONDS).close()


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


PLUGIN = Executor(title="Ray cluster", params_type=Params, run=_run)
