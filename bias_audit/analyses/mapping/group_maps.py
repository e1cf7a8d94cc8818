"""Maps of groups over one layout: levels, pairs of attributes, and all intersections."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from scipy.cluster.hierarchy import leaves_list, linkage, optimal_leaf_ordering
from scipy.spatial.distance import pdist

from bias_audit.analyses.analysis import Subject
from bias_audit.analyses.mapping.main_effects import Shares
from bias_audit.analyses.mapping.profiles import Profiles, profiles
from bias_audit.analyses.mapping.raster import rasters
from bias_audit.analyses.targets import INTERSECTION, Target, targets_of
from bias_audit.analyses.wording import coverage, decided_at, percent_interval
from bias_audit.arrays import FloatArray
from bias_audit.groups import Attribute, intersection_codes, intersections
from bias_audit.results.blocks import AttributeShare, Block, EarlierMap, Finding, UnitMap
from bias_audit.statistics.coverage import interval_at
from bias_audit.statistics.sureness import sureness_above

_LIMIT_QUANTILE = 0.99


@dataclass(frozen=True)
class Plane:
    """Where the units of a layer lie."""

    layer: str
    number: int
    """Of the layer, among those drawn."""
    layout: str
    """How units were placed."""
    positions: FloatArray
    """Shape (n_units, 2), in [0, 1]."""
    n_silent: int

    @property
    def key(self) -> str:
        """Under which the positions are stored."""
        return f"layer{self.number}-positions"


@dataclass(frozen=True)
class Drawn:
    """Blocks of one layer, with their arrays."""

    blocks: tuple[Block, ...]
    arrays: Mapping[str, npt.NDArray[Any]]
    findings: tuple[Finding, ...] = field(default=())


def group_maps(
    subject: Subject,
    plane: Plane,
    *,
    order: Literal["declared", "dendrogram"],
    shares: Shares | None,
    earlier: EarlierMap | None = None,
    limit: float | None = None,
) -> Drawn:
    """Maps of the levels of every attribute, of every pair of attributes, and of intersections.

    Args:
        subject: Whose profiles are drawn.
        plane: The layout.
        order: Of the levels of each attribute.
        shares: Of the attributes; None where they could not be measured.
        earlier: Beside which the layout was laid.
        limit: Of the colour scale; default: from the maps themselves.
    """
    table = subject.faces.table
    attributes = tuple(table.attributes)
    if order == "dendrogram":
        attributes = tuple(_by_likeness(subject, plane.layer, a) for a in attributes)

    def of(*chosen: Attribute) -> Profiles:
        return profiles(subject, plane.layer, _target(subject, chosen))

    kinds: list[tuple[str, str, list[Profiles]]] = [
        ("marginal", "Levels of every attribute", [of(attribute) for attribute in attributes])
    ]
    if len(attributes) > 2:  # noqa: PLR2004
        for i, j in itertools.combinations(range(len(attributes)), 2):
            pair = attributes[i], attributes[j]
            title = f"{pair[0].name.capitalize()} x {pair[1].name}"
            kinds.append((f"pair{i}x{j}", title, [of(*pair)]))
    if len(attributes) > 1:
        kinds.append(("intersections", "All intersections", [of(*attributes)]))
    own_limit = colour_limit([part for _, _, parts in kinds for part in parts])
    blocks: list[UnitMap] = []
    arrays: dict[str, npt.NDArray[Any]] = {}
    for kind, title, parts in kinds:
        block, values = map_block(plane, kind, title, parts, limit or own_limit)
        if kind == "marginal":
            block = _with_notes(block, shares, earlier, own_limit)
        blocks.append(block.model_copy(update={"detail": kind != "marginal"}))
        arrays |= values
    return Drawn(tuple(blocks), arrays)


def _with_notes(
    block: UnitMap, shares: Shares | None, earlier: EarlierMap | None, own_limit: float
) -> UnitMap:
    """What is said once, beside the first maps of a layer."""
    beside = earlier and earlier.model_copy(update={"own_limit": own_limit})
    told = () if shares is None else _told(shares)
    return block.model_copy(update={"shares": told, "earlier": beside})


def share_findings(layer: str, shares: Shares | None, *, alpha: float) -> tuple[Finding, ...]:
    """Which attribute moves the maps most; said only if its lead is above 0 at rate `alpha`."""
    if shares is None or (found := shares.lead()) is None:
        return ()
    first, second, lead = found
    level = lead.level
    estimates = dict(zip(shares.attributes, shares.estimates, strict=True))
    parts = ", ".join(
        f"{name} {percent_interval(estimate)}"
        for name, estimate in sorted(estimates.items(), key=lambda entry: -entry[1].value)
    )
    one, other = shares.attributes[first], shares.attributes[second]
    surely = interval_at(lead, 1 - alpha)[0]
    rate = decided_at(alpha, level)
    if surely > 0:
        said = (
            f"At {layer}, maps differ most by annotated {one}. Share of the variance of the "
            f"profiles of intersections that each attribute's main effect explains: {parts} "
            f"({coverage(level)}s); {one} exceeds {other} by {100 * lead.lower:.1f} to "
            f"{100 * lead.upper:.1f} percentage points{rate}."
        )
    else:
        said = (
            f"At {layer}, no attribute clearly moves the maps most. Share of the variance of the "
            f"profiles of intersections that each attribute's main effect explains: {parts} "
            f"({coverage(level)}s); the lead of {one} over {other} is within its interval{rate}."
        )
    return (Finding(text=said, weight=sureness_above(lead.value, surely), estimates=estimates),)


def _told(shares: Shares) -> tuple[AttributeShare, ...]:
    return tuple(
        AttributeShare(attribute=name, share=estimate)
        for name, estimate in zip(shares.attributes, shares.estimates, strict=True)
    )


def _target(subject: Subject, chosen: Sequence[Attribute]) -> Target:
    """The combinations of some attributes, whose levels may be in another order."""
    table = subject.faces.table
    names = [attribute.name for attribute in table.attributes]
    columns = []
    for attribute in chosen:
        column = names.index(attribute.name)
        place = [attribute.levels.index(level) for level in table.attributes[column].levels]
        columns.append(np.array(place, dtype=np.int64)[table.codes[:, column]])
    codes = intersection_codes(np.stack(columns, axis=1), chosen)
    name = chosen[0].name if len(chosen) == 1 else INTERSECTION
    return Target(name, intersections(chosen), codes)


def _by_likeness(subject: Subject, layer: str, attribute: Attribute) -> Attribute:
    """Levels in the order of a dendrogram of their profiles, empty ones last."""
    (target,) = targets_of(subject.faces.table, [attribute.name])
    found = profiles(subject, layer, target)
    present = np.flatnonzero(found.counts > 0)
    ranked = present[leaf_order(found.contrasts[present])]
    empty = np.flatnonzero(found.counts == 0)
    return Attribute(
        attribute.name, tuple(attribute.levels[i] for i in (*ranked.tolist(), *empty.tolist()))
    )


def leaf_order(contrasts: FloatArray) -> npt.NDArray[np.int64]:
    """Order of a dendrogram's leaves in which neighbours are as alike as it allows.

    Average linkage of correlation distances, optimal leaf order (Bar-Joseph et al. 2001).

    Args:
        contrasts: Profiles, shape (n_groups, n_units).

    Returns:
        Shape (n_groups,).
    """
    if len(contrasts) < 3:  # noqa: PLR2004
        return np.arange(len(contrasts), dtype=np.int64)
    with np.errstate(invalid="ignore", divide="ignore"):
        distances = np.nan_to_num(pdist(contrasts, "correlation"), nan=1.0)
    tree = optimal_leaf_ordering(linkage(distances, "average"), distances)
    return np.asarray(leaves_list(tree), dtype=np.int64)


def map_block(
    plane: Plane, kind: str, title: str, parts: Sequence[Profiles], limit: float
) -> tuple[UnitMap, dict[str, npt.NDArray[Any]]]:
    """Maps of some profiles on a layout, with their arrays.

    Args:
        plane: The layout.
        kind: For the keys of the arrays.
        title: Up to the name of the layer.
        parts: Each less the mean over its own groups.
        limit: Of the colour scale.
    """
    values = np.concatenate([part.contrasts for part in parts])
    keys = f"layer{plane.number}-{kind}-values", f"layer{plane.number}-{kind}-rasters"
    block = UnitMap(
        title=f"{title} at {plane.layer}",
        layer=plane.layer,
        layout=plane.layout,
        n_units=values.shape[1],
        n_silent=plane.n_silent,
        groups=tuple(group for part in parts for group in part.groups),
        counts=tuple(int(n) for part in parts for n in part.counts),
        limit=limit,
        positions=plane.key,
        values=keys[0],
        rasters=keys[1],
    )
    return block, {
        keys[0]: values.astype(np.float32),
        keys[1]: rasters(plane.positions, values),
    }


def colour_limit(parts: Sequence[Profiles]) -> float:
    """One colour limit for all groups of a layer: few units saturate, most are seen."""
    sizes = np.concatenate([np.abs(part.contrasts[part.counts > 0]).ravel() for part in parts])
    limit = float(np.quantile(sizes, _LIMIT_QUANTILE))
    return limit if limit > 0 else float(sizes.max())
