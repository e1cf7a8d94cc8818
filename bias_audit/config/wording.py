"""What is wrong with a config, in words that its writer knows; no word of the library's own."""

from __future__ import annotations

import datetime
import difflib
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from bias_audit.config.catalog import LONGEST, MOST_NAMES, shortened, unknown_name

Location = tuple[str | int, ...]
"""Keys, and places in lists, from the outside in."""
Problem = tuple[Location, str]
"""Where something is wrong, and what."""
MISSING: Final = "missing; this key is required"
_PATTERNS: Final = {
    r"\S": "text that is not blank",
    r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$": "a name of at most 64 letters, digits, dots, hyphens "
    "and underscores, a letter or digit first",
    r"^[a-z][a-z0-9_]*$": "a name of small letters, digits and underscores, a letter first",
}
_EXPECTED: Final[dict[str, str | Callable[[dict[str, Any]], str]]] = {
    "greater_than": lambda limits: f"a number greater than {limits['gt']:g}",
    "greater_than_equal": lambda limits: f"a number of at least {limits['ge']:g}",
    "less_than": lambda limits: f"a number less than {limits['lt']:g}",
    "less_than_equal": lambda limits: f"a number of at most {limits['le']:g}",
    "multiple_of": lambda limits: f"a multiple of {limits['multiple_of']:g}",
    "finite_number": "a finite number",
    "too_short": lambda limits: f"at least {_entries(limits['min_length'])}",
    "too_long": lambda limits: f"at most {_entries(limits['max_length'])}",
    "string_unicode": "text",
    "string_too_short": lambda limits: f"text of at least {_characters(limits['min_length'])}",
    "string_too_long": lambda limits: f"text of at most {_characters(limits['max_length'])}",
    "string_pattern_mismatch": lambda limits: _PATTERNS.get(
        limits["pattern"], f"text of the form {limits['pattern']}"
    ),
    "literal_error": lambda limits: _few(limits["expected"]),
    "enum": lambda limits: _few(limits["expected"]),
    "none_required": "nothing",
    "path_type": "a path",
    "int_from_float": "a whole number",
    "invalid_key": "text as a key",
}
_NO_SPACE: Final = re.compile(r"([a-z_]+):([^\s/\\].*)")
_LISTS: Final = ("list", "tuple", "set", "frozen", "iterable", "deque")
_KINDS: Final = {
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
"""By the first word of a kind of error, such as "int_parsing"."""
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


@dataclass(frozen=True)
class _Fault:
    location: Location
    union: Location | None
    """Where one of several forms was tried, which the value does not have."""
    value: Any
    detail: ErrorDetails


def problems_of(error: ValidationError, data: Any, model: type[BaseModel]) -> Iterator[Problem]:
    """Every problem that validation found, each once and in plain words.

    Args:
        error: What validation raised.
        data: What was validated.
        model: What it was to become.
    """
    faults = [_placed(detail, data) for detail in error.errors(include_url=False)]
    seen: set[Location] = set()
    for fault in filter(_is_fault, faults):
        if fault.union is None:
            yield fault.location, _message(fault, model)
        elif fault.union not in seen:
            seen.add(fault.union)
            yield from _union_problems([f for f in faults if f.union == fault.union], model)


def faults_of(error: ValidationError, data: Any) -> Iterator[tuple[str, Location]]:
    """The library's own name of every fault, and its place in the data."""
    for detail in error.errors(include_url=False):
        yield detail["type"], _placed(detail, data).location


def shown(value: Any) -> str:
    """A value as a message shows it, never longer than a line."""
    if isinstance(value, dict):
        return "a section of keys" if value else "an empty section"
    if isinstance(value, list | tuple):
        entries = [shown(each) for each in value[:LONGEST]]
        line = f"[{', '.join(entries)}]"
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


def either(texts: Sequence[str]) -> str:
    """Such as "a, b or c"."""
    *some, last = dict.fromkeys(texts)
    return f"{', '.join(some)} or {last}" if some else last


def own_words(error: Exception) -> str:
    """The message of one of our validators, with no value longer than a line in it."""
    message = str(error).replace(".;", ";")
    message = message[:1].lower() + message[1:]
    message = _TYPE_IN_BRACKETS.sub(lambda found: f"({_TYPES[found[1]]})", message)
    message = "".join(char if char.isprintable() else " " for char in message)
    return _LONG_QUOTE.sub(
        lambda found: found["open"] + shortened(found["held"][: LONGEST + 1]), message
    )


def _placed(detail: ErrorDetails, data: Any) -> _Fault:
    """Keep of a location what stands in the config; the rest names forms that were tried."""
    location: Location = ()
    union: Location | None = None
    value = data
    for part in detail["loc"]:
        is_key = isinstance(value, dict) and part in value
        is_place = isinstance(value, list | tuple) and isinstance(part, int) and part < len(value)
        if is_key or is_place:
            location, value = (*location, part), value[part]
        elif detail["type"] == "missing" and isinstance(value, dict) and part == detail["loc"][-1]:
            location, value = (*location, part), None
        elif not (part == "[key]" or detail["type"] == "missing") and union is None:
            union = location
    return _Fault(location, union, value, detail)


def _is_fault(fault: _Fault) -> bool:
    """Whether a list is too short by itself, not for the entries in it that are wrong."""
    if fault.detail["type"] != "too_short" or not isinstance(fault.value, list | dict | tuple):
        return True
    return len(fault.value) < int(fault.detail["ctx"]["min_length"])


def _union_problems(faults: Sequence[_Fault], model: type[BaseModel]) -> Iterator[Problem]:
    """What is wrong within the form that a value has; if it has none, which forms there are."""
    inner = [fault for fault in faults if fault.location != fault.union]
    if inner:
        yield from ((fault.location, _message(fault, model)) for fault in inner)
        return
    own = [fault for fault in faults if fault.detail["type"] == "value_error"]
    if own:
        yield own[0].location, _message(own[0], model)
        return
    first = faults[0]
    forms = either([form for f in faults for form in _expected(f.detail).split(" or ")])
    yield first.location, f"expected {forms}, got {shown(first.value)}"


def _message(fault: _Fault, model: type[BaseModel]) -> str:
    detail, kind = fault.detail, fault.detail["type"]
    if kind == "extra_forbidden":
        known = keys_at(model, fault.location[:-1])
        return unknown_name(str(fault.location[-1]), known, noun="key")
    if kind == "missing":
        place = detail["loc"][-1]
        if isinstance(place, int):
            return f"expected at least {_entries(place + 1)}, got {shown(fault.value)}"
        return MISSING
    if kind in {"value_error", "assertion_error"}:
        message = own_words(detail["ctx"]["error"])
        is_said = " got " in message or isinstance(fault.value, dict | list | tuple)
        return message if is_said else f"{message}; got {shown(fault.value)}"
    return f"expected {_expected(detail)}, got {shown(fault.value)}{_hint(fault, model)}"


def _hint(fault: _Fault, model: type[BaseModel]) -> str:
    """The nearest name of a choice, or how a single value is written as what was expected."""
    kind = fault.detail["type"].partition("_")[0]
    if isinstance(fault.value, str) and (mistyped := _NO_SPACE.fullmatch(fault.value)):
        return (
            f"; write a space after the colon: {shortened(mistyped[1])}: {shortened(mistyped[2])}"
        )
    if kind == "model" or kind in _LISTS:
        return _written(kind, fault, model)
    if fault.detail["type"] != "literal_error" or not isinstance(fault.value, str):
        return ""
    names = re.findall(r"'([^']*)'", fault.detail["ctx"]["expected"])
    near = difflib.get_close_matches(fault.value, names, n=1, cutoff=0.5)
    return f"; did you mean {near[0]!r}?" if near else ""


def _written(kind: str, fault: _Fault, model: type[BaseModel]) -> str:
    """How a section or a list is written, by what stands in its place."""
    value, is_section = fault.value, kind == "model"
    if isinstance(value, list) and is_section and value and isinstance(value[0], dict):
        return "; leave out the hyphen before its first key"
    if isinstance(value, dict) and not is_section and value:
        return "; begin each of its entries with a hyphen"
    if isinstance(value, str | int | float) and not is_section:
        return f"; write [{shortened(str(value))}]"
    if isinstance(value, str) and "kind" in keys_at(model, fault.location):
        name = shortened(value)
        is_entry = isinstance(fault.location[-1], int)
        return f"; write - kind: {name}" if is_entry else f"; write {{kind: {name}}}"
    return ""


def _expected(detail: ErrorDetails) -> str:
    kind = detail["type"]
    if kind in {"value_error", "assertion_error"}:
        return own_words(detail["ctx"]["error"]).removeprefix("expected ")
    known = _EXPECTED.get(kind)
    if known is None:
        known = _KINDS.get(kind.rpartition("_")[0]) or _KINDS.get(kind.partition("_")[0])
    if known is None:
        return "another value"
    return known if isinstance(known, str) else known(detail.get("ctx", {}))


def _few(names: str) -> str:
    """At most five of the names that a choice has, which come as "'a', 'b' or 'c'"."""
    known = names.replace(" or ", ", ").split(", ")
    return names if len(known) <= MOST_NAMES else f"one of {', '.join(known[:MOST_NAMES])}, ..."


def _entries(count: int) -> str:
    return f"{count} {'entry' if count == 1 else 'entries'}"


def _characters(count: int) -> str:
    return f"{count} character{'' if count == 1 else 's'}"


def keys_at(model: type[BaseModel], location: Location) -> list[str]:
    """Keys of the (nested) model that a location leads to."""
    current: Any = model
    for part in location:
        current = _without_none(current)
        if isinstance(part, int):
            current = next(iter(get_args(current)), None)
            continue
        fields = getattr(current, "model_fields", {})
        if part in fields:
            current = fields[part].annotation
    return list(getattr(_without_none(current), "model_fields", {}))


def _without_none(annotation: Any) -> Any:
    """The type of a section that may be left out."""
    if type(None) not in get_args(annotation):
        return annotation
    return next(kind for kind in get_args(annotation) if kind is not type(None))
