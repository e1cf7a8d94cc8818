"""What is wrong with text that is no YAML, in words of its writer, and in which line."""

from __future__ import annotations

import copy
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import yaml
from pydantic import BaseModel, ValidationError

from bias_audit.config.catalog import nearest
from bias_audit.config.wording import Location, Problem, faults_of, keys_at, problems_of, shown

_LEFT_OUT: Final = object()
"""So that a key has its default."""
_OTHERS: Final[tuple[Any, ...]] = ("x", 1, 0.75, ["x"], [0.25, 0.75], {"x": ["x", "y"]}, {})
_MOST_ROUNDS: Final = 30
_MOST_FAULTS: Final = 200
"""Beyond, the first of them are enough to read."""


@dataclass(frozen=True)
class Mended:
    """What a section would be if it were right, as far as it is."""

    data: Any
    """As plain data."""
    wrong: frozenset[Location]
    """Places whose values are not those of the config; unknown keys are left out."""
    problems: tuple[Problem, ...]
    value: BaseModel | None
    """None where keys that are valid by themselves do not go together."""


def problems_in(data: Any, model: type[BaseModel]) -> Iterator[Problem]:
    """All that is wrong in a section by itself.

    Args:
        data: Plain data.
        model: What it is to become.
    """
    at_once = mend(data, model, most_rounds=1)
    mended = mend(data, model)
    if len(mended.problems) > len(at_once.problems):
        again = set(_mended(data, model, (*_OTHERS, _LEFT_OUT), _MOST_ROUNDS).problems)
        yield from (problem for problem in mended.problems if problem in again)
    else:
        yield from mended.problems


def mend(data: Any, model: type[BaseModel], *, most_rounds: int = _MOST_ROUNDS) -> Mended:
    """What a section would be without what is wrong in it; its problems may rest on that.

    Args:
        data: Plain data.
        model: What it is to become.
        most_rounds: How often wrong values are replaced.
    """
    return _mended(data, model, (_LEFT_OUT, *_OTHERS), most_rounds)


def _mended(data: Any, model: type[BaseModel], order: tuple[Any, ...], most_rounds: int) -> Mended:
    mended = copy.deepcopy(data)
    tried: dict[Location, Iterator[Any]] = {}
    unknown: set[Location] = set()
    problems: dict[Problem, None] = {}
    for round_ in range(1, most_rounds + 1):
        try:
            value = model.model_validate(mended)
        except ValidationError as error:
            found = [_at_key(mended, each) for each in problems_of(error, mended, model)]
            faults = list(faults_of(error, mended))
            known = {place for _, place in faults}
            faults += [("value_error", place) for place, _ in found if place not in known]
            meant = _meant(mended, faults, model)
            problems |= dict.fromkeys(
                (place, message)
                for place, message in found
                if _replaced(place, tried) is None and place not in meant
            )
            can_go_on = round_ < most_rounds and len(faults) <= _MOST_FAULTS
            if can_go_on and meant:
                for place, misspelt in meant.items():
                    section = part_at(mended, place[:-1])
                    section[place[-1]] = section.pop(misspelt)
            elif not (can_go_on and _mend(mended, faults, tried, unknown, order)):
                break
            continue
        truths = dict.fromkeys(_truths(mended, value))
        wrong = {*tried, *(location for location, _ in truths)} - unknown
        return Mended(mended, frozenset(wrong), (*problems, *truths), value)
    wrong = {*tried, *(location for _, location in faults if location)} - unknown
    return Mended(mended, frozenset(wrong), tuple(problems), None)


def _mend(
    data: Any,
    faults: list[tuple[str, Location]],
    tried: dict[Location, Iterator[Any]],
    unknown: set[Location],
    order: tuple[Any, ...],
) -> bool:
    """Give every place that is wrong its next value; whether there was one."""
    changed: set[Location] = set()
    for kind, location in sorted(faults, key=lambda fault: len(fault[1])):
        place = _replaced(location, tried) or location
        if not place or place in changed:
            continue
        if kind == "extra_forbidden" and place not in tried:
            unknown.add(place)
            tried[place] = iter((_LEFT_OUT,))
        values = tried.setdefault(place, iter(order))
        if any(_put(data, place, value) for value in values):
            changed.add(place)
    return bool(changed)


