"""A new audit beside the one before it."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from pathlib import Path

from bias_audit.config.zoo import ZooConfig
from bias_audit.errors import AuditError
from bias_audit.progress import Progress
from bias_audit.report.changes.render import write_diff
from bias_audit.results.diff import diff
from bias_audit.results.history.latest import LatestAudit, all_audits
from bias_audit.results.history.opening import reading_from
from bias_audit.results.history.recording import record_diff
from bias_audit.results.opening import open_audited
from bias_audit.zoo.entries import Entry
from bias_audit.zoo.folders import DATABASE


def compare_new(
    zoo: ZooConfig,
    entries: Iterable[Entry],
    progress: Progress,
    *,
    told: Collection[int] = (),
) -> tuple[str, ...]:
    """Compare the newest audit of every entry with the one before, where that was not done yet.

    What changed is written into the newer run folder (`diff.html`, `diff.json`) and the history.

    Args:
        zoo: The zoo, with its plan for changes.
        entries: Which of its entries.
        progress: Where to report.
        told: Ids of audits that an earlier run ended with. One that was compared by a run which
            was interrupted is compared again, so that its gate is heard.

    Returns:
        Why the plan for changes stops a pipeline, one sentence for each such audit.

    Raises:
        OutputError: The disk refuses.
    """
    database = zoo.folder / DATABASE
    known, compared = all_audits(database, zoo.name), _compared(database)
    gates = []
    for entry in entries:
        audits = known.get(entry.key, [])
        if len(audits) < 2 or audits[1].is_pruned:  # noqa: PLR2004
            continue
        if audits[0].id in compared and audits[0].id in told:
            continue
        after, before = audits[:2]
        try:
            gates += [
                f"{entry.label} on {entry.dataset}: {gate}"
                for gate in _compare(zoo, database, before, after)
            ]
        except AuditError as error:
            progress.say(f"{entry.label} on {entry.dataset} was not compared: {error}")
    return tuple(gates)


def _compare(
    zoo: ZooConfig, database: Path, before: LatestAudit, after: LatestAudit
) -> tuple[str, ...]:
    cache = zoo.output.cache
    found = diff(
        open_audited(before.folder, cache=cache),
        open_audited(after.folder, cache=cache),
        zoo.changes,
    )
    write_diff(found, after.folder)
    record_diff(database, before.id, after.id, json.loads(found.model_dump_json()))
    return () if found.gate.outcome == "open" else found.gate.reasons


def _compared(database: Path) -> frozenset[int]:
    """Audits that were held against an earlier one."""
    if not database.exists():
        return frozenset()
    with reading_from(database) as connection:
        return frozenset(row[0] for row in connection.execute("SELECT after_id FROM diffs"))
