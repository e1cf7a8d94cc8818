"""YAML text as plain data that knows the line of every part, with overrides set in it."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import yaml

from bias_audit.config.catalog import nearest, shortened
from bias_audit.config.wording import Location, Problem, dotted, shown
from bias_audit.contents import recognise
from bias_audit.errors import ConfigError

_MAX_DEPTH: Final = 50
_MAX_NODES: Final = 50_000
_MAX_BYTES: Final = 10_000_000
_MAX_BITS: Final = 63
"""Of whole numbers; what is longer is no setting."""
_TOO_DEEP: Final = f"nested more than {_MAX_DEPTH} deep; does an anchor contain itself?"
_OWN_TAG: Final = "tag:yaml.org,2002:"
_MERGE: Final = f"{_OWN_TAG}merge"
_TAGS: Final = {
    "!!int": "a whole number",
    "!!float": "a number",
    "!!bool": "true or false",
    "!!timestamp": "a date",
}
_INDEX: Final = re.compile(r"[0-9]{1,6}")
_NO_TEXT: Final = re.compile("[\\x00-\\x08\\x0b\\x0c\\x0e-\\x1f\\x7f\\ud800-\\udfff]")


@dataclass
class Document:
    """Plain data, with the line that each part is from."""

    data: Any = None
    lines: dict[Location, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    nodes: int = 0
    broken: set[Location] = field(default_factory=set)
    """Places whose values cannot be used, which has been said."""
    origin: str = ""
    """Where the data come from, if not from lines of a file: "--set seed"."""

    def _enclosing(self, location: Location) -> Location | None:
        """The nearest enclosing place with a known line."""
        ends = (location[:length] for length in range(len(location), -1, -1))
        return next((place for place in ends if place in self.lines), None)

    def where(self, location: Location) -> str:
        """The nearest enclosing place with a known line, and the full dotted name."""
        name, place = dotted(location) or "the file", self._enclosing(location)
        return name if place is None else f"{self.lines[place]}: {name}"

    def refuse(self, location: Location, problem: str) -> None:
        """Add the problem of a value that cannot be used, which then counts as nothing."""
        self.problems.append(f"{self.where(location)}: {problem}")
        self.broken.add(location)

    def add(self, problems: Iterable[Problem]) -> None:
        """Add problems with their lines, in the order of lines, but what has been said."""
        order = {location: place for place, location in enumerate(self.lines)}
        for location, message in sorted(
            dict.fromkeys(problems),
            key=lambda problem: order.get(self._enclosing(problem[0]) or (), 0),
        ):
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
    content = None if raw.lstrip().startswith(b"{") else recognise(raw)  # JSON is YAML
    wide = raw.startswith((b"\xff\xfe", b"\xfe\xff")) or raw.count(b"\0") > len(raw) / 4
    line, got = 1, "UTF-16"
    if len(raw) > _MAX_BYTES:
        problem = f"expected a config of at most {_MAX_BYTES // 10**6} MB; this is another file"
    elif content is not None:
        problem = f"expected a YAML config, got {content.words}"
    else:
        try:
            if not wide:
                return raw.decode("utf-8-sig")
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
    near = nearest(path.name, names)
    return f"; did you mean {shown(near)}?" if near else ""


def read_document(text: str) -> Document:
    """Read YAML; what is wrong with it, or in its keys and values, is among its problems."""
    document = Document()
    try:
        node = _composed(text)
        if isinstance(node, yaml.MappingNode):
            document.data = _plain(node, (), document)
            return document
    except yaml.YAMLError as error:
        line, words = _mistake(error, text)
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
        if depth > _MAX_DEPTH:
            raise yaml.MarkedYAMLError(
                problem=_TOO_DEEP,
                problem_mark=event.start_mark,  # type: ignore[arg-type]
            )
    return yaml.compose(text, Loader=yaml.SafeLoader)


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
    if node.tag == _MERGE:  # only a key can be one
        return str(node.value)
    try:
        value = yaml.SafeLoader("").construct_object(node, deep=True)
    except (yaml.YAMLError, ValueError, LookupError, TypeError, AttributeError) as error:
        return document.refuse(location, _unreadable(node, error))
    problem = _unusable(value)
    return document.refuse(location, problem) if problem else value


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
        if problem := _key_problem(key_node):
            document.problems.append(f"{where}: {problem}")
            if key_node.tag == _MERGE and isinstance(value_node, yaml.MappingNode):
                pairs = [pair for pair in value_node.value if not _key_problem(pair[0])]
                merged |= {str(inner.value): value for inner, value in pairs}
            continue
        key = str(key_node.value)
        if key in result:
            first = document.lines[(*location, key)]
            document.problems.append(
                f"{where}: {shortened(key)}: the key is there twice, first in {first}"
            )
        result[key] = _plain(value_node, (*location, key), document)
        document.lines[(*location, key)] = where
    for key, value_node in merged.items():  # so that nothing is called missing
        if key not in result:
            result[key] = _plain(value_node, (*location, key), document)
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
    parts, origin = name.split("."), f"--set {shortened(name)}"
    if not equals or not name:
        document.problems.append(f"--set {shortened(text)}: expected dotted.key=value")
        return
    if len(parts) > _MAX_DEPTH:
        document.problems.append(f"{origin}: {_TOO_DEEP}")
        return
    location: Location = ()
    target: Any = document.data
    section: Any = None
    for part in parts:
        section = target
        is_index = isinstance(section, list) and _INDEX.fullmatch(part)
        key = int(part) if is_index else part
        location = (*location, key)
        if isinstance(section, dict) and len(location) < len(parts):
            target = section.setdefault(key, {})
        else:
            is_there = is_index and int(part) < len(section)
            target = section[key] if is_there else None
    given = _value(raw, location, origin)
    document.problems.extend(given.problems)
    document.broken |= given.broken
    try:
        section[location[-1]] = given.data
    except (TypeError, IndexError):
        document.problems.append(
            f"{origin}: there is no place of that name in the config"
            f"{_with_places(parts, document.data)}"
        )
        return
    document.lines |= {**given.lines, location: given.origin}


def _value(raw: str, location: Location, origin: str) -> Document:
    """What an override sets, read as part of the place it is set at."""
    given = Document(origin=origin)
    try:
        node = _composed(raw)
        if isinstance(node, yaml.ScalarNode) and node.style is None and " #" in raw:
            node.tag, node.value = f"{_OWN_TAG}str", raw.strip()  # a comment in no file
        given.data = None if node is None else _plain(node, location, given)
    except yaml.YAMLError as error:
        given.problems.append(f"{origin}: the value is {_mistake(error, raw)[1]}")
        given.broken.add(location)
    except ConfigError as error:
        given.problems.extend(error.problems)
        given.broken.add(location)
    return given


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


_CHARACTERS: Final = "text that begins with a mark such as @, ` or % needs quotes"
_QUOTE: Final = "a quotation mark is not closed"
_COLON: Final = "expected a colon and a space after the key"
_COLONS: Final = "mapping values"
_MISTAKES: Final = {
    "escape": "a backslash within double quotes; write single quotes, or / in paths",
    "unexpected end of stream": _QUOTE,
    "document separator": _QUOTE,
    "alias": "text that begins with * needs quotes, such as '*.bn'",
    "an anchor": "text that begins with & needs quotes",
    "block scalar": "text begins beside | or >; write it in the lines below, indented",
    " tag": "text that begins with ! needs quotes",
    "directive": _CHARACTERS,
    "<scalar>": "text after a closing quotation mark, or indentation that does not fit the lines "
    "above; text with quotation marks in it needs the other kind around it",
    "block end": "the indentation of this line does not fit the lines above it",
    _COLONS: "a second colon in one line, or indentation that does not fit; text with "
    "a colon in it needs quotes",
    "could not find expected ':'": _COLON,
    "character '\\t'": "a tab; indent with spaces",
    "cannot start any token": _CHARACTERS,
    "expected ',' or ']'": "a list in brackets is not closed, or lacks a comma",
    "expected ',' or '}'": "a section in braces is not closed, or lacks a comma",
    "sequence entries": "a list starts where it is not allowed; put it on a new line",
    "mapping keys": "a key starts where it is not allowed; put it on a new line",
    "document": "expected one document, without marks such as --- or % in it",
    "node content": "expected a value",
    "unhashable": "expected text as a key",
    "": "this is not YAML; check colons, quotes and indentation",
}
"""By a part of the parser's own words, the most particular first."""
_SEEN_LATER: Final = {_MISTAKES["<scalar>"], _MISTAKES["block end"], _MISTAKES[_COLONS], _COLON}
"""What a quotation mark that is not closed in a line above may look like."""
_OPEN_QUOTE: Final = re.compile(
    r"""\s*(?:- +)*(?:[^\s'"#][^'"#]*: +)?(?P<mark>['"])(?P<rest>.*)"""
)
_NO_KEY: Final = re.compile(r"(?P<indent>\s*)(?:- +)?[\w.-]+(?::\S.*|\s+[^:]*)?$")
_KEY_WITH_VALUE: Final = re.compile(r"(?P<indent>\s*)[^:]+:\s+\S")


