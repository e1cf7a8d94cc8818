"""Which groups are compared on difference maps, and with which images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bias_audit.analyses.mapping.cluster_permutation import TwoGroups
from bias_audit.arrays import IntArray
from bias_audit.config.catalog import unknown_name
from bias_audit.data.faces import FaceTable
from bias_audit.groups import Attribute
from bias_audit.statistics.multiplicity import adjusted


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

    Args:
        attributes: In their order.
        named: (attribute, level, other level).
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


def two_groups(
    table: FaceTable,
    comparison: Comparison,
    units: npt.NDArray[np.float32],
    clusters: IntArray,
    images: IntArray,
) -> TwoGroups | str:
    """The images of a comparison, in strata: every combination of the other attributes' levels.

    Strata without images of both groups say nothing about the difference and are left out, so
    that a difference of one attribute is not one of how the others are composed.

    Args:
        table: The annotated faces.
        comparison: Of two of its levels.
        units: Activations of all images, shape (n_images, n_units).
        clusters: Cluster of all images, shape (n_images,).
        images: Those that may be used.

    Returns:
        The images, or why there are none.
    """
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
    return TwoGroups(
        units, images[kept], is_one[kept], strata.astype(np.int64), clusters[images[kept]]
    )


def independent(groups: TwoGroups) -> tuple[int, int]:
    """Clusters of images of each group."""
    one, other = (
        len(np.unique(groups.clusters[part])) for part in (groups.labels, ~groups.labels)
    )
    return one, other


@dataclass(frozen=True)
class MapFactor:
    """How the p-values of one map's regions are adjusted for the other maps."""

    factor: int
    """Hypotheses left when Holm's procedure reaches the map."""
    floor: float
    """Adjusted p of the maps before it."""

    def __call__(self, p_value: float) -> float:
        """The adjusted p of a region."""
        return max(self.floor, min(1.0, self.factor * p_value))


def over_maps(p_values: Sequence[float | None]) -> tuple[MapFactor | None, ...]:
    """Holm's procedure over the maps of a layer, for regions within them.

    A region's p-value already allows for the other regions of its map; it is multiplied by the
    factor of its map. That of a map's best region is then Holm's adjusted p of the map.

    Args:
        p_values: Of no difference anywhere on each map; None where it was not tested.
    """
    whole = adjusted(p_values, "holm")
    order = sorted((p, i) for i, p in enumerate(p_values) if p is not None)
    result: list[MapFactor | None] = [None] * len(p_values)
    floor = 0.0
    for rank, (_, index) in enumerate(order):
        result[index] = MapFactor(len(order) - rank, floor)
        floor = whole[index] or floor
    return tuple(result)
