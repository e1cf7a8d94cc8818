"""Reading a history: audits, what they found, and what changed."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

from bias_audit.results.history import tables
from bias_audit.results.history.opening import reading_from
from bias_audit.results.history.tables import fetch, recorded
from bias_audit.statistics.estimate import Estimate, Scale

R = TypeVar("R", bound=tables.Row)
Curve = tuple[int, str, str]
"""Backbone id, quantity, target."""


class Audit(tables.AuditRow):
    """One audit of one entry on one dataset."""

    is_latest: bool
    """Of its entry on its dataset."""
    fingerprints: dict[str, str]
    """What it rests on, by kind."""

    @property
    def key(self) -> tuple[str, str, str]:
        """Zoo, dataset and entry."""
        return self.zoo, self.dataset, self.entry


class Backbone(tables.BackboneRow):
    """One backbone of one audit."""

    audit: Audit
    is_alone: bool
    """Whether its audit has no other."""

    @property
    def label(self) -> str:
        """The entry's name, with the backbone's where an audit has several."""
        return self.audit.entry if self.is_alone else f"{self.audit.entry}: {self.name}"


class Point(tables.EstimateRow):
    """A number of a layer curve that was measured."""

    value: float
    lower: float
    upper: float
    level: float
    n: int
    scale: Scale

    @property
    def curve(self) -> Curve:
        """The curve that it is of."""
        return self.backbone_id, self.quantity, self.target

    @property
    def estimate(self) -> Estimate:
        """The value with its interval."""
        found = recorded(self.value, self.lower, self.upper, self.level, self.n)
        return replace(found, scale=self.scale, effective=self.effective)


class Peak(Point):
    """The highest or the last of a curve."""

    n_layers: int
    """Of the curve."""
    is_highest: bool
    is_last: bool


class TrackedVerdict(tables.VerdictRow):
    """A criterion judged by a backbone's numbers."""

    before: str | None
    """The outcome in the audit before, where it differs."""


class Diff(tables.DiffRow):
    """How an audit differs from an earlier one."""

    causes: tuple[tables.CauseRow, ...]
    conclusions: Mapping[str, str]
    """Where changes probably come from, by backbone."""
    changes: tuple[tables.ChangeRow, ...]


class Run(tables.RunRow):
    """A run of a zoo."""

    states: tuple[tables.StateRow, ...]


@dataclass(frozen=True)
class History:
    """What a report of a zoo is made from."""

    database: Path
    audits: tuple[Audit, ...]
    """Oldest first."""
    backbones: tuple[Backbone, ...]
    """Of all audits, in their order."""
    highest: Mapping[Curve, Peak] = field(repr=False)
    """Of every layer curve of every audit."""
    last: Mapping[Curve, Peak] = field(repr=False)
    profiles: Mapping[Curve, tuple[Point, ...]] = field(repr=False)
    """Whole layer curves of the latest audits."""
    verdicts: tuple[TrackedVerdict, ...]
    """Of the latest audits."""
    failures: tuple[tables.AnalysisRow, ...]
    """Analyses of the latest audits that could not be computed."""
    diffs: tuple[Diff, ...]
    """From the latest audit before that has one to each latest audit."""
    costs: tuple[tables.CostRow, ...]
    """Of all audits."""
    run: Run | None
    """The latest one."""

    @property
    def latest(self) -> tuple[Backbone, ...]:
        """Of the latest audit of each entry on each dataset, by dataset and entry."""
        found = (each for each in self.backbones if each.audit.is_latest)
        return tuple(sorted(found, key=lambda each: (each.audit.key, each.position)))

    @property
    def datasets(self) -> tuple[str, ...]:
        """With an audit, in the order of their first."""
        return tuple(dict.fromkeys(audit.dataset for audit in self.audits))


