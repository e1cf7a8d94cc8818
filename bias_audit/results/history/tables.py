"""The tables of a history, declared; its views; and how an older file becomes one of today."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar, Final, Self, TypeVar, dataclass_transform

from bias_audit.statistics.estimate import Estimate

R = TypeVar("R", bound="Row")
APPLICATION_ID: Final = 0x62614869
"""SQLite's `application_id` of a history: "baHi"."""
OF_AUDIT: Final = "REFERENCES audits(id) ON DELETE CASCADE"
OF_BACKBONE: Final = "REFERENCES backbones(id) ON DELETE CASCADE"
OF_DIFF: Final = "REFERENCES diffs(id) ON DELETE CASCADE"
_TYPES: Final = {"int": "INTEGER", "bool": "INTEGER", "float": "REAL"}
"""SQLite's type by the type that a field is written with; TEXT where it is not listed."""
_READ: Final[dict[object, Callable[[Any], Any]]] = {
    **{"bool": bool, "Path": Path},
    **{"dict[str, str]": json.loads, "dict[str, Any]": json.loads},
}
"""From what SQLite keeps to what a record has, where they differ."""


def column(comment: str = "", *, sql: str = "", default: Any = MISSING) -> Any:
    """A column with its comment in the schema, and what follows its type there."""
    return field(default=default, metadata={"comment": comment, "sql": sql})


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(column,))
@dataclass(frozen=True)
class Row:
    """A row of a table: a subclass declares the table, its fields are the columns.

    Its docstring is the table's comment. Types count as they are written: with None, a column may
    be NULL; a dict is kept as JSON. SQLite gives `id`. A subclass of a table's class adds fields
    that only queries fill.
    """

    table: ClassVar[str] = ""
    constraint: ClassVar[str] = ""

    def __init_subclass__(cls, *, table: str = "", key: str = "", unique: str = "") -> None:
        """Make the subclass a frozen dataclass; `key` is a primary key other than `id`."""
        dataclass(frozen=True, kw_only=True)(cls)
        cls.table = table
        cls.constraint = f"PRIMARY KEY ({key})" if key else unique and f"UNIQUE ({unique})"

    @classmethod
    def of(cls, source: object, **others: Any) -> Self:
        """The columns that are not among the others have the values that a source has for them."""
        needed = {each.name for each in fields(cls) if each.default is MISSING} - others.keys()
        return cls(**{name: getattr(source, name) for name in needed}, **others)


def definition(record: type[Row]) -> str:
    """CREATE TABLE, with a comment behind each column."""
    lines = []
    for each in fields(record):
        kind, _, none = str(each.type).partition(" | ")
        sql, comment = each.metadata.get("sql", ""), each.metadata.get("comment", "")
        needed = "" if none or sql == "PRIMARY KEY" else "NOT NULL"
        words = (each.name, _TYPES.get(kind, "TEXT"), needed, sql)
        lines.append((" ".join(filter(None, words)), f" -- {comment}" if comment else ""))
    if record.constraint:
        lines.append((record.constraint, ""))
    commas = [","] * (len(lines) - 1) + [""]
    parts = zip(lines, commas, strict=True)
    body = "\n".join(f"  {text}{comma}{comment}" for (text, comment), comma in parts)
    rowid = " WITHOUT ROWID" if record.constraint.startswith("PRIMARY KEY") else ""
    return f"CREATE TABLE {record.table} ( -- {record.__doc__}\n{body}\n){rowid};"


def insert(connection: sqlite3.Connection, *rows: Row) -> int:
    """Insert rows, one after the other; the id of the last, where its table has ids."""
    number = 0
    for row in rows:
        values = {name: _stored(value) for name, value in vars(row).items() if name != "id"}
        marks = ", ".join(f":{name}" for name in values)
        statement = f"INSERT INTO {row.table} ({', '.join(values)}) VALUES ({marks})"
        number = connection.execute(statement, values).lastrowid or 0
    return number


def _stored(value: object) -> object:
    if isinstance(value, dict):
        return json.dumps(value, sort_keys=True, ensure_ascii=False)
    return value.as_posix() if isinstance(value, Path) else value


def fetch(
    connection: sqlite3.Connection, record: type[R], query: str, values: Sequence[object] = ()
) -> tuple[R, ...]:
    """What a query finds; columns that the record does not have are passed over.

    Raises:
        sqlite3.DataError: A value is damaged.
    """
    cursor = connection.execute(query, values)
    kinds = {each.name: each.type for each in fields(record)}
    names = [name for name, *_ in cursor.description]
    found = []
    for row in cursor:
        own = {n: _read(v, kinds[n]) for n, v in zip(names, row, strict=True) if n in kinds}
        found.append(record(**own))
    return tuple(found)


