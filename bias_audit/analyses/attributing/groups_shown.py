"""Which groups' sums may leave the private cache."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bias_audit.analyses.small_groups import independent_images, treat
from bias_audit.config.schema import SmallGroups
from bias_audit.data.faces import Faces
from bias_audit.groups import EVERYONE, Attribute, Group, IntArray
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

    Where the groups left out have, together, fewer images than the minimum, the smallest one that
    would be shown is left out as well: what is missing from the sum of all would tell theirs.

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
        why = [None if t.is_measured else t.reason for t in treated.by_group]
        groups += levels
        names += [attribute.name] * len(levels)
        member += [codes == level for level in range(len(levels))]
        independent += counts.tolist()
        reasons += _without_remainders(why, counts.tolist(), policy.minimum)
        if treated.ledger.entries:
            ledgers.append(treated.ledger)
    return ShownGroups(
        tuple(groups),
        tuple(names),
        np.stack(member, axis=1),
        tuple(independent),
        tuple(reasons),
        tuple(ledgers),
    )


def _levels(attribute: Attribute) -> list[Group]:
    return [Group(((attribute.name, level),)) for level in attribute.levels]


def _without_remainders(
    reasons: list[str | None], counts: list[int], minimum: int
) -> list[str | None]:
    """Leave out further groups until what is left out is large enough to hide in."""
    found = list(reasons)
    while 0 < sum(n for n, why in zip(counts, found, strict=True) if why) < minimum:
        shown = [i for i, why in enumerate(found) if why is None]
        if not shown:
            break
        smallest = min(shown, key=lambda i: counts[i])
        found[smallest] = "suppressed, since all images less this group would show a smaller one"
    return found
