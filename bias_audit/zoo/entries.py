"""Every audit of a zoo: one for each backbone on each data set."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Collection, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from bias_audit.backbones.loading import BackboneSource
from bias_audit.config.catalog import BACKBONE_SOURCES, unknown_name
from bias_audit.config.schema import AuditConfig, Component
from bias_audit.config.wording import problems_of
from bias_audit.config.zoo import ZooBackbone, ZooConfig
from bias_audit.errors import AuditError, ConfigError, OutputError
from bias_audit.files import keep_error, locked, safe_name
from bias_audit.finished import finish
from bias_audit.progress import Progress
from bias_audit.zoo.executor import Done, Task


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
