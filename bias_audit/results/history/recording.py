"""Writing audits, their differences and the runs of a zoo into a history."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from bias_audit.results.audit import AuditResult, StageCost, SubjectResult
from bias_audit.results.history import tables
from bias_audit.results.history.opening import writing_to
from bias_audit.results.history.tables import insert
from bias_audit.results.numbers import numbers_of
from bias_audit.results.store import audit_bytes, parse_audit
from bias_audit.results.verdict import Outcome
from bias_audit.statistics.estimate import Estimate

State = Literal["audited", "unchanged", "failed", "stale"]
_GRAVEST: Final[tuple[Outcome, ...]] = ("FAIL", "INCONCLUSIVE", "PASS")


def record_audit(
    database: Path,
    result: AuditResult,
    *,
    zoo: str,
    dataset: str,
    entry: str,
    folder: Path | str,
    audit_sha256: str,
) -> int:
    """Keep one audit, whole or not at all, and return its id; the history is made if needed.

    The same audit, by `audit_sha256` of its `audit.json`, is kept once. Given again, its place is
    renewed and the rest left alone. The run folder is absolute or relative to the database's.
    """
    home = database.parent.resolve()
    place = Path(os.path.relpath((home / folder).resolve(), home))
    with writing_to(database) as connection:
        same = "SELECT id FROM audits WHERE audit_sha256 = ?"
        for (known,) in connection.execute(same, (audit_sha256,)).fetchall():
            renewed = "UPDATE audits SET folder = ?, is_pruned = 0 WHERE id = ?"
            connection.execute(renewed, (place.as_posix(), known))
            return int(known)
        record, data = result.provenance, result.data
        audit = tables.AuditRow.of(
            record,
            audit_sha256=audit_sha256,
            zoo=zoo,
            dataset=dataset,
            entry=entry,
            name=result.name,
            folder=place,
            is_pruned=False,
            outcome=outcome_of(result),
            manifest_sha256=data.manifest_sha256,
            n_images=data.n_images,
            n_clusters=data.n_clusters,
            code_version=record.versions.get("bias-audit", "unknown"),
            packages=record.versions,
        )
        audit_id = insert(connection, audit)
        ids: list[int] = []
        for position, subject in enumerate(result.subjects):
            own, layers = subject.backbone, len(subject.backbone.layers)
            backbone = tables.BackboneRow.of(
                own, audit_id=audit_id, position=position, n_layers=layers
            )
            ids.append(insert(connection, backbone))
            insert(
                connection,
                *(
                    tables.AnalysisRow.of(analysis, backbone_id=ids[-1], position=place)
                    for place, analysis in enumerate(subject.analyses)
                ),
                *estimate_rows(subject, ids[-1]),
            )
        insert(connection, *_verdict_rows(result, ids), *_cost_rows(result, audit_id, ids))
        for kind, value in record.fingerprints.items():
            insert(connection, tables.FingerprintRow(audit_id=audit_id, kind=kind, value=value))
    return audit_id


def outcome_of(result: AuditResult) -> str:
    """The word failed where an analysis could not be computed; else the worst verdict."""
    if result.failed:
        return "failed"
    found = {verdict.outcome for verdict in result.verdicts}
    return next((outcome for outcome in _GRAVEST if outcome in found), "none")


def estimate_rows(subject: SubjectResult, backbone_id: int) -> Iterator[tables.EstimateRow]:
    """Every number of a backbone at a layer, missing ones included."""
    depths = {layer.name: depth for depth, layer in enumerate(subject.backbone.layers)}
    found = numbers_of(subject.backbone.name, subject.analyses)
    for position, number in enumerate(each for each in found if each.layer is not None):
        group, lift = number.group, number.lift
        yield tables.EstimateRow.of(
            number,
            backbone_id=backbone_id,
            position=position,
            depth=depths.get(number.layer or "", -1),
            group_name=group and group.label,
            group_attributes=group and " / ".join(name for name, _ in group.levels),
            **_interval(number.estimate),
            strongest=number.over,
            control=number.control and number.control.value,
            lift=lift and lift.value,
            lift_lower=lift and lift.lower,
            lift_upper=lift and lift.upper,
            p_value=number.p,
            adjusted_p=number.adjusted_p,
            reason=number.reason,
        )


def _interval(estimate: Estimate | None) -> dict[str, Any]:
    columns = ("value", "lower", "upper", "level", "n", "scale", "effective")
    return {name: getattr(estimate, name, None) for name in columns}


def _verdict_rows(result: AuditResult, backbones: Sequence[int]) -> Iterator[tables.VerdictRow]:
    names = (subject.backbone.name for subject in result.subjects)
    by_name = dict(zip(names, backbones, strict=True))
    for position, verdict in enumerate(result.verdicts, start=1):
        criterion, deciding = verdict.criterion, verdict.deciding
        lowest, highest = criterion.margin
        interval = _interval(deciding.estimate if deciding else None)
        yield tables.VerdictRow.of(
            criterion,
            backbone_id=by_name[verdict.backbone],
            position=position,
            criterion=criterion.name,
            of_what=criterion.of,
            layers=criterion.layer,
            lowest=lowest,
            highest=highest,
            outcome=verdict.outcome,
            reason=verdict.reason,
            layer=deciding.layer if deciding else None,
            group_name=deciding.group.label if deciding and deciding.group else None,
            **{name: interval[name] for name in ("value", "lower", "upper", "level", "n")},
        )


def _cost_rows(
    result: AuditResult, audit_id: int, backbones: Sequence[int]
) -> Iterator[tables.CostRow]:
    """Every stage; of results that record none, the forward pass and the analyses' own times."""
    stages: list[tuple[int | None, StageCost]] = [
        (None, stage) for stage in result.provenance.costs
    ]
    for subject, backbone_id in zip(result.subjects, backbones, strict=True):
        costs = list(subject.costs)
        if not costs:
            past = subject.extraction
            images = past.get("forward_images", past.get("images"))
            if (spent := past.get("seconds")) is not None:
                passes = StageCost(stage="forward pass", seconds=spent, images=images)
                costs.append(passes.model_copy(update={"reused": images == 0}))
            costs += [StageCost(stage=a.kind, seconds=a.seconds) for a in subject.analyses]
        stages += [(backbone_id, cost) for cost in costs]
    for position, (number, cost) in enumerate(stages):
        own = {"audit_id": audit_id, "position": position, "backbone_id": number}
        yield tables.CostRow.of(cost, is_reused=cost.reused, **own)


