"""What people answer: several levels, numbers, steps of a scale, finer options, or no answer."""

from __future__ import annotations

import ast
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Annotated, Final, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from bias_audit.config.catalog import unknown_name
from bias_audit.config.schema import Strict
from bias_audit.data.identities import canonical_identity, is_placeholder
from bias_audit.data.labels import LevelReader
from bias_audit.data.texts import comparable
from bias_audit.errors import DataError, some
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
_STEPS = {
    "fitzpatrick": re.compile(
        r"(?:fitzpatrick|fst|skin|photo|type?|scale|[\s:-])*([ivx]+|\d{1,2})(?:[.,]0+)?\.?"
    ),
    "monk": re.compile(r"(?:monk|mst|skin|tone|scale|[\s:-])*(\d{1,2})(?:[.,]0+)?\.?"),
}
"""How a step is written. Neither reads the other scale's words or Roman numerals."""
_NUMBERED = re.compile(r"\d{1,3}\.\s+(.*)", re.DOTALL)
"""An option of a form with its number: "3. Wavy"."""
_COLOUR = re.compile(r"(?:rgb)?[\[(]?(\d{1,3})[\s,;]+(\d{1,3})[\s,;]+(\d{1,3})[\])]?")
_HEX = re.compile(r"#?([0-9a-f]{2})([0-9a-f]{2})([0-9a-f]{2})")
_DECLINES = re.compile(
    r"(?:i|we)?(?:would|d)?(?:(?:prefer|choose|wish|want|rather)(?:s|red)?not|"
    r"do(?:es)?no?t(?:wish|want|like))(?:to)?"
    r"(?:say|answer|disclose|state|specify|respond|reply|share|tell)|"
    r"(?:declin|refus)(?:e|es|ed)(?:to[a-z]+)?|(?:not|un)disclosed|withheld|keineangabe|"
    r"möchte(?:ich)?nicht(?:sagen|angeben)|prefiero?no(?:decir(?:lo)?|responder|contestar)|"
    r"(?:je)?préfèrenepas(?:répondre|(?:le)?dire)|prefiro?não(?:responder|dizer|informar)|"
    r"preferisconon(?:rispondere|dirlo|specificare)|zegiklieverniet|"
    r"предпочитаюне(?:отвечать|говорить)|belirtmekistemiyorum|不愿透露|不願透露|"
    r"回答しない|答えたくない|응답거부|أفضلعدمالإجابة"
)
"""How people decline to answer, letters alone."""
_SEPARATORS = ";|"
_BETWEEN_KNOWN = re.compile(r"[,/&+]|\b(?:and|und|et|y)\b", re.IGNORECASE)
"""What separates answers as well, where all of them are known."""
_LONGEST = 10_000
_LEAVE_OUT, _SHOW = "left out of the audit", "shown as a group"
Policy = Literal["leave out", "group"]
_Answer = Annotated[str, Field(coerce_numbers_to_str=True)]


