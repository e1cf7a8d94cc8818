"""Attributes, their declared levels, and the groups they span."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bias_audit.arrays import IntArray


@dataclass(frozen=True)
class Attribute:
    """A property annotated for every face, with the levels it may take.

    Levels are declared, not observed: a level no face has stays visible as an empty group.
    """

    name: str
    """Such as "age"."""
    levels: tuple[str, ...]
    """In their natural order, such as ("0-2", "3-9", ...)."""


@dataclass(frozen=True)
class Group:
    """Faces that share one level of each of one or more attributes."""

    levels: tuple[tuple[str, str], ...]
    """(attribute, level) pairs in the order of the attributes; several make an intersection."""

    @property
    def label(self) -> str:
        """The levels joined for a reader, such as "20-29 / Black / Female"."""
        return " / ".join(level for _, level in self.levels)


INTERSECTION = "intersection"
"""Names all attributes at once, where one attribute could be named."""
EVERYONE = Group((("images", "all images"),))
"""Stands for a group where a number is about all images."""


def intersections(attributes: Sequence[Attribute]) -> tuple[Group, ...]:
    """All cells over the attributes, empty ones included, the last attribute varying fastest.

    The position of a group in the result is its code, see `intersection_codes`.
    """
    names = [attribute.name for attribute in attributes]
    combos = itertools.product(*(attribute.levels for attribute in attributes))
    return tuple(Group(tuple(zip(names, combo, strict=True))) for combo in combos)


def intersection_codes(codes: IntArray, attributes: Sequence[Attribute]) -> IntArray:
    """Number the cell of each image as `intersections` orders them.

    Args:
        codes: Level index per image and attribute, shape (n_images, n_attributes).
        attributes: The attributes in the order of the columns.

    Returns:
        Cell index per image, shape (n_images,).
    """
    shape = tuple(len(attribute.levels) for attribute in attributes)
    flat = np.ravel_multi_index(tuple(codes.T), shape)
    return np.asarray(flat, dtype=np.int64)


def changed_attributes(one: Group, other: Group) -> tuple[str, ...]:
    """Names of the attributes in which two groups over the same attributes differ."""
    return tuple(
        name
        for (name, level), (_, level_2) in zip(one.levels, other.levels, strict=True)
        if level != level_2
    )