def record_diff(database: Path, before_id: int, after_id: int, diff: Mapping[str, Any]) -> int:
    """Keep how an audit differs from an earlier one, in place of what was kept; returns the id.

    Of the `AuditDiff`, as it is in JSON, changes, causes and conclusions are kept.

    Raises:
        KeyError: A change lacks a field.
    """
    with writing_to(database) as connection:
        pair = (before_id, after_id)
        connection.execute("DELETE FROM diffs WHERE before_id = ? AND after_id = ?", pair)
        diff_id = insert(connection, tables.DiffRow(before_id=before_id, after_id=after_id))
        for position, cause in enumerate(diff["causes"]):
            insert(connection, tables.CauseRow(diff_id=diff_id, position=position, **cause))
        for position, each in enumerate(diff["conclusions"]):
            own = {name: each[name] for name in ("backbone", "text")}
            insert(connection, tables.ConclusionRow(diff_id=diff_id, position=position, **own))
        same = ["backbone", "quantity", "target", "layer", "outcome", "better", "margin"]
        same += ["noise", "p_value", "adjusted_p"]
        for position, change in enumerate(diff["changes"]):
            columns = {name: change[name] for name in same}
            for estimate in ("before", "after", "difference"):
                for end in ("value", "lower", "upper"):
                    columns[f"{estimate}_{end}"] = change[estimate][end]
            row = tables.ChangeRow(
                diff_id=diff_id,
                position=position,
                group_name=change["group"],
                of_what=change["of"],
                difference=columns.pop("difference_value"),
                level=change["difference"]["level"],
                is_paired=change["paired"],
                **columns,
            )
            insert(connection, row)
    return diff_id


@dataclass(frozen=True)
class EntryState:
    """What a run of a zoo did about one entry on one dataset."""

    dataset: str
    entry: str
    state: State
    """ "audited" again; "unchanged": its audit still counts; "failed": it was tried and there is
    no audit; "stale": it was not audited again."""
    reason: str = ""
    """What had changed, or why it failed."""
    audit_id: int | None = None
    """Of the audit that counts now; None where there is none."""


def record_run(
    database: Path,
    *,
    zoo: str,
    started: str,
    seconds: float,
    command: str,
    states: Sequence[EntryState],
) -> int:
    """Keep what a run of a zoo did about each entry and dataset; returns its id.

    `started` is ISO 8601, UTC; `seconds` are those of the whole run; the history is made where
    there is none.
    """
    run = tables.RunRow(zoo=zoo, started=started, seconds=seconds, command=command)
    with writing_to(database) as connection:
        run_id = insert(connection, run)
        insert(connection, *(tables.StateRow.of(state, run_id=run_id) for state in states))
    return run_id


def mark_pruned(database: Path, audit_ids: Iterable[int]) -> None:
    """Say of audits that their run folders were deleted; their numbers stay."""
    with writing_to(database) as connection:
        connection.executemany(
            "UPDATE audits SET is_pruned = 1 WHERE id = ?", [(each,) for each in audit_ids]
        )


def record_folder(database: Path, folder: Path, *, zoo: str, dataset: str, entry: str) -> int:
    """Keep the audit of a run folder, see `record_audit`.

    Runs and differences are in no run folder: a history that is made again lacks them.

    Raises:
        OutputError: The run folder or the history cannot be read or written.
    """
    content = audit_bytes(folder)
    result = parse_audit(content, source=str(folder / "audit.json"))
    return record_audit(
        database,
        result,
        zoo=zoo,
        dataset=dataset,
        entry=entry,
        folder=folder.resolve(),
        audit_sha256=hashlib.sha256(content).hexdigest(),
    )
