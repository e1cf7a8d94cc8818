"""Writing audits, their differences and the runs of a zoo into a history."""

from __future__ import annotations

import hashlib
import os
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from bias_audit.results.audit import AuditResult
from bias_audit.results.history import rows
from bias_audit.results.history.opening import writing_to
from bias_audit.results.history.rows import Row
from bias_audit.results.store import audit_bytes, parse_audit

State = Literal["audited", "unchanged", "failed", "stale"]


def record_audit(
    database: Path,
    result: AuditResult,
    *,
    zoo: str,
    dataset: str,
    entry: str,
    folder: Path | str,
    fingerprint: Mapping[str, str],
    audit_sha256: str,
) -> int:
    """Keep one audit; all of it or nothing.

    The same audit is kept once. Given again, its place is renewed and the rest left alone.

    Args:
        database: The history; made where there is none.
        result: What the audit found.
        zoo: Name of the zoo.
        dataset: Name of the dataset in the zoo.
        entry: Name of the entry in the zoo.
        folder: The run folder, absolute or relative to the database's folder.
        fingerprint: What the audit rests on, by kind, such as "weights" and "labels".
        audit_sha256: Of the run folder's `audit.json`.

    Returns:
        Its id.

    Raises:
        OutputError: The history cannot be opened or written.
    """
    place = _relative(database, folder)
    with writing_to(database) as connection:
        known = connection.execute(
            "SELECT id FROM audits WHERE audit_sha256 = ?", (audit_sha256,)
        ).fetchone()
        if known is not None:
            audit_id = int(known[0])
            connection.execute(
                "UPDATE audits SET folder = ?, is_pruned = 0 WHERE id = ?", (place, audit_id)
            )
            return audit_id
        named = {"zoo": zoo, "dataset": dataset, "entry": entry, "folder": place}
        own = {"audit_sha256": audit_sha256, "is_pruned": 0}
        audit_id = _insert(connection, "audits", [own | named | rows.audit_row(result)])
        _insert_subjects(connection, audit_id, result)
        _insert(
            connection,
            "fingerprints",
            [{"audit_id": audit_id, "kind": k, "value": v} for k, v in fingerprint.items()],
        )
    return audit_id


def _insert_subjects(connection: sqlite3.Connection, audit_id: int, result: AuditResult) -> None:
    ids: list[int] = []
    for position, subject in enumerate(result.subjects):
        row = {"audit_id": audit_id} | rows.backbone_row(subject, position)
        ids.append(_insert(connection, "backbones", [row]))
        own = {"backbone_id": ids[-1]}
        _insert(connection, "analyses", [own | r for r in rows.analysis_rows(subject)])
        _insert(connection, "estimates", [own | r for r in rows.estimate_rows(subject)])
    by_name = dict(zip((s.backbone.name for s in result.subjects), ids, strict=True))
    _insert(
        connection,
        "verdicts",
        [{"backbone_id": by_name[name]} | row for name, row in rows.verdict_rows(result)],
    )
    _insert(
        connection,
        "costs",
        [
            {
                "audit_id": audit_id,
                "position": position,
                "backbone_id": None if cost.subject is None else ids[cost.subject],
            }
            | rows.cost_row(cost.stage)
            for position, cost in enumerate(rows.costs(result))
        ],
    )


def record_diff(database: Path, before_id: int, after_id: int, diff: Mapping[str, Any]) -> int:
    """Keep how an audit differs from an earlier one; given again, it is replaced.

    Args:
        database: The history.
        before_id: Of the earlier audit.
        after_id: Of the later one.
        diff: An `AuditDiff` as it is in JSON; its changes, causes and conclusions are kept.

    Returns:
        Its id.

    Raises:
        OutputError: The history cannot be opened or written.
        KeyError: A change lacks a field.
    """
    causes = [_cause(i, each) for i, each in enumerate(diff["causes"])]
    concluded = [
        {"position": i, "backbone": each["backbone"], "text": each["text"]}
        for i, each in enumerate(diff["conclusions"])
    ]
    changes = [_change(i, each) for i, each in enumerate(diff["changes"])]
    with writing_to(database) as connection:
        pair = {"before_id": before_id, "after_id": after_id}
        connection.execute(
            "DELETE FROM diffs WHERE before_id = :before_id AND after_id = :after_id", pair
        )
        diff_id = _insert(connection, "diffs", [pair])
        for table, kept in (("causes", causes), ("conclusions", concluded), ("changes", changes)):
            _insert(connection, table, [{"diff_id": diff_id} | row for row in kept])
    return diff_id


