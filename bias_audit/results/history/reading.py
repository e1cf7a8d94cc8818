"""Reading a history: audits, what they found, and what changed."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

from bias_audit.results.history.opening import reading_from
from bias_audit.results.history.records import (
    Audit,
    Backbone,
    Cause,
    Change,
    Cost,
    Curve,
    Diff,
    FailedAnalysis,
    History,
    Point,
    Run,
    StateRow,
    VerdictRow,
)
from bias_audit.statistics.estimate import Estimate

T = TypeVar("T")
METHOD: Final = "as recorded"
"""A history keeps intervals, not how they were made; that is in each audit."""
_CAUSE: Final = tuple(Cause.__dataclass_fields__)


def read_history(database: Path, *, zoo: str | None = None, run: int | None = None) -> History:
    """Read what reports and summaries need.

    Args:
        database: The history.
        zoo: Only audits of this zoo; default: of all.
        run: Id of the run whose states are read; default: the latest.

    Raises:
        OutputError: It cannot be read.
    """
    with reading_from(database) as connection:
        connection.row_factory = sqlite3.Row
        connection.execute(
            "CREATE TEMP TABLE chosen AS SELECT * FROM audits WHERE zoo = ?1 OR ?1 IS NULL", (zoo,)
        )
        connection.execute(
            "CREATE TEMP TABLE recent AS SELECT b.id, b.audit_id FROM backbones b "
            "JOIN latest_audits a ON a.id = b.audit_id JOIN chosen c ON c.id = a.id"
        )
        audits = _audits(connection)
        highest, last = _peaks(connection)
        return History(
            database=database,
            audits=tuple(audits.values()),
            backbones=_backbones(connection, audits),
            highest=highest,
            last=last,
            profiles=_profiles(connection),
            verdicts=_verdicts(connection),
            failures=_failures(connection),
            diffs=_diffs(connection),
            costs=_costs(connection),
            fingerprints=_fingerprints(connection),
            run=_run(connection, zoo, run),
        )


def _rows(
    connection: sqlite3.Connection,
    make: Callable[[Mapping[str, Any]], T],
    query: str,
    values: Sequence[object] = (),
) -> list[T]:
    return [make(dict(row)) for row in connection.execute(query, values)]


def _audits(connection: sqlite3.Connection) -> dict[int, Audit]:
    columns = [name for name in Audit.__dataclass_fields__ if name != "is_latest"]
    query = (
        f"SELECT {', '.join(f'c.{name}' for name in columns)}, "
        "EXISTS (SELECT 1 FROM recent r WHERE r.audit_id = c.id) AS is_latest "
        "FROM chosen c ORDER BY c.started, c.id"
    )
    found = _rows(connection, lambda row: Audit(**_true_or_false(row)), query)
    return {audit.id: audit for audit in found}


def _true_or_false(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: bool(v) if name.startswith("is_") else v for name, v in row.items()}


def _backbones(
    connection: sqlite3.Connection, audits: Mapping[int, Audit]
) -> tuple[Backbone, ...]:
    query = (
        "SELECT b.*, COUNT(*) OVER (PARTITION BY b.audit_id) = 1 AS is_alone FROM backbones b "
        "JOIN chosen c ON c.id = b.audit_id ORDER BY c.started, c.id, b.position"
    )
    same = ("id", "position", "name", "weights", "weights_sha256", "n_parameters", "n_layers")
    found = _rows(
        connection,
        lambda row: Backbone(
            audit=audits[row["audit_id"]],
            is_alone=bool(row["is_alone"]),
            **{name: row[name] for name in same},
        ),
        query,
    )
    return tuple(found)


def _peaks(connection: sqlite3.Connection) -> tuple[dict[Curve, Point], dict[Curve, Point]]:
    rows = _rows(
        connection,
        lambda row: (bool(row["is_highest"]), bool(row["is_last"]), _point(row)),
        "SELECT p.* FROM peaks p JOIN chosen c ON c.id = p.audit_id ORDER BY p.position",
    )
    highest = {_curve(point): point for is_highest, _, point in rows if is_highest}
    last = {_curve(point): point for _, is_last, point in rows if is_last}
    return highest, last


def _profiles(connection: sqlite3.Connection) -> dict[Curve, tuple[Point, ...]]:
    rows = _rows(
        connection,
        _point,
        "SELECT e.*, COUNT(*) OVER (PARTITION BY e.backbone_id, e.quantity, e.target) AS n_layers "
        "FROM estimates e JOIN recent r ON r.id = e.backbone_id "
        "WHERE e.group_name IS NULL AND e.value IS NOT NULL ORDER BY e.backbone_id, e.position",
    )
    found: dict[Curve, list[Point]] = {}
    for point in rows:
        found.setdefault(_curve(point), []).append(point)
    return {curve: tuple(points) for curve, points in found.items()}


def _curve(point: Point) -> Curve:
    return point.backbone_id, point.quantity, point.target


def _point(row: Mapping[str, Any]) -> Point:
    same = ("backbone_id", "quantity", "metric", "target", "layer", "depth", "chance")
    more = ("strongest", "control", "n_layers")
    return Point(
        estimate=_estimate(row, "value", "lower", "upper"),
        lift=None if row["lift"] is None else _difference(row, "lift", "lift_lower", "lift_upper"),
        **{name: row[name] for name in (*same, *more)},
    )


def _estimate(row: Mapping[str, Any], value: str, lower: str, upper: str) -> Estimate:
    return Estimate(
        row[value],
        row[lower],
        row[upper],
        level=row["level"],
        n=row["n"],
        method=METHOD,
        scale=row["scale"],
        effective=row["effective"],
    )


def _difference(row: Mapping[str, Any], value: str, lower: str, upper: str) -> Estimate:
    """Of a difference, or of a number that is only printed."""
    n = row.get("n", 0)
    return Estimate(row[value], row[lower], row[upper], level=row["level"], n=n, method=METHOD)


def _verdicts(connection: sqlite3.Connection) -> tuple[VerdictRow, ...]:
    same = [name for name in VerdictRow.__dataclass_fields__ if name not in {"group", "estimate"}]
    found = _rows(
        connection,
        lambda row: VerdictRow(
            group=row["group_name"],
            estimate=None if row["value"] is None else _difference(row, "value", "lower", "upper"),
            **{name: row[name] for name in same},
        ),
        "SELECT v.*, c.before FROM verdicts v JOIN recent r ON r.id = v.backbone_id "
        "JOIN backbones b ON b.id = r.id LEFT JOIN verdict_changes c ON c.audit_id = r.audit_id "
        "AND c.backbone = b.name AND c.criterion = v.criterion ORDER BY r.id, v.position",
    )
    return tuple(found)


def _failures(connection: sqlite3.Connection) -> tuple[FailedAnalysis, ...]:
    found = _rows(
        connection,
        lambda row: FailedAnalysis(
            row["backbone_id"], row["title"], row["error"] or "no reason was recorded"
        ),
        "SELECT a.* FROM analyses a JOIN recent r ON r.id = a.backbone_id "
        "WHERE a.status = 'failed' ORDER BY a.backbone_id, a.position",
    )
    return tuple(found)


def _diffs(connection: sqlite3.Connection) -> tuple[Diff, ...]:
    """Of each latest audit, the diff to the latest audit before it that has one."""
    heads = connection.execute(
        "SELECT d.id, d.before_id, d.after_id, MAX(b.started) FROM diffs d "
        "JOIN audits b ON b.id = d.before_id "
        "WHERE d.after_id IN (SELECT audit_id FROM recent) GROUP BY d.after_id ORDER BY d.id"
    ).fetchall()
    return tuple(_diff(connection, *head[:3]) for head in heads)


def _diff(connection: sqlite3.Connection, number: int, before_id: int, after_id: int) -> Diff:
    def rows(make: Callable[[Mapping[str, Any]], T], table: str) -> tuple[T, ...]:
        query = f"SELECT * FROM {table} WHERE diff_id = ? ORDER BY position"
        return tuple(_rows(connection, make, query, (number,)))

    return Diff(
        id=number,
        before_id=before_id,
        after_id=after_id,
        causes=rows(_cause, "causes"),
        conclusions=dict(rows(lambda row: (row["backbone"], row["text"]), "conclusions")),
        changes=rows(_change, "changes"),
    )


def _cause(row: Mapping[str, Any]) -> Cause:
    return Cause(**{n: v for n, v in _true_or_false(row).items() if n in _CAUSE})


def _change(row: Mapping[str, Any]) -> Change:
    same = ("backbone", "quantity", "target", "layer", "of_what", "outcome", "margin")
    return Change(
        group=row["group_name"],
        before=_difference(row, "before_value", "before_lower", "before_upper"),
        after=_difference(row, "after_value", "after_lower", "after_upper"),
        difference=_difference(row, "difference", "difference_lower", "difference_upper"),
        is_paired=bool(row["is_paired"]),
        **{name: row[name] for name in same},
    )


def _costs(connection: sqlite3.Connection) -> tuple[Cost, ...]:
    columns = ", ".join(f"k.{name}" for name in Cost.__dataclass_fields__)
    query = (
        f"SELECT {columns} FROM costs k JOIN chosen c ON c.id = k.audit_id "
        "ORDER BY c.started, c.id, k.position"
    )
    return tuple(_rows(connection, lambda row: Cost(**_true_or_false(row)), query))


def _fingerprints(connection: sqlite3.Connection) -> dict[int, dict[str, str]]:
    found: dict[int, dict[str, str]] = {}
    for audit_id, kind, value in connection.execute(
        "SELECT audit_id, kind, value FROM fingerprints "
        "WHERE audit_id IN (SELECT audit_id FROM recent) ORDER BY audit_id, kind"
    ):
        found.setdefault(audit_id, {})[kind] = value
    return found


def _run(connection: sqlite3.Connection, zoo: str | None, run: int | None) -> Run | None:
    row = connection.execute(
        "SELECT * FROM runs WHERE (zoo = ?1 OR ?1 IS NULL) AND (id = ?2 OR ?2 IS NULL) "
        "ORDER BY started DESC, id DESC LIMIT 1",
        (zoo, run),
    ).fetchone()
    if row is None:
        return None
    states = _rows(
        connection,
        lambda state: StateRow(**{n: state[n] for n in StateRow.__dataclass_fields__}),
        "SELECT * FROM states WHERE run_id = ? ORDER BY dataset, entry",
        (row["id"],),
    )
    return Run(
        row["id"], row["zoo"], row["started"], row["seconds"], row["command"], tuple(states)
    )
