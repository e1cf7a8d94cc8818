"""Opening a history: the right kind of file, in the right version."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from bias_audit.errors import OutputError
from bias_audit.results.history.schema import APPLICATION_ID, MIGRATIONS

_PATIENCE: Final = 30.0
"""Seconds to wait for another process that writes."""


@contextmanager
def writing_to(
    database: Path, *, migrations: Sequence[str] = MIGRATIONS
) -> Iterator[sqlite3.Connection]:
    """Open a history for one transaction; made where there is none, brought up to date if older.

    All that is written inside is kept together or not at all, also through a crash. The journal is
    SQLite's default, which leaves one file that can be moved and works where a cluster shares a
    disk; a file that someone has set to WAL stays so.

    Args:
        database: The file.
        migrations: See `schema.MIGRATIONS`.

    Raises:
        OutputError: It is no history, a newer release made it, it is damaged, or the disk refuses.
    """
    with _refusals_named(database):
        database.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(database, timeout=_PATIENCE, isolation_level=None)
        try:
            version = _version(connection, database, len(migrations))
            connection.execute("PRAGMA foreign_keys = ON")
            connection.execute("BEGIN IMMEDIATE")
            # Another process may have brought it up to date while this one waited.
            version = _version(connection, database, len(migrations))
            _migrate(connection, version, migrations)
            yield connection
            connection.execute("COMMIT")
        finally:
            connection.close()  # what was not committed is rolled back


@contextmanager
def reading_from(database: Path) -> Iterator[sqlite3.Connection]:
    """Open a history to read; it is not changed, and may lie on a read-only disk.

    Raises:
        OutputError: There is none, it is no history, of another version, or damaged.
    """
    if not database.is_file():
        raise OutputError(
            f"{database}: expected a history of audits, found no file; "
            "`bias-audit zoo run` writes one"
        )
    with _refusals_named(database):
        connection = _opened(database)
        try:
            version = _version(connection, database, len(MIGRATIONS))
            if version < len(MIGRATIONS):
                connection.close()
                connection = _brought_up_to_date(database)
            yield connection
        finally:
            connection.close()


def _opened(database: Path) -> sqlite3.Connection:
    """Read-only; with rights to write where a crash left a transaction to be rolled back."""
    uri = database.resolve().as_uri()
    modes = ["mode=ro", "mode=rw"]
    if not any(_is_filled(database, suffix) for suffix in ("-wal", "-journal")):
        modes.append("mode=ro&immutable=1")  # a folder that refuses even the files of a reader
    for mode in modes[:-1]:
        with suppress(sqlite3.OperationalError):
            return _tried(uri, mode)
    return _tried(uri, modes[-1])


def _tried(uri: str, mode: str) -> sqlite3.Connection:
    connection = sqlite3.connect(f"{uri}?{mode}", uri=True, timeout=_PATIENCE)
    try:
        connection.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def _is_filled(database: Path, suffix: str) -> bool:
    path = database.with_name(f"{database.name}{suffix}")
    return path.exists() and path.stat().st_size > 0


def _brought_up_to_date(database: Path) -> sqlite3.Connection:
    """An older file as one of today, in memory."""
    memory = sqlite3.connect(":memory:", isolation_level=None)
    connection = _opened(database)
    try:
        connection.backup(memory)
    finally:
        connection.close()
    memory.execute("BEGIN")
    _migrate(memory, _version(memory, database, len(MIGRATIONS)), MIGRATIONS)
    memory.execute("COMMIT")
    return memory


def _migrate(connection: sqlite3.Connection, version: int, migrations: Sequence[str]) -> None:
    if version == len(migrations):
        return
    for script in migrations[version:]:
        for statement in _statements(script):
            connection.execute(statement)
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {len(migrations)}")


def _statements(script: str) -> Iterator[str]:
    """One by one: `executescript` would commit what is open."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if statement.strip() and sqlite3.complete_statement(statement):
            yield statement.strip()
            statement = ""


def _version(connection: sqlite3.Connection, database: Path, newest: int) -> int:
    """The schema version; 0 for an empty file."""
    kind = connection.execute("PRAGMA application_id").fetchone()[0]
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    is_empty = connection.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()[0] == 0
    if is_empty and version == 0:
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
