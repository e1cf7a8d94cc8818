"""What is wrong with a section of a config, in words that its writer knows."""

from __future__ import annotations

import copy
import datetime
import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import UnionType
from typing import Any, Final, NamedTuple, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from bias_audit.config.catalog import LONGEST, nearest, shortened, unknown_name
from bias_audit.errors import some

Location = tuple[str | int, ...]
"""Keys, and places in lists, from the outside in."""
Problem = tuple[Location, str]
"""Where something is wrong, and what."""
_FEW: Final = 5
"""Choices that a message lists as they are."""
MISSING: Final = "missing; this key is required"
_PATTERNS: Final = {
    r"\S": "text that is not blank",
    r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$": "a name of at most 64 letters, digits, dots, hyphens "
    "and underscores, a letter or digit first",
    r"^[a-z][a-z0-9_]*$": "a name of small letters, digits and underscores, a letter first",
}
_LISTS: Final = ("list", "tuple", "set", "frozen", "iterable", "deque")
_EXPECTED: Final = {
    "greater_than": "a number greater than {gt:g}",
    "greater_than_equal": "a number of at least {ge:g}",
    "less_than": "a number less than {lt:g}",
    "less_than_equal": "a number of at most {le:g}",
    "multiple_of": "a multiple of {multiple_of:g}",
    "finite_number": "a finite number",
    "too_short": "at least {entries}",
    "too_long": "at most {entries}",
    "string_too_short": "text of at least {characters}",
    "string_too_long": "text of at most {characters}",
    "string_pattern_mismatch": "{form}",
    "literal_error": "{choices}",
    "enum": "{choices}",
    "none_required": "nothing",
    "path_type": "a path",
    "invalid_key": "text as a key",
    "string": "text",
    "int": "a whole number",
    "float": "a number",
    "decimal": "a number",
    "bool": "true or false",
    "date": "a date such as 2024-07-12",
    "datetime": "a date and time such as 2024-07-12 09:30",
    **dict.fromkeys(_LISTS, "a list"),
    **dict.fromkeys(("dict", "mapping", "model", "dataclass"), "a section of keys"),
}
"""By a kind of error, or by its first word, such as "int" for "int_parsing"."""
_TYPES: Final = {
    "NoneType": "nothing",
    "bool": "true or false",
    "int": "a whole number",
    "float": "a number",
    "str": "text",
    "list": "a list",
    "dict": "a section of keys",
    "date": "a date",
    "datetime": "a date and time",
    "bytes": "binary data",
}
"""For messages of validators, which may name the type of a value in brackets."""
_TYPE_IN_BRACKETS = re.compile(rf"\(({'|'.join(_TYPES)})\)")
_LONG_QUOTE = re.compile(rf"(?P<open>['\"\[{{])(?P<held>[^'\"]{{{LONGEST + 1},}}|.{{400,}})", re.S)
_NO_SPACE: Final = re.compile(r"([a-z_]+):([^\s/\\].*)")


def shown(value: Any) -> str:
    """A value as a message shows it, never longer than a line."""
    if isinstance(value, dict):
        return "a section of keys" if value else "an empty section"
    if isinstance(value, list | tuple):
        line = f"[{', '.join(shown(each) for each in value[:LONGEST])}]"
        plain = not any(isinstance(each, dict | list | tuple) for each in value)
        return line if plain and len(line) <= LONGEST else f"a list of {_entries(len(value))}"
    if value is None or isinstance(value, bool):
        return {None: "nothing", True: "true", False: "false"}[value]
    if isinstance(value, bytes | bytearray):
        return "binary data"
    if isinstance(value, datetime.date):
        return value.isoformat()
    return shortened(repr(value if isinstance(value, int | float | str) else str(value)))


def dotted(location: Location) -> str:
    """Such as "backbones.0.layers"."""
    return ".".join(shortened(str(part)) for part in location)


def _entries(count: int) -> str:
    return f"{count} {'entry' if count == 1 else 'entries'}"


class _Fault(NamedTuple):
    """What the library found wrong, with its place in the data."""

    location: Location
    union: Location | None
    """Where one of several forms was tried, which the value does not have."""
    value: Any
    detail: ErrorDetails

    @property
    def kind(self) -> str:
        return self.detail["type"]


def _faults(error: ValidationError, data: Any) -> list[_Fault]:
    """Keep of each location what is in the data; the rest names forms that were tried."""
    found = []
    for detail in error.errors(include_url=False):
        location: Location = ()
        union: Location | None = None
        value, is_missing = data, detail["type"] == "missing"
        for part in detail["loc"]:
            if _holds(value, part):
                location, value = (*location, part), value[part]
            elif is_missing and isinstance(value, dict) and part == detail["loc"][-1]:
                location, value = (*location, part), None
            elif part != "[key]" and not is_missing and union is None:
                union = location
        found.append(_Fault(location, union, value, detail))
    return found


