"""A section with whatever is wrong in it replaced, so that the rest can be looked at as well.

Validation stops early: what keys say about each other is looked at once each key is valid by
itself. So every key that is wrong is given another value, and the section is validated again,
until nothing new comes. This is done twice, with different values; what is said both times does
not rest on them.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

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
