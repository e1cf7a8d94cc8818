"""YAML text as plain data that knows the line of every part, with overrides set in it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from bias_audit.config.catalog import shortened
from bias_audit.config.wording import Location, Problem, dotted, shown
from bias_audit.errors import ConfigError

_MAX_NODES = 50_000
_MAX_DEPTH = 50
_MERGE = "tag:yaml.org,2002:merge"
_MAX_BYTES = 10_000_000
_MAX_BITS = 1024
"""Of whole numbers; what is longer is no setting, and Python does not print it."""
_INDEX = re.compile(r"[0-9]{1,6}")
_NO_TEXT = re.compile("[\\x00-\\x08\\x0b\\x0c\\x0e-\\x1f\\x7f\\ud800-\\udfff]")
_OWN_TAG = "tag:yaml.org,2002:"
_TAGS = {
    "!!int": "a whole number",
    "!!float": "a number",
    "!!bool": "true or false",
    "!!timestamp": "a date",
}
_MISTAKES = {
    "block end": "the indentation of this line does not fit the lines above it",
    "mapping values": "a second colon in one line, or indentation that does not fit; text that "
    "holds a colon needs quotes",
    "could not find expected ':'": "expected a colon after the key",
    "character '\\t'": "a tab; indent with spaces",
    "cannot start any token": "text that begins with a mark such as @, ` or % needs quotes",
    "expected ',' or ']'": "a list in brackets is not closed, or lacks a comma",
    "expected ',' or '}'": "a section in braces is not closed, or lacks a comma",
    "undefined alias": "a * refers to an anchor that is not there; text that begins with * needs "
    "quotes",
    "sequence entries": "a list begins where none can; put it on a line of its own",
    "mapping keys": "a key begins where none can; put it on a line of its own",
    "document": "expected one document, without marks such as --- or % in it",
    "node content": "expected a value",
}
"""By a part of the parser's own words."""
_TOO_DEEP = f"nested more than {_MAX_DEPTH} deep; an anchor that holds itself is, too"


