"""The audit that stands for each entry of a zoo."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from bias_audit.results.history.opening import reading_from


@dataclass(frozen=True)
class LatestAudit:
    """The newest audit of one entry on one data set."""

    id: int
    folder: Path
    """Absolute, or relative to the current folder as the database is."""
    audit_sha256: str
    is_pruned: bool
    started: str
    """ISO 8601, UTC."""
    outcome: str
    packages: dict[str, str]
    """Version by package."""
    fingerprints: dict[str, str]
    """By kind."""


def latest_audits(database: Path, zoo: str) -> dict[tuple[str, str], LatestAudit]:
    """By data set and entry; empty where there is no history yet.

    Raises:
        OutputError: The history cannot be read.
    """
    return {key: audits[0] for key, audits in all_audits(database, zoo).items()}


def all_audits(database: Path, zoo: str) -> dict[tuple[str, str], list[LatestAudit]]:
    """Every audit of a zoo by data set and entry, the newest first.

    Raises:
        OutputError: The history cannot be read.
    """
    if not database.exists():
        return {}
    with reading_from(database) as connection:
        kinds: dict[int, dict[str, str]] = {}
        for audit_id, kind, value in connection.execute(
            "SELECT audit_id, kind, value FROM fingerprints"
        ):
            kinds.setdefault(audit_id, {})[kind] = value
        rows = connection.execute(
            "SELECT dataset, entry, id, folder, audit_sha256, is_pruned, started, outcome, "
            "packages FROM audits WHERE zoo = ? ORDER BY started DESC, id DESC",
            (zoo,),
        ).fetchall()
    found: dict[tuple[str, str], list[LatestAudit]] = {}
    for dataset, entry, audit_id, folder, sha256, is_pruned, started, outcome, packages in rows:
        audit = LatestAudit(
            id=audit_id,
            folder=database.parent / folder,
            audit_sha256=sha256,
            is_pruned=bool(is_pruned),
            started=started,
            outcome=outcome,
            packages=json.loads(packages),
            fingerprints=kinds.get(audit_id, {}),
        )
        found.setdefault((dataset, entry), []).append(audit)
    return found


def last_run(database: Path) -> int:
    """Id of the last run that is recorded, of whatever zoo; 0 where there is none.

    Raises:
        OutputError: The history cannot be read.
    """
    if not database.exists():
        return 0
    with reading_from(database) as connection:
        return int(connection.execute("SELECT COALESCE(MAX(id), 0) FROM runs").fetchone()[0])


def told_audits(database: Path, zoo: str, *, until: int) -> frozenset[int]:
    """Ids of the audits that a run of the zoo ended with; others are of interrupted runs.

    Args:
        database: The history.
        zoo: Name of the zoo.
        until: Id of the last run that counts.

    Raises:
        OutputError: The history cannot be read.
    """
    if not database.exists():
        return frozenset()
    with reading_from(database) as connection:
        rows = connection.execute(
            "SELECT DISTINCT audit_id FROM states JOIN runs ON runs.id = states.run_id "
            "WHERE zoo = ? AND run_id <= ? AND audit_id IS NOT NULL",
            (zoo, until),
        )
        return frozenset(row[0] for row in rows)
