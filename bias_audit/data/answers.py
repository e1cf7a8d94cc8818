"""What people answer: several levels, numbers, steps of a scale, finer options, or no answer."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Final, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from bias_audit.config.catalog import unknown_name
from bias_audit.config.schema import Strict
from bias_audit.data.labels import LevelReader
from bias_audit.data.texts import comparable
from bias_audit.errors import some
from bias_audit.groups import Attribute
from bias_audit.results.audit import AttributeRecord

SEVERAL: Final = "\x1f"
"""Joins the answers of a face in a row."""
NOT_SAID: Final = "prefer not to say"
NO_ANSWER: Final = "no answer"
SCALES: Final = {
    "fitzpatrick": tuple(f"type {number}" for number in ("I", "II", "III", "IV", "V", "VI")),
    "monk": tuple(f"tone {number}" for number in range(1, 11)),
}
"""Skin tones from light to dark: Fitzpatrick 1988 (Archives of Dermatology 124:869), and Monk 2023
(The Monk Skin Tone Scale)."""
_ROMAN = {"i": 1, "ii": 2, "iii": 3, "iv": 4, "v": 5, "vi": 6}
_STEP = re.compile(
    r"(?:fitzpatrick|monk|mst|skin|tone|type|scale|[\s_:-])*([ivx]+|\d{1,2})(?:\.0+)?"
)
_NUMBERED = re.compile(r"\d{1,3}\.\s+(.*)", re.DOTALL)
"""An option of a form with its number: "3. Wavy"."""
_SEPARATORS = re.compile(r"[;|]")
_LONGEST = 10_000
_LEAVE_OUT, _SHOW = "left out of the audit", "shown as a group"
Policy = Literal["leave out", "group"]


class Answers(Strict):
    """How the answers for one attribute are written, and what they count as."""

    column: str | None = Field(
        default=None, description="Column of the answers; default: the attribute's name."
    )
    levels: list[str] | None = Field(
        default=None, min_length=1, description="All levels in order; or give edges or scale."
    )
    edges: list[int] | None = Field(
        default=None,
        min_length=2,
        description="Where bins of a number begin: [18, 30, 60] makes 18-29, 30-59 and 60+.",
    )
    scale: Literal["fitzpatrick", "monk"] | None = Field(
        default=None, description="The levels are the steps of a scale of skin tones."
    )
    ordered: bool = Field(
        default=False, description="The order of the levels means something, as that of numbers."
    )
    several: bool = Field(
        default=False,
        description="A cell may hold several answers: a list in brackets, or separated by ; or |. "
        "A face counts in each of its levels.",
    )
    options: dict[str, list[str]] = Field(
        default={},
        description="Finer answers that count as a level, such as the subregions of a region, by "
        "level.",
    )
    not_said: list[str] = Field(
        default=[NOT_SAID], description="Answers by which people decline to answer."
    )
    ignored: list[str] = Field(
        default=[],
        description="Answers that count for nothing, such as a region beside its subregion.",
    )
    when_not_said: Policy = Field(
        default="leave out", description="Whether these faces are left out, or are a group."
    )
    when_missing: Policy = Field(
        default="leave out", description="The same of faces without an answer."
    )

    @model_validator(mode="after")
    def _levels_are_clear(self) -> Self:
        given = [n for n in ("levels", "edges", "scale") if getattr(self, n) is not None]
        if len(given) != 1:
            raise ValueError(
                f"expected one of levels, edges and scale, got {' and '.join(given) or 'none'}"
            )
        if self.edges and any(one >= other for one, other in pairwise(self.edges)):
            raise ValueError(f"edges: expected ascending numbers, got {self.edges}")
        if unknown := [name for name in self.options if name not in self.own_levels]:
            known = some(list(self.own_levels))
            raise ValueError(f"options: expected one of the levels {known}, got {unknown[0]!r}")
        keys = [_key(each) for each in self.own_levels]
        if len({*keys}) < len(keys):
            raise ValueError(f"levels: expected each level once, got {self.levels}")
        return self

    @property
    def own_levels(self) -> tuple[str, ...]:
        """The levels, without groups of those who did not answer."""
        if self.levels is not None:
            return tuple(self.levels)
        if self.scale is not None:
            return SCALES[self.scale]
        edges = self.edges or []
        bins = [
            f"{one}-{other - 1}" if other - one > 1 else f"{one}" for one, other in pairwise(edges)
        ]
        return (*bins, f"{edges[-1]}+")

    def attribute(self, name: str) -> Attribute:
        """The attribute with all of its levels."""
        shown = [NOT_SAID] * (self.when_not_said == "group")
        shown += [NO_ANSWER] * (self.when_missing == "group")
        return Attribute(name, (*self.own_levels, *shown))


def _key(text: str) -> str:
    return comparable(text).casefold()


def _forms(answer: str) -> list[str]:
    """An answer as it stands, and without the number of an option."""
    match = _NUMBERED.fullmatch(answer)
    return [answer, match[1].strip()] if match else [answer]


class AnswerReader:
    """Reads the answers for one attribute, and counts what they were."""

    def __init__(self, name: str, answers: Answers, texts: Collection[str] = ()) -> None:
        """Know an attribute; `texts` are the column's cells, which show how it writes numbers."""
        self._answers = answers
        self.attribute = answers.attribute(name)
        self._levels = LevelReader(
            name,
            answers.own_levels,
            binned=answers.edges is not None,
            any_case=True,
            texts=[each for text in texts for each in self._parts(text)] or ("0.5",),
        )
        self._finer = {
            _key(each): level for level, finer in answers.options.items() for each in finer
        }
        self._not_said = {_key(each) for each in answers.not_said}
        self._ignored = {_key(each) for each in answers.ignored}
        self._seen: Counter[str] = Counter()
        self._dropped = 0

    def _parts(self, text: str) -> list[str]:
        """The single answers of a cell."""
        text = text.strip()
        if not self._answers.several:
            return [text]
        if text.startswith("[") and text.endswith("]") and len(text) <= _LONGEST:
            try:
                listed = ast.literal_eval(text)
            except (ValueError, SyntaxError, MemoryError, RecursionError):
                listed = text[1:-1].split(",")
            return [str(each).strip() for each in listed]
        return [part.strip() for part in _SEPARATORS.split(text)]

    def read(self, text: str) -> str:
        """The levels that a cell means, joined by `SEVERAL`; what is none, where it means none."""
        parts = [part for part in self._parts(text) if part and not self._is_ignored(part)]
        read = [self._level(part) for part in parts]
        levels = dict.fromkeys(level for level in read if level in self._answers.own_levels)
        if levels:
            self._dropped += len(levels) < len({*read})
            return SEVERAL.join(levels)
        if NOT_SAID in read or not parts:
            kind = NOT_SAID if parts else NO_ANSWER
            self._seen[kind] += 1
            return kind if kind in self.attribute.levels or parts else ""
        return text

    def _is_ignored(self, part: str) -> bool:
        return any(_key(each) in self._ignored for each in _forms(part))

    def _level(self, part: str) -> str:
        for each in _forms(part):
            key = _key(each)
            if key in self._not_said:
                return NOT_SAID
            if key in self._finer:
                return self._finer[key]
            if self._answers.scale and (step := _STEP.fullmatch(key)):
                number = _ROMAN.get(step[1]) or (int(step[1]) if step[1].isdecimal() else 0)
                if 0 < number <= len(self._answers.own_levels):
                    return self._answers.own_levels[number - 1]
            if (level := self._levels.read(each)) in self._answers.own_levels:
                return level
        return part

    def problem(self, label: str, n_rows: int) -> tuple[str, str]:
        """Why a cell means no level: a short class to count by, and the detail."""
        name = self.attribute.name
        if label == NOT_SAID:
            return "prefers not to say", f"{name}: the person prefers not to say"
        return self._levels.problem(label, n_rows)

    @property
    def levels(self) -> Sequence[str]:
        """All levels that a face may count in."""
        return self.attribute.levels

    def notices(self) -> Iterator[str]:
        """What was changed, and which answers were not counted, with counts."""
        yield from self._levels.notices()
        if self._dropped:
            yield (
                f"{self.attribute.name}: {self._dropped} images have further answers that are no "
                "declared level; they count in their declared ones"
            )

    def record(self) -> AttributeRecord:
        """How the answers were read, for the report."""
        answers = self._answers
        form: Literal["several levels", "number in bins", "one level"] = "one level"
        if answers.several or answers.edges is not None:
            form = "several levels" if answers.several else "number in bins"
        effects = {"leave out": _LEAVE_OUT, "group": _SHOW}
        return AttributeRecord(
            name=self.attribute.name,
            levels=self.attribute.levels,
            form=form,
            is_ordered=answers.ordered or answers.levels is None,
            scale=(answers.scale or "").capitalize(),
            options={level: tuple(finer) for level, finer in answers.options.items()},
            withheld=self._seen[NOT_SAID],
            when_withheld=effects[answers.when_not_said],
            missing=self._seen[NO_ANSWER],
            when_missing=effects[answers.when_missing],
        )


def among(known: Iterable[str]) -> AfterValidator:
    """Checks that names are those of a source's attributes, and drops repeated ones."""
    every = tuple(known)

    def checked(names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            if name not in every:
                raise ValueError(unknown_name(name, every, noun="attribute"))
        return tuple(dict.fromkeys(names))

    return AfterValidator(checked)
