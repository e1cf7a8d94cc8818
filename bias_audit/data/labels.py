"""Labels as their attribute's levels are declared, however software has written them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence

from bias_audit.data.age_bins import Ranges, bin_of, ordered_bins
from bias_audit.data.rows import WHOLE_NUMBER
from bias_audit.data.text import comparable, one_line

_NUMBER = re.compile(r"([+-]?\d{1,15})(?:[.,](\d{1,30}))?")
_BOOLEANS = frozenset(("true", "false"))
_NAMED = 5
"""Changes that a notice names."""
_UNICODE = "in another Unicode form, or with odd blanks or dashes, were read as declared"
_FORMS = "written in another form were read as declared"
_DATES = "that a spreadsheet had turned into dates were repaired"


class LevelReader:
    """Reads the labels of one attribute, and counts what it had to change."""

    def __init__(
        self,
        name: str,
        levels: Sequence[str],
        *,
        binned: bool = False,
        any_case: bool = False,
        classes: Sequence[str] = (),
    ) -> None:
        """Know an attribute.

        Args:
            name: Of the attribute.
            levels: As declared; different after `comparable`.
            binned: Whether levels are bins, and labels numbers to put into them.
            any_case: Whether case and underscores make no difference.
            classes: Names of the file's integer classes, in their order.
        """
        self._name = name
        self._levels = levels
        self._bins = ordered_bins(levels) if binned else None
        self._ranges = Ranges(levels)
        self._any_case = any_case
        self._keys = {self._key(level): level for level in levels}
        self._numbers = {self._key(each): str(number) for number, each in enumerate(classes)}
        self._known: dict[str, tuple[str, str]] = {level: (level, "") for level in levels}
        self._changed: dict[str, Counter[tuple[str, str]]] = {}

    def _key(self, text: str) -> str:
        key = comparable(text)
        return " ".join(key.casefold().replace("_", " ").split()) if self._any_case else key

    def read(self, text: str) -> str:
        """The declared level that a label means; the label itself where it means none."""
        if text not in self._known:
            self._known[text] = next(self._meanings(text), (text, ""))
        level, why = self._known[text]
        if why:
            self._changed.setdefault(why, Counter())[text, level] += 1
        return level

    def _meanings(self, text: str) -> Iterator[tuple[str, str]]:
        """Declared levels that a text may mean, the nearest first, with what was changed."""
        key = self._key(text)
        if not key:
            yield "", ""
            return
        if (level := self._keys.get(key)) is not None:
            # other case alone is FairFace's own variety, and no repair
            yield level, "" if self._any_case and text.isascii() else _UNICODE
        yield from ((level, _FORMS) for level in self._other_forms(key))
        if self._bins is not None and (number := _number(key)) is not None:
            place = bin_of(number, self._bins)
            yield text if place is None else self._levels[place], ""
        if level := self._ranges.spelled(key):
            yield level, _FORMS
        if level := self._ranges.dated(key):
            yield level, _DATES

    def _other_forms(self, key: str) -> Iterator[str]:
        """Levels that are the same number, the number of a class, or the same truth value."""
        whole = WHOLE_NUMBER.fullmatch(key)
        for other in (whole[1] if whole else None, self._numbers.get(key)):
            if other in self._keys:
                yield self._keys[other]
        if key.casefold() in _BOOLEANS:
            yield from (level for level in self._levels if level.casefold() == key.casefold())

    def problem(self, label: str) -> tuple[str, str]:
        """Why a label that is no level is none: a short class to count by, and the detail."""
        number = _number(comparable(label))
        if self._bins is None:
            hint = ""
            if number is not None and self._are_bins():
                hint = f"; if the column holds numbers, set data.binned: [{self._name}]"
            expected = _some(self._levels)
            detail = f"{self._name}: expected one of {expected}; got {one_line(label)!r}{hint}"
            return "unknown label", detail
        if number is None:
            return "not a number", f"{self._name}: expected a number, got {one_line(label)!r}"
        what = "negative number" if number < 0 else "number in no bin"
        return (
            what,
            f"{self._name}: {one_line(label)} is in none of the bins {_some(self._levels)}",
        )

    def _are_bins(self) -> bool:
        try:
            ordered_bins(self._levels)
        except ValueError:
            return False
        return True

    def notices(self) -> Iterator[str]:
        """What was changed, with counts."""
        for why, changes in self._changed.items():
            named = [f"{one_line(a)} -> {b} ({n})" for (a, b), n in sorted(changes.items())]
            yield f"{changes.total()} labels of {self._name} {why}: {_some(named)}"


def same_levels(levels: Sequence[str]) -> tuple[str, str] | None:
    """The first two levels that no label could tell apart; None where all differ."""
    seen: dict[str, str] = {}
    for level in levels:
        key = comparable(level)
        if key in seen:
            return seen[key], level
        seen[key] = level
    return None


def _number(text: str) -> float | None:
    match = _NUMBER.fullmatch(text)
    return float(f"{match[1]}.{match[2] or 0}") if match else None


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more
