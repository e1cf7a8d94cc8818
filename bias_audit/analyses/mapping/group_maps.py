"""Maps of groups over one layout: levels, pairs of attributes, and all intersections."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from scipy.cluster.hierarchy import leaves_list, linkage, optimal_leaf_ordering
from scipy.spatial.distance import pdist

from bias_audit.activations.moments import Moments
from bias_audit.analyses.analysis import Outcome, Subject
from bias_audit.analyses.mapping.group_distances import Shares
from bias_audit.analyses.mapping.layout import LayoutSettings, Plane, placed, rasters
from bias_audit.analyses.mapping.profiles import Profiles, halves, moments_of, profiles, signatures
from bias_audit.analyses.targets import INTERSECTION, Target, targets_of
from bias_audit.arrays import FloatArray, IntArray
from bias_audit.data.faces import FaceTable
from bias_audit.groups import Attribute, intersection_codes, intersections
from bias_audit.shapes.unit_map import AttributeShare, EarlierMap, UnitMap

_LIMIT_QUANTILE = 0.99


def plane_of(subject: Subject, layer: str, settings: LayoutSettings) -> Plane:
    """The layout of a layer from half of the images, as topographic maps place its units.

    Raises:
        AnalysisError: There are too few groups or units, or no unit differs between groups.
    """
    table, units = subject.faces.table, subject.activations.units(layer)
    placing = halves(subject.faces, subject.rng("halves")).placing
    half = moments_of(units, table.cells, table.n_cells, placing)
    return placed(layer, 0, signatures(half, table), settings, subject.rng("layout", layer))


def group_maps(
    table: FaceTable,
    moments: Moments,
    plane: Plane,
    *,
    order: Literal["declared", "dendrogram"],
    shares: Shares | None,
    earlier: EarlierMap | None = None,
    limit: float | None = None,
) -> Outcome:
    """Maps of the levels of every attribute, of every pair of attributes, and of intersections.

    `moments` are those of all intersections, `limit` the end of the colour scale (default: from
    the maps), `earlier` what the layout was laid beside.
    """
    attributes = tuple(table.attributes)
    if order == "dendrogram":
        attributes = tuple(_by_likeness(table, moments, attribute) for attribute in attributes)

    def of(*chosen: Attribute) -> Profiles:
        return profiles(moments, table.attributes, _target(table, chosen))

    kinds = [("marginal", "Levels of every attribute", [of(each) for each in attributes])]
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
        blocks.append(block.model_copy(update={"detail": kind != "marginal"}))
        arrays |= values
    estimates = () if shares is None else zip(shares.attributes, shares.estimates, strict=True)
    # What is said once, beside the first maps of a layer.
    notes = {
        "shares": tuple(AttributeShare(attribute=name, share=share) for name, share in estimates),
        "earlier": earlier and earlier.model_copy(update={"own_limit": own_limit}),
    }
    return Outcome(blocks=(blocks[0].model_copy(update=notes), *blocks[1:]), arrays=arrays)


def _target(table: FaceTable, chosen: Sequence[Attribute]) -> Target:
    """The combinations of some attributes, whose levels may be in another order."""
    names = [attribute.name for attribute in table.attributes]
    columns = []
    for attribute in chosen:
        column = names.index(attribute.name)
        place = [attribute.levels.index(level) for level in table.attributes[column].levels]
        columns.append(np.array(place, dtype=np.int64)[table.codes[:, column]])
    codes = intersection_codes(np.stack(columns, axis=1), chosen)
    name = chosen[0].name if len(chosen) == 1 else INTERSECTION
    return Target(name, intersections(chosen), codes)


def _by_likeness(table: FaceTable, moments: Moments, attribute: Attribute) -> Attribute:
    """Levels in the order of a dendrogram of their profiles, empty ones last."""
    (target,) = targets_of(table, [attribute.name])
    found = profiles(moments, table.attributes, target)
    present = np.flatnonzero(found.counts > 0)
    ranked = present[leaf_order(found.contrasts[present])]
    order = [*ranked.tolist(), *np.flatnonzero(found.counts == 0).tolist()]
    return Attribute(attribute.name, tuple(attribute.levels[i] for i in order))


def leaf_order(contrasts: FloatArray) -> IntArray:
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
    """Maps of some profiles on a layout, with their arrays, whose keys have `kind` in them."""
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
    return block, {keys[0]: values.astype(np.float32), keys[1]: rasters(plane.positions, values)}


def colour_limit(parts: Sequence[Profiles]) -> float:
    """One colour limit for all groups of a layer: few units saturate, most are seen."""
    sizes = np.concatenate([np.abs(part.contrasts[part.counts > 0]).ravel() for part in parts])
    limit = float(np.quantile(sizes, _LIMIT_QUANTILE))
    return limit if limit > 0 else float(sizes.max())