def _replaced(location: Location, tried: Mapping[Location, Any]) -> Location | None:
    """The place that was given another value, which this one is or is within."""
    ends = (location[:length] for length in range(1, len(location) + 1))
    return next((place for place in ends if place in tried), None)


def _at_key(data: Any, problem: Problem) -> Problem:
    """The problem of a section at the key that its message begins with."""
    place, message = problem
    key, colon, rest = message.partition(": ")
    section = part_at(data, place)
    return (
        ((*place, key), rest)
        if colon and isinstance(section, dict) and key in section
        else problem
    )


def _meant(
    data: Any, faults: list[tuple[str, Location]], model: type[BaseModel]
) -> dict[Location, str]:
    """Places that are missing, with the unknown key that must mean each."""
    missing = {place for kind, place in faults if kind == "missing"}
    found: dict[Location, str] = {}
    for kind, place in faults if missing else ():
        if kind == "extra_forbidden" and isinstance(key := place[-1], str):
            near = (*place[:-1], nearest(key, keys_at(model, place[:-1])))
            if near in missing and key in part_at(data, place[:-1]):
                found.setdefault(near, key)  # type: ignore[arg-type]
    return found


def part_at(data: Any, location: Location) -> Any:
    """What stands at a place in plain data; None where nothing does."""
    for part in location:
        is_place = isinstance(data, list) and isinstance(part, int) and part < len(data)
        is_key = isinstance(data, dict) and part in data
        data = data[part] if is_place or is_key else None
    return data


def _put(data: Any, location: Location, value: Any) -> bool:
    data = part_at(data, location[:-1])
    if value is not _LEFT_OUT:
        data[location[-1]] = copy.deepcopy(value)
        return True
    return isinstance(data, dict) and data.pop(location[-1], _LEFT_OUT) is not _LEFT_OUT


def _truths(raw: Any, value: Any, location: Location = ()) -> Iterator[Problem]:
    """Places where true or false came to be a number, which validation allows."""
    if isinstance(raw, bool) and isinstance(value, int | float) and not isinstance(value, bool):
        kind = "whole number" if isinstance(value, int) else "number"
        yield location, f"expected a {kind}, got {shown(raw)}"
    elif isinstance(raw, dict):
        parts = value if isinstance(value, Mapping) else getattr(value, "__dict__", {})
        for key, inner in raw.items():
            yield from _truths(inner, parts.get(key), (*location, key))
    elif isinstance(raw, list) and isinstance(value, list | tuple):
        for index, (inner, other) in enumerate(zip(raw, value, strict=False)):
            yield from _truths(inner, other, (*location, index))


MAX_DEPTH: Final = 50
TOO_DEEP: Final = f"nested more than {MAX_DEPTH} deep; an anchor that holds itself is, too"
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
    "above; text that holds quotation marks needs the other kind around it",
    "block end": "the indentation of this line does not fit the lines above it",
    _COLONS: "a second colon in one line, or indentation that does not fit; text that "
    "holds a colon needs quotes",
    "could not find expected ':'": _COLON,
    "character '\\t'": "a tab; indent with spaces",
    "cannot start any token": _CHARACTERS,
    "expected ',' or ']'": "a list in brackets is not closed, or lacks a comma",
    "expected ',' or '}'": "a section in braces is not closed, or lacks a comma",
    "sequence entries": "a list begins where none can; put it on a line of its own",
    "mapping keys": "a key begins where none can; put it on a line of its own",
    "document": "expected one document, without marks such as --- or % in it",
    "node content": "expected a value",
    "unhashable": "expected text as a key",
}
"""By a part of the parser's own words, the most particular first."""
_AT_ITS_BEGINNING: Final = frozenset({_QUOTE, _COLON})
"""What is seen later than it begins."""
_OPEN_QUOTE: Final = re.compile(
    r"""\s*(?:- +)*(?:[^\s'"#][^'"#]*: +)?(?P<mark>['"])(?P<rest>.*)"""
)
_NO_KEY: Final = re.compile(r"(?P<indent>\s*)(?:- +)?[\w.-]+(?::\S.*|\s+[^:]*)?$")
_KEY_WITH_VALUE: Final = re.compile(r"(?P<indent>\s*)[^:]+:\s+\S")
_SPACES: Final = "\u00a0\u1680\u2000-\u200a\u202f\u205f\u3000"
_NOTHING: Final = "\u200b\u200c\u200d\u2060\ufeff\u00ad"
_LOOK_LIKE: Final = {
    **dict.fromkeys("\u201c\u201d\u201e\u00ab\u00bb", '"'),
    **dict.fromkeys("\u2018\u2019\u201a", "'"),
    **dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2212", "-"),
    "\uff1a": ":",
}
_ODD: Final = re.compile(f"[{_SPACES}{_NOTHING}{''.join(_LOOK_LIKE)}]")
_STRUCTURE: Final = re.compile(
    f"(?P<head>[^:\uff1a#]*[:\uff1a]?[ {_SPACES}{_NOTHING}]*)(?P<value>.*)"
)
_AT_END: Final = re.compile(f"[ {_SPACES}{_NOTHING}]+$")
_MOST_LINES: Final = 5