def _mistake(error: yaml.YAMLError, text: str) -> tuple[int | None, str]:
    """The line, from 1, and why the text cannot be parsed, in words of its writer."""
    if isinstance(error, yaml.reader.ReaderError):
        place = text[: error.position].count("\n") + 1
        return place, "not valid YAML: expected text without control characters"
    problem, context = (getattr(error, key, None) or "" for key in ("problem", "context"))
    line: int | None = getattr(getattr(error, "problem_mark", None), "line", None)
    if problem == _TOO_DEEP:
        return None if line is None else line + 1, _TOO_DEEP
    said = f"{context} {problem}"
    words = next(words for sign, words in _MISTAKES.items() if sign in said)
    if words in {_QUOTE, _COLON}:  # seen later than it begins
        line = getattr(getattr(error, "context_mark", None), "line", line)
    if line is None:
        return None, f"not valid YAML: {words}"
    line, words = _earlier(text.splitlines(), line, words)
    return line + 1, f"not valid YAML: {words}"


def _earlier(lines: Sequence[str], at: int, words: str) -> tuple[int, str]:
    """The line that lacks something, where the parser stops at a later one."""
    for index, line in enumerate(lines[:at] if words in _SEEN_LATER else ()):
        found = _OPEN_QUOTE.match(line)
        if found and found["mark"] not in found["rest"]:
            return index, _QUOTE
    if words != _MISTAKES[_COLONS]:
        return at, words
    first = at
    while first > 0 and (found := _NO_KEY.match(lines[first - 1])):
        first, indent = first - 1, len(found["indent"])
    above = _KEY_WITH_VALUE.match(lines[first - 1]) if first else None
    goes_on = above is not None and first < at and len(above["indent"]) < indent
    return (at, words) if goes_on or first == at else (first, _COLON)


