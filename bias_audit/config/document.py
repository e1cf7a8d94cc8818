"""YAML text as plain data that knows the line of every part, with overrides set in it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from bias_audit.errors import ConfigError

Location = tuple[str | int, ...]
_MAX_NODES = 50_000
_MAX_DEPTH = 50
_MERGE = "tag:yaml.org,2002:merge"
_SHOWN = 80
_INDEX = re.compile(r"[0-9]{1,6}")
_TOO_DEEP = f"nested more than {_MAX_DEPTH} deep; an anchor that holds itself is, too"


@dataclass
class Document:
    """Plain data with the line every part of it stands on."""

    data: Any = None
    lines: dict[Location, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    nodes: int = 0
    origin: str = ""
    """Where all of it comes from, if not from lines of a file: "--set seed"."""

    def where(self, location: Location) -> str:
        """The nearest enclosing place with a known line, and the full dotted name."""
        name = ".".join(str(part) for part in location) or "the file"
        for length in range(len(location), -1, -1):
            if location[:length] in self.lines:
                return f"{self.lines[location[:length]]}: {name}"
        return name


def read_document(path: Path) -> Document:
    """Read a YAML file; what is wrong in its keys and values is among its problems.

    Raises:
        ConfigError: It cannot be read, or is no YAML mapping of a reasonable size and depth.
    """
    try:
        node = _composed(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError([f"cannot be read: {error.strerror}"], source=str(path)) from error
    except UnicodeDecodeError as error:
        raise ConfigError([f"expected UTF-8 text: {error}"], source=str(path)) from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}: " if mark else ""
        raise ConfigError([f"{where}{_invalid(error)}"], source=str(path)) from error
    document = Document()
    if isinstance(node, yaml.MappingNode):
        document.data = _plain(node, (), document)
    else:
        document.problems.append("line 1: expected a mapping of keys such as 'name:' and 'data:'")
    return document


def _composed(text: str) -> yaml.Node | None:
    """YAML as nodes, which know their lines; nothing is constructed.

    Raises:
        yaml.YAMLError: It is not valid, or is nested too deep.
    """
    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):  # composing recurses, parsing does not
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > _MAX_DEPTH:
            raise yaml.MarkedYAMLError(
                problem=_TOO_DEEP,
                problem_mark=event.start_mark,  # type: ignore[arg-type]
            )
    return yaml.compose(text, Loader=yaml.SafeLoader)


def _invalid(error: yaml.YAMLError) -> str:
    problem = getattr(error, "problem", None) or str(error)
    return problem if problem == _TOO_DEEP else f"not valid YAML: {problem}"


def _plain(node: yaml.Node, location: Location, document: Document) -> Any:
    document.nodes += 1
    document.lines[location] = document.origin or f"line {node.start_mark.line + 1}"
    if document.nodes > _MAX_NODES:
        raise ConfigError([f"more than {_MAX_NODES} values"], source="config")
    if len(location) > _MAX_DEPTH:
        where = document.lines[location]
        raise ConfigError([f"{where}: {location[0]}: {_TOO_DEEP}"], source="config")
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
    node: yaml.MappingNode, location: Location, document: Document
) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key_node, value_node in node.value:
        where = document.origin or f"line {key_node.start_mark.line + 1}"
        problem = _key_problem(key_node)
        if problem:
            document.problems.append(f"{where}: {problem}")
            continue
        key = str(key_node.value)
        if key in result:
            document.problems.append(f"{where}: {key}: the same key stands twice")
        result[key] = _plain(value_node, (*location, key), document)
        document.lines[(*location, key)] = where
    return result


def _key_problem(key: yaml.Node) -> str | None:
    if key.tag == _MERGE:
        return "merge keys (<<) are not supported; write the keys out"
    if not isinstance(key, yaml.ScalarNode):
        return "expected text as a key, got a list or mapping"
    return None


def override(document: Document, text: str) -> None:
    """Set "dotted.key=value" in a document; a problem with it joins the document's problems."""
    name, equals, raw = text.partition("=")
    name = name.strip()
    if not equals or not name:
        document.problems.append(f"--set {text}: expected dotted.key=value")
        return
    parts = name.split(".")
    if len(parts) > _MAX_DEPTH:
        document.problems.append(f"--set {shortened(name)}: {_TOO_DEEP}")
        return
    location: Location = ()
    target: Any = document.data
    for part in parts[:-1]:
        location = (*location, _key_in(target, part))
        target = _child(target, location[-1])
    location = (*location, _key_in(target, parts[-1]))
    given = _value(raw, location, origin=f"--set {name}")
    document.problems.extend(given.problems)
    try:
        target[location[-1]] = given.data
    except (TypeError, IndexError):
        document.problems.append(f"--set {text}: there is no place of that name in the config")
        return
    document.lines |= {**given.lines, location: given.origin}


def _value(raw: str, location: Location, *, origin: str) -> Document:
    """What an override sets, read as part of the place it is set at."""
    given = Document(origin=origin)
    try:
        node = _composed(raw)
        given.data = None if node is None else _plain(node, location, given)
    except yaml.YAMLError as error:
        given.problems.append(f"{origin}: the value is {_invalid(error)}")
    except ConfigError as error:
        given.problems.extend(error.problems)
    return given


def _key_in(target: Any, part: str) -> str | int:
    return int(part) if isinstance(target, list) and _INDEX.fullmatch(part) else part


def _child(target: Any, part: str | int) -> Any:
    if isinstance(target, dict):
        return target.setdefault(part, {})
    if isinstance(target, list) and isinstance(part, int) and part < len(target):
        return target[part]
    return None


def shortened(text: str) -> str:
    """The beginning of a long text."""
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "..."
