"""Which groups are compared on difference maps, and with which images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from pydantic import Field

from bias_audit.analyses.mapping.labellings import TwoGroups
from bias_audit.arrays import Float32Array, IntArray
from bias_audit.config.catalog import unknown_name
from bias_audit.config.schema import Strict
from bias_audit.data.faces import Faces
from bias_audit.groups import Attribute
from bias_audit.statistics.multiplicity import draws_needed


class LevelPair(Strict):
    """Two levels of one attribute."""

    attribute: str
    levels: tuple[str, str]


class Differences(Strict):
    """Which difference maps are drawn, and how they are tested."""

    pairs: tuple[LevelPair, ...] = Field(
        default=(), description="Pairs of groups to compare, besides every group against the rest."
    )
    test: Literal["clusters", "max_t", "none"] = Field(
        default="clusters",
        description="Regions of neighbouring units on half of the images, every unit by itself on "
        "all of them, or nothing.",
    )
    permutations: int | None = Field(
        default=None,
        ge=19,
        le=100_000,
        description="Default: as many as the maps of a layer need, at least 999.",
    )
    unit_p: float = Field(
        default=0.01,
        gt=0,
        lt=0.5,
        description="A unit joins a region when its own two-sided p is at most this, and",
    )
    smallest_effect: float = Field(
        default=0.2,
        ge=0,
        description="its difference at least this, in standard deviations within strata.",
    )
    regions_listed: int = Field(default=3, ge=1, le=50, description="Per map, strongest first.")

    @property
    def named(self) -> tuple[tuple[str, str, str], ...]:
        """(attribute, level, other level)."""
        return tuple((pair.attribute, *pair.levels) for pair in self.pairs)


@dataclass(frozen=True)
class Comparison:
    """One level of an attribute against another, or against all others."""

    attribute: str
    one: str
    other: str | None
    """A level; None: all others of the attribute."""


def comparisons(
    attributes: Sequence[Attribute], named: Sequence[tuple[str, str, str]]
) -> tuple[Comparison, ...]:
    """Every level against the rest of its attribute, then the pairs named.

    An attribute of two levels gives one comparison, of one against the other.
    """
    found: list[Comparison] = []
    for attribute in attributes:
        name, levels = attribute.name, attribute.levels
        if len(levels) == 2:  # noqa: PLR2004
            found.append(Comparison(name, *levels))
        elif len(levels) > 2:  # noqa: PLR2004
            found += [Comparison(name, level, None) for level in levels]
    found += [Comparison(*entry) for entry in named]
    return tuple(dict.fromkeys(found))


def unknown_levels(
    attributes: Sequence[Attribute], named: Sequence[tuple[str, str, str]]
) -> tuple[str, ...]:
    """A message for every name that is no attribute or none of its levels."""
    known = {attribute.name: attribute.levels for attribute in attributes}
    problems = []
    for name, one, other in named:
        if name not in known:
            problems.append(unknown_name(name, list(known), noun="attribute"))
            continue
        problems += [
            unknown_name(level, list(known[name]), noun=f"level of {name}")
            for level in (one, other)
            if level not in known[name]
        ]
        if one == other:
            problems.append(f"differences.pairs: expected two levels of {name}, got {one} twice")
    return tuple(problems)


def too_few_permutations(
    settings: Differences, alpha: float, attributes: Sequence[Attribute]
) -> tuple[str, ...]:
    """A message if so few permutations can reject no single map under Holm."""
    if settings.permutations is None or settings.test == "none":
        return ()
    n_maps = len(comparisons(attributes, settings.named))
    needed = draws_needed(n_maps, alpha=alpha, method="holm")
    if settings.permutations >= needed:
        return ()
    return (
        f"differences.permutations: {settings.permutations} permutations cannot make any of "
        f"{n_maps} difference maps significant under Holm at {alpha:g}; at least {needed} are "
        "needed, and leaving the key out gives enough",
    )


def two_groups(
    faces: Faces,
    units: Float32Array,
    comparison: Comparison,
    images: IntArray,
    *,
    device: str = "cpu",
) -> TwoGroups | str:
    """The images of a comparison, in strata, or why there are none.

    Strata are the combinations of the other attributes' levels. Those without images of both
    groups say nothing about the difference and are left out, so that a difference of one attribute
    is not one of how the others are composed. `images` are those that may be used; `device` is as
    of `TwoGroups`.
    """
    table = faces.table
    names = [attribute.name for attribute in table.attributes]
    column = names.index(comparison.attribute)
    levels = table.attributes[column].levels
    own = table.codes[images, column]
    is_one = own == levels.index(comparison.one)
    is_other = ~is_one
    if comparison.other is not None:
        is_other = own == levels.index(comparison.other)
    said = comparison.other or f"levels other than {comparison.one}"
    for level, members in ((comparison.one, is_one), (said, is_other)):
        if not members.any():
            return f"no images of {level}"
    kept = np.flatnonzero(is_one | is_other)
    rest = np.delete(table.codes[images[kept]], column, axis=1)
    strata = np.unique(rest, axis=0, return_inverse=True)[1].reshape(-1)
    shares = np.bincount(strata, weights=is_one[kept]) / np.bincount(strata)
    mixed = ((shares > 0) & (shares < 1))[strata]
    if not mixed.any():
        return "no images that are alike in the other attributes"
    kept, strata = kept[mixed], np.unique(strata[mixed], return_inverse=True)[1]
    clusters = faces.clusters[images[kept]]
    return TwoGroups(units, images[kept], is_one[kept], strata.astype(np.int64), clusters, device)
