"""What is done about groups of few images: decided once, alike for every analysis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from bias_audit.config.schema import SmallGroups
from bias_audit.groups import Group, IntArray
from bias_audit.results.blocks import GroupLedger, GroupLedgerEntry


@dataclass(frozen=True)
class Treatment:
    """What an analysis does with one group."""

    action: Literal["as_is", "shrunk", "suppressed", "pooled"]
    """"as_is": the value is printed. "shrunk": the value is printed with its interval and flagged,
    and the shrunk one beside it is the one to read. "suppressed": no value; `reason` says why.
    "pooled": no value of its own; its images count in the pooled group."""
    reason: str | None = None
    """Why, for `GroupRow.reason` and the ledger; None for "as_is"."""

    @property
    def is_measured(self) -> bool:
        """Whether the group has a value of its own."""
        return self.action in {"as_is", "shrunk"}


@dataclass(frozen=True)
class PooledGroup:
    """All small groups, measured together."""

    group: Group
    members: tuple[int, ...]
    """Indices of the groups it joins."""
    n: int
    """Independent images."""
    reason: str | None
    """Why it has no value; None where it has one."""


@dataclass(frozen=True)
class Treatments:
    """What is done with each of the groups, in their order."""

    by_group: tuple[Treatment, ...]
    pooled: PooledGroup | None
    ledger: GroupLedger


def independent_images(codes: IntArray, clusters: IntArray, n_groups: int) -> IntArray:
    """Images per group, those of one cluster counted once.

    Args:
        codes: Group per image, shape (n_images,).
        clusters: Cluster per image (one person, or near duplicates), shape (n_images,).
        n_groups: Declared groups.

    Returns:
        Shape (n_groups,).
    """
    pairs = np.unique(np.stack([codes, clusters], axis=1), axis=0)
    return np.bincount(pairs[:, 0], minlength=n_groups).astype(np.int64)


def treat(
    groups: Sequence[Group], counts: Sequence[int] | IntArray, policy: SmallGroups, *, title: str
) -> Treatments:
    """Decide what is done with every group, and write it down.

    Args:
        groups: The declared groups.
        counts: Independent images of each, see `independent_images`. A pooled group counts the
            sum: a person seen in two groups (annotated differently) counts in each.
        policy: Of the config.
        title: Of the ledger.

    Raises:
        ValueError: There is not one count per group.
    """
    numbers = [int(n) for n in counts]
    if len(numbers) != len(groups):
        raise ValueError(f"expected {len(groups)} counts, one per group, got {len(numbers)}")
    by_group = tuple(_treatment(n, policy) for n in numbers)
    pooled = _pooled(by_group, numbers, policy)
    entries = tuple(
        _entry(group, n, treatment, pooled)
        for group, n, treatment in zip(groups, numbers, by_group, strict=True)
        if treatment.action != "as_is"
    )
    ledger = GroupLedger(
        detail=False, title=title, n_groups=len(groups), rule=_rule(policy), entries=entries
    )
    return Treatments(by_group, pooled, ledger)


def without_remainders(
    reasons: Sequence[str | None], counts: Sequence[int], minimum: int
) -> list[str | None]:
    """Leave out further groups until what is left out is large enough to hide in.

    Where a number about all images is printed as well, that of a single group left out would
    follow from it and the groups that are shown.

    Args:
        reasons: Why a group is left out, None where it is shown.
        counts: Independent images of every group.
        minimum: That the groups left out must have together.
    """
    found = list(reasons)
    while 0 < sum(n for n, why in zip(counts, found, strict=True) if why) < minimum:
        shown = [i for i, why in enumerate(found) if why is None]
        if not shown:
            break
        smallest = min(shown, key=lambda i: counts[i])
        found[smallest] = "suppressed, since all images less this group would show a smaller one"
    return found


def _treatment(n: int, policy: SmallGroups) -> Treatment:
    if n >= policy.minimum:
        return Treatment("as_is")
    if n == 0:
        return Treatment("suppressed", "no images")
    found = f"{n} independent image{'s' if n != 1 else ''}"
    if policy.policy == "pool":
        return Treatment("pooled", f"{found}, fewer than {policy.minimum}: pooled")
    if n < policy.suppress_below:
        return Treatment("suppressed", f"{found}, fewer than {policy.suppress_below}: suppressed")
    if policy.policy == "suppress":
        return Treatment("suppressed", f"{found}, fewer than {policy.minimum}: suppressed")
    return Treatment("shrunk", f"{found}, fewer than {policy.minimum}: read the shrunk value")


def _pooled(
    by_group: Sequence[Treatment], counts: Sequence[int], policy: SmallGroups
) -> PooledGroup | None:
    members = tuple(i for i, treatment in enumerate(by_group) if treatment.action == "pooled")
    if not members:
        return None
    n = sum(counts[i] for i in members)
    label = f"all groups with fewer than {policy.minimum} images"
    few = f"{n} independent images in all, fewer than {policy.suppress_below}: suppressed"
    reason = few if n < policy.suppress_below else None
    return PooledGroup(Group((("group", label),)), members, n, reason)


_EFFECTS = {
    "shrunk": "printed with its interval and flagged; the shrunk value beside it is to be read",
    "suppressed": "no value; it is in no mean, minimum, maximum or gap over groups",
    "pooled": "no value of its own; its images count in the pooled group",
}


def _entry(
    group: Group, n: int, treatment: Treatment, pooled: PooledGroup | None
) -> GroupLedgerEntry:
    action = treatment.action
    if action == "as_is" or treatment.reason is None:
        raise ValueError(f"{group.label}: expected a treatment to record, got {treatment}")
    effect = _EFFECTS[action]
    if action == "pooled" and pooled is not None and pooled.reason is not None:
        effect = "no value of its own; the pooled group has too few images for one either"
    return GroupLedgerEntry(
        group=group, n=n, action=action, reason=treatment.reason, effect=effect
    )


def _rule(policy: SmallGroups) -> str:
    small = f"groups of fewer than {policy.minimum} independent images"
    never = f"no value is printed that rests on fewer than {policy.suppress_below}"
    told = {
        "shrink": f"{small} are flagged, with a shrunk value beside their own",
        "suppress": f"{small} get no value",
        "pool": f"{small} are measured together as one group",
    }
    return (
        f"{told[policy.policy]}; {never}. Images of one person, and near duplicates, count once."
    )