def _read(value: object, kind: object) -> object:
    read = _READ.get(kind)
    try:
        return value if value is None or read is None else read(value)
    except ValueError as error:
        raise sqlite3.DataError(f"a value is damaged: {error}") from error


def recorded(value: Any, lower: Any, upper: Any, level: Any, n: Any = 0) -> Estimate:
    """An estimate from columns; a history does not keep how intervals were made, audits do."""
    return Estimate(value, lower, upper, level=level, n=n, method="as recorded")


class AuditRow(Row, table="audits"):
    """One row per finished audit: one entry of a zoo on one dataset, once."""

    id: int = column(sql="PRIMARY KEY", default=0)
    audit_sha256: str = column("SHA-256 of the run folder's audit.json", sql="UNIQUE")
    zoo: str = column("name of the zoo")
    dataset: str = column("name of the dataset in the zoo")
    entry: str = column("name of the entry in the zoo, mostly a backbone's")
    name: str = column("name of the audit")
    folder: Path = column("run folder, relative to the folder of this file, with forward slashes")
    is_pruned: bool = column(
        "1: the run folder was deleted; the numbers here stay", sql="DEFAULT 0"
    )
    started: str = column("ISO 8601, UTC")
    seconds: float = column("of the whole audit")
    outcome: str = column("failed (in part), else the worst verdict, else none")
    config_sha256: str = column("of everything in the config that can change a result")
    manifest_sha256: str = column("over the images used and their labels")
    n_images: int = column("analysed")
    n_clusters: int = column("independent units: images of one person count once")
    seed: int
    code_version: str = column("of bias-audit")
    packages: dict[str, str] = column("JSON object: version by package")
    hardware: dict[str, Any] = column("JSON object")


class BackboneRow(Row, table="backbones", unique="audit_id, position"):
    """One row per backbone of an audit."""

    id: int = column(sql="PRIMARY KEY", default=0)
    audit_id: int = column(sql=OF_AUDIT)
    position: int = column("in the audit, from 0; report.html#backbone-POSITION")
    name: str
    architecture: str
    weights: str = column("tag, file or package that the weights came from")
    weights_sha256: str = column("over names, shapes and bytes of the state dict")
    preprocessing: dict[str, Any] = column("JSON object")
    n_parameters: int
    n_layers: int = column("audited")


class AnalysisRow(Row, table="analyses", key="backbone_id, position"):
    """One row per analysis of a backbone, failed ones included."""

    backbone_id: int = column(sql=OF_BACKBONE)
    position: int = column("in the audit, from 0")
    kind: str
    title: str
    status: str = column("done or failed")
    error: str | None = column("why it failed")
    seconds: float


class EstimateRow(Row, table="estimates", key="backbone_id, position"):
    """One row per number: of a layer and target, or of a group."""

    backbone_id: int = column(sql=OF_BACKBONE)
    position: int = column("in the audit, from 0")
    quantity: str = column("macro_auc, balanced_accuracy, bits, recall, ...")
    metric: str = column("the quantity's name in words")
    target: str = column("an attribute, or intersection")
    layer: str
    depth: int = column("place of the layer among those audited, from 0; -1: none of them")
    group_name: str | None = column(
        'levels joined by " / "; NULL where the number is about all groups', default=None
    )
    group_attributes: str | None = column("their attributes, joined in the same way", default=None)
    value: float | None = column("NULL: not measured")
    lower: float | None = column("ends of the interval")
    upper: float | None
    level: float | None = column("coverage of the interval, such as 0.95")
    n: int | None = column("independent units behind the value")
    scale: str | None = column("on which the interval is symmetric: identity, logit or wilson")
    effective: float | None = column(
        "observations that a Wilson interval counts, where fewer than n"
    )
    chance: float | None = column("what guessing gives")
    strongest: str | None = column("the control that the lift is over, or guessing", default=None)
    control: float | None = column("value of that control", default=None)
    lift: float | None = column("value minus that control, or guessing; paired", default=None)
    lift_lower: float | None = None
    lift_upper: float | None = None
    p_value: float | None = column("unadjusted", default=None)
    adjusted_p: float | None = column("adjusted in the audit", default=None)
    reason: str | None = column("why it was not measured", default=None)

    @property
    def lift_estimate(self) -> Estimate | None:
        """The lift with its interval; None where there is none."""
        if self.lift is None:
            return None
        return recorded(self.lift, self.lift_lower, self.lift_upper, self.level, self.n)


