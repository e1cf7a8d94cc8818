"""Ages as people write them: years, months, bins."""

from __future__ import annotations

import datetime
import math
import re
import unicodedata
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import pairwise
from pathlib import Path

from bias_audit.data.texts import comparable

_FILE = Path(__file__).with_name("months.txt")
"""One line for a form of a language, January first; what follows | may be left out, or cut short:
English, German (and Austrian), French, Spanish, Italian, Portuguese, Dutch, Swedish, Danish and
Norwegian, Polish, Turkish, Russian, Ukrainian, Czech, Finnish, Hungarian, Romanian, Greek,
Indonesian, and Roman numerals. Source: Unicode CLDR."""
_PLAIN = str.maketrans({"\u0131": "i", "\u0142": "l", "\u00df": "ss", "\u03c2": "\u03c3"})
"""Letters without an accent to take off."""


@cache
def months_of(word: str) -> frozenset[int]:
    """The months that a word may name, 1 to 12: none, one, or more where languages differ.

    Case, accents and a trailing dot make no difference. A whole name comes before a short one:
    "červen" is June, though "červenec" (July) begins with it.
    """
    plain = _plain(word).rstrip(".")
    whole = {month for month, stem, name in _forms() if plain == name}
    short = {m for m, stem, name in _forms() if plain.startswith(stem) and name.startswith(plain)}
    return frozenset(whole or short)


@cache
def _forms() -> tuple[tuple[int, str, str], ...]:
    """Month, shortest form and whole name, without accents."""
    return tuple(
        dict.fromkeys(
            (month, _plain(name.partition("|")[0]), _plain(name.replace("|", "")))
            for line in _FILE.read_text(encoding="utf-8").splitlines()
            for month, name in enumerate(line.split(), start=1)
        )
    )


def _plain(word: str) -> str:
    letters = unicodedata.normalize("NFKD", word.casefold())
    kept = "".join(letter for letter in letters if not unicodedata.combining(letter))
    return kept.translate(_PLAIN)


FAIRFACE_AGES = (*"0-2 3-9 10-19 20-29 30-39 40-49 50-59 60-69".split(), "more than 70")  # noqa: SIM905
"""As FairFace writes them; "more than 70" follows "60-69", so it holds ages from 70 on."""
OLDEST = 116
"""The oldest age UTKFace's description allows."""
_Pair = tuple[int, int]

_RANGE = re.compile(r"(\d{1,9})(?:-(\d{1,9}))?")
_OPEN = re.compile(r"(?:more than (\d{1,9})|(\d{1,9})\+)")
UNIT = (
    r"(?:\s*(?:years?(?: old)?|yrs?|y(?:/?o)?|jahre?n?|ans|años|anni|anos|jaar|år|lat|yaş|лет|"
    r"года?|歳|才|岁|세|살))?"
)
"""Years, in some languages, after a number; or nothing."""
_SPELLED_RANGE = re.compile(
    rf"(\d{{1,3}}){UNIT}\s*(?:-+|~|_|\.{{2,3}}|/|to|bis|à|a|al|till|until|tot|do|до)\s*"
    rf"(\d{{1,3}}){UNIT}"
)
_MORE = (
    r"(?:>=?|[≥≧⩾]|\+|(?:more|older|greater|higher) than|over|above|at least|from|mehr als|"
    r"älter als|über|ab|plus de|más de|mas de|mais de|oltre|meer dan|ponad|över|plus|от|старше)"
)
_AND_MORE = (
    r"(?:\+|-|-? ?plus|(?:and|or|&) (?:over|above|older|more|up|plus)|up|"
    r"(?:und|oder) (?:älter|mehr|darüber)|et plus|"  # codespell:ignore oder
    r"y más|y mas|o más|e mais|ou mais|e oltre|en ouder|"
    r"of ouder|i więcej|og over|och äldre|ve üzeri|и старше|歳?以上|세? ?이상)"
)
_SPELLED_OPEN = re.compile(rf"{_MORE}\s*(\d{{1,3}}){UNIT}|(\d{{1,3}}){UNIT}\s*{_AND_MORE}{UNIT}")

_MIDNIGHT = re.compile(
    r"(?:[t ]\s*0{1,2}:00(?::00(?:\.0+)?)?|\s+12:00(?::00)?)(?: ?(?:am|z|utc|\+00:?00))?$"
)
_NUMERIC = re.compile(
    r"\d{1,4}([-/]|\. ?)\d{1,2}\1\d{1,4}\.?|\d{1,4}[-/]\d{1,4}|\d{1,2}\. ?\d{1,2}\."
)
"""A date of digits alone. Two numbers with a dot between them are a decimal, not a date."""
_BETWEEN = re.compile(r"[-./,'\s年月日년월일号]*")
_TOKEN = re.compile(r"\d+|[^\W\d_]+\.?|[^\w]+|_+")
_FILLERS = frozenset(
    "st nd rd th er º ª de del of the den d 年 日 년 일 号 日目 \u0433 года thg tháng".split()  # noqa: SIM905
)
_MONTH_MARKS = frozenset(("月", "월"))
_BEFORE_MONTH = frozenset(("thg", "tháng"))
_SERIAL = re.compile(r"[345]\d{4}(?:\.0+)?")
"""Days since 1899-12-30, as spreadsheets count: from 1982 to 2064."""


