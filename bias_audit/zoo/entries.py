"""Every audit of a zoo: one for each backbone on each data set."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from bias_audit.backbones.backbone import BackboneSource
from bias_audit.config.catalog import BACKBONE_SOURCES, unknown_name
from bias_audit.config.schema import AuditConfig, Component
from bias_audit.config.zoo import ZooBackbone, ZooConfig, ZooDataset
from bias_audit.errors import ConfigError
from bias_audit.files import digest

_UNSAFE = re.compile(r"[^A-Za-z0-9_.-]+")
_LONGEST = 64
_DIGEST = 8


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


@dataclass(frozen=True)
class _Backbone:
    label: str
    name: str
    """What the report calls it."""
    component: Component


def entries(zoo: ZooConfig) -> tuple[Entry, ...]:
    """All audits that a zoo consists of, data set by data set; patterns are looked up now.

    Raises:
        ConfigError: A pattern matches nothing, two backbones have one label, or parameters do not
            fit what matched.
    """
    problems: list[str] = []
    backbones: list[_Backbone] = []
    for index, asked in enumerate(zoo.backbones):
        try:
            backbones += _found(asked)
        except ValueError as error:
            problems.append(f"backbones.{index} ({asked.kind}): {error}")
    problems += _shared_labels(backbones)
    if problems:
        raise ConfigError(problems, source=zoo.name)
    return tuple(_entry(zoo, dataset, b) for dataset in zoo.datasets for b in backbones)


def chosen_entries(
    all_entries: Sequence[Entry], patterns: Sequence[str], *, source: str
) -> tuple[Entry, ...]:
    """The entries that match any of the patterns; all of them without patterns.

    Args:
        all_entries: Of a zoo.
        patterns: Of a label, a data set, or "DATASET/LABEL"; * and ? stand for other characters.
        source: The zoo's name, for messages.

    Raises:
        ConfigError: A pattern matches nothing.
    """
    known = {each.key: (each.label, each.dataset, "/".join(each.key)) for each in all_entries}
    problems = [
        f"--only {pattern!r}: "
        + unknown_name(pattern, [name for names in known.values() for name in names], noun="entry")
        for pattern in patterns
        if not any(fnmatchcase(name, pattern) for names in known.values() for name in names)
    ]
    if problems:
        raise ConfigError(problems, source=source)
    return tuple(
        entry
        for entry in all_entries
        if not patterns or any(fnmatchcase(n, p) for n in known[entry.key] for p in patterns)
    )


def _entry(zoo: ZooConfig, dataset: ZooDataset, backbone: _Backbone) -> Entry:
    name = safe_name(f"{dataset.name}.{backbone.label}")
    config = zoo.audit(dataset, backbone.component, name=name)
    about_it = [
        criterion
        for criterion in config.criteria
        if criterion.backbones is None or backbone.name in criterion.backbones
    ]
    return Entry(
        dataset.name, backbone.label, config.model_copy(update={"criteria": tuple(about_it)})
    )


def _found(asked: ZooBackbone) -> list[_Backbone]:
    source: BackboneSource[Any] = BACKBONE_SOURCES.load(asked.kind)
    if asked.match is None:
        return [_backbone(source, asked, {})]
    if source.matching is None:
        raise ValueError(
            f"match: expected a source that can be looked through, {asked.kind} cannot; write its "
            "backbones one by one"
        )
    matched = source.matching(asked.match)
    if not matched:
        raise ValueError(
            f"match: expected at least one {source.title}, got none for {asked.match!r}"
        )
    wanted = [params for params in matched if not _left_out(params, asked.leave_out)]
    if not wanted:
        raise ValueError(f"leave_out: all {len(matched)} that match {asked.match!r} are left out")
    return [_backbone(source, asked, params) for params in wanted]


def _left_out(params: dict[str, Any], patterns: tuple[str, ...]) -> bool:
    return any(
        fnmatchcase(str(value), pattern) or fnmatchcase(Path(str(value)).name, pattern)
        for value in params.values()
        for pattern in patterns
    )


def _backbone(source: BackboneSource[Any], asked: ZooBackbone, found: dict[str, Any]) -> _Backbone:
    component = Component.model_validate({"kind": asked.kind, **asked.params, **found})
    try:
        params = source.params_type.model_validate(component.params)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ValueError(f"{where}: {first['msg']}") from error
    name = source.called(params)
    return _Backbone(asked.label or name, name, component)


def _shared_labels(backbones: list[_Backbone]) -> Iterator[str]:
    labels = [backbone.label for backbone in backbones]
    for label in sorted({label for label in labels if labels.count(label) > 1}):
        yield (
            f"backbones: expected names of their own, got {labels.count(label)} times {label!r}; "
            "give one a label, or leave it out of a pattern with leave_out"
        )


def safe_name(text: str) -> str:
    """A text as a file name, told apart from others by a digest where it had to change."""
    safe = _UNSAFE.sub("_", text).lstrip("._-")
    if safe == text and len(safe) <= _LONGEST:
        return safe
    return f"{safe[: _LONGEST - _DIGEST - 1] or 'unnamed'}-{digest(text)[:_DIGEST]}"
