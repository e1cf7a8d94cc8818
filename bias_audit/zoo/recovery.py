"""What an earlier run of a zoo left undone, or a disk spoiled, put right before the next."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, Literal

from bias_audit.config.zoo import Retention, ZooConfig
from bias_audit.errors import OutputError
from bias_audit.files import remove_partial, writing
from bias_audit.progress import Progress
from bias_audit.results.history.opening import damage_of, move_aside
from bias_audit.results.history.reading import Audit, all_audits
from bias_audit.results.history.recording import mark_pruned, record_folder
from bias_audit.results.store import read_audit
from bias_audit.zoo.entries import DATABASE, Entry, run_folders, zoo_locked

_DAY: Final = 86400.0
_CACHED: Final = (
    "activations", "intermediate", "analyses", "contributions", "random_weights",
    "near_duplicates", "scan", "images", "weights", "selftest",
)  # fmt: skip
"""Folders of a cache whose entries can be made again."""


def prune(
    zoo: ZooConfig,
    entries: Sequence[Entry],
    *,
    mode: Literal["delete", "list"],
    now: datetime | None = None,
) -> Iterator[str]:
    """Delete what the policy does not keep, and say so; the history keeps every number.

    Audits of other entries than these are old: they are no longer in the config.

    Raises:
        OutputError: Another command is at work in the zoo's folder, or the disk refuses.
    """
    now = now or datetime.now(UTC)
    verb = "deleted" if mode == "delete" else "would delete"
    listed = {entry.key for entry in entries}
    with zoo_locked(zoo.folder):
        database = zoo.folder / DATABASE
        old = [
            audit
            for key, audits in all_audits(database, zoo.name).items()
            for audit in _beyond(zoo.policy.keep, audits, now, listed=key in listed)
        ]
        sizes = {
            audit.folder: sum(p.stat().st_size for p in audit.folder.rglob("*") if p.is_file())
            for audit in old
        }
        cached = dict(_unused(zoo.output.cache, zoo.policy.keep.cache_days))
        for path, size in [*sizes.items(), *cached.items()]:
            if mode == "delete":
                with writing(path):
                    if path.is_file():
                        path.unlink()
                    else:  # a result goes first: no interruption leaves what looks whole
                        (path / "audit.json").unlink(missing_ok=True)
                        shutil.rmtree(path)
            yield f"{verb} {path} ({size / 1e6:.1f} MB)"
        if mode == "delete" and old:
            mark_pruned(database, [audit.id for audit in old])
        total = sum(sizes.values()) + sum(cached.values())
        yield (
            f"{verb} {len(old)} run folders and {len(cached)} stored intermediate results, "
            f"{total / 1e6:.1f} MB; the history keeps the numbers"
        )


def _beyond(
    keep: Retention, audits: Sequence[Audit], now: datetime, *, listed: bool
) -> Iterator[Audit]:
    """Audits of one entry that are not kept; of an entry of the config, never the newest."""
    for place, audit in enumerate(audits):
        age = now - datetime.fromisoformat(audit.started)
        is_young = keep.days is not None and age < timedelta(days=keep.days)
        is_new = place < keep.audits and (listed or keep.days is None)
        if not (is_young or is_new or audit.is_pruned) and audit.folder.is_dir():
            yield audit


def _unused(cache: Path, days: int | None) -> Iterator[tuple[Path, int]]:
    """Entries of a cache that were neither written nor read for so long, with their bytes."""
    if days is None:
        return
    before = time.time() - days * _DAY
    for folder in _CACHED:
        for path in sorted((cache / folder).glob("*")):
            files = [path] if path.is_file() else list(path.rglob("*"))
            states = [each.stat() for each in files if each.is_file()]
            newest = max((max(s.st_atime, s.st_mtime) for s in states), default=time.time())
            if newest < before:
                yield path, sum(state.st_size for state in states)


_HOUR: Final = 3600.0
"""No file takes longer to write."""


def recover(zoo: ZooConfig, entries: Sequence[Entry], progress: Progress) -> None:
    """Put the history right, and into it the audits that an interruption kept out.

    Call it with the zoo's folder locked and all of its entries.

    Raises:
        OutputError: The history cannot be written, or is of a newer release.
    """
    database = zoo.folder / DATABASE
    for folder in (zoo.folder, zoo.output.cache):
        remove_partial(folder, older=_HOUR)
    damage = damage_of(database)
    if damage is not None:
        aside = move_aside(database)
        progress.say(
            f"{database} is damaged ({damage}). It is kept as {aside.name}, and made again from "
            "the run folders; the new one lacks what earlier runs did, how audits differed, and "
            "the numbers of pruned audits"
        )
    known = all_audits(database, zoo.name)
    recorded = {audit.folder.resolve() for audits in known.values() for audit in audits}
    for entry in entries:
        for folder in run_folders(zoo.folder / entry.place):
            if folder.resolve() in recorded or not (folder / "audit.json").exists():
                continue
            try:
                read_audit(folder)
            except OutputError as error:
                progress.say(f"{folder} is left alone: {error}")
                continue
            _report(zoo, folder, progress)
            record_folder(database, folder, zoo=zoo.name, dataset=entry.dataset, entry=entry.label)
            progress.say(f"{folder} was finished before and is put into the history now")
        if entry.key in known and not known[entry.key][0].is_pruned:
            _report(zoo, known[entry.key][0].folder, progress)


def _report(zoo: ZooConfig, folder: Path, progress: Progress) -> None:
    """Write the reports that a finished audit lacks."""
    formats = zoo.output.formats
    if all((folder / f"report.{name}").is_file() for name in formats):
        return
    from bias_audit.report.render import render  # noqa: PLC0415  figures and fonts

    try:
        render(folder, formats=formats)
    except OutputError as error:  # what damaged it will make it stale, or stop the run
        progress.say(f"{folder} has no report: {error}")
