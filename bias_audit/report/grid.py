"""Groups over several attributes arranged in blocks, rows and columns."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from bias_audit.groups import Attribute, Group

Levels = tuple[str, ...]


@dataclass(frozen=True)
class Grid:
    """Every combination of levels: blocks side by side, each with the same rows and columns."""

    blocks: tuple[Attribute, ...]
    """The attributes with the fewest levels; none for one or two attributes."""
    rows: tuple[Attribute, ...]
    """The attribute with the second most levels; none for a single attribute."""
    columns: Attribute
    """The attribute with the most levels."""
    places: dict[tuple[Levels, Levels, str], int]
    """Index of the group by the levels of its block and row, and the level of its column."""

    @property
    def block_levels(self) -> tuple[Levels, ...]:
        """Levels of each block; one empty tuple where there is a single block."""
        return _combinations(self.blocks)

    @property
    def row_levels(self) -> tuple[Levels, ...]:
        """Levels of each row; one empty tuple where there is a single row."""
        return _combinations(self.rows)


def arranged(groups: Sequence[Group]) -> Grid | None:
    """Arrange groups; an attribute with more levels than another lies further in.

    Of attributes with as many levels the one declared first lies further in.

    Returns:
        None where the groups are not all combinations of their attributes.
    """
    attributes = _attributes_of(groups)
    if not groups or math.prod(len(each.levels) for each in attributes) != len(groups):
        return None
    inner = sorted(attributes, key=lambda each: -len(each.levels))
    columns, rows = inner[0], tuple(inner[1:2])
    blocks = tuple(each for each in attributes if each not in inner[:2])
    places = {}
    for index, group in enumerate(groups):
        levels = dict(group.levels)
        if set(levels) != {attribute.name for attribute in attributes}:
            return None
        block, row = (tuple(levels[each.name] for each in part) for part in (blocks, rows))
        places[block, row, levels[columns.name]] = index
    return Grid(blocks, rows, columns, places) if len(places) == len(groups) else None


def _attributes_of(groups: Sequence[Group]) -> tuple[Attribute, ...]:
    levels: dict[str, dict[str, None]] = {}
    for group in groups:
        for name, level in group.levels:
            levels.setdefault(name, {})[level] = None
    return tuple(Attribute(name, tuple(found)) for name, found in levels.items())


def _combinations(attributes: Sequence[Attribute]) -> tuple[Levels, ...]:
    return tuple(itertools.product(*(attribute.levels for attribute in attributes)))
