"""Groups over several attributes arranged in rows and columns."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bias_audit.groups import Attribute, Group

Levels = tuple[str, ...]


@dataclass(frozen=True)
class Grid:
    """Every combination of some attributes by every combination of the others."""

    row_attributes: tuple[Attribute, ...]
    column_attributes: tuple[Attribute, ...]
    places: dict[tuple[Levels, Levels], int]
    """Index of the group by the levels of its row and of its column."""

    @property
    def rows(self) -> tuple[Levels, ...]:
        """Levels of each row."""
        return _combinations(self.row_attributes)

    @property
    def columns(self) -> tuple[Levels, ...]:
        """Levels of each column."""
        return _combinations(self.column_attributes)


def grid_by_columns(groups: Sequence[Group], columns: Sequence[str]) -> Grid | None:
    """Arrange groups with the named attributes as columns.

    Returns:
        None where the groups are not all combinations of their attributes.
    """
    attributes = _attributes_of(groups)
    if math.prod(len(attribute.levels) for attribute in attributes) != len(groups):
        return None
    across = tuple(attribute for attribute in attributes if attribute.name in columns)
    down = tuple(attribute for attribute in attributes if attribute.name not in columns)
    places = {}
    for index, group in enumerate(groups):
        levels = dict(group.levels)
        if set(levels) != {attribute.name for attribute in attributes}:
            return None
        row = tuple(levels[attribute.name] for attribute in down)
        column = tuple(levels[attribute.name] for attribute in across)
        places[row, column] = index
    return Grid(down, across, places) if len(places) == len(groups) else None


def column_choices(groups: Sequence[Group]) -> Iterator[tuple[str, ...]]:
    """Every way to put some, but not all, attributes into columns; all for a single one."""
    names = [attribute.name for attribute in _attributes_of(groups)]
    if len(names) == 1:
        yield tuple(names)
    for size in range(1, len(names)):
        yield from itertools.combinations(names, size)


def trailing_columns(attributes: Sequence[Attribute], most: int) -> tuple[str, ...]:
    """The last attributes, as many as span at most `most` columns, but never all of them."""
    chosen: list[str] = []
    width = 1
    for attribute in reversed(attributes[1:]):
        width *= len(attribute.levels)
        if width > most:
            break
        chosen.insert(0, attribute.name)
    return tuple(chosen)


def _attributes_of(groups: Sequence[Group]) -> tuple[Attribute, ...]:
    levels: dict[str, dict[str, None]] = {}
    for group in groups:
        for name, level in group.levels:
            levels.setdefault(name, {})[level] = None
    return tuple(Attribute(name, tuple(found)) for name, found in levels.items())


def _combinations(attributes: Sequence[Attribute]) -> tuple[Levels, ...]:
    return tuple(itertools.product(*(attribute.levels for attribute in attributes)))