class Answers(Strict):
    """How the answers for one attribute are written, and what they count as."""

    column: str | None = Field(
        default=None, description="Column of the answers; default: the attribute's name."
    )
    levels: list[str] | None = Field(
        default=None, min_length=1, description="All levels in order; or give edges or scale."
    )
    edges: list[Annotated[int, Field(ge=0, lt=10**9)]] | None = Field(
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
        description="A face counts in each of its answers: a cell is a list in brackets, or "
        "separates them by ; or |, or a face has several rows.",
    )
    options: dict[str, list[_Answer]] = Field(
        default={},
        description="Finer answers that count as a level, such as the subregions of a region, by "
        "level.",
    )
    not_said: list[_Answer] = Field(
        default=[],
        description="Answers by which people decline to answer, such as 99, beside 'prefer not to "
        "say' and its like.",
    )
    ignored: list[_Answer] = Field(
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
        shown = self.attribute("").levels
        keys = [_key(each) for each in shown]
        if len({*keys}) < len(keys):
            raise ValueError(f"levels: expected each level once, got {', '.join(shown)}")
        found: dict[str, str] = {}
        for answer, meaning in self.meanings:
            if found.setdefault(_key(answer), meaning) != meaning:
                raise ValueError(f"expected {answer!r} to mean one thing; it is listed twice")
        return self

    @property
    def meanings(self) -> Iterator[tuple[str, str]]:
        """The answers that the config names, each with its level, or what else it means."""
        yield from ((answer, NOT_SAID) for answer in self.not_said)
        yield from ((answer, "") for answer in self.ignored)
        yield from ((level, level) for level in self.own_levels)
        for level, finer in self.options.items():
            yield from ((answer, level) for answer in finer)

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
    """Without case and underscores; a colour as its three numbers."""
    plain = " ".join(comparable(text).casefold().replace("_", " ").split())
    if match := _COLOUR.fullmatch(plain):
        return " ".join(match.groups())
    if match := _HEX.fullmatch(plain):
        return " ".join(str(int(each, 16)) for each in match.groups())
    return plain


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
            texts=texts or ("0.5",),
        )
        self._named = {_key(answer): meaning for answer, meaning in answers.meanings}
        marked = [comparable(a) for a, _ in answers.meanings if {*a} & {*_SEPARATORS}]
        whole = "".join(rf"{re.escape(a)}(?=\s*[{_SEPARATORS}]|$)|" for a in sorted(marked)[::-1])
        self._part = re.compile(rf"{whole}[^{_SEPARATORS}]+", re.IGNORECASE)
        self._known: dict[str, str | None] = {}
        self._dropped = 0

    def _parts(self, text: str) -> list[str]:
        """The answers in a cell: the whole cell, a list, or what stands between separators."""
        if self._meaning(text) is not None:
            return [text]
        if text[:1] + text[-1:] not in {"[]", "()", "{}"} or len(text) > _LONGEST:
            parts = self._part.findall(comparable(text))
            among = _BETWEEN_KNOWN.split(text)
            return among if len(parts) == 1 and None not in map(self._meaning, among) else parts
        try:
            listed = ast.literal_eval(text)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            listed = [each.strip(" '\"") for each in text[1:-1].split(",")]
        return [str(each) for each in listed] if isinstance(listed, list | tuple | set) else [text]

    def read(self, text: str) -> str:
        """The levels that a cell means, joined by `SEVERAL`; what is none, where it means none."""
        parts = self._parts(text.strip())
        if len(parts) > 1 and not self._answers.several:
            return text
        for part in parts:
            self._levels.read(part)  # counts what is not written as declared
        means = {self._meaning(part) for part in parts}
        levels = [level for level in self._answers.own_levels if level in means]
        if levels:
            self._dropped += bool(means & {None, NOT_SAID})
            return SEVERAL.join(levels)
        if NOT_SAID in means:
            return NOT_SAID
        if None in means:
            return text
        return NO_ANSWER if NO_ANSWER in self.attribute.levels else ""

    def _meaning(self, text: str) -> str | None:
        """A level, `NOT_SAID`, nothing for no answer; None where it is not known."""
        if text not in self._known:
            self._known[text] = self._found(text)
        return self._known[text]

    def _found(self, text: str) -> str | None:
        numbered = _NUMBERED.fullmatch(text.strip())
        forms = [text, numbered[1]] if numbered else [text]
        for form in forms:
            key = _key(form)
            if key in self._named:
                return self._named[key]
            if (step := self._step(key)) is not None:
                return step
            if (level := self._levels.meaning(form)[0]) in self._answers.own_levels:
                return level
        if _DECLINES.fullmatch("".join(filter(str.isalpha, _key(forms[-1])))):
            return NOT_SAID
        # "none" is often an answer, that there are none
        is_none = _key(text) != "none" and is_placeholder(canonical_identity(text))
        return "" if is_none else None

    def _step(self, key: str) -> str | None:
        """The step of the scale.

        Raises:
            DataError: It counts from 0, or 0 is a code, which would shift every step.
        """
        scale = self._answers.scale
        match = _STEPS[scale].fullmatch(key) if scale else None
        if match is None:
            return None
        number = int(match[1]) if match[1].isdecimal() else _ROMAN.get(match[1], -1)
        if number == 0:
            raise DataError(
                f"{self.attribute.name}: expected steps of the scale {scale} from 1 on, got 0; if "
                "the file counts from 0, declare levels: ['0', '1', ...] and ordered: true in "
                "place of scale; if 0 is a code for no answer, ignored: ['0']"
            )
        own = self._answers.own_levels
        return own[number - 1] if 0 < number <= len(own) else None

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

    def record(self, withheld: int, missing: int) -> AttributeRecord:
        """How the answers were read, with the images without one, for the report."""
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
            withheld=withheld,
            when_withheld=effects[answers.when_not_said],
            missing=missing,
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
