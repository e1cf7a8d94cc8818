"""A zoo brought up to date: what is stale is audited, compared and remembered."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Literal

from bias_audit.config.catalog import EXECUTORS
from bias_audit.config.zoo import ZooConfig
from bias_audit.durations import duration
from bias_audit.files import write_text, writing
from bias_audit.progress import AuditLeft, PacedStep, Progress, Step
from bias_audit.results.history.reading import (
    all_audits,
    delivered_audits,
    last_run,
    latest_audits,
)
from bias_audit.results.history.recording import EntryState, record_folder, record_run
from bias_audit.zoo.entries import (
    DATABASE,
    Entry,
    EntryStatus,
    compare_new,
    entries,
    next_folder,
    perform,
    statuses,
    zoo_locked,
)
from bias_audit.zoo.executor import Done, Executor, Task
from bias_audit.zoo.recovery import recover

_NAME: Final = ".undelivered"


def begin(folder: Path, last_run: int) -> int:
    """Note that a run begins, and say up to which run all outcomes were delivered.

    Call it with the zoo's folder locked, and the id of the last run in the history (or 0), which
    is the answer unless a run that was cut short had noted another.
    """
    with suppress(OSError, ValueError):
        return int((folder / _NAME).read_text(encoding="utf-8"))
    write_text(folder / _NAME, f"{last_run}\n")
    return last_run


def end(folder: Path) -> None:
    """Note that a run was delivered: its report is written, and its outcome printed."""
    with writing(folder):
        (folder / _NAME).unlink(missing_ok=True)


_SECONDS = 30.0


@dataclass
class LineProgress:
    """Says what stays, and how far long steps are."""

    label: str
    audit_left: AuditLeft | None = None

    def say(self, message: str) -> None:
        """Write one line."""
        sys.stdout.write(f"[{self.label}] {message}\n")
        sys.stdout.flush()

    @contextmanager
    def step(self, title: str, *, total: int, unit: str) -> Iterator[Step]:
        """Say now and then how far a step is; short steps are not mentioned."""

        def speak(done: int, left: float) -> None:
            whole = None if self.audit_left is None else self.audit_left(left)
            in_all = "" if whole is None else f"; {duration(whole)} left in all"
            self.say(f"{title}: {done} of {total} {unit}s{in_all}")

        yield PacedStep(total, _SECONDS, speak)


_UNRECORDED: Final = (
    "by a run that is not in the history: the run was interrupted, or the history lost"
)


@dataclass(frozen=True)
class ZooRun:
    """What a run did."""

    id: int
    """In the history."""
    database: Path
    states: tuple[EntryState, ...]
    """One per entry, in the order of the config."""
    failed_gates: tuple[str, ...]
    """Why the plan for changes stops a pipeline, by audit."""
    outcomes: frozenset[str]
    """The most serious verdict of each latest audit, or "failed"."""
    has_audits: bool
    """Whether the zoo has any audit at all, of this run or an earlier one."""
    refused: tuple[str, ...]
    """System errors that stopped audits, such as a full disk."""
    seconds: float


def run_zoo(
    zoo: ZooConfig,
    chosen: Sequence[Entry],
    *,
    command: str,
    progress: Progress,
    force: bool = False,
    delivery: Literal["now", "later"] = "now",
) -> ZooRun:
    """Audit what is new or stale; current audits are left as they are, unless forced.

    Every audit enters the history as it ends. After an interruption the same call resumes: audits
    that had ended stay, the others continue from what their stages had stored. A caller who has
    yet to report the outcome passes delivery="later", and calls `end` afterwards; without that
    call, the next run reports the outcome again.

    Raises:
        OutputError: Another command is at work in the zoo's folder, or the disk refuses.
    """
    started, began = datetime.now(UTC), time.monotonic()
    database = zoo.folder / DATABASE
    with zoo_locked(zoo.folder):
        recover(zoo, entries(zoo), progress)
        last = last_run(database)
        until = begin(zoo.folder, last) if delivery == "later" else last
        delivered = delivered_audits(database, zoo.name, until=until)
        found = statuses(zoo, chosen, progress=progress, now=started)
        todo = [each for each in found if each.state != "blocked" and (force or each.reasons)]
        progress.say(f"{len(todo)} of {len(found)} audits to make")
        made = {done.key: (done, at) for done, at in _made(zoo, todo, command, progress)}
        gates = compare_new(zoo, [each.entry for each in found], progress, delivered=delivered)
        states = [_state(each, made.get(each.entry.key), delivered) for each in found]
        run_id = record_run(
            database,
            zoo=zoo.name,
            started=started.isoformat(timespec="seconds"),
            seconds=round(time.monotonic() - began, 1),
            command=command,
            states=states,
        )
    latest = latest_audits(database, zoo.name)
    keys = [each.entry.key for each in found]
    return ZooRun(
        id=run_id,
        database=database,
        states=tuple(states),
        failed_gates=gates,
        outcomes=frozenset(latest[key].outcome for key in keys if key in latest),
        has_audits=bool(latest),
        refused=tuple(done.error or "" for done, _ in made.values() if done.is_refused),
        seconds=round(time.monotonic() - began, 1),
    )


def _made(
    zoo: ZooConfig, todo: Sequence[EntryStatus], command: str, progress: Progress
) -> Iterator[tuple[Done, int | None]]:
    """Make audits, and put each into the history as soon as it has ended; with its id there."""
    if not todo:
        return
    kind = zoo.executor.kind
    executor: Executor[Any] = EXECUTORS.load(kind)
    params = executor.params_type.model_validate(zoo.executor.params)
    database = zoo.folder / DATABASE
    known = all_audits(database, zoo.name).values()
    recorded = {audit.folder.resolve() for audits in known for audit in audits}
    tasks: dict[tuple[str, str], Task] = {}
    for status in todo:
        entry = status.entry
        folder = next_folder(zoo.folder, entry, recorded=recorded)
        output = entry.config.output.model_copy(update={"folder": folder.absolute()})
        config = entry.config.model_copy(update={"output": output})
        tasks[entry.key] = Task(entry.key, config, command, dict(EXECUTORS.brought(kind)))
    for done in executor.run(perform, list(tasks.values()), params, progress):
        dataset, label = done.key
        if done.error is not None:
            progress.say(f"{label} on {dataset}: {done.error}")
        folder, audit_id = tasks[done.key].folder, None
        if (folder / "audit.json").exists():
            audit_id = record_folder(database, folder, zoo=zoo.name, dataset=dataset, entry=label)
        yield done, audit_id


def _state(
    status: EntryStatus, made: tuple[Done, int | None] | None, delivered: frozenset[int]
) -> EntryState:
    dataset, label = status.entry.key
    latest = status.latest.id if status.latest else None
    reason = "; ".join(status.reasons)
    if status.state == "blocked":
        return EntryState(dataset, label, "failed", reason, latest)
    if made is None and latest is not None and latest not in delivered:
        return EntryState(dataset, label, "audited", reason or _UNRECORDED, latest)
    if made is None:
        return EntryState(dataset, label, "stale" if reason else "unchanged", reason, latest)
    done, audit_id = made
    if audit_id is None:
        return EntryState(dataset, label, "failed", done.error or "", latest)
    return EntryState(dataset, label, "audited", done.error or reason, audit_id)
