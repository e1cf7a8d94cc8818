"""The folders of a zoo and of its audits."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout

from bias_audit.errors import OutputError
from bias_audit.files import writing
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


def next_folder(
    root: Path, entry: Entry, now: datetime | None = None, *, recorded: Collection[Path] = ()
) -> Path:
    """Where the next audit of an entry goes: where an interrupted one left off, or a new folder.

    Args:
        root: The zoo's folder.
        entry: One of its entries.
        now: For the name of a new folder.
        recorded: Resolved folders that the history knows. Without its result, such a one is
            damaged, not unfinished.
    """
    home = root / entry.place
    unfinished = [
        each
        for each in run_folders(home)
        if not (each / "audit.json").exists() and each.resolve() not in recorded
    ]
    if unfinished:
        return unfinished[-1]
    stamp = (now or datetime.now(UTC)).strftime(_STAMP)
    folder, number = home / stamp, 1
    while folder.exists():
        number += 1
        folder = home / f"{stamp}-{number}"
    return folder


def run_folders(home: Path) -> list[Path]:
    """Folders of an entry's audits, the oldest first."""
    return sorted(path for path in home.glob("*") if path.is_dir() and path.name[:1].isdigit())