class Mistake(NamedTuple):
    """What is wrong with a text."""

    line: int | None
    """Counted from 1."""
    words: str


def mistake_of(error: yaml.YAMLError, text: str) -> Mistake:
    """Why the text cannot be parsed.

    Args:
        error: What the parser said.
        text: What it read.
    """
    if isinstance(error, yaml.reader.ReaderError):
        place = text[: error.position].count("\n") + 1
        return Mistake(place, "not valid YAML: expected text without control characters")
    problem, context = (getattr(error, key, None) or "" for key in ("problem", "context"))
    mark = getattr(error, "problem_mark", None)
    line: int | None = None if mark is None else mark.line
    if problem == TOO_DEEP:
        return Mistake(None if line is None else line + 1, TOO_DEEP)
    said = f"{context} {problem}"
    words = next((words for sign, words in _MISTAKES.items() if sign in said), "")
    words = words or "something here is no YAML; look for colons, quotes and indentation"
    if words in _AT_ITS_BEGINNING:
        line = getattr(getattr(error, "context_mark", None), "line", line)
    if line is not None:
        line, words = _earlier(text.splitlines(), line, words)
    return Mistake(None if line is None else line + 1, f"not valid YAML: {words}")


def _earlier(lines: Sequence[str], at: int, words: str) -> tuple[int, str]:
    """The line that lacks something, where the parser stops at a later one."""
    if words in {_MISTAKES[sign] for sign in ("<scalar>", "block end", _COLONS)} | {_COLON}:
        for index, line in enumerate(lines[:at]):
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


def plain_characters(text: str) -> tuple[str, list[str]]:
    """The text with plain characters in its keys, indentation and quotes, and what was not plain.

    Such characters come with text that is pasted from web pages and word processors.
    """
    lines: list[str] = []
    told: list[str] = []
    for number, line in enumerate(text.split("\n"), start=1):
        found = _STRUCTURE.match(line)
        head, value = (found["head"], found["value"]) if found else (line, "")
        value = _AT_END.sub("", value)
        is_pasted = value[:1] in {"[", "{"} or _ODD.match(value)
        lines.append(_ODD.sub(_plain, head) + (_ODD.sub(_plain, value) if is_pasted else value))
        if lines[-1] != line.rstrip(" "):
            odd = next(char for char in line if _ODD.match(char))
            told.append(f"line {number}: {_named(odd)}")
    more = [f"and the same in {len(told) - _MOST_LINES} more lines"] if told[_MOST_LINES:] else []
    return "\n".join(lines), [*told[:_MOST_LINES], *more]


def _plain(found: re.Match[str]) -> str:
    char = found[0]
    return _LOOK_LIKE.get(char, "" if char in _NOTHING else " ")


def _named(char: str) -> str:
    what = f"got the character {unicodedata.name(char, 'without a name').lower()}"
    code = f"(U+{ord(char):04X})"
    if char in _NOTHING:
        return f"{what} {code}, which is not seen; delete it"
    plain: Any = {'"': "quotation mark", "'": "quotation mark", "-": "hyphen", ":": "colon"}
    kind = plain.get(_LOOK_LIKE.get(char, " "), "space")
    return f"{what} {code}; type a plain {kind}"