def _cause(position: int, cause: Mapping[str, Any]) -> Row:
    same = {name: cause[name] for name in ("kind", "part", "detail", "backbone")}
    return {"position": position, "is_minor": int(cause["is_minor"])} | same


def _change(position: int, change: Mapping[str, Any]) -> Row:
    before, after, difference = (change[name] for name in ("before", "after", "difference"))
    same = ("backbone", "quantity", "target", "layer", "outcome", "better", "margin", "noise")
    return {
        "position": position,
        **{name: change[name] for name in (*same, "p_value", "adjusted_p")},
        "group_name": change["group"],
        "of_what": change["of"],
        **{f"before_{name}": before[name] for name in ("value", "lower", "upper")},
        **{f"after_{name}": after[name] for name in ("value", "lower", "upper")},
        "difference": difference["value"],
        "difference_lower": difference["lower"],
        "difference_upper": difference["upper"],
        "level": difference["level"],
        "is_paired": int(change["paired"]),
    }


@dataclass(frozen=True)
class EntryState:
    """What a run of a zoo did about one entry on one dataset."""

    dataset: str
    entry: str
    state: State
    """ "audited" anew; "unchanged": its audit stands; "failed": it was tried and there is no
    audit; "stale": it was not audited again."""
    reason: str = ""
    """What had changed, or why it failed."""
    audit_id: int | None = None
    """Of the audit that holds now; None where there is none."""


def record_run(
    database: Path,
    *,
    zoo: str,
    started: str,
    seconds: float,
    command: str,
    states: Sequence[EntryState],
) -> int:
    """Keep what a run of a zoo did.

    Args:
        database: The history; made where there is none.
        zoo: Name of the zoo.
        started: ISO 8601, UTC.
        seconds: Of the whole run.
        command: As typed.
        states: One per entry and dataset.

    Returns:
        Its id.

    Raises:
        OutputError: The history cannot be opened or written.
    """
    with writing_to(database) as connection:
        run = {"zoo": zoo, "started": started, "seconds": seconds, "command": command}
        run_id = _insert(connection, "runs", [run])
        _insert(connection, "states", [{"run_id": run_id} | vars(state) for state in states])
    return run_id


def mark_pruned(database: Path, audit_ids: Iterable[int]) -> None:
    """Say of audits that their run folders were deleted; their numbers stay.

    Raises:
        OutputError: The history cannot be opened or written.
    """
    with writing_to(database) as connection:
        connection.executemany(
            "UPDATE audits SET is_pruned = 1 WHERE id = ?", [(each,) for each in audit_ids]
        )


@dataclass(frozen=True)
class RunFolder:
    """A finished audit's folder, and what a zoo calls it."""

    folder: Path
    zoo: str
    dataset: str
    entry: str


def rebuild(database: Path, folders: Iterable[RunFolder]) -> tuple[int, ...]:
    """Put the audits of run folders into a history; those it has already stay as they are.

    Runs and differences are in no run folder; a new file begins without them.

    Args:
        database: The history; made where there is none. A damaged one is moved away first.
        folders: Finished runs.

    Returns:
        The ids of the audits, in the order of `folders`.

    Raises:
        OutputError: A run folder or the history cannot be read or written.
    """
    return tuple(_record_folder(database, each) for each in folders)


def _record_folder(database: Path, each: RunFolder) -> int:
    content = audit_bytes(each.folder)
    result = parse_audit(content, source=str(each.folder / "audit.json"))
    return record_audit(
        database,
        result,
        zoo=each.zoo,
        dataset=each.dataset,
        entry=each.entry,
        folder=each.folder.resolve(),
        fingerprint=result.provenance.fingerprints,
        audit_sha256=hashlib.sha256(content).hexdigest(),
    )


def _relative(database: Path, folder: Path | str) -> str:
    home = database.parent.resolve()
    return Path(os.path.relpath((home / folder).resolve(), home)).as_posix()


def _insert(connection: sqlite3.Connection, table: str, entries: Sequence[Row]) -> int:
    """Insert rows of the same columns; the id of the last one where the table has ids."""
    if not entries:
        return 0
    names = list(entries[0])
    marks = ", ".join(f":{name}" for name in names)
    statement = f"INSERT INTO {table} ({', '.join(names)}) VALUES ({marks})"
    if len(entries) > 1:
        connection.executemany(statement, entries)
        return 0
    return int(connection.execute(statement, entries[0]).lastrowid or 0)