@dataclass
class Document:
    """Plain data with the line every part of it stands on."""

    data: Any = None
    lines: dict[Location, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    nodes: int = 0
    broken: set[Location] = field(default_factory=set)
    """Places whose values cannot be used, which has been said."""
    origin: str = ""
    """Where all of it comes from, if not from lines of a file: "--set seed"."""

    def where(self, location: Location) -> str:
        """The nearest enclosing place with a known line, and the full dotted name."""
        name = dotted(location) or "the file"
        for length in range(len(location), -1, -1):
            if location[:length] in self.lines:
                return f"{self.lines[location[:length]]}: {name}"
        return name

    def refuse(self, location: Location, problem: str) -> None:
        """Add the problem of a value that cannot be used, which then counts as nothing."""
        self.problems.append(f"{self.where(location)}: {problem}")
        self.broken.add(location)

    def add(self, problems: Iterable[Problem]) -> None:
        """Add problems with their lines, in the order of lines, but what has been said."""
        lines = {location: place for place, location in enumerate(self.lines)}

        def order(problem: Problem) -> int:
            location = problem[0]
            enclosing = (location[:length] for length in range(len(location), -1, -1))
            return next((lines[place] for place in enclosing if place in lines), 0)

        for location, message in sorted(dict.fromkeys(problems), key=order):
            if not any(location[: len(place)] == place for place in self.broken):
                self.problems.append(f"{self.where(location)}: {message}")


def read_document(path: Path) -> Document:
    """Read a YAML file; what is wrong in its keys and values is among its problems.

    Raises:
        ConfigError: It cannot be read, or is no YAML mapping of a reasonable size and depth.
    """
    text = _text(path)
    try:
        node = _composed(text)
    except yaml.YAMLError as error:
        problem = f"{_line_of(error, text)}{_invalid(error)}"
        raise ConfigError([problem], source=str(path)) from error
    document = Document()
    if isinstance(node, yaml.MappingNode):
        document.data = _plain(node, (), document)
    else:
        document.problems.append("line 1: expected a mapping of keys such as 'name:' and 'data:'")
    return document


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            raw = file.read(_MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is no name of a file"
        raise ConfigError([f"cannot be read: {reason}"], source=str(path)) from error
    if len(raw) > _MAX_BYTES:
        problem = f"expected a config of at most {_MAX_BYTES // 10**6} MB; this is another file"
        raise ConfigError([problem], source=str(path))
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        problem = f"line {line}: expected UTF-8 text, got another encoding; save the file as UTF-8"
        raise ConfigError([problem], source=str(path)) from error


def _line_of(error: yaml.YAMLError, text: str) -> str:
    if isinstance(error, yaml.reader.ReaderError):
        return f"line {text[: error.position].count(chr(10)) + 1}: "
    mark = getattr(error, "problem_mark", None)
    return f"line {mark.line + 1}: " if mark else ""


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
    if isinstance(error, yaml.reader.ReaderError):
        return "not valid YAML: expected text without control characters"
    problem = getattr(error, "problem", None) or ""
    if problem == _TOO_DEEP:
        return _TOO_DEEP
    plain = next(
        (words for sign, words in _MISTAKES.items() if sign in problem), shortened(problem)
    )
    return f"not valid YAML: {plain or 'expected keys and values'}"


def _plain(node: yaml.Node, location: Location, document: Document) -> Any:
    document.nodes += 1
    document.lines[location] = document.origin or f"line {node.start_mark.line + 1}"
    if document.nodes > _MAX_NODES:
        raise ConfigError([f"more than {_MAX_NODES} values"], source="config")
    if len(location) > _MAX_DEPTH:
        where = document.lines[location]
        raise ConfigError([f"{where}: {dotted(location[:1])}: {_TOO_DEEP}"], source="config")
    if isinstance(node, yaml.MappingNode):
        return _plain_mapping(node, location, document)
    if isinstance(node, yaml.SequenceNode):
        return [_plain(item, (*location, i), document) for i, item in enumerate(node.value)]
    try:
        value = yaml.SafeLoader("").construct_object(node, deep=True)
    except (yaml.YAMLError, ValueError, LookupError, TypeError, AttributeError) as error:
        return document.refuse(location, _unreadable(node, error))
    if problem := _unusable(value):
        return document.refuse(location, problem)
    return value


def _unreadable(node: yaml.Node, error: Exception) -> str:
    """Why a value is none of the kind that its tag, or its look, says."""
    tag = node.tag.replace(_OWN_TAG, "!!")
    if tag == "!!timestamp" and isinstance(error, ValueError):
        return f"{error}; expected a date that exists, got {shown(node.value)}"
    if isinstance(error, yaml.constructor.ConstructorError):
        return f"could not determine what {shortened(tag)} is; write the value without that tag"
    kind = _TAGS.get(tag, f"a value that fits {shortened(tag)}")
    return f"expected {kind}, got {shown(node.value)}"


def _unusable(value: object) -> str | None:
    """Why a value can be no setting, of whatever key."""
    if isinstance(value, int) and value.bit_length() > _MAX_BITS:
        return "expected a number of fewer than 300 digits, got a longer one"
    found = _NO_TEXT.search(value) if isinstance(value, str) else None
    if found:
        what = "a null character" if found[0] == "\0" else f"the character {found[0]!a}"
        return f"expected text without control characters, got {what}"
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
            document.problems.append(f"{where}: {shortened(key)}: the same key stands twice")
        result[key] = _plain(value_node, (*location, key), document)
        document.lines[(*location, key)] = where
    return result


def _key_problem(key: yaml.Node) -> str | None:
    if key.tag == _MERGE:
        return "merge keys (<<) are not supported; write the keys out"
    if not isinstance(key, yaml.ScalarNode):
        return "expected text as a key, got a list or mapping"
    return _unusable(key.value)


def override(document: Document, text: str) -> None:
    """Set "dotted.key=value" in a document; a problem with it joins the document's problems."""
    name, equals, raw = text.partition("=")
    name = name.strip()
    if not equals or not name:
        document.problems.append(f"--set {shortened(text)}: expected dotted.key=value")
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
    given = _value(raw, location, origin=f"--set {shortened(name)}")
    document.problems.extend(given.problems)
    document.broken |= given.broken
    try:
        target[location[-1]] = given.data
    except (TypeError, IndexError):
        document.problems.append(
            f"--set {shortened(name)}: there is no place of that name in the config"
        )
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
