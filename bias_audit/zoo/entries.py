"""Every audit of a zoo, one for each backbone on each data set; and which of them are stale."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import ValidationError

from bias_audit.backbones.loading import BackboneSource
from bias_audit.config.catalog import BACKBONE_SOURCES, unknown_name
from bias_audit.config.schema import AuditConfig, Component
from bias_audit.config.wording import problems_of
from bias_audit.config.zoo import Policy, ZooBackbone, ZooConfig
from bias_audit.errors import AuditError, ConfigError, OutputError
from bias_audit.files import keep_error, locked, safe_name, sha256_of
from bias_audit.finished import finish, stands
from bias_audit.progress import Progress
from bias_audit.results.history.reading import Audit, all_audits, compared_audits, latest_audits
from bias_audit.results.history.recording import record_diff
from bias_audit.results.store import read_audit
from bias_audit.zoo.executor import Done, Task

if TYPE_CHECKING:
    from bias_audit.audit.plan import Plan
    from bias_audit.data.faces import Faces


def perform(task: Task, progress: Progress) -> Done:
    """Make one audit and write its reports; an error is reported, and the others continue."""
    began, error, is_refused = time.monotonic(), None, False
    config = task.config
    try:
        finish(config, command=task.command, progress=progress, extensions=task.extensions)
    except AuditError as stopped:
        error, is_refused = str(stopped), isinstance(stopped, OutputError)
    except Exception as defect:  # noqa: BLE001  one backbone must not stop the others
        error = keep_error(defect, task.folder)
    return Done(task.key, time.monotonic() - began, error=error, is_refused=is_refused)


@dataclass(frozen=True)
class Entry:
    """One backbone on one data set."""

    dataset: str
    label: str
    """What the zoo calls the backbone."""
    config: AuditConfig
    """Without a folder; every audit of the entry has its own."""

    @property
    def key(self) -> tuple[str, str]:
        """Data set and label; unique in a zoo."""
        return self.dataset, self.label

    @property
    def place(self) -> Path:
        """Where its audits are, relative to the zoo's folder."""
        return Path("audits") / self.dataset / safe_name(self.label)


def entries(zoo: ZooConfig) -> tuple[Entry, ...]:
    """All audits that a zoo consists of, data set by data set; patterns are looked up now.

    Raises:
        ConfigError: A pattern matches nothing, two backbones have one label, or parameters do not
            fit what matched.
    """
    problems: list[str] = []
    backbones: list[tuple[str, str, Component]] = []  # label, name in the report, what to load
    for index, named in enumerate(zoo.backbones):
        try:
            backbones += _backbones(named)
        except ValueError as error:
            problems.append(f"backbones.{index} ({named.kind}): {error}")
    for label, n in sorted(Counter(label for label, _, _ in backbones).items()):
        if n > 1:
            problems.append(
                f"backbones: expected unique names, got {n} times {label!r}; give one a "
                "label, or leave it out of a pattern with leave_out"
            )
    if problems:
        raise ConfigError(problems, source=zoo.name)
    found = []
    for dataset in zoo.datasets:
        for label, name, component in backbones:
            own = safe_name(f"{dataset.name}.{label}")
            config = zoo.audit(dataset, component, name=own)
            criteria = tuple(
                criterion
                for criterion in config.criteria
                if criterion.backbones is None or name in criterion.backbones
            )
            config = config.model_copy(update={"criteria": criteria})
            found.append(Entry(dataset.name, label, config))
    return tuple(found)


def _backbones(named: ZooBackbone) -> list[tuple[str, str, Component]]:
    """Label, name and component of all that one part of the config stands for."""
    source: BackboneSource[Any] = BACKBONE_SOURCES.load(named.kind)
    wanted: list[dict[str, Any]] = [{}]
    if named.match is not None:
        if source.matching is None:
            raise ValueError(
                f"match: expected a source that can be looked through, {named.kind} cannot; write "
                "its backbones one by one"
            )
        matched = source.matching(named.match)
        if not matched:
            raise ValueError(
                f"match: expected at least one {source.title}, got none for {named.match!r}"
            )
        wanted = []
        for params in matched:
            values = [str(value) for value in params.values()]
            names = [*values, *(Path(value).name for value in values)]
            if not any(fnmatchcase(name, p) for name in names for p in named.leave_out):
                wanted.append(params)
        if not wanted:
            raise ValueError(
                f"leave_out: all {len(matched)} that match {named.match!r} are left out"
            )
    found = []
    for matching in wanted:
        component = Component.model_validate({"kind": named.kind, **named.params, **matching})
        try:
            params = source.params_type.model_validate(component.params)
        except ValidationError as error:
            location, problem = next(problems_of(error, component.params, source.params_type))
            raise ValueError(f"{'.'.join(map(str, location))}: {problem}") from error
        name = source.called(params)
        found.append((named.label or name, name, component))
    return found


def chosen_entries(
    all_entries: Sequence[Entry], patterns: Sequence[str], *, source: str
) -> tuple[Entry, ...]:
    """The entries that match any of the patterns; all of them without patterns.

    A pattern is of a label, a data set, or "DATASET/LABEL"; * and ? stand for other characters.

    Raises:
        ConfigError: A pattern matches nothing.
    """
    known = {each.key: (each.label, each.dataset, "/".join(each.key)) for each in all_entries}
    names = [name for of_one in known.values() for name in of_one]
    problems = [
        f"--only {pattern!r}: {unknown_name(pattern, names, noun='entry')}"
        for pattern in patterns
        if not any(fnmatchcase(name, pattern) for name in names)
    ]
    if problems:
        raise ConfigError(problems, source=source)
    return tuple(
        entry
        for entry in all_entries
        if not patterns or any(fnmatchcase(n, p) for n in known[entry.key] for p in patterns)
    )


DATABASE = "history.sqlite"
_STAMP = "%Y%m%dT%H%M%SZ"


def zoo_locked(folder: Path) -> AbstractContextManager[None]:
    """Hold a zoo's folder for one command, so that two schedules never collide; see `locked`."""
    return locked(
        folder,
        busy=f"another command is at work in {folder}: wait for it, or let the next scheduled run "
        "do this one's work",
    )


def next_folder(
    root: Path, entry: Entry, now: datetime | None = None, *, recorded: Collection[Path] = ()
) -> Path:
    """Where the next audit of an entry goes: where an interrupted one left off, or a new folder.

    A folder that the history knows, `recorded` (resolved), is damaged where it lacks its result,
    not unfinished.
    """
    home = root / entry.place
    for folder in reversed(run_folders(home)):
        if not (folder / "audit.json").exists() and folder.resolve() not in recorded:
            return folder
    stamp = (now or datetime.now(UTC)).strftime(_STAMP)
    folder, number = home / stamp, 1
    while folder.exists():
        number += 1
        folder = home / f"{stamp}-{number}"
    return folder


def run_folders(home: Path) -> list[Path]:
    """Folders of an entry's audits, the oldest first."""
    return sorted(path for path in home.glob("*") if path.is_dir() and path.name[:1].isdigit())


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
