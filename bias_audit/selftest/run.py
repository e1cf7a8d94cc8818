"""All checks, one after the other."""

from __future__ import annotations

import platform
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final

from bias_audit.progress import Progress
from bias_audit.results.selftest import SelfTest, SelfTestRow
from bias_audit.selftest.checks import adverse, coverage, deciding, engine, maps, null, planted
from bias_audit.selftest.processes import processes_for, started
from bias_audit.selftest.sizes import SIZES, Mode, Sizes
from bias_audit.selftest.trials import Trials
from bias_audit.software import software_of, versions_of

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
