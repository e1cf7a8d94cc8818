"""YAML text as plain data that knows the line of every part, with overrides set in it."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from bias_audit.config.catalog import shortened
from bias_audit.config.mistakes import MAX_DEPTH, TOO_DEEP, mistake_of
from bias_audit.config.wording import Location, Problem, dotted, shown
from bias_audit.contents import recognise
from bias_audit.errors import ConfigError

_MAX_NODES = 50_000
_MERGE = "tag:yaml.org,2002:merge"
_TEXT = "tag:yaml.org,2002:str"
_MAX_BYTES = 10_000_000
_MAX_BITS = 63
"""Of whole numbers; what is longer is no setting."""
_INDEX = re.compile(r"[0-9]{1,6}")
_NO_TEXT = re.compile("[\\x00-\\x08\\x0b\\x0c\\x0e-\\x1f\\x7f\\ud800-\\udfff]")
_OWN_TAG = "tag:yaml.org,2002:"
_TAGS = {
    "!!int": "a whole number",
    "!!float": "a number",
    "!!bool": "true or false",
    "!!timestamp": "a date",
}


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


def read_text(path: Path) -> str:
    """The text of a config.

    Raises:
        ConfigError: It cannot be read, is too large, or is no text.
    """
    try:
        with path.open("rb") as file:
            raw = file.read(_MAX_BYTES + 1)
    except FileNotFoundError as error:
        raise ConfigError([f"there is no such file{_near(path)}"], source=str(path)) from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is no name of a file"
        raise ConfigError([f"cannot be read: {reason}"], source=str(path)) from error
    if len(raw) > _MAX_BYTES:
        problem = f"expected a config of at most {_MAX_BYTES // 10**6} MB; this is another file"
        raise ConfigError([problem], source=str(path))
    content = None if raw.lstrip().startswith(b"{") else recognise(raw)  # JSON is YAML
    if content is not None:
        raise ConfigError([f"expected a YAML config, got {content.words}"], source=str(path))
    wide = raw.startswith((b"\xff\xfe", b"\xfe\xff")) or raw.count(b"\0") > len(raw) / 4
    try:
        if not wide:
            return raw.decode("utf-8-sig")
        line, got = 1, "UTF-16"
    except UnicodeDecodeError as error:
        line, got = raw[: error.start].count(b"\n") + 1, "another encoding"
    problem = f"line {line}: expected UTF-8 text, got {got}; save the file as UTF-8"
    raise ConfigError([problem], source=str(path))


def _near(path: Path) -> str:
    """The config beside it whose name is nearest."""
    try:
        names = [each.name for each in path.parent.iterdir() if each.suffix in {".yaml", ".yml"}]
    except (OSError, ValueError):
        return ""
    near = difflib.get_close_matches(path.name, names, n=1)
    return f"; did you mean {shown(near[0])}?" if near else ""


def read_document(text: str) -> Document:
    """Read YAML; what is wrong with it, or in its keys and values, is among its problems."""
    document = Document()
    try:
        node = _composed(text)
        if isinstance(node, yaml.MappingNode):
            document.data = _plain(node, (), document)
            return document
    except yaml.YAMLError as error:
        line, words = mistake_of(error, text)
        document.problems = [f"line {line}: {words}" if line else words]
        return document
    except ConfigError as error:
        document.problems = list(error.problems)
        return document
    got = "a list" if isinstance(node, yaml.SequenceNode) else "text without keys"
    if node is None:
        got = "comments only" if text.strip() else "an empty file"
    document.problems.append(
        f"line 1: expected a mapping of keys such as 'name:' and 'data:', got {got}"
    )
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
        if depth > MAX_DEPTH:
            raise yaml.MarkedYAMLError(
                problem=TOO_DEEP,
                problem_mark=event.start_mark,  # type: ignore[arg-type]
            )
    return yaml.compose(text, Loader=yaml.SafeLoader)


def _plain(node: yaml.Node, location: Location, document: Document) -> Any:
    document.nodes += 1
    document.lines[location] = document.origin or f"line {node.start_mark.line + 1}"
    if document.nodes > _MAX_NODES:
        raise ConfigError([f"more than {_MAX_NODES} values"], source="config")
    if len(location) > MAX_DEPTH:
        where = document.lines[location]
        raise ConfigError([f"{where}: {dotted(location[:1])}: {TOO_DEEP}"], source="config")
    if isinstance(node, yaml.MappingNode):
        return _plain_mapping(node, location, document)
    if isinstance(node, yaml.SequenceNode):
        return [_plain(item, (*location, i), document) for i, item in enumerate(node.value)]
    if node.tag == _MERGE:  # only a key can be one
        return str(node.value)
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
        return f"expected a date that exists, got {shown(node.value)}; text needs quotes"
    if isinstance(error, yaml.constructor.ConstructorError):
        return f"could not determine what {shortened(tag)} is; write the value without that tag"
    kind = _TAGS.get(tag, f"a value that fits {shortened(tag)}")
    return f"expected {kind}, got {shown(node.value)}"


def _unusable(value: object) -> str | None:
    """Why a value can be no setting, of whatever key."""
    if isinstance(value, int) and value.bit_length() > _MAX_BITS:
        return "expected a whole number of at most 18 digits, got a longer one"
    found = _NO_TEXT.search(value) if isinstance(value, str) else None
    if found:
        what = "a null character" if found[0] == "\0" else f"the character {found[0]!a}"
        return f"expected text without control characters, got {what}"
    return None


def _plain_mapping(
    node: yaml.MappingNode, location: Location, document: Document
) -> dict[str, Any]:
    result: dict[str, Any] = {}
    merged: dict[str, yaml.Node] = {}
    for key_node, value_node in node.value:
        where = document.origin or f"line {key_node.start_mark.line + 1}"
        problem = _key_problem(key_node)
        if problem:
            document.problems.append(f"{where}: {problem}")
            merged |= _merged(key_node, value_node)
            continue
        key = str(key_node.value)
        if key in result:
            first = document.lines[(*location, key)]
            document.problems.append(
                f"{where}: {shortened(key)}: the same key stands twice, first in {first}"
            )
        result[key] = _plain(value_node, (*location, key), document)
        document.lines[(*location, key)] = where
    for key, value_node in merged.items():  # so that nothing is called missing
        if key not in result:
            result[key] = _plain(value_node, (*location, key), document)
    return result


def _merged(key: yaml.Node, value: yaml.Node) -> dict[str, yaml.Node]:
    """What a merge key brings."""
    pairs = value.value if key.tag == _MERGE and isinstance(value, yaml.MappingNode) else ()
    return {str(k.value): v for k, v in pairs if _key_problem(k) is None}


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
    if len(parts) > MAX_DEPTH:
        document.problems.append(f"--set {shortened(name)}: {TOO_DEEP}")
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
            f"{_with_places(parts, document.data)}"
        )
        return
    document.lines |= {**given.lines, location: given.origin}


def _with_places(parts: Sequence[str], data: Any) -> str:
    """The name with the first place of every list that it goes through, where that leads."""
    full: list[str] = []
    for part in parts:
        if isinstance(data, list) and not _INDEX.fullmatch(part):
            full.append("0")
            data = data[0] if data else None
        full.append(part)
        data = data.get(part) if isinstance(data, dict) else None
    fits = len(full) > len(parts)
    return f"; places in lists are counted from 0: {shortened('.'.join(full))}" if fits else ""


def _value(raw: str, location: Location, *, origin: str) -> Document:
    """What an override sets, read as part of the place it is set at."""
    given = Document(origin=origin)
    try:
        node = _composed(raw)
        if isinstance(node, yaml.ScalarNode) and node.style is None and " #" in raw:
            node.tag, node.value = _TEXT, raw.strip()  # a comment in no file
        given.data = None if node is None else _plain(node, location, given)
    except yaml.YAMLError as error:
        given.problems.append(f"{origin}: the value is {mistake_of(error, raw).words}")
        given.broken.add(location)
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
