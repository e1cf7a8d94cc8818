"""From YAML text to a validated config, or to every problem in it at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from bias_audit.config.catalog import (
    ANALYSES,
    BACKBONE_SOURCES,
    DATA_SOURCES,
    LAYOUTS,
    Catalog,
    unknown_name,
)
from bias_audit.config.schema import AuditConfig
from bias_audit.errors import ConfigError

Location = tuple[str | int, ...]
_MAX_NODES = 50_000
_SHOWN = 80


@dataclass
class _Document:
    """Plain data with the line every part of it stands on."""

    data: Any = None
    lines: dict[Location, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    nodes: int = 0

    def where(self, location: Location) -> str:
        """The nearest enclosing place with a known line, and the full dotted name."""
        name = ".".join(str(part) for part in location) or "the file"
        for length in range(len(location), -1, -1):
            if location[:length] in self.lines:
                return f"{self.lines[location[:length]]}: {name}"
        return name


def load_config(path: Path, overrides: Sequence[str] = ()) -> AuditConfig:
    """Read and validate a config file; nothing else is opened.

    Args:
        path: A YAML file.
        overrides: "dotted.key=value" texts that win over the file; values are YAML.

    Raises:
        ConfigError: With every problem, each with its line, what was expected and what came.
    """
    document = _read(path)
    if not document.problems:
        for override in overrides:
            _override(document, override)
    problems = document.problems
    if not problems:
        problems = [*_shape_problems(document), *_component_problems(document)]
    if problems:
        raise ConfigError(problems, source=str(path))
    return AuditConfig.model_validate(document.data)


def _read(path: Path) -> _Document:
    try:
        text = path.read_text(encoding="utf-8")
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except OSError as error:
        raise ConfigError([f"cannot be read: {error.strerror}"], source=str(path)) from error
    except UnicodeDecodeError as error:
        raise ConfigError([f"expected UTF-8 text: {error}"], source=str(path)) from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}: " if mark else ""
        problem = getattr(error, "problem", None) or str(error)
        raise ConfigError([f"{where}not valid YAML: {problem}"], source=str(path)) from error
    document = _Document()
    if isinstance(node, yaml.MappingNode):
        document.data = _plain(node, (), document)
    else:
        document.problems.append("line 1: expected a mapping of keys such as 'name:' and 'data:'")
    return document


def _plain(node: yaml.Node, location: Location, document: _Document) -> Any:
    document.nodes += 1
    if document.nodes > _MAX_NODES:
        raise ConfigError([f"more than {_MAX_NODES} values"], source="config")
    document.lines[location] = f"line {node.start_mark.line + 1}"
    if isinstance(node, yaml.MappingNode):
        return _plain_mapping(node, location, document)
    if isinstance(node, yaml.SequenceNode):
        return [_plain(item, (*location, i), document) for i, item in enumerate(node.value)]
    loader = yaml.SafeLoader("")
    try:
        return loader.construct_object(node, deep=True)
    except (yaml.YAMLError, ValueError) as error:
        problem = getattr(error, "problem", None) or str(error)
        document.problems.append(f"{document.where(location)}: {problem}")
        return None


def _plain_mapping(
    node: yaml.MappingNode, location: Location, document: _Document
) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key_node, value_node in node.value:
        key = str(getattr(key_node, "value", "?"))
        where = f"line {key_node.start_mark.line + 1}"
        if key in result:
            document.problems.append(f"{where}: {key}: the same key stands twice")
        result[key] = _plain(value_node, (*location, key), document)
        document.lines[(*location, key)] = where
    return result


def _override(document: _Document, text: str) -> None:
    name, equals, raw = text.partition("=")
    if not equals or not name.strip():
        document.problems.append(f"--set {text}: expected dotted.key=value")
        return
    location: Location = tuple(
        int(part) if part.isdigit() else part for part in name.strip().split(".")
    )
    try:
        value = yaml.safe_load(raw)
    except yaml.YAMLError as error:
        document.problems.append(f"--set {text}: the value is not valid YAML ({error})")
        return
    target = document.data
    for part in location[:-1]:
        target = _child(target, part)
    try:
        target[location[-1]] = value
    except (TypeError, IndexError):
        document.problems.append(f"--set {text}: there is no place of that name in the config")
        return
    document.lines[location] = f"--set {name}"


def _child(target: Any, part: str | int) -> Any:
    if isinstance(target, dict):
        return target.setdefault(str(part), {})
    if isinstance(target, list) and isinstance(part, int) and part < len(target):
        return target[part]
    return None


def _shape_problems(document: _Document) -> Iterator[str]:
    try:
        AuditConfig.model_validate(document.data)
    except ValidationError as error:
        for detail in error.errors():
            yield _explain(document, detail, detail["loc"], AuditConfig)


def _component_problems(document: _Document) -> Iterator[str]:
    for location, component, catalog in _components(document.data):
        kind = component.get("kind")
        if not isinstance(kind, str):
            continue  # the shape check has said so
        try:
            plugin = catalog.load(kind)
        except KeyError as error:
            yield f"{document.where((*location, 'kind'))}: {error.args[0]}"
            continue
        params = {key: value for key, value in component.items() if key != "kind"}
        try:
            plugin.params_type.model_validate(params)
        except ValidationError as error:
            for detail in error.errors():
                full = (*location, *detail["loc"])
                yield _explain(document, detail, full, plugin.params_type, inner=detail["loc"])


def _components(data: Any) -> Iterator[tuple[Location, Mapping[str, Any], Catalog[Any]]]:
    """Every plugin named in the config, with the catalog it must come from."""
    if isinstance(data.get("data"), dict):
        yield ("data",), data["data"], DATA_SOURCES
    for section, catalog in (("backbones", BACKBONE_SOURCES), ("analyses", ANALYSES)):
        items = data.get(section)
        for index, item in enumerate(items if isinstance(items, list) else ()):
            if not isinstance(item, dict):
                continue
            yield (section, index), item, catalog
            if isinstance(item.get("layout"), dict):
                yield (section, index, "layout"), item["layout"], LAYOUTS


def _explain(
    document: _Document,
    detail: ErrorDetails,
    location: Location,
    model: type[BaseModel],
    *,
    inner: Location | None = None,
) -> str:
    where = document.where(location)
    if detail["type"] == "extra_forbidden":
        known = _keys_at(model, (inner if inner is not None else location)[:-1])
        return f"{where}: {unknown_name(str(location[-1]), known, noun='key')}"
    if detail["type"] == "missing":
        return f"{where}: missing; this key is required"
    got = repr(detail["input"])
    got = got if len(got) <= _SHOWN else got[:_SHOWN] + "..."
    message = detail["msg"].removeprefix("Value error, ")
    return f"{where}: {message[0].lower()}{message[1:]}; got {got}"


def _keys_at(model: type[BaseModel], location: Location) -> list[str]:
    """Keys of the (nested) model that a location leads to."""
    current: Any = model
    for part in location:
        fields = getattr(current, "model_fields", {})
        if part in fields:
            current = fields[cast("str", part)].annotation
    return list(getattr(current, "model_fields", {}))
