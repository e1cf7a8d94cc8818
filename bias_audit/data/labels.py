"""Labels as their attribute's levels are declared, however software has written them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterator, Sequence

from bias_audit.data.ages import OLDEST, UNIT, Ranges, bin_of, ordered_bins, span_of
from bias_audit.data.texts import FREQUENT, WHOLE_NUMBER, comparable, one_line
from bias_audit.errors import DataError, some

_NUMBER = re.compile(r"([+-]?\d{1,15})(?:([.,])(\d{1,30}))?")
_GROUPED = re.compile(
    r"([+-]?[1-9]\d{0,2})(?P<mark>[.,])(\d{3}(?:(?P=mark)\d{3})*)(?:(?!(?P=mark))[.,](\d{1,30}))?"
)
"""A number with its thousands apart; where it has one such mark, it may be a decimal as well."""
_TRUE = frozenset("true wahr vrai verdadero verdadeiro vero waar prawda sant истина doğru".split())  # noqa: SIM905
_FALSE = frozenset("false falsch faux falso onwaar fałsz falskt ложь yanliş".split())  # noqa: SIM905  # codespell:ignore falso
"""As software writes truth values, spreadsheets in their own language."""
_GUARDED = re.compile(r"=\"(.*)\"|'(?=[\d<>=≥+-])(.*)")
"""How people keep spreadsheets from changing a field."""
_PARTS = re.compile(r"[;|,/]")
"""Between several answers."""
_OTHER_MARK = str.maketrans(",.", ".,")
_SHORT = 4
"""Characters of a number that is shown however rare it is."""
_UNICODE = "in another Unicode form, or with odd blanks or dashes, were read as declared"
_FORMS = "written in another form were read as declared"
_THOUSANDS = "with thousands separators were read as whole numbers"
_WITHIN = "that are ranges inside of a bin were read as that bin"
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
        texts: Collection[str] = (),
    ) -> None:
        """Know an attribute.

        Args:
            name: Of the attribute.
            levels: As declared; different after `comparable`.
            binned: Whether levels are bins, and labels numbers to put into them.
            any_case: Whether case and underscores make no difference.
            classes: Names of the file's integer classes, in their order.
            texts: The column's values, which show how it writes decimals and thousands.

        Raises:
            DataError: Some levels are names of classes and some are their numbers.
        """
        self._name = name
        self.levels = levels
        self._bins = ordered_bins(levels) if binned else None
        self._thousands, self._decimals = _marks(texts) if binned else (set(), set())
        self._ranges = Ranges(levels)
        self._any_case = any_case
        self._keys = {self._key(level): level for level in levels}
        self._codes = _codes(name, levels, [self._key(each) for each in classes])
        self._known: dict[str, tuple[str, str]] = (
            {} if self._codes else {level: (level, "") for level in levels}
        )
        self._changed: dict[str, Counter[tuple[str, str]]] = {}

    def _key(self, text: str) -> str:
        key = comparable(text)
        return " ".join(key.casefold().replace("_", " ").split()) if self._any_case else key

    def meaning(self, text: str) -> tuple[str, str]:
        """The declared level that a label means, else the label itself; and what was changed."""
        if text not in self._known:
            self._known[text] = next(self._meanings(text), (text, ""))
        return self._known[text]

    def read(self, text: str) -> str:
        """The same level, with what was changed counted."""
        level, why = self.meaning(text)
        if why:
            self._changed.setdefault(why, Counter())[text, level] += 1
        return level

    def _meanings(self, text: str) -> Iterator[tuple[str, str]]:
        """Declared levels that a text may mean, the nearest first, with what was changed."""
        key = self._key(text)
        if not key:
            yield "", ""
            return
        if self._codes:
            yield self._codes.get(key, text), _FORMS if key in self._codes else ""
            return
        if (level := self._keys.get(key)) is not None:
            # other case alone is FairFace's own variety, and no repair
            yield level, "" if self._any_case and text.isascii() else _UNICODE
        if guarded := _GUARDED.fullmatch(key):
            inner = self._meanings(guarded[1] or guarded[2] or "")
            yield from ((level, _FORMS) for level, _ in inner if level in ("", *self.levels))
            return
        yield from ((level, _FORMS) for level in self._other_forms(key))
        if self._bins is not None and (numbers := self._readings(key)):
            places = self._places(numbers)
            is_plain = _number(key) in numbers and places == self._places(numbers[:1])
            level = self.levels[min(places)] if len(places) == 1 else text
            yield level, "" if is_plain or len(places) != 1 else _THOUSANDS
        if level := self._ranges.spelled(key):
            yield level, _FORMS
        span = span_of(key) if self._bins else None
        for (first, last), level in zip(self._bins or (), self.levels, strict=False):
            if span and first <= span[0] <= span[1] <= last:
                yield level, _WITHIN
        if level := self._ranges.dated(key):
            yield level, _DATES

    def _other_forms(self, key: str) -> Iterator[str]:
        """Levels that are the same number, or the same truth value."""
        whole = WHOLE_NUMBER.fullmatch(key)
        is_thousands = key.endswith(".000") and whole and f"{whole[1]}000" in self._keys
        is_decimal = _number(key) is not None and not _GROUPED.fullmatch(key)
        swapped = key.translate(_OTHER_MARK) if is_decimal else ""
        for other in (whole[1] if whole and not is_thousands else "", swapped):
            if other in self._keys:
                yield self._keys[other]
        for words in (_TRUE, _FALSE):
            own = [level for level in self.levels if level.casefold() in words]
            if key.casefold() in words and len(own) == 1:
                yield own[0]

    def _readings(self, key: str) -> list[float]:
        """Numbers that a text may mean, two where a mark may be of thousands or of decimals."""
        plain = _number(key)
        grouped = _GROUPED.fullmatch(key.removesuffix(_unit(key)))
        if grouped is None:
            return [] if plain is None else [plain]
        mark = grouped["mark"]
        whole = float(f"{grouped[1]}{grouped[3].replace(mark, '')}.{grouped[4] or 0}")
        is_thousands, is_decimal = mark in self._thousands, mark in self._decimals
        if plain is None or (is_thousands and not is_decimal):
            return [whole]
        return [plain] if is_decimal and not is_thousands else [plain, whole]

    def _places(self, numbers: Sequence[float]) -> set[int]:
        places = (bin_of(number, self._bins or []) for number in numbers)
        return {place for place in places if place is not None}

    def problem(self, label: str, n_rows: int = FREQUENT) -> tuple[str, str]:
        """Why a label that is no level is none: a short class to count by, and the detail.

        What few rows have may be a person's name in the wrong column, and is not shown.
        """
        if not label:
            return "empty field", f"{self._name}: expected a label, got an empty field"
        key = comparable(label)
        numbers = self._readings(key)
        shown = f"a value that fewer than {FREQUENT} rows have"
        if n_rows >= FREQUENT or (numbers and len(key) <= _SHORT):
            shown = repr(one_line(label))
        if self._bins is None:
            hint = ""
            if numbers and _are_bins(self.levels):
                hint = f"; if the column has numbers, set data.binned: [{self._name}]"
            elif key.isdecimal() and all(_number(level) is None for level in self.levels):
                hint = "; if the file has numbers instead of names, declare these: 0, 1"
            hint = self._nearest(key) or hint
            expected = some(self.levels)
            return "unknown label", f"{self._name}: expected one of {expected}; got {shown}{hint}"
        if not numbers:
            expected = f"a number, or a range inside one of {some(self.levels)}"
            return "not a number", f"{self._name}: expected {expected}; got {shown}"
        if len(self._places(numbers)) > 1:
            detail = "expected numbers without thousands separators: 1.500 may be 1500, or 1.5"
            return "ambiguous number", f"{self._name}: {detail}; got {shown}"
        what = "negative number" if numbers[0] < 0 else "number in no bin"
        hint = ""
        if numbers[0] > OLDEST == self._bins[-1][1]:
            hint = f"; {self.levels[-1]} ends at {OLDEST}: for what is no age, end it further up"
        return what, f"{self._name}: expected a number in {some(self.levels)}; got {shown}{hint}"

    def _nearest(self, key: str) -> str:
        """How a label that is no level would be one."""
        folded = {own.casefold(): level for own, level in self._keys.items()}
        if level := folded.get(key.casefold()):
            return f"; did you mean {level!r}? Case makes a difference"
        parts = [part.strip(" '\"").casefold() for part in _PARTS.split(key.strip("[](){}"))]
        if (len(parts) > 1 or key.startswith("[")) and {*parts} <= {*folded}:
            return "; if a face may have several answers, declare levels: [...], several: true"
        return ""

    def notices(self) -> Iterator[str]:
        """What was changed, with counts."""
        for why, changes in self._changed.items():
            named = [f"{one_line(a)} -> {b} ({n})" for (a, b), n in sorted(changes.items())]
            which = "" if why == _THOUSANDS else f": {some(named)}"  # may be of one person
            yield f"{changes.total()} labels of {self._name} {why}{which}"


def _are_bins(levels: Sequence[str]) -> bool:
    try:
        return bool(ordered_bins(levels))
    except ValueError:
        return False


def _codes(name: str, levels: Sequence[str], classes: Sequence[str]) -> dict[str, str]:
    """Declared numbers by the names of their classes; empty where names are declared.

    Raises:
        DataError: Names and numbers are mixed.
    """
    numbers = [str(number) for number in range(len(classes))]
    if not any(level in numbers and comparable(level) not in classes for level in levels):
        return {}
    if set(levels) <= set(numbers) and len(set(classes)) == len(classes):
        return dict(zip(classes, numbers, strict=True))
    raise DataError(
        f"{name}: the file names its classes; expected levels that are all names, "
        f"{some([one_line(each, 30) for each in classes])}, or all numbers, {some(numbers)}; got "
        f"{some(levels)}"
    )


def _marks(texts: Collection[str]) -> tuple[set[str], set[str]]:
    """Marks that a column shows to be of thousands, and to be of decimals."""
    thousands, decimals = set(), set()
    for text in map(comparable, texts):
        bare = text.removesuffix(_unit(text))
        if grouped := _GROUPED.fullmatch(bare):
            if grouped[4] or bare.count(grouped["mark"]) > 1:
                thousands.add(grouped["mark"])
        elif (match := _NUMBER.fullmatch(bare)) and match[2]:
            decimals.add(match[2])
    return thousands, decimals


def _unit(text: str) -> str:
    """What stands behind the number: years in some language, or a dot."""
    match = re.search(rf"(?<=\d)\.?{UNIT}\.?$", text, re.IGNORECASE)
    return text[match.start() :] if match else ""


def _number(text: str) -> float | None:
    match = _NUMBER.fullmatch(text.removesuffix(_unit(text)))
    return float(f"{match[1]}.{match[3] or 0}") if match else None