def read_history(database: Path, *, zoo: str | None = None, run: int | None = None) -> History:
    """Read what reports and summaries need of one zoo, or of all, with the states of a run.

    The run is that with this id; default: the latest.

    Raises:
        OutputError: It cannot be read.
    """
    with reading_from(database) as connection:
        connection.execute(
            "CREATE TEMP TABLE chosen AS SELECT id, started FROM audits "
            "WHERE zoo = ?1 OR ?1 IS NULL",
            (zoo,),
        )
        connection.execute(
            "CREATE TEMP TABLE recent AS SELECT b.id, b.audit_id FROM backbones b "
            "JOIN latest_audits a ON a.id = b.audit_id JOIN chosen c ON c.id = a.id"
        )
        audits = _audits(connection, zoo)
        by_id = {audit.id: audit for audit in audits}
        backbones = fetch(
            connection,
            tables.BackboneRow,
            "SELECT b.* FROM backbones b JOIN chosen c ON c.id = b.audit_id "
            "ORDER BY c.started, c.id, b.position",
        )
        n_backbones = Counter(row.audit_id for row in backbones)
        peaks = fetch(
            connection,
            Peak,
            "SELECT p.* FROM peaks p JOIN chosen c ON c.id = p.audit_id ORDER BY p.position",
        )
        profiles: dict[Curve, tuple[Point, ...]] = {}
        for point in fetch(
            connection,
            Point,
            "SELECT e.* FROM estimates e JOIN recent r ON r.id = e.backbone_id WHERE e.group_name "
            "IS NULL AND e.value IS NOT NULL ORDER BY e.backbone_id, e.position",
        ):
            profiles[point.curve] = (*profiles.get(point.curve, ()), point)
        runs = fetch(
            connection,
            tables.RunRow,
            "SELECT * FROM runs WHERE (zoo = ?1 OR ?1 IS NULL) AND (id = ?2 OR ?2 IS NULL) "
            "ORDER BY started DESC, id DESC LIMIT 1",
            (zoo, run),
        )
        states = "SELECT * FROM states WHERE run_id = ? ORDER BY dataset, entry"
        found = [
            Run(**vars(row), states=fetch(connection, tables.StateRow, states, (row.id,)))
            for row in runs
        ]
        return History(
            database=database,
            audits=audits,
            backbones=tuple(
                Backbone(
                    **vars(row), audit=by_id[row.audit_id], is_alone=n_backbones[row.audit_id] == 1
                )
                for row in backbones
            ),
            highest={peak.curve: peak for peak in peaks if peak.is_highest},
            last={peak.curve: peak for peak in peaks if peak.is_last},
            profiles=profiles,
            verdicts=fetch(
                connection,
                TrackedVerdict,
                "SELECT v.*, c.before FROM verdicts v JOIN recent r ON r.id = v.backbone_id "
                "JOIN backbones b ON b.id = r.id LEFT JOIN verdict_changes c "
                "ON c.audit_id = r.audit_id AND c.backbone = b.name AND c.criterion = v.criterion "
                "ORDER BY r.id, v.position",
            ),
            failures=fetch(
                connection,
                tables.AnalysisRow,
                "SELECT a.* FROM analyses a JOIN recent r ON r.id = a.backbone_id "
                "WHERE a.status = 'failed' ORDER BY a.backbone_id, a.position",
            ),
            diffs=_diffs(connection),
            costs=fetch(
                connection,
                tables.CostRow,
                "SELECT k.* FROM costs k JOIN chosen c ON c.id = k.audit_id "
                "ORDER BY c.started, c.id, k.position",
            ),
            run=found[0] if found else None,
        )


def all_audits(database: Path, zoo: str) -> dict[tuple[str, str], list[Audit]]:
    """Every audit of a zoo by data set and entry, the newest first; none without a history.

    Their folders are relative to the current folder as the database is, or absolute.
    """
    found: dict[tuple[str, str], list[Audit]] = {}
    if database.exists():
        with reading_from(database) as connection:
            audits = _audits(connection, zoo)
        for audit in reversed(audits):
            placed = replace(audit, folder=database.parent / audit.folder)
            found.setdefault((audit.dataset, audit.entry), []).append(placed)
    return found


def latest_audits(database: Path, zoo: str) -> dict[tuple[str, str], Audit]:
    """The newest audit of each entry on each data set; see `all_audits`."""
    return {key: audits[0] for key, audits in all_audits(database, zoo).items()}


def last_run(database: Path) -> int:
    """Id of the last run that is recorded, of whatever zoo; 0 where there is none."""
    return max(_numbers(database, "SELECT id FROM runs"), default=0)


def delivered_audits(database: Path, zoo: str, *, until: int) -> frozenset[int]:
    """Ids of the audits that a run ended with, up to that with the id `until`.

    Other audits are of runs that were interrupted.
    """
    query = (
        "SELECT audit_id FROM states JOIN runs ON runs.id = states.run_id "
        "WHERE zoo = ? AND run_id <= ? AND audit_id IS NOT NULL"
    )
    return frozenset(_numbers(database, query, zoo, until))


def compared_audits(database: Path) -> frozenset[int]:
    """Ids of the audits that were compared with an earlier one."""
    return frozenset(_numbers(database, "SELECT after_id FROM diffs"))


def _numbers(database: Path, query: str, *values: object) -> list[int]:
    """A column of numbers; empty where there is no history."""
    if not database.exists():
        return []
    with reading_from(database) as connection:
        return [number for (number,) in connection.execute(query, values)]


def _audits(connection: sqlite3.Connection, zoo: str | None) -> tuple[Audit, ...]:
    """The oldest first."""
    return fetch(
        connection,
        Audit,
        "SELECT a.*, l.id IS NOT NULL AS is_latest, (SELECT json_group_object(kind, value) "
        "FROM fingerprints f WHERE f.audit_id = a.id) AS fingerprints "
        "FROM audits a LEFT JOIN latest_audits l ON l.id = a.id "
        "WHERE a.zoo = ?1 OR ?1 IS NULL ORDER BY a.started, a.id",
        (zoo,),
    )


def _diffs(connection: sqlite3.Connection) -> tuple[Diff, ...]:
    heads = fetch(
        connection,
        tables.DiffRow,
        "SELECT d.*, MAX(b.started) FROM diffs d JOIN audits b ON b.id = d.before_id "
        "WHERE d.after_id IN (SELECT audit_id FROM recent) GROUP BY d.after_id ORDER BY d.id",
    )
    return tuple(
        Diff(
            **vars(head),
            causes=_part(connection, tables.CauseRow, head.id),
            conclusions={
                each.backbone: each.text
                for each in _part(connection, tables.ConclusionRow, head.id)
            },
            changes=_part(connection, tables.ChangeRow, head.id),
        )
        for head in heads
    )


def _part(connection: sqlite3.Connection, record: type[R], diff_id: int) -> tuple[R, ...]:
    query = f"SELECT * FROM {record.table} WHERE diff_id = ? ORDER BY position"
    return fetch(connection, record, query, (diff_id,))