_SPACES: Final = "\u00a0\u1680\u2000-\u200a\u202f\u205f\u3000"
_NOTHING: Final = "\u200b\u200c\u200d\u2060\ufeff\u00ad"
_LOOK_LIKE: Final = {
    **dict.fromkeys("\u201c\u201d\u201e\u00ab\u00bb", '"'),
    **dict.fromkeys("\u2018\u2019\u201a", "'"),
    **dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2212", "-"),
    "\uff1a": ":",
}
_NAMES: Final = {'"': "quotation mark", "'": "quotation mark", "-": "hyphen", ":": "colon"}
_ODD: Final = re.compile(f"[{_SPACES}{_NOTHING}{''.join(_LOOK_LIKE)}]")
_STRUCTURE: Final = re.compile(
    f"(?P<head>[^:\uff1a#]*[:\uff1a]?[ {_SPACES}{_NOTHING}]*)(?P<value>.*)"
)
_AT_END: Final = re.compile(f"[ {_SPACES}{_NOTHING}]+$")
_MOST_LINES: Final = 5


def plain_characters(text: str) -> tuple[str, list[str]]:
    """The text with plain characters in its keys, indentation and quotes, and what was not plain.

    Such characters come with text that is pasted from web pages and word processors.
    """
    lines: list[str] = []
    noticed: list[str] = []
    for number, line in enumerate(text.split("\n"), start=1):
        found = _STRUCTURE.match(line)
        head, value = (found["head"], found["value"]) if found else (line, "")
        value = _AT_END.sub("", value)
        is_pasted = value[:1] in {"[", "{"} or _ODD.match(value)
        lines.append(_ODD.sub(_plain_character, head))
        lines[-1] += _ODD.sub(_plain_character, value) if is_pasted else value
        if lines[-1] != line.rstrip(" "):
            odd = next(char for char in line if _ODD.match(char))
            name = unicodedata.name(odd, "without a name").lower()
            kind = _NAMES.get(_LOOK_LIKE.get(odd, ""), "space")
            fix = ", which is not seen; delete it" if odd in _NOTHING else f"; type a plain {kind}"
            noticed.append(f"line {number}: got the character {name} (U+{ord(odd):04X}){fix}")
    count = len(noticed) - _MOST_LINES
    more = [f"and the same in {count} more lines"] if count > 0 else []
    return "\n".join(lines), [*noticed[:_MOST_LINES], *more]


def _plain_character(found: re.Match[str]) -> str:
    return _LOOK_LIKE.get(found[0], "" if found[0] in _NOTHING else " ")
