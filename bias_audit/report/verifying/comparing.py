"""Printed text held against what it must be, passage by passage."""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from bias_audit.report.verifying.passages import Passage
from bias_audit.report.verifying.structure import Chunk

_UNSEEN: Final = re.compile("[\ufe00-\ufe0f]")
_NUMBER: Final = re.compile(r"\d+(?:[.,]\d+)*")
_LEADER: Final = re.compile(r"\.+(\d+)")
_AHEAD, _WINDOW, _KEY = 60, 6000, 24
"""Passages and characters searched, and characters that must agree, to find the text again."""
_CONTEXT: Final = 24
_RIGHT_TO_LEFT: Final = {"R", "AL", "AN"}


@dataclass(frozen=True)
class Difference:
    """A place where a page does not say what it must."""

    page: int
    """From 1; 0 where it is on no page."""
    expected: str
    found: str


@dataclass(frozen=True)
class Comparison:
    """All text of a report, compared."""

    n_passages: int
    n_numbers: int
    differences: tuple[Difference, ...]
    pages: dict[str, int]
    """Page, from 1, of each heading by its name."""
    listed: tuple[tuple[str, int], ...]
    """The table of contents as printed: the heading led to, and its page."""
    running: tuple[tuple[int, str, str], ...]
    """What heads and feet of pages must say: from which page on, and in which place."""


def numbers_in(text: str) -> list[str]:
    """The numbers a text holds, as printed."""
    return _NUMBER.findall(text)


def plain(text: str) -> str:
    """The characters that are drawn: no spaces, which line breaks swallow, no unseen marks."""
    kept = "".join(c for c in text if not c.isspace() and unicodedata.category(c) != "Cf")
    return unicodedata.normalize("NFC", _UNSEEN.sub("", kept))


class _Printed:
    """The text of chunks in one string, with the page of every character."""

    def __init__(self, chunks: Sequence[Chunk]) -> None:
        parts, self.starts, self.chunks, length = [], [], list(chunks), 0
        for chunk in chunks:
            self.starts.append(length)
            parts.append(plain(chunk.text))
            length += len(parts[-1])
        self.text = "".join(parts)

    def page(self, place: int) -> int:
        """From 1; 0 where there is no text."""
        if not self.chunks:
            return 0
        return self.chunks[max(bisect_right(self.starts, place) - 1, 0)].page + 1


class _Comparer:
    def __init__(self, expected: Sequence[Passage], printed: _Printed) -> None:
        self.expected, self.printed = expected, printed
        self.place = 0
        self.texts = [plain(passage.text) for passage in expected]
        self.differences: list[Difference] = []
        self.pages: dict[str, int] = {}
        self.listed: list[tuple[str, int]] = []
        self.running: list[tuple[int, str, str]] = []

    def run(self) -> None:
        number = 0
        while number < len(self.expected):
            if self._fits(number):
                number += 1
            else:
                number = self._resume(number)
        rest = self.printed.text[self.place :]
        if rest:
            self._differ("", rest)

    def _fits(self, number: int) -> bool:
        passage, text = self.expected[number], self.texts[number]
        printed = self.printed.text
        seen = printed[self.place : self.place + len(text)]
        if seen != text and not _same_characters(seen, text):
            return False
        page, end = self.printed.page(self.place), self.place + len(text)
        if passage.kind == "contents":
            leader = _LEADER.match(printed, end)
            if leader is None:
                return False
            end = leader.end()
            self.listed.append((passage.target or "", int(leader[1])))
        if passage.anchor:
            self.pages[passage.anchor] = page
        if passage.running:
            self.running.append((page, *passage.running))
        self.place = end
        return True

    def _resume(self, number: int) -> int:
        """Find the next passage that is printed; all up to there differs."""
        best: tuple[int, int, int] | None = None
        lost = 0
        for ahead in range(number, min(number + _AHEAD, len(self.texts))):
            key = self._key(ahead)
            window = self.place + _WINDOW
            start = self.place + (ahead == number)  # it does not fit where it is looked for
            found = self.printed.text.find(key, start, window) if key else -1
            if found >= 0:
                cost = lost + found - self.place
                best = min(best or (cost, ahead, found), (cost, ahead, found))
            lost += len(self.texts[ahead])
        if best is None:
            self._differ(self._told(number, len(self.expected)), self.printed.text[self.place :])
            self.place = len(self.printed.text)
            return len(self.expected)
        _, ahead, found = best
        self._differ(self._told(number, ahead), self.printed.text[self.place : found])
        self.place = found
        return ahead

    def _key(self, number: int) -> str:
        """The start of a passage, long enough to be found; entries of contents have no next."""
        key = self.texts[number][: 2 * _KEY]
        following = number + 1
        while len(key) < _KEY and following < len(self.texts):
            if self.expected[following - 1].kind == "contents":
                return key
            key += self.texts[following][: 2 * _KEY]
            following += 1
        return key

    def _told(self, start: int, end: int) -> str:
        return " | ".join(passage.text for passage in self.expected[start:end])

    def _differ(self, expected: str, found: str) -> None:
        page = self.printed.page(self.place)
        self.differences.append(Difference(page, *_around(expected, found)))


def compare(expected: Sequence[Passage], chunks: Sequence[Chunk]) -> Comparison:
    """Hold printed text against what it must be.

    Spaces, line breaks and the marks of lists are not compared. A passage in a script that is
    written from right to left is compared by its characters and its numbers, not by their order,
    which a PDF keeps as it is drawn.

    Args:
        expected: What must be printed, in order.
        chunks: What is printed, in the order in which it is read.
    """
    comparer = _Comparer(expected, _Printed(chunks))
    comparer.run()
    return Comparison(
        n_passages=len(expected),
        n_numbers=sum(len(numbers_in(passage.text)) for passage in expected),
        differences=tuple(comparer.differences),
        pages=comparer.pages,
        listed=tuple(comparer.listed),
        running=tuple(comparer.running),
    )


def _same_characters(seen: str, text: str) -> bool:
    if not any(unicodedata.bidirectional(character) in _RIGHT_TO_LEFT for character in text):
        return False
    return Counter(seen) == Counter(text) and sorted(numbers_in(seen)) == sorted(numbers_in(text))


def _around(expected: str, found: str) -> tuple[str, str]:
    """The part that differs, with a little of what is around it."""
    spread = [place for place, character in enumerate(expected) if plain(character)]
    bare = "".join(expected[place] for place in spread)
    start = 0
    while start < min(len(bare), len(found)) and bare[start] == found[start]:
        start += 1
    end = 0
    while end < min(len(bare), len(found)) - start and bare[-1 - end] == found[-1 - end]:
        end += 1
    first, last = max(start - _CONTEXT, 0), max(end - _CONTEXT, 0)
    from_, to = (
        (spread[first], spread[len(bare) - last - 1] + 1) if len(bare) > last + first else (0, 0)
    )
    return _short(expected[from_:to]), _short(found[first : len(found) - last])


def _short(text: str, most: int = 200) -> str:
    return text if len(text) <= most else f"{text[: most // 2]} ... {text[-most // 2 :]}"
