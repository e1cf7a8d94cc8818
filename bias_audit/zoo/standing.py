"""Which audits of a zoo hold, and why the others do not; no weight is loaded."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

from bias_audit.audit.plan import Plan, find_faces, make_plan
from bias_audit.audit.provenance import fingerprints, versions
from bias_audit.config.zoo import Policy, ZooConfig
from bias_audit.data.faces import Faces
from bias_audit.errors import AuditError
from bias_audit.files import sha256_of
from bias_audit.progress import Progress
from bias_audit.report.changes.render import write_diff
from bias_audit.results.diff import diff
from bias_audit.results.history.reading import Audit, all_audits, compared_audits, latest_audits
from bias_audit.results.history.recording import record_diff
from bias_audit.results.opening import open_audited
from bias_audit.results.store import read_audit
from bias_audit.zoo.entries import DATABASE, Entry


def compare_new(
    zoo: ZooConfig, entries: Iterable[Entry], progress: Progress, *, told: Collection[int] = ()
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
    known, compared = all_audits(database, zoo.name), compared_audits(database)
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


def _compare(zoo: ZooConfig, database: Path, before: Audit, after: Audit) -> tuple[str, ...]:
    cache = zoo.output.cache
    found = diff(
        open_audited(before.folder, cache=cache),
        open_audited(after.folder, cache=cache),
        zoo.changes,
    )
    write_diff(found, after.folder)
    record_diff(database, before.id, after.id, json.loads(found.model_dump_json()))
    return () if found.gate.outcome == "open" else found.gate.reasons


_FAILED = "failed"


@dataclass(frozen=True)
class Standing:
    """How one entry of a zoo stands."""

    entry: Entry
    state: Literal["new", "fresh", "stale", "blocked"]
    """ "new": it was never audited; "fresh": its audit holds; "stale": something changed;
    "blocked": its faces or its settings are refused, so it cannot be audited."""
    reasons: tuple[str, ...] = ()
    """Why it is not fresh."""
    latest: Audit | None = None
    plan: Plan | None = None
    faces: Faces | None = None
    """Those it would be audited on; None where it is blocked."""


def standings(
    zoo: ZooConfig, chosen: Sequence[Entry], *, progress: Progress, now: datetime | None = None
) -> tuple[Standing, ...]:
    """Compare what every audit rests on with what it rested on when it was made.

    Args:
        zoo: The zoo.
        chosen: Its entries, or some of them.
        progress: Where to report.
        now: Of today, for the age of audits.

    Raises:
        OutputError: The history cannot be read.
    """
    known = latest_audits(zoo.folder / DATABASE, zoo.name)
    looked_at: dict[str, Faces] = {}
    found = []
    for entry in chosen:
        latest = known.get(entry.key)
        try:
            plan = make_plan(entry.config)
            faces = _faces(entry, plan, looked_at, progress)
        except AuditError as error:
            found.append(Standing(entry, "blocked", (str(error),), latest))
            continue
        if latest is None:
            found.append(Standing(entry, "new", ("never audited",), None, plan, faces))
            continue
        reasons = tuple(_reasons(zoo.policy, latest, plan, faces, now or datetime.now(UTC)))
        state: Literal["fresh", "stale"] = "stale" if reasons else "fresh"
        found.append(Standing(entry, state, reasons, latest, plan, faces))
    return tuple(found)


def _faces(entry: Entry, plan: Plan, looked_at: dict[str, Faces], progress: Progress) -> Faces:
    """The faces of a data set, opened once for all backbones."""
    if entry.dataset not in looked_at:
        looked_at[entry.dataset] = find_faces(plan, progress=progress)
    return looked_at[entry.dataset]


def _reasons(
    policy: Policy, latest: Audit, plan: Plan, faces: Faces, now: datetime
) -> Iterator[str]:
    if latest.outcome == _FAILED:
        yield "an analysis of its last audit failed"
    yield from _damage(latest)
    today = fingerprints(plan, faces)
    before = latest.fingerprints
    for kind in policy.stale_on:
        if before.get(kind) == today[kind]:
            continue
        if kind == "labels" and before.get("images") != today["images"]:
            continue  # other images have other labels; one reason is enough
        yield _TOLD[kind] + _details(kind, latest, before, today, plan)
    age = now - datetime.fromisoformat(latest.started)
    if policy.max_age_days is not None and age > timedelta(days=policy.max_age_days):
        yield f"age: audited {age.days} days ago, policy.max_age_days is {policy.max_age_days:g}"


_TOLD = {
    "weights": "weights: the bytes of the weights changed",
    "images": "data: other images",
    "labels": "data: other labels of the same images",
    "config": "config: other settings",
    "code": "code: another version of bias-audit",
    "packages": "packages: other versions of libraries",
}


def _damage(latest: Audit) -> Iterator[str]:
    """A pruned folder is no damage: the history keeps what it held."""
    path = latest.folder / "audit.json"
    if latest.is_pruned:
        return
    try:
        if sha256_of(path) != latest.audit_sha256:
            yield f"damage: {path} is not what was written"
    except OSError:
        yield f"damage: {path} is missing"


def _details(
    kind: str, latest: Audit, before: Mapping[str, str], today: Mapping[str, str], plan: Plan
) -> str:
    if kind == "packages":
        changed = [
            f"{name} {latest.packages[name]} -> {number}"
            for name, number in versions().items()
            if latest.packages.get(name, number) != number
        ]
    elif kind == "code":
        changed = [
            name.removeprefix("code of ")
            for name, value in today.items()
            if name.startswith("code of ") and before.get(name) != value
        ]
    elif kind == "config":
        changed = _changed_settings(latest.folder, plan)
    else:
        changed = []
    return f" ({', '.join(changed)})" if changed else ""


def _changed_settings(folder: Path, plan: Plan) -> list[str]:
    """Sections of the config that differ; nothing where the earlier result cannot be read."""
    try:
        before = read_audit(folder).config
    except AuditError:
        return []
    today = plan.config.model_dump(mode="json")
    told = {"output", "declarations", "changes", "data", "name", "description"}
    return [key for key in today if key not in told and before.get(key) != today[key]]
