"""Which audits of a zoo are current, and why the others are not; no weight is loaded."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Literal

from bias_audit.config.zoo import Policy, ZooConfig
from bias_audit.errors import AuditError
from bias_audit.files import sha256_of
from bias_audit.finished import stands
from bias_audit.progress import Progress
from bias_audit.results.history.reading import Audit, all_audits, compared_audits, latest_audits
from bias_audit.results.history.recording import record_diff
from bias_audit.results.store import read_audit
from bias_audit.zoo.entries import DATABASE, Entry

if TYPE_CHECKING:
    from bias_audit.audit.plan import Plan
    from bias_audit.data.faces import Faces


def compare_new(
    zoo: ZooConfig,
    entries: Iterable[Entry],
    progress: Progress,
    *,
    delivered: Collection[int] = (),
) -> tuple[str, ...]:
    """Compare the newest audit of every entry with the one before, where that was not done yet.

    What changed is written into the newer run folder (`diff.html`, `diff.json`) and the history.
    An audit that was compared by a run which was interrupted, so that its id is not among
    `delivered`, is compared again, so that its gate is reported. Each sentence says why a gate
    stops a pipeline.
    """
    database, cache = zoo.folder / DATABASE, zoo.output.cache
    known = all_audits(database, zoo.name)
    compared = compared_audits(database)
    gates: list[str] = []
    for entry in entries:
        audits = known.get(entry.key, [])
        if len(audits) < 2 or audits[1].is_pruned:  # noqa: PLR2004
            continue
        after, before = audits[:2]
        if after.id in compared and after.id in delivered:
            continue
        from bias_audit.report.changes.page import write_diff  # noqa: PLC0415  draws figures
        from bias_audit.results.diff import diff  # noqa: PLC0415
        from bias_audit.results.differing.comparables import open_audited  # noqa: PLC0415

        try:
            found = diff(
                open_audited(before.folder, cache=cache),
                open_audited(after.folder, cache=cache),
                zoo.changes,
            )
            write_diff(found, after.folder)
            record_diff(database, before.id, after.id, json.loads(found.model_dump_json()))
        except AuditError as error:
            progress.say(f"{entry.label} on {entry.dataset} was not compared: {error}")
            continue
        if found.gate.outcome != "open":
            gates += [f"{entry.label} on {entry.dataset}: {why}" for why in found.gate.reasons]
    return tuple(gates)


@dataclass(frozen=True)
class EntryStatus:
    """Whether the audit of one entry of a zoo is current."""

    entry: Entry
    state: Literal["new", "fresh", "stale", "blocked"]
    """ "new": it was never audited; "fresh": its audit is current; "stale": something changed;
    "blocked": its faces or its settings are refused, so it cannot be audited."""
    reasons: tuple[str, ...] = ()
    """Why it is not fresh."""
    latest: Audit | None = None
    plan: Plan | None = None
    faces: Faces | None = None
    """Those it would be audited on; None where it is blocked, or as it was."""


def statuses(
    zoo: ZooConfig, chosen: Sequence[Entry], *, progress: Progress, now: datetime | None = None
) -> tuple[EntryStatus, ...]:
    """Compare what every audit depends on with what it was when the audit was made."""
    now = now or datetime.now(UTC)
    known = latest_audits(zoo.folder / DATABASE, zoo.name)
    opened: dict[str, Faces] = {}  # by data set, once for all backbones
    found = []
    for entry in chosen:
        latest = known.get(entry.key)
        if latest is not None and not latest.is_pruned and stands(entry.config, latest.folder):
            reasons = (*_damage(latest), *_age(zoo.policy, latest, now))
            found.append(EntryStatus(entry, "stale" if reasons else "fresh", reasons, latest))
            continue
        from bias_audit.audit.plan import find_faces, make_plan  # noqa: PLC0415  loads analyses

        try:
            plan = make_plan(entry.config)
            if entry.dataset not in opened:
                opened[entry.dataset] = find_faces(plan, progress=progress)
        except AuditError as error:
            found.append(EntryStatus(entry, "blocked", (str(error),), latest))
            continue
        faces = opened[entry.dataset]
        if latest is None:
            found.append(EntryStatus(entry, "new", ("never audited",), None, plan, faces))
            continue
        changes = _changes(zoo.policy, latest, plan, faces)
        reasons = (*_damage(latest), *changes, *_age(zoo.policy, latest, now))
        state: Literal["fresh", "stale"] = "stale" if reasons else "fresh"
        found.append(EntryStatus(entry, state, reasons, latest, plan, faces))
    return tuple(found)


_REASONS = {
    "weights": "weights: the weights changed",
    "images": "data: the images changed",
    "labels": "data: labels of the same images changed",
    "config": "config: settings changed",
    "code": "code: bias-audit changed",
    "packages": "packages: versions of libraries changed",
}


def _damage(latest: Audit) -> Iterator[str]:
    """What is wrong with an audit itself."""
    if latest.outcome == "failed":
        yield "an analysis of its last audit failed"
    result = latest.folder / "audit.json"
    try:  # a pruned folder is no damage: the history keeps its numbers
        if not latest.is_pruned and sha256_of(result) != latest.audit_sha256:
            yield f"damage: {result} was changed after it was written"
    except OSError:
        yield f"damage: {result} is missing"


def _age(policy: Policy, latest: Audit, now: datetime) -> Iterator[str]:
    age = now - datetime.fromisoformat(latest.started)
    if policy.max_age_days is not None and age > timedelta(days=policy.max_age_days):
        yield f"age: audited {age.days} days ago, policy.max_age_days is {policy.max_age_days:g}"


def _changes(policy: Policy, latest: Audit, plan: Plan, faces: Faces) -> Iterator[str]:
    """What an audit depends on, and is no longer what it was."""
    from bias_audit.audit.provenance import fingerprints  # noqa: PLC0415  loads analyses

    today, before = fingerprints(plan, faces), latest.fingerprints
    for kind in policy.stale_on:
        if before.get(kind) == today[kind]:
            continue
        if kind == "labels" and before.get("images") != today["images"]:
            continue  # other images have other labels; one reason is enough
        changed = _changed(kind, latest, today, plan)
        if kind == "code" and changed and all(map(_is_of_extension, changed)):
            yield f"code: {', '.join(changed)} changed"
        else:
            yield _REASONS[kind] + (f" ({', '.join(changed)})" if changed else "")


def _is_of_extension(stage: str) -> bool:
    return stage.startswith("extension ")


def _changed(kind: str, latest: Audit, today: Mapping[str, str], plan: Plan) -> list[str]:
    """Which packages, stages or sections of the config changed, where this is known."""
    if kind == "packages":
        from bias_audit.audit.provenance import versions  # noqa: PLC0415

        return [
            f"{name} {latest.packages[name]} -> {number}"
            for name, number in versions().items()
            if latest.packages.get(name, number) != number
        ]
    if kind == "code":
        return [
            name.removeprefix("code of ")
            for name, value in today.items()
            if name.startswith("code of ") and latest.fingerprints.get(name) != value
        ]
    if kind != "config":
        return []
    try:
        before = read_audit(latest.folder).config
    except AuditError:
        return []
    settings = plan.config.model_dump(mode="json")
    elsewhere = {"output", "declarations", "changes", "data", "name", "description"}
    return [k for k in settings if k not in elsewhere and before.get(k) != settings[k]]