class VerdictRow(Row, table="verdicts", key="backbone_id, position"):
    """One row per criterion and backbone."""

    backbone_id: int = column(sql=OF_BACKBONE)
    position: int = column("among the audit's verdicts, from 1; report.html#verdict-POSITION")
    criterion: str = column("name")
    quantity: str
    of_what: str = column("estimate or lift")
    target: str
    layers: str = column("as the criterion says: every, best, last, or a layer")
    lowest: float | None = column("ends of the margin; NULL: no bound")
    highest: float | None
    rationale: str = column("why this margin")
    outcome: str = column("PASS, FAIL or INCONCLUSIVE")
    reason: str
    layer: str | None = column("of the number that decides")
    group_name: str | None
    value: float | None
    lower: float | None
    upper: float | None
    level: float | None
    n: int | None

    @property
    def estimate(self) -> Estimate | None:
        """The number that decides; None where it was not measured."""
        if self.value is None:
            return None
        return recorded(self.value, self.lower, self.upper, self.level, self.n)


class CostRow(Row, table="costs", key="audit_id, position"):
    """One row per stage of an audit."""

    audit_id: int = column(sql=OF_AUDIT)
    position: int = column("in the order of work, from 0")
    backbone_id: int | None = column("NULL: of all", sql=OF_BACKBONE)
    stage: str = column("such as forward pass, or the kind of an analysis")
    seconds: float
    images: int | None = column("that passed through; NULL where the stage is not about images")
    bytes: int | None = column("on disk because of this stage; NULL where not counted")
    is_reused: bool = column("1: what an earlier audit had stored was used instead of work")


class FingerprintRow(Row, table="fingerprints", key="audit_id, kind"):
    """What an audit rested on; it is stale when one of them changes."""

    audit_id: int = column(sql=OF_AUDIT)
    kind: str = column("weights, preprocessing, images, labels, config, code, ...")
    value: str


class DiffRow(Row, table="diffs", unique="before_id, after_id"):
    """One row per comparison of an audit with an earlier one."""

    id: int = column(sql="PRIMARY KEY", default=0)
    before_id: int = column(sql=OF_AUDIT)
    after_id: int = column(sql=OF_AUDIT)


class CauseRow(Row, table="causes", key="diff_id, position"):
    """What differs between the two audits of a diff, besides their numbers."""

    diff_id: int = column(sql=OF_DIFF)
    position: int
    kind: str = column("weights, data, config, software, preprocessing or hardware")
    part: str | None = column("images or labels of data, a section of a config; else NULL")
    detail: str
    backbone: str | None = column("that it is about; NULL: all")
    is_minor: bool = column("1: moves numbers by rounding or refitting alone")

    @property
    def name(self) -> str:
        """Such as "weights" or "data (labels)"."""
        return f"{self.kind} ({self.part})" if self.part else self.kind


class ConclusionRow(Row, table="conclusions", key="diff_id, position"):
    """Where the changes of each backbone of a diff probably come from."""

    diff_id: int = column(sql=OF_DIFF)
    position: int
    backbone: str
    text: str = column("in words")


class ChangeRow(Row, table="changes", key="diff_id, position"):
    """One row per number that a diff compares."""

    diff_id: int = column(sql=OF_DIFF)
    position: int
    backbone: str
    quantity: str
    target: str
    layer: str
    group_name: str | None = column("NULL where the number is about all groups")
    of_what: str = column("estimate or lift")
    outcome: str = column("improved, worse, higher, lower, equivalent or undecided")
    better: str | None = column(
        "higher or lower; NULL where the config does not declare which way is better"
    )
    margin: float = column("differences within it are equivalent")
    before_value: float
    before_lower: float
    before_upper: float
    after_value: float
    after_lower: float
    after_upper: float
    difference: float = column("after minus before")
    difference_lower: float
    difference_upper: float
    level: float = column("coverage of the difference's interval")
    noise: float | None = column(
        "standard deviation when nothing but seeds and folds changes; NULL: not measured"
    )
    p_value: float | None
    adjusted_p: float | None = column("over all numbers compared")
    is_paired: bool = column("1: over shared images")

    @property
    def before(self) -> Estimate:
        """In the earlier audit."""
        return recorded(self.before_value, self.before_lower, self.before_upper, self.level)

    @property
    def after(self) -> Estimate:
        """In the later audit."""
        return recorded(self.after_value, self.after_lower, self.after_upper, self.level)

    @property
    def difference_estimate(self) -> Estimate:
        """With its interval."""
        return recorded(self.difference, self.difference_lower, self.difference_upper, self.level)


