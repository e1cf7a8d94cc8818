"""Whether a history is whole, before anything is written into it."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from bias_audit.files import writing

_BROKEN: Final = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_COMPANIONS: Final = ("", "-journal", "-wal", "-shm")
"""Files of one SQLite database; a journal beside another file would be played into that."""


def damage_of(database: Path) -> str | None:
    """What is wrong with the pages of a history; None if nothing is, or if there is none.

    Args:
        database: The file. A transaction that a crash left open is rolled back first.
    """
    if not database.is_file() or not database.stat().st_size:
        return None
    try:
        with closing(sqlite3.connect(database)) as connection:
            (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.DatabaseError as error:
        if getattr(error, "sqlite_errorcode", 0) & 0xFF in _BROKEN:
            return str(error)
        return None  # locked or unreadable: whoever opens it next says so
    return None if found == "ok" else str(found)


def move_aside(database: Path, now: datetime | None = None) -> Path:
    """Give a damaged history another name, for whoever wants to rescue something from it.

    Args:
        database: The file.
        now: For its new name.

    Returns:
        Its new place.

    Raises:
        OutputError: The disk refuses.
    """
    stamp = (now or datetime.now(UTC)).strftime("%Y%m%dT%H%M%SZ")
    place, number = database.with_name(f"{database.name}.damaged-{stamp}"), 1
    while place.exists():
        number += 1
        place = database.with_name(f"{database.name}.damaged-{stamp}-{number}")
    with writing(place):
        for suffix in reversed(_COMPANIONS):
            part = database.with_name(f"{database.name}{suffix}")
            if part.exists():
                part.rename(f"{place}{suffix}")
    return place
