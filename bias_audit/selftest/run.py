"""All checks, one after the other."""

from __future__ import annotations

import multiprocessing
import os
import platform
import time
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import torch
from pydantic import ValidationError

from bias_audit.files import digest, read_checked, tell_damage, write_checked
from bias_audit.progress import Progress
from bias_audit.results.selftest import SelfTest, SelfTestRow
from bias_audit.selftest.checks import adverse, coverage, deciding, engine, maps, null, planted
from bias_audit.selftest.trials import SIZES, Mode, Sizes, Trials
from bias_audit.software import software_of, versions_of

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


_CHECKS: Final = (planted, null, adverse, maps, coverage, deciding, engine)


def self_test(
    mode: Mode,
    *,
    seed: int,
    progress: Progress,
    sizes: Sizes | None = None,
    processes: int | None = None,
) -> SelfTest:
    """Run the audit's own code on simulated activations.

    Args:
        mode: "full" takes minutes, "quick" seconds; with few trials most checks that do not fail
            stay undecided.
        seed: Of all simulated audits.
        progress: Where to report.
        sizes: How many audits; default: those of the mode.
        processes: On how many to make them; default: one for "quick", otherwise one per core.
    """
    began, date = time.monotonic(), datetime.now(UTC)
    sizes = sizes or SIZES[mode]
    total = sum(check.n_trials(sizes) for check in _CHECKS)
    with (
        started(processes_for(mode) if processes is None else processes) as executor,
        progress.step(f"Self-test, {mode}", total=total, unit="simulation") as step,
    ):
        rows = tuple(_rows(sizes, Trials(seed, step, executor)))
    return SelfTest(
        mode=mode,
        seed=seed,
        date=date.isoformat(timespec="seconds"),
        seconds=round(time.monotonic() - began, 1),
        versions=versions(),
        code=code_digest(),
        rows=rows,
    )


def _rows(sizes: Sizes, trials: Trials) -> Iterator[SelfTestRow]:
    """Every row; what several rows share is timed at the first of them."""
    for check in _CHECKS:
        began = time.monotonic()
        for row in check.rows(sizes, trials):
            now = time.monotonic()
            yield row.model_copy(update={"seconds": round(now - began, 1)})
            began = now


def versions() -> dict[str, str]:
    """Of the tool and of the libraries that compute."""
    own = versions_of("bias-audit")
    return {"python": platform.python_version(), **own, **software_of(__name__).packages}


def code_digest() -> str:
    """Of all code that the self-test runs: its own, the analyses' and the statistics'."""
    return software_of(__name__).code


SEED = 0


def kept(cache: Path) -> SelfTest | None:
    """The self-test of this code and these libraries that a cache holds, a full one first.

    Args:
        cache: The cache of an audit, `output.cache`.
    """
    modes: tuple[Mode, ...] = ("full", "quick")
    for mode in modes:
        path = _path(cache, mode)
        text = read_checked(path)
        try:
            if text is not None:
                return SelfTest.model_validate_json(text)
        except ValidationError as error:
            tell_damage(path, error)
    return None


def keep(cache: Path, found: SelfTest) -> Path:
    """Keep a self-test for later audits, and say where.

    Raises:
        OutputError: The disk refuses.
    """
    path = _path(cache, found.mode)
    write_checked(path, found.model_dump_json(indent=1))
    return path


def kept_or_quick(cache: Path, progress: Progress) -> SelfTest:
    """The self-test that a cache holds; if none, a quick one, which is then kept.

    Raises:
        OutputError: The disk refuses.
    """
    found = kept(cache)
    if found is not None:
        progress.say(f"Self-test of the statistics: {told(found)}, as stored")
        return found
    found = self_test("quick", seed=SEED, progress=progress)
    keep(cache, found)
    progress.say(
        f"Self-test of the statistics: {told(found)}; `bias-audit selftest` makes the full one"
    )
    return found


def told(found: SelfTest) -> str:
    """Such as "all 31 checks passed", or what failed and what too few runs cannot judge."""
    n, open_ones = len(found.rows), sum(row.outcome == "UNDECIDED" for row in found.rows)
    failed = [row.check for row in found.not_ok]
    parts = [f"{len(failed)} of {n} checks failed ({'; '.join(failed)})"] if failed else []
    if open_ones:
        runs = f"too few runs to judge {open_ones} of {n} checks"
        parts.append(f"quick version, {runs}" if found.mode == "quick" else runs)
    if not failed and open_ones < n:
        parts.append(f"{'all' if not open_ones else 'the other'} {n - open_ones} checks passed")
    return "; ".join(parts)


def _path(cache: Path, mode: Mode) -> Path:
    key = digest(code_digest(), *(f"{name} {v}" for name, v in versions().items()))
    return cache / "selftest" / f"{key}-{mode}.json"