def _holds(data: Any, part: str | int) -> bool:
    if isinstance(data, list | tuple):
        return isinstance(part, int) and part < len(data)
    return isinstance(data, dict) and part in data


def problems_of(error: ValidationError, data: Any, model: type[BaseModel]) -> Iterator[Problem]:
    """Every problem that validation of `data` found, each once and in plain words."""
    faults = _faults(error, data)
    unions: dict[Location, list[_Fault]] = {}
    for fault in faults:
        if fault.union is not None:
            unions.setdefault(fault.union, []).append(fault)
    for fault in faults:
        is_list = fault.kind == "too_short" and isinstance(fault.value, list | dict | tuple)
        if is_list and len(fault.value) >= int(fault.detail["ctx"]["min_length"]):
            continue  # entries in it are wrong, so that they do not count
        if fault.union is None:
            yield fault.location, _message(fault, model)
        elif fault.union in unions:
            yield from _union_problems(unions.pop(fault.union), model)


def _union_problems(forms: Sequence[_Fault], model: type[BaseModel]) -> Iterator[Problem]:
    """What is wrong within the form that a value has; if it has none, which forms there are."""
    inner = [fault for fault in forms if fault.location != fault.union]
    own = [fault for fault in forms if fault.kind == "value_error"][:1]
    if inner or own:
        yield from ((fault.location, _message(fault, model)) for fault in inner or own)
        return
    names = [name for fault in forms for name in _expected(fault.detail).split(" or ")]
    *others, last = dict.fromkeys(names)
    expected = f"{', '.join(others)} or {last}" if others else last
    yield forms[0].location, f"expected {expected}, got {shown(forms[0].value)}"


def _message(fault: _Fault, model: type[BaseModel]) -> str:
    if fault.kind == "extra_forbidden":
        known = keys_at(model, fault.location[:-1])
        return unknown_name(str(fault.location[-1]), known, noun="key")
    if fault.kind == "missing":
        place = fault.detail["loc"][-1]
        if isinstance(place, int):
            return f"expected at least {_entries(place + 1)}, got {shown(fault.value)}"
        return MISSING
    if fault.kind in {"value_error", "assertion_error"}:
        message = _own_words(fault.detail)
        is_said = " got " in message or isinstance(fault.value, dict | list | tuple)
        return message if is_said else f"{message}; got {shown(fault.value)}"
    return f"expected {_expected(fault.detail)}, got {shown(fault.value)}{_hint(fault, model)}"


def _expected(detail: ErrorDetails) -> str:
    kind, limits = detail["type"], detail.get("ctx", {})
    if kind in {"value_error", "assertion_error"}:
        return _own_words(detail).removeprefix("expected ")
    known = (_EXPECTED.get(each) for each in (kind, kind.rpartition("_")[0], kind.split("_")[0]))
    count = limits.get("min_length", limits.get("max_length", 0))
    names = str(limits.get("expected", "")).replace(" or ", ", ").split(", ")
    return next(filter(None, known), "another value").format(
        **limits,
        entries=_entries(count),
        characters=f"{count} character{'' if count == 1 else 's'}",
        form=_PATTERNS.get(limits.get("pattern", ""), f"text of the form {limits.get('pattern')}"),
        choices=limits.get("expected") if len(names) <= _FEW else f"one of {some(names)}",
    )


def _own_words(detail: ErrorDetails) -> str:
    """The message of one of our validators, with no value longer than a line in it."""
    message = str(detail["ctx"]["error"]).replace(".;", ";")
    message = message[:1].lower() + message[1:]
    message = _TYPE_IN_BRACKETS.sub(lambda found: f"({_TYPES[found[1]]})", message)
    message = "".join(char if char.isprintable() else " " for char in message)
    return _LONG_QUOTE.sub(
        lambda found: found["open"] + shortened(found["held"][: LONGEST + 1]), message
    )


