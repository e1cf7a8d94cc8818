"""Which groups' sums may leave the private cache."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bias_audit.analyses.small_groups import (
    REMAINDER,
    independent_images,
    reasons_shown,
    treat,
    without_remainders,
)
from bias_audit.arrays import IntArray
from bias_audit.config.schema import SmallGroups
from bias_audit.data.faces import Faces
from bias_audit.groups import EVERYONE, Attribute, Group
from bias_audit.results.blocks import GroupLedger

ALL: int = 0
"""Place of the group of all images."""


@dataclass(frozen=True)
class ShownGroups:
    """All images, then the levels of some attributes."""

    groups: tuple[Group, ...]
    attributes: tuple[str, ...]
    """Of each group; empty for all images."""
    member: npt.NDArray[np.bool_]
    """Shape (n_images, n_groups)."""
    independent: tuple[int, ...]
    """Images of each group, those of one cluster counted once."""
    reasons: tuple[str | None, ...]
    """Why a group is not shown; None where it is."""
    ledgers: tuple[GroupLedger, ...]
    """One for each attribute with groups that are not shown."""

    def of(self, attribute: str) -> tuple[int, ...]:
        """Places of an attribute's levels."""
        return tuple(i for i, name in enumerate(self.attributes) if name == attribute)

    def is_shown(self, place: int) -> bool:
        """Whether a group's numbers and map may be printed."""
        return self.reasons[place] is None


def shown_groups(
    faces: Faces, images: IntArray, attributes: Sequence[str], policy: SmallGroups
) -> ShownGroups:
    """Decide which groups of some images are shown: a mean of few could show a face.

    Further groups are left out until none of fewer images than the minimum follows from all images
    and the groups of its attribute, nor one below `suppress_below` from those of all attributes:
    an intersection may have few images here, because not all images are attributed.

    Args:
        faces: The audit's faces.
        images: Those that are attributed, shape (n,).
        attributes: Names of the attributes whose levels are groups.
        policy: Its minimum decides, whatever else it says.
    """
    groups, names = [EVERYONE], [""]
    member = [np.ones(len(images), dtype=np.bool_)]
    clusters = faces.clusters[images]
    independent = [len(np.unique(clusters))]
    reasons: list[str | None] = [None]
    ledgers = []
    strict = policy.model_copy(update={"policy": "suppress"})
    for column, attribute in enumerate(faces.table.attributes):
        if attribute.name not in attributes:
            continue
        codes = faces.table.codes[images, column]
        counts = independent_images(codes, clusters, len(attribute.levels))
        levels = _levels(attribute)
        title = f"Groups of {attribute.name} without a map"
        treated = treat(levels, counts, strict, title=title)
        groups += levels
        names += [attribute.name] * len(levels)
        member += [codes == level for level in range(len(levels))]
        independent += counts.tolist()
        reasons += reasons_shown(treated, codes, clusters, policy.minimum)
        if treated.ledger.entries:
            ledgers.append(treated.ledger)
    members, is_shown = np.stack(member, axis=1), np.array([why is None for why in reasons])
    together = without_remainders(members[:, 1:], is_shown[1:], clusters, policy.suppress_below)
    for place in np.flatnonzero(is_shown[1:] & ~together) + 1:
        reasons[place] = REMAINDER
    return ShownGroups(
        tuple(groups),
        tuple(names),
        members,
        tuple(independent),
        tuple(reasons),
        tuple(ledgers),
    )


def _levels(attribute: Attribute) -> list[Group]:
    return [Group(((attribute.name, level),)) for level in attribute.levels]
