"""What is wrong with text that is no YAML, in words of its writer, and in which line."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import yaml

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
