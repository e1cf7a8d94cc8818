"""What is done about groups of few images: decided once, alike for every analysis."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from bias_audit.arrays import IntArray
from bias_audit.config.schema import SmallGroups
from bias_audit.data.faces import Exclusion, Faces
from bias_audit.errors import DataError
from bias_audit.groups import Group, intersections
from bias_audit.shapes.group_ledger import GroupLedger, GroupLedgerEntry

Mask = npt.NDArray[np.bool_]

_ROUNDING = 1e-9


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
    """Images per group, those of one cluster counted once, shape (n_groups,).

    Group (-1: none) and cluster (one person, or near duplicates) are by image, (n_images,).
    """
    own = codes >= 0
    pairs = np.unique(np.stack([codes[own], clusters[own]], axis=1), axis=0)
    return np.bincount(pairs[:, 0], minlength=n_groups).astype(np.int64)


def treat(
    groups: Sequence[Group], counts: Sequence[int] | IntArray, policy: SmallGroups, *, title: str
) -> Treatments:
    """Decide what is done with every group, and write it down in a ledger of that title.

    Counts are those of `independent_images`. A pooled group counts the sum: a person seen in two
    groups (annotated differently) counts in each.

    Raises:
        ValueError: There is not one count per group.
    """
    numbers = [int(n) for n in counts]
    if len(numbers) != len(groups):
        raise ValueError(f"expected {len(groups)} counts, one per group, got {len(numbers)}")
    by_group = tuple(_treatment(n, policy) for n in numbers)
    members = tuple(i for i, treatment in enumerate(by_group) if treatment.action == "pooled")
    pooled, of_pooled = None, "no value of its own; its images count in the pooled group"
    if members:
        total, why = sum(numbers[i] for i in members), None
        if total < policy.suppress_below:
            why = f"{total} independent images in all, fewer than {policy.suppress_below}"
            why += ": suppressed"
            of_pooled = "no value of its own; the pooled group has too few images for one either"
        label = f"all groups with fewer than {policy.minimum} images"
        pooled = PooledGroup(Group((("group", label),)), members, total, why)
    effects = {
        "shrunk": "printed with its interval and flagged; read the stabilised value beside it",
        "suppressed": "no value; it is in no mean, minimum, maximum or gap over groups",
        "pooled": of_pooled,
    }
    entries = tuple(
        GroupLedgerEntry(
            group=group,
            n=n,
            action=treatment.action,
            reason=treatment.reason,
            effect=effects[treatment.action],
        )
        for group, n, treatment in zip(groups, numbers, by_group, strict=True)
        if treatment.action != "as_is" and treatment.reason is not None
    )
    small = f"groups of fewer than {policy.minimum} independent images"
    rules = {
        "shrink": f"{small} are flagged, with a stabilised value beside their own",
        "suppress": f"{small} get no value",
        "pool": f"{small} are measured together as one group",
    }
    rule = (
        f"{rules[policy.policy]}; no value is printed that rests on fewer than "
        f"{policy.suppress_below}. Images of one person, and near duplicates, count once."
    )
    ledger = GroupLedger(
        detail=False, title=title, n_groups=len(groups), rule=rule, entries=entries
    )
    return Treatments(by_group, pooled, ledger)


def suppress(
    groups: Sequence[Group], counts: Sequence[int] | IntArray, policy: SmallGroups, *, title: str
) -> Treatments:
    """`treat` where the minimum decides, whatever else the policy says: nothing is shrunk."""
    return treat(groups, counts, policy.model_copy(update={"policy": "suppress"}), title=title)


REMAINDER = "suppressed: the value of a few images would follow from it and the groups shown"


@dataclass(frozen=True)
class Levels:
    """The levels of one attribute among some images."""

    attribute: str
    groups: tuple[Group, ...]
    codes: IntArray
    """Level per image, shape (n_images,)."""
    counts: IntArray
    """Independent images of each level."""
    reasons: tuple[str | None, ...]
    """Why a level has no value; None where it has one."""
    ledgers: tuple[GroupLedger, ...]
    """Of the small ones; empty without any."""


def levels_shown(
    faces: Faces,
    images: IntArray,
    names: Collection[str],
    policy: SmallGroups,
    title: Callable[[str], str],
) -> Iterator[Levels]:
    """Decide which levels of the attributes named have a value.

    Small ones have none, nor those from which, and from all images, a smaller one would follow.
    `title` is that of an attribute's ledger.
    """
    clusters = faces.clusters[images]
    for column, attribute in enumerate(faces.table.attributes):
        if attribute.name not in names:
            continue
        codes, groups = faces.table.codes[images, column], intersections([attribute])
        counts = independent_images(codes, clusters, len(groups))
        treated = suppress(groups, counts, policy, title=title(attribute.name))
        shown = without_remainders(
            codes[:, None] == np.arange(len(groups)),
            np.array([each.is_measured for each in treated.by_group]),
            clusters,
            policy.minimum,
        )
        reasons = tuple(
            REMAINDER if each.is_measured and not is_shown else each.reason
            for each, is_shown in zip(treated.by_group, shown, strict=True)
        )
        ledgers = (treated.ledger,) if treated.ledger.entries else ()
        yield Levels(attribute.name, tuple(groups), codes, counts, reasons, ledgers)


def without_remainders(
    member: Mask, shown: Mask, clusters: IntArray, fewest: int, *, known: Mask | None = None
) -> Mask:
    """Leave out further groups until no combination of what is shown rests on few images.

    Sums over groups can be subtracted: all images less those of the groups shown are the rest. A
    combination with weights w of the images is w = D b, where the columns of D say which images
    are in which group. Its largest weight is at most the root of h times that of the sum of
    w squared, where h is the largest diagonal element of D (D' D)^+ D', the leverage (Hoaglin &
    Welsch 1978). With m images in it, that sum is at most m times the largest weight squared; so m
    is at least 1 / h, and of whole numbers at least `fewest` where h < 1 / (fewest - 1). Images of
    a cluster count once: h is then the largest eigenvalue of a cluster's block.

    `member` says whether an image is in a group, (n_images, n_groups), `shown` which groups are
    large enough by themselves, (n_groups,), as does the result; combinations must rest on `fewest`
    independent images. `known` says whether an image is in a group that is shown in any case,
    (n_images, n); default: in that of all images.
    """
    known = np.ones((len(member), 1), dtype=np.bool_) if known is None else known
    found = shown.copy()
    while fewest > 1 and found.any():
        design = np.hstack([known, member[:, found]])
        leverage, combination = _strongest(design, clusters)
        if leverage < 1 / (fewest - 1) - _ROUNDING:
            break
        # The smallest of the groups without which the image would not stand out so.
        parts = np.abs(combination[known.shape[1] :])
        groups = np.flatnonzero(found)[parts >= parts.max() / 2]
        found[groups[member[:, groups].sum(axis=0).argmin()]] = False
    return found


def _strongest(design: Mask, clusters: IntArray) -> tuple[float, npt.NDArray[np.float64]]:
    """The largest leverage of a cluster, and the combination in which its image has it."""
    rows = np.unique(np.column_stack([clusters, design]), axis=0)
    values = rows[:, 1:].astype(np.float64)
    inverse = np.linalg.pinv(values.T @ values, rcond=_ROUNDING, hermitian=True)
    _, starts, sizes = np.unique(rows[:, 0], return_index=True, return_counts=True)
    leverages = np.einsum("ij,jk,ik->i", values, inverse, values, optimize=True)[starts]
    for place in np.flatnonzero(sizes > 1).tolist():
        own = values[starts[place] : starts[place] + sizes[place]]
        leverages[place] = np.linalg.norm(own @ inverse @ own.T, 2)
    place = int(leverages.argmax())
    return float(leverages[place]), inverse @ values[starts[place]]


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
    return Treatment("shrunk", f"{found}, fewer than {policy.minimum}: read the stabilised value")


def small_intersections(faces: Faces, fewest: int) -> IntArray:
    """Intersections that have images, but fewer than `fewest` independent ones, ascending."""
    counts = independent_images(faces.table.cells, faces.clusters, faces.table.n_cells)
    return np.flatnonzero((counts > 0) & (counts < fewest))


def without_small_intersections(
    faces: Faces, fewest: int, *, people: IntArray | None = None
) -> Faces:
    """The faces without those of small intersections, which the ledger of exclusions counts.

    The ledger names the intersection, not the file: who is shown is not for a run folder. Images
    are counted by `people`, shape (n_images,), or else by the faces' own clusters.

    Raises:
        DataError: No intersection has the fewest independent images that it needs.
    """
    table, clusters = faces.table, faces.clusters if people is None else people
    counts = independent_images(table.cells, clusters, table.n_cells)
    small = (counts > 0) & (counts < fewest)
    is_kept = ~small[table.cells]
    if not is_kept.any():
        raise DataError(
            f"{table.name}: expected an intersection of {fewest} independent images or more, so "
            f"that no number rests on fewer people, got at most {counts.max()}; name fewer "
            "attributes, raise sampling.max_per_intersection, or lower small_groups.suppress_below"
        )
    if not small.any():
        return faces
    kept, n_gone = np.flatnonzero(is_kept), table.n_images - table.n_shown(is_kept)
    gone = {table.references[image].label for image in np.flatnonzero(~is_kept)}
    groups = intersections(table.attributes)
    withheld = [
        Exclusion(
            f"an image of {groups[cell].label}",
            "small intersection",
            f"independent images: {counts[cell]}, fewer than {fewest}",
        )
        for cell in np.sort(table.cells[~is_kept])
    ]
    exclusions = (*(e for e in table.exclusions if e.reference not in gone), *withheld)
    notice = (
        f"images of intersections with fewer than {fewest} independent images are left out, so "
        f"that no number rests on fewer people: {n_gone} of {table.n_images} images, "
        f"{small.sum()} of {table.n_cells} intersections"
    )
    if n_partly := table.n_shown(~is_kept) - n_gone:
        notice += f"; {n_partly} more images count in their other, larger intersections alone"
    used = replace(table.only(kept), exclusions=exclusions, notices=(*table.notices, notice))
    return replace(
        faces,
        table=used,
        clusters=faces.clusters[kept],
        sha256=tuple(faces.sha256[image] for image in kept),
    )