def _hint(fault: _Fault, model: type[BaseModel]) -> str:
    """The nearest name of a choice, or how the value is written as what was expected."""
    value, kind, hint = fault.value, fault.kind.partition("_")[0], ""
    if isinstance(value, str) and (mistyped := _NO_SPACE.fullmatch(value)):
        hint = "write a space after the colon: {}: {}".format(*map(shortened, mistyped.groups()))
    elif fault.kind == "literal_error" and isinstance(value, str):
        names = re.findall(r"'([^']*)'", fault.detail["ctx"]["expected"])
        near = difflib.get_close_matches(value, names, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]!r}?" if near else ""
    elif kind in _LISTS and isinstance(value, dict) and value:
        hint = "begin each of its entries with a hyphen"
    elif kind in _LISTS and isinstance(value, str | int | float):
        hint = f"write [{shortened(str(value))}]"
    elif kind == "model" and isinstance(value, list) and value and isinstance(value[0], dict):
        hint = "leave out the hyphen before its first key"
    elif kind == "model" and isinstance(value, str) and "kind" in keys_at(model, fault.location):
        named, is_entry = f"kind: {shortened(value)}", isinstance(fault.location[-1], int)
        hint = f"write - {named}" if is_entry else f"write {{{named}}}"
    return f"; {hint}" if hint else ""


def keys_at(model: type[BaseModel], location: Location) -> list[str]:
    """Keys of the (nested) model that a location leads to."""
    current: Any = model
    for part in (*location, None):
        if get_origin(current) in {Union, UnionType}:  # a section, before what else it may be
            forms = [kind for kind in get_args(current) if kind is not type(None)]
            current = next((kind for kind in forms if hasattr(kind, "model_fields")), forms[0])
        if isinstance(part, int):
            current = next(iter(get_args(current)), None)
        elif part is not None and get_origin(current) is dict:
            current = get_args(current)[1]
        elif part in (fields := getattr(current, "model_fields", {})):
            current = fields[part].annotation
    return list(getattr(current, "model_fields", {}))


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
    """All that is wrong in a section by itself, which is plain data.

    What only shows once wrong values were replaced may come from those that replace them: it has
    to show with other ones, too.
    """
    mended = mend(data, model)
    if len(mended.problems) > len(mend(data, model, most_rounds=1).problems):
        again = mend(data, model, values=(*_OTHERS, _LEFT_OUT)).problems
        yield from (problem for problem in mended.problems if problem in again)
    else:
        yield from mended.problems


def mend(
    data: Any,
    model: type[BaseModel],
    *,
    values: tuple[Any, ...] = (_LEFT_OUT, *_OTHERS),
    most_rounds: int = _MOST_ROUNDS,
) -> Mended:
    """What a section would be without what is wrong in it; its problems may rest on that.

    The `values` stand in for a wrong one, one after the other.
    """
    mended = copy.deepcopy(data)
    tried: dict[Location, Iterator[Any]] = {}
    unknown: set[Location] = set()
    problems: dict[Problem, None] = {}
    for round_ in range(1, most_rounds + 1):
        try:
            value = model.model_validate(mended)
        except ValidationError as error:
            found = [_at_key(mended, each) for each in problems_of(error, mended, model)]
            faults = [(fault.kind, fault.location) for fault in _faults(error, mended)]
            known = {place for _, place in faults}
            faults += [("value_error", place) for place, _ in found if place not in known]
            meant = _meant(mended, faults, model)
            problems |= {
                (place, message): None
                for place, message in found
                if _replaced(place, tried) is None and place not in meant
            }
            if round_ == most_rounds or len(faults) > _MOST_FAULTS:
                break
            for place, misspelt in meant.items():
                section = part_at(mended, place[:-1])
                section[place[-1]] = section.pop(misspelt)
            if not (meant or _mend(mended, faults, tried, unknown, values)):
                break
        else:
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
    values: tuple[Any, ...],
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
        section = part_at(data, place[:-1])
        for value in tried.setdefault(place, iter(values)):
            if value is not _LEFT_OUT:
                section[place[-1]] = copy.deepcopy(value)
            elif not (isinstance(section, dict) and place[-1] in section):
                continue
            else:
                del section[place[-1]]
            changed.add(place)
            break
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
    is_key = colon and isinstance(section, dict) and key in section
    return ((*place, key), rest) if is_key else problem


def _meant(
    data: Any, faults: Sequence[tuple[str, Location]], model: type[BaseModel]
) -> dict[Location, str]:
    """Places that are missing, with the unknown key that must mean each."""
    missing = {place for kind, place in faults if kind == "missing"}
    found: dict[Location, str] = {}
    for kind, place in faults if missing else ():
        if kind == "extra_forbidden" and isinstance(key := place[-1], str):
            near = (*place[:-1], nearest(key, keys_at(model, place[:-1])) or "")
            if near in missing and key in part_at(data, place[:-1]):
                found.setdefault(near, key)
    return found


def entries_of(value: Any) -> Sequence[Any]:
    """The entries of a list; none of what is no list."""
    return value if isinstance(value, list) else ()


def part_at(data: Any, location: Location) -> Any:
    """The value at a place in plain data; None where there is none."""
    for part in location:
        data = data[part] if _holds(data, part) else None
    return data


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
