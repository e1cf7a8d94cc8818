"""All checks, one after the other; and the power of an audit."""

from __future__ import annotations

import platform
import time
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
from pydantic import ValidationError

from bias_audit.cache import Cache, CacheEntry
from bias_audit.files import warn_of_damage
from bias_audit.progress import Progress
from bias_audit.results.selftest import PowerCurve, PowerPoint, SelfTest, SelfTestRow
from bias_audit.selftest.checks import adverse, coverage, null, planted
from bias_audit.selftest.trials import SIZES, Mode, Sizes, Trials, processes_for, share, started
from bias_audit.software import software_of, versions_of

SEED: Final = 0
_CHECKS: Final = (
    planted.rows,
    null.rows,
    adverse.rows,
    null.map_rows,
    coverage.rows,
    planted.deciding_rows,
    planted.engine_rows,
)


def n_trials(sizes: Sizes) -> int:
    """Simulations of all checks."""
    # on fresh images without any signal the truth is known, unless some have two answers
    populations = sum(
        len(coverage.SIGNALS) - (several == 0) for _, several in coverage.CLUSTERS.values()
    )
    return (
        sizes.planted * len(sizes.effects)
        + sizes.accuracy
        + sizes.null * len(null.CLUSTER_SIZES)
        + sizes.mixed
        + sizes.adverse * len(adverse.CONDITIONS)
        + sizes.maps
        + sum(
            len(coverage.CLUSTERS) * n + populations * sizes.training_sets
            for _, n in sizes.coverage
        )
        + sizes.deciding
        + sizes.engine
    )


def self_test(
    mode: Mode,
    *,
    seed: int,
    progress: Progress,
    sizes: Sizes | None = None,
    processes: int | None = None,
) -> SelfTest:
    """Run the audit's own code on simulated activations.

    The full one takes minutes, the quick one seconds; with few trials most checks that do not fail
    stay undecided. By default the quick one uses one process, the full one one per core.
    """
    began, date = time.monotonic(), datetime.now(UTC)
    sizes = sizes or SIZES[mode]
    rows: list[SelfTestRow] = []
    with (
        started(processes_for(mode) if processes is None else processes) as executor,
        progress.step(f"Self-test, {mode}", total=n_trials(sizes), unit="simulation") as step,
    ):
        trials = Trials(seed, step, executor)
        for check in _CHECKS:
            row_began = time.monotonic()
            for row in check(sizes, trials):  # what several rows share is timed at the first
                now = time.monotonic()
                rows.append(row.model_copy(update={"seconds": round(now - row_began, 1)}))
                row_began = now
    return SelfTest(
        mode=mode,
        seed=seed,
        date=date.isoformat(timespec="seconds"),
        seconds=round(time.monotonic() - began, 1),
        versions=versions(),
        code=code_digest(),
        rows=tuple(rows),
    )


def versions() -> dict[str, str]:
    """Of the tool and of the libraries that compute."""
    own = versions_of("bias-audit")
    return {"python": platform.python_version(), **own, **software_of(__name__).packages}


def code_digest() -> str:
    """Of all code that the self-test runs: its own, the analyses' and the statistics'."""
    return software_of(__name__).code


def place_of(cache: Path, mode: Mode) -> CacheEntry:
    """Where the self-test of this module's code and libraries is kept in an audit's cache."""
    software = (f"{name} {number}" for name, number in versions().items())
    return CacheEntry(Cache(cache / "selftest"), mode, tuple(software), n_trials)


def kept(cache: Path) -> SelfTest | None:
    """The self-test of this code and these libraries that a cache holds, a full one first."""
    modes: tuple[Mode, ...] = ("full", "quick")
    for mode in modes:
        place = place_of(cache, mode)
        found = place.read() or {}
        try:
            if "self_test" in found:
                return SelfTest.model_validate_json(found["self_test"].tobytes())
        except ValidationError as error:
            warn_of_damage(place.path, error)
    return None


def keep(cache: Path, found: SelfTest) -> Path:
    """Keep a self-test for later audits, and say where."""
    place = place_of(cache, found.mode)
    place.write({"self_test": np.frombuffer(found.model_dump_json().encode(), dtype=np.uint8)})
    return place.path


def kept_or_quick(cache: Path, progress: Progress) -> SelfTest:
    """The self-test that a cache holds; if none, a quick one, which is then kept."""
    found = kept(cache)
    if found is not None:
        progress.say(f"Self-test of the statistics: {summary_line(found)}, as stored")
        return found
    found = self_test("quick", seed=SEED, progress=progress)
    keep(cache, found)
    progress.say(
        f"Self-test of the statistics: {summary_line(found)}; `bias-audit selftest` makes the "
        "full one"
    )
    return found


def summary_line(found: SelfTest) -> str:
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


PER_GROUP: Final = (10, 30, 100)
AUCS: Final = (0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)
_REPETITIONS: Final[dict[Mode, int]] = {"full": 40, "quick": 4}


def power_curves(
    mode: Mode, *, seed: int, progress: Progress, processes: int | None = None
) -> tuple[PowerCurve, ...]:
    """Share of simulated audits that claim a planted attribute, by its strength.

    The full curves rest on ten times as many audits as the quick ones.
    """
    n, curves = _REPETITIONS[mode], []
    total = n * len(PER_GROUP) * len(AUCS)
    with (
        started(processes_for(mode) if processes is None else processes) as executor,
        progress.step("Power of the audit", total=total, unit="simulation") as step,
    ):
        trials = Trials(seed, step, executor)
        for size in PER_GROUP:
            points = []
            for auc in AUCS:
                one = partial(planted.claims, planted.Effect(auc, size))
                made = trials.run(one, n, "power", str(size), str(auc))
                points.append(PowerPoint(auc=auc, claimed=share(np.array(made))))
            curves.append(PowerCurve(per_group=size, points=tuple(points)))
    return tuple(curves)