class RunRow(Row, table="runs"):
    """One row per run of a zoo."""

    id: int = column(sql="PRIMARY KEY", default=0)
    zoo: str
    started: str = column("ISO 8601, UTC")
    seconds: float
    command: str


class StateRow(Row, table="states", key="run_id, dataset, entry"):
    """What a run of a zoo did about each entry on each dataset."""

    run_id: int = column(sql="REFERENCES runs(id) ON DELETE CASCADE")
    dataset: str
    entry: str
    state: str = column("audited, unchanged, failed or stale (and not audited again)")
    reason: str = column("why; may be empty")
    audit_id: int | None = column(
        "the audit that counts now; NULL: there is none",
        sql="REFERENCES audits(id) ON DELETE SET NULL",
    )


_INDEX: Final = "CREATE INDEX audits_in_order ON audits(zoo, dataset, entry, started);"
_VIEWS: Final = """\
CREATE VIEW latest_audits AS -- The latest audit of every entry on every dataset.
SELECT * FROM (
  SELECT audits.*, ROW_NUMBER() OVER (
    PARTITION BY zoo, dataset, entry ORDER BY started DESC, id DESC) AS place
  FROM audits)
WHERE place = 1;

CREATE VIEW verdict_matrix AS -- Verdicts of the latest audits, one row per backbone and criterion.
SELECT a.zoo, a.dataset, a.entry, b.name AS backbone, v.criterion, v.outcome, v.value, v.lower,
  v.upper, v.level, v.n, v.layer, v.group_name, v.reason, a.started, a.folder
FROM latest_audits a JOIN backbones b ON b.audit_id = a.id JOIN verdicts v ON v.backbone_id = b.id
ORDER BY a.zoo, a.dataset, a.entry, b.position, v.position;

CREATE VIEW verdict_changes AS -- Verdicts that differ from those of the audit before.
SELECT * FROM (
  SELECT a.id AS audit_id, a.zoo, a.dataset, a.entry, a.started, b.name AS backbone, v.criterion,
    v.position, LAG(v.outcome) OVER in_time AS before, v.outcome AS after
  FROM audits a JOIN backbones b ON b.audit_id = a.id JOIN verdicts v ON v.backbone_id = b.id
  WINDOW in_time AS (
    PARTITION BY a.zoo, a.dataset, a.entry, b.name, v.criterion ORDER BY a.started, a.id))
WHERE before <> after;

CREATE VIEW peaks AS -- Every layer curve at its highest value and at its last layer, per audit.
SELECT * FROM (
  SELECT a.zoo, a.dataset, a.entry, a.id AS audit_id, a.started, b.id AS backbone_id,
    b.name AS backbone, e.quantity, e.metric, e.target, e.layer, e.depth, e.value, e.lower,
    e.upper, e.level, e.n, e.scale, e.effective, e.chance, e.strongest, e.control, e.lift,
    e.lift_lower, e.lift_upper, e.position, COUNT(*) OVER curve AS n_layers,
    ROW_NUMBER() OVER (PARTITION BY b.id, e.quantity, e.target
      ORDER BY e.value DESC, e.position) = 1 AS is_highest,
    ROW_NUMBER() OVER (PARTITION BY b.id, e.quantity, e.target
      ORDER BY e.position DESC) = 1 AS is_last
  FROM estimates e JOIN backbones b ON b.id = e.backbone_id JOIN audits a ON a.id = b.audit_id
  WHERE e.group_name IS NULL AND e.value IS NOT NULL
  WINDOW curve AS (PARTITION BY b.id, e.quantity, e.target))
WHERE is_highest OR is_last;

CREATE VIEW trend AS -- The highest value over the layers of every quantity, audit by audit.
SELECT zoo, dataset, entry, backbone, quantity, target, started, value, lower, upper, level, n,
  layer, lift, lift_lower, lift_upper
FROM peaks WHERE is_highest
ORDER BY zoo, dataset, entry, backbone, quantity, target, started;
"""

# The classes right below `Row`, one for each table, come in the order of their declaration.
MIGRATIONS: Final = ("\n\n".join((*map(definition, Row.__subclasses__()), _INDEX, _VIEWS)),)
"""The first script makes the tables of today in an empty file; the one at place n, for older
files, leads from schema version n to n + 1."""
VERSION: Final = len(MIGRATIONS)
"""SQLite's `user_version` of a history of today."""
