"""The groups for which votes are told, and what each voter gets there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from bias_audit.analyses.ensembling.voters import MACRO, MEASURES, MICRO, Mask, Voters
from bias_audit.analyses.small_groups import Treatments, independent_images, treat
from bias_audit.config.schema import SmallGroups
from bias_audit.data.faces import Faces
from bias_audit.groups import Group, intersections
from bias_audit.results.blocks import GroupLedger
from bias_audit.statistics.inference import Measured

Grid = tuple[tuple[Measured | None, ...], ...]


@dataclass(frozen=True)
class Asked:
    """One group, with every measure of every voter."""

    group: Group
    n: int
    """Independent images."""
    found: Grid
    """By voter, then by measure."""
    reason: str | None


def asked_groups(
    voters: Voters, faces: Faces, names: Sequence[str], policy: SmallGroups
) -> tuple[tuple[Asked, ...], tuple[GroupLedger, ...]]:
    """Every level of some attributes, small ones without values.

    Within a level of the target itself, macro F1 would rest on one level; there it is the F1 of
    that level against all others, over all images.

    Args:
        voters: Of one target.
        faces: The audit's faces.
        names: Of the attributes.
        policy: Its minimum decides, whatever else it says.
    """
    asked: list[Asked] = []
    ledgers = []
    strict = policy.model_copy(update={"policy": "suppress"})
    for column, attribute in enumerate(faces.table.attributes):
        if attribute.name not in names:
            continue
        codes = faces.table.codes[voters.images, column]
        groups = intersections([attribute])
        clusters = faces.clusters[voters.images]
        counts = independent_images(codes, clusters, len(groups))
        title = f"Small groups: votes on {voters.target.described} by {attribute.name}"
        treated = treat(groups, counts, strict, title=title)
        ledgers += [treated.ledger] if treated.ledger.entries else []
        asked += _levels(voters, groups, codes, treated, counts.tolist())
    return tuple(asked), tuple(ledgers)


def _levels(
    voters: Voters,
    groups: Sequence[Group],
    codes: np.ndarray[tuple[int, ...], np.dtype[np.int64]],
    treated: Treatments,
    counts: Sequence[int],
) -> Iterator[Asked]:
    for level, group in enumerate(groups):
        treatment = treated.by_group[level]
        nothing: Grid = tuple((None,) * len(MEASURES) for _ in voters.names)
        found = _found(voters, group, codes == level) if treatment.is_measured else nothing
        yield Asked(group, counts[level], found, treatment.reason)


def _found(voters: Voters, group: Group, chosen: Mask) -> Grid:
    own = _own_level(voters, group)
    return tuple(
        (
            voters.measured(voter, MICRO, chosen),
            voters.measured(voter, MACRO, chosen) if own is None else voters.of_level(voter, own),
        )
        for voter in range(len(voters.names))
    )


def _own_level(voters: Voters, group: Group) -> int | None:
    """The level of the target that a group is; None where it is one of another attribute."""
    kept = [voters.target.groups[index] for index in voters.levels.tolist()]
    return kept.index(group) if group in kept else None