def parse_bin(text: str) -> _Pair:
    """First and last number of a bin such as "3-9", "70+" or "more than 70" (from 70 on).

    The last of an open bin is OLDEST, so that codes such as 999 fall in none; where it begins
    above, it has no end.

    Raises:
        ValueError: It is none of these.
    """
    plain = comparable(text)
    if match := _OPEN.fullmatch(plain):
        first = int(match[1] or match[2])
        return first, OLDEST if first <= OLDEST else 10**9
    if match := _RANGE.fullmatch(plain):
        first, last = int(match[1]), int(match[2] or match[1])
        if first <= last:
            return first, last
    raise ValueError(f'expected a bin such as "3-9", "70+" or "more than 70", got {text!r}')


def ordered_bins(names: Sequence[str]) -> list[_Pair]:
    """First and last number of each bin.

    Raises:
        ValueError: One is no bin, or they are not in order or overlap.
    """
    bins = [parse_bin(name) for name in names]
    for (one, other), pair in zip(pairwise(bins), pairwise(names), strict=True):
        if other[0] <= one[1]:
            raise ValueError(f"expected bins in order, without overlap; got {pair}")
    return bins


def span_of(text: str) -> _Pair | None:
    """First and last number of a range in words or signs; None where it is none."""
    plain = comparable(text).casefold()
    if match := _SPELLED_RANGE.fullmatch(plain):
        return _numbers(match)
    match = _SPELLED_OPEN.fullmatch(plain)
    return (_numbers(match)[0], OLDEST) if match else None


def bin_of(number: float, bins: Sequence[_Pair]) -> int | None:
    """Index of the bin of a number, decimals cut off; None where none does."""
    whole = math.floor(number)
    return next((i for i, (first, last) in enumerate(bins) if first <= whole <= last), None)


class Ranges:
    """The levels of an attribute that are ranges, and how else they may be written."""

    def __init__(self, levels: Sequence[str]) -> None:
        """Find the levels that are ranges such as "3-9", or open such as "70+"."""
        self._by_pattern: dict[re.Pattern[str], dict[_Pair, list[str]]] = {}
        for pattern in (_SPELLED_RANGE, _SPELLED_OPEN):
            found: dict[_Pair, list[str]] = {}
            for level in levels:
                if match := pattern.fullmatch(comparable(level).casefold()):
                    found.setdefault(_numbers(match), []).append(level)
            self._by_pattern[pattern] = found

    def spelled(self, text: str) -> str | None:
        """The one level that is this range in other words: "3 to 9", ">= 70"; else None."""
        plain = comparable(text).casefold()
        for pattern, levels in self._by_pattern.items():
            match = pattern.fullmatch(plain)
            own = levels.get(_numbers(match), []) if match else []
            if len(own) == 1:
                return own[0]
        return None

    def dated(self, text: str) -> str | None:
        """The one level that a spreadsheet turned into this date; else None.

        A date stands for day and month in either order, or for month and year where it names no
        day, or the first: "03-Sep" is "3-9", "2019-10-01" may be "10-19". Where the declared
        levels leave more than one meaning, there is none.
        """
        closed = self._by_pattern[_SPELLED_RANGE]
        if not closed:
            return None
        pairs = set(_pairs(comparable(text).casefold()))
        found = {level for pair in pairs for level in closed.get(pair, ())}
        return found.pop() if len(found) == 1 else None


def _numbers(match: re.Match[str]) -> _Pair:
    """The numbers of a range; of an open one, its only one and 0."""
    first, *rest = [int(group) for group in match.groups() if group]
    return first, rest[0] if rest else 0


def _pairs(text: str) -> Iterator[_Pair]:
    """Ranges that a spreadsheet may have read as this date."""
    if _SERIAL.fullmatch(text):
        date = datetime.date(1899, 12, 30) + datetime.timedelta(int(float(text)))
        yield from _of_date(date.month, date.day, date.year)
        return
    text = _MIDNIGHT.sub("", text)
    if _NUMERIC.fullmatch(text):
        yield from _of_numbers(*map(int, re.findall(r"\d+", text)))
        return
    numbers, months = _tokens(text)
    for month in months:
        if len(numbers) == 1:
            yield from _of_month(month, numbers[0])
        elif len(numbers) == 2:  # noqa: PLR2004
            for day, year in (numbers, numbers[::-1]):
                yield from _of_date(month, day, year)


def _tokens(text: str) -> tuple[list[int], frozenset[int]]:
    """Numbers of a date beside its month, and the months that its word may name."""
    numbers: list[int] = []
    months: frozenset[int] | None = None
    before = ""
    for token in _TOKEN.findall(text):
        bare = token.rstrip(".")
        if token.isdecimal():
            if before in _BEFORE_MONTH:
                months = frozenset((int(token),))
            else:
                numbers.append(int(token))
            before = ""
        elif bare in _MONTH_MARKS and numbers:
            months = frozenset((numbers.pop(),))
        elif bare in _FILLERS or _BETWEEN.fullmatch(token):
            pass
        elif months is None and (named := months_of(bare)):
            months = named
        else:
            return [], frozenset()
        before = bare if bare.isalpha() else before
    return numbers, months or frozenset()


def _of_numbers(one: int, other: int, third: int | None = None) -> Iterator[_Pair]:
    if third is None:
        yield from (*_of_month(one, other), *_of_month(other, one))
    elif one > 31:  # noqa: PLR2004
        yield from _of_date(other, third, one)
    else:
        yield from (*_of_date(one, other, third), *_of_date(other, one, third))


def _of_month(month: int, rest: int) -> Iterator[_Pair]:
    """A month, and a day or a year."""
    if 1 <= month <= 12:  # noqa: PLR2004
        yield month, rest % 100
        yield rest, month


def _of_date(month: int, day: int, year: int) -> Iterator[_Pair]:
    if 1 <= month <= 12 and 1 <= day <= 31:  # noqa: PLR2004
        yield from ((month, day), (day, month))
        if day == 1:
            yield month, year % 100
