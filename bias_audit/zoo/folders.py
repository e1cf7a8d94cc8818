"""The run folders of a zoo's audits, and those that an interruption left."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout

from bias_audit.errors import OutputError
from bias_audit.files import writing
from bias_audit.progress import Progress
from bias_audit.results.history.latest import all_audits
from bias_audit.results.history.recording import RunFolder, rebuild
from bias_audit.results.store import read_audit
from bias_audit.zoo.entries import Entry

DATABASE = "history.sqlite"
_STAMP = "%Y%m%dT%H%M%SZ"


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a zoo's folder for one command, so that two schedules never collide.

    The operating system frees the lock of a process that dies.

    Raises:
        OutputError: Another command holds it, or the folder cannot be written.
    """
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / ".lock", timeout=0)
        try:
            lock.acquire()
        except Timeout as error:
            raise OutputError(
                f"another command is at work in {folder}: wait for it, or let the next scheduled "
                "run do this one's work"
            ) from error
    try:
        yield
    finally:
        lock.release()


def next_folder(root: Path, entry: Entry, now: datetime | None = None) -> Path:
    """Where the next audit of an entry goes: where an interrupted one left off, or a new folder.

    Args:
        root: The zoo's folder.
        entry: One of its entries.
        now: For the name of a new folder.
    """
    home = root / entry.place
    unfinished = [each for each in _runs(home) if not (each / "audit.json").exists()]
    if unfinished:
        return unfinished[-1]
    stamp = (now or datetime.now(UTC)).strftime(_STAMP)
    folder, number = home / stamp, 1
    while folder.exists():
        number += 1
        folder = home / f"{stamp}-{number}"
    return folder


def recover(root: Path, zoo: str, entries: Iterable[Entry], progress: Progress) -> None:
    """Put finished audits into the history that an interruption kept out of it.

    Raises:
        OutputError: The history cannot be written.
    """
    database = root / DATABASE
    known = {
        audit.folder.resolve() for audits in all_audits(database, zoo).values() for audit in audits
    }
    for entry in entries:
        for folder in _runs(root / entry.place):
            if folder.resolve() in known or not (folder / "audit.json").exists():
                continue
            try:
                read_audit(folder)
            except OutputError as error:
                progress.say(f"{folder} is left alone: {error}")
                continue
            rebuild(database, [RunFolder(folder, zoo, entry.dataset, entry.label)])
            progress.say(f"{folder} was finished before and is put into the history now")


def _runs(home: Path) -> list[Path]:
    """Folders of an entry's audits, the oldest first."""
    return sorted(path for path in home.glob("*") if path.is_dir() and path.name[:1].isdigit())
