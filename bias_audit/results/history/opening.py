"""Opening a history: whole, the right kind of file, in the right version."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from bias_audit.errors import OutputError
from bias_audit.files import writing
from bias_audit.results.history.tables import APPLICATION_ID, MIGRATIONS

_PATIENCE: Final = 30.0
"""Seconds to wait for another process that writes."""
_BROKEN: Final = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_COMPANIONS: Final = ("-journal", "-wal", "-shm")
"""Beside one SQLite database; a journal beside another file would be played into that."""


@contextmanager
def writing_to(
    database: Path, *, migrations: Sequence[str] = MIGRATIONS
) -> Iterator[sqlite3.Connection]:
    """Open a history for one transaction; made where there is none, brought up to date if older.

    All that is written inside is kept together or not at all, also through a crash. The journal is
    SQLite's default, which leaves one file that can be moved and works where a cluster shares a
    disk; a file that someone has set to WAL stays so.

    Raises:
        OutputError: It is no history, a newer release made it, it is damaged, or the disk refuses.
    """
    with _refusals_named(database):
        database.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(database, timeout=_PATIENCE, isolation_level=None)
        with closing(connection):  # what was not committed is rolled back
            connection.execute("PRAGMA foreign_keys = ON")
            connection.execute("BEGIN IMMEDIATE")
            _migrate(connection, database, migrations)
            yield connection
            connection.execute("COMMIT")


@contextmanager
def reading_from(database: Path) -> Iterator[sqlite3.Connection]:
    """Open a history to read; it is not changed, and may lie on a read-only disk.

    An older one is brought up to date in memory.

    Raises:
        OutputError: There is none, it is no history, of another version, or damaged.
    """
    if not database.is_file():
        raise OutputError(
            f"{database}: expected a history of audits, found no file; "
            "`bias-audit zoo run` writes one"
        )
    with _refusals_named(database), closing(_opened(database)) as connection:
        if _version(connection, database, len(MIGRATIONS)) == len(MIGRATIONS):
            yield connection
            return
        with closing(sqlite3.connect(":memory:", isolation_level=None)) as memory:
            connection.backup(memory)
            memory.execute("BEGIN")
            _migrate(memory, database, MIGRATIONS)
            memory.execute("COMMIT")
            yield memory


def _opened(database: Path) -> sqlite3.Connection:
    """Read-only; with rights to write where a crash left a transaction to be rolled back."""
    modes = ["mode=ro", "mode=rw"]
    journals = [database.with_name(f"{database.name}{suffix}") for suffix in ("-wal", "-journal")]
    if not any(path.exists() and path.stat().st_size for path in journals):
        modes.append("mode=ro&immutable=1")  # a folder that refuses even the files of a reader
    for mode in modes[:-1]:
        with suppress(sqlite3.OperationalError):
            return _tried(database, mode)
    return _tried(database, modes[-1])


def _tried(database: Path, mode: str) -> sqlite3.Connection:
    uri = f"{database.resolve().as_uri()}?{mode}"
    connection = sqlite3.connect(uri, uri=True, timeout=_PATIENCE)
    try:
        connection.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def _migrate(connection: sqlite3.Connection, database: Path, migrations: Sequence[str]) -> None:
    version = _version(connection, database, len(migrations))
    if version == len(migrations):
        return
    statement = ""  # one by one: `executescript` would commit what is open
    scripts = migrations[version:] if version else migrations[:1]
    for line in "\n".join(scripts).splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            connection.execute(statement.strip())
            statement = ""
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {len(migrations)}")


def _version(connection: sqlite3.Connection, database: Path, newest: int) -> int:
    """The schema version; 0 for an empty file."""
    queries = (
        "PRAGMA application_id",
        "PRAGMA user_version",
        "SELECT COUNT(*) FROM sqlite_master",
    )
    kind, version, n_entries = (int(connection.execute(q).fetchone()[0]) for q in queries)
    if n_entries == 0 and version == 0:
        return 0
    if kind != APPLICATION_ID:
        raise OutputError(
            f"{database}: expected a history of audits, found a database of another program; "
            "name another file"
        )
    if version > newest:
        raise OutputError(
            f"{database}: expected schema version {newest} or older, got {version}: a newer "
            "release of bias-audit wrote it; use that release, or name another file"
        )
    return version


@contextmanager
def _refusals_named(database: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.IntegrityError:
        raise  # a mistake of ours, not of the file
    except (sqlite3.Error, OSError) as error:
        raise OutputError(
            f"{database}: the history cannot be read or written ({error}); check the disk and the "
            "rights; `bias-audit zoo run` moves a damaged file aside and makes it again from the "
            "run folders"
        ) from error


def damage_of(database: Path) -> str | None:
    """What is wrong with the pages of a history; None if nothing is, or if there is none.

    A transaction that a crash left open is rolled back first.
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


def move_aside(database: Path) -> Path:
    """Give a damaged history another name, for whoever wants to rescue something from it."""
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    place, number = database.with_name(f"{database.name}.damaged-{stamp}"), 1
    while place.exists():
        number += 1
        place = database.with_name(f"{database.name}.damaged-{stamp}-{number}")
    with writing(place):
        for suffix in (*_COMPANIONS, ""):
            part = database.with_name(f"{database.name}{suffix}")
            if part.exists():
                part.rename(f"{place}{suffix}")
    return place
