"""The groups for which votes are told, and what each voter gets there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from bias_audit.analyses.ensembling.voters import MEASURES, Mask, Rated, Voters
from bias_audit.analyses.small_groups import independent_images, reasons_shown, treat
from bias_audit.arrays import IntArray
from bias_audit.config.schema import SmallGroups
from bias_audit.data.faces import Faces
from bias_audit.groups import Group, intersections
from bias_audit.results.blocks import GroupLedger

Grid = tuple[tuple[Rated | None, ...], ...]


@dataclass(frozen=True)
class Asked:
    """One group, with every measure of every voter."""

    group: Group
    n: int
    """Independent images."""
    found: Grid
    """By voter, then by measure."""
    reasons: tuple[str | None, ...] = field(default=(None,) * len(MEASURES))
    """Why a measure has no value, by measure."""


def asked_groups(
    voters: Voters, faces: Faces, names: Sequence[str], policy: SmallGroups
) -> tuple[tuple[Asked, ...], tuple[GroupLedger, ...]]:
    """Every level of some attributes, small ones without values.

    So many are left out that none follows from all images and the other levels. Macro F1 within
    a group needs as many images of every level voted on. Within a level of the target itself it
    would rest on that level alone; there it is the F1 of that level against all others, over all
    images (of an intersection: the mean over its cells).

    Args:
        voters: Of one target.
        faces: The audit's faces.
        names: Of the attributes.
        policy: Its minimum decides, whatever else it says.
    """
    asked: list[Asked] = []
    ledgers = []
    strict = policy.model_copy(update={"policy": "suppress"})
    clusters = faces.clusters[voters.images]
    for column, attribute in enumerate(faces.table.attributes):
        if attribute.name not in names:
            continue
        codes = faces.table.codes[voters.images, column]
        groups = intersections([attribute])
        counts = independent_images(codes, clusters, len(groups)).tolist()
        title = f"Small groups: votes on {voters.target.described} by {attribute.name}"
        treated = treat(groups, counts, strict, title=title)
        ledgers += [treated.ledger] if treated.ledger.entries else []
        reasons = reasons_shown(treated, codes, clusters, policy.minimum)
        left_out = voters.ballots[0].scores.part.reasons
        if attribute.name == voters.target.name:
            reasons = [left_out.get(level, why) for level, why in enumerate(reasons)]
        asked += _levels(voters, (groups, codes, counts, reasons), clusters, policy.minimum)
    return tuple(asked), tuple(ledgers)


def _levels(
    voters: Voters,
    attribute: tuple[Sequence[Group], IntArray, Sequence[int], Sequence[str | None]],
    clusters: IntArray,
    minimum: int,
) -> Iterator[Asked]:
    groups, codes, counts, reasons = attribute
    nothing: Grid = tuple((None,) * len(MEASURES) for _ in voters.names)
    for level, (group, n, why) in enumerate(zip(groups, counts, reasons, strict=True)):
        if why is not None:
            yield Asked(group, n, nothing, (why,) * len(MEASURES))
            continue
        chosen = codes == level
        own = _own_levels(voters, group)
        few = None if own else _too_few(voters, chosen, clusters, minimum)
        yield Asked(group, n, _found(voters, chosen, own, few), (None, few))


def _found(voters: Voters, chosen: Mask, own: Sequence[int], few: str | None) -> Grid:
    everything = np.ones(len(chosen), dtype=np.bool_)
    every_level = range(len(voters.levels))

    def macro(voter: int) -> Rated | None:
        if own:
            return voters.macro(voter, own, everything)
        return None if few else voters.macro(voter, every_level, chosen)

    return tuple((voters.micro(voter, chosen), macro(voter)) for voter in range(len(voters.names)))


def _own_levels(voters: Voters, group: Group) -> list[int]:
    """The target's levels that a group consists of; none where it is of another attribute."""
    kept = [voters.target.groups[index] for index in voters.levels.tolist()]
    return [place for place, level in enumerate(kept) if set(group.levels) <= set(level.levels)]


def _too_few(voters: Voters, chosen: Mask, clusters: IntArray, minimum: int) -> str | None:
    """Why macro F1 is not told in a group: a level has too few images there."""
    counts = independent_images(voters.codes[chosen], clusters[chosen], len(voters.levels))
    place = int(counts.argmin())
    if counts[place] >= minimum:
        return None
    label = voters.target.groups[voters.levels[place]].label
    return f"{int(counts[place])} independent images of {label} here, fewer than {minimum}"
