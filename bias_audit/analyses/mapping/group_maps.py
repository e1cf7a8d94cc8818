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
from bias_audit.analyses.mapping.layout import Layout, LayoutSettings, Plane, placed, rasters
from bias_audit.analyses.mapping.profiles import Profiles, halves, moments_of, profiles, signatures
from bias_audit.analyses.targets import Target, targets_of
from bias_audit.arrays import FloatArray, IntArray
from bias_audit.config.catalog import LAYOUTS
from bias_audit.data.faces import FaceTable
from bias_audit.groups import INTERSECTION, Attribute, intersection_codes, intersections
from bias_audit.shapes.unit_map import AttributeShare, EarlierMap, UnitMap

Arrays = dict[str, npt.NDArray[Any]]
Kind = tuple[str, str, Sequence[Profiles]]
"""What the keys of its arrays have in them, its title, and its groups."""

_LIMIT_QUANTILES = 0.005, 0.995
"""Of all values of a layer, as Krug & Stober 2025 end their colours."""


def plane_of(
    subject: Subject,
    layer: str,
    settings: LayoutSettings,
    *,
    number: int = 0,
    placing: IntArray | None = None,
) -> tuple[Plane, Moments]:
    """The layout of a layer from some images (default: half of them), and their moments.

    Raises:
        AnalysisError: There are too few groups or units, or no unit differs between groups.
    """
    table, units = subject.faces.table, subject.activations.units(layer)
    if placing is None:
        placing = halves(subject.faces, subject.rng("halves")).placing
    half = moments_of(units, table.cells, table.n_cells, placing)
    rng = subject.rng("layout", layer)
    rows = signatures(half, table)
    plugin: Layout[Any] = LAYOUTS.load(settings.layout.kind)
    if plugin.signatures is not None:
        params = plugin.params_type.model_validate(settings.layout.params)
        maps = subject.activations.positions(layer)
        at_positions = moments_of(maps, table.cells, table.n_cells, placing)
        rows = plugin.signatures(at_positions, params)
    return placed(layer, number, rows, settings, rng, device=subject.device), half


def drawn_moments(subject: Subject, layer: str, settings: LayoutSettings) -> Moments:
    """Of what maps of the intersections show: the mean of each unit over its feature map.

    Where units are placed by positions, it is the mean over those recorded, which may have been
    shifted; its spread is then not known.
    """
    if not settings.reads_positions:
        return subject.activations.moments(layer)
    found = subject.activations.moments(layer, positions=True)
    mean = found.mean.mean(axis=2)
    return Moments(found.count, mean, np.full_like(mean, np.nan))


def drawn_at_random(
    subject: Subject, layer: str, settings: LayoutSettings, images: IntArray
) -> FloatArray:
    """What a map of some images, in ascending order, shows before contrasting, (n_units,)."""
    if settings.reads_positions:
        rows = subject.activations.positions(layer)[images].mean(axis=2, dtype=np.float64)
    else:
        rows = subject.activations.units(layer)[images].astype(np.float64)
    return np.asarray(rows.mean(axis=0))


def group_maps(
    table: FaceTable,
    moments: Moments,
    plane: Plane,
    *,
    order: Literal["declared", "dendrogram"],
    shares: Shares | None,
    minimum: int,
    chance: FloatArray | None = None,
    n_chance: int = 0,
    earlier: EarlierMap | None = None,
    limit: float | None = None,
) -> Outcome:
    """Maps of all intersections, of the levels of every attribute, and of pairs of attributes.

    Those of groups with fewer images than `minimum` are drawn pale.

    `moments` are those of all intersections, `chance` the mean activations of `n_chance` images
    drawn at random, shape (n_units,), `limit` the end of the colour scale (default: from
    the maps), `earlier` what the layout was laid beside.
    """
    attributes = tuple(table.attributes)
    if order == "dendrogram":
        attributes = tuple(_by_likeness(table, moments, attribute) for attribute in attributes)

    def of(*chosen: Attribute) -> Profiles:
        return profiles(moments, table.attributes, _target(table, chosen))

    marginal = [of(each) for each in attributes]
    kinds: list[Kind] = [("marginal", "Groups of each attribute", marginal)]
    if len(attributes) > 2:  # noqa: PLR2004
        for i, j in itertools.combinations(range(len(attributes)), 2):
            pair = attributes[i], attributes[j]
            title = f"{pair[0].name.capitalize()} x {pair[1].name}"
            kinds.append((f"pair{i}x{j}", title, [of(*pair)]))
    if len(attributes) > 1:
        kinds.append(("intersections", "All intersections", [of(*attributes)]))
    own_limit = colour_limit([part for _, _, parts in kinds for part in parts])
    drawn, arrays = map_blocks(plane, kinds, limit or own_limit)
    levels, *rest = drawn
    estimates = () if shares is None else zip(shares.attributes, shares.estimates, strict=True)
    # What is said once, beside the levels of a layer.
    notes = {
        "detail": bool(rest),  # the edges of the sheet show nearly the same maps
        "shares": tuple(AttributeShare(attribute=name, share=share) for name, share in estimates),
        "earlier": earlier and earlier.model_copy(update={"own_limit": own_limit}),
    }
    drawn_at_random: dict[str, object] = {}
    if chance is not None and rest:
        key = f"layer{plane.number}-chance-raster"
        everyone = moments.merged([np.flatnonzero(moments.count)]).mean[0]
        values = chance - everyone
        arrays[key] = rasters(plane.positions, values[None])[0]
        drawn_at_random = {"chance": key, "chance_images": n_chance}
    sheet = [block.model_copy(update={"detail": False, **drawn_at_random}) for block in rest[-1:]]
    pairs = [block.model_copy(update={"detail": True}) for block in rest[:-1]]
    blocks = (*sheet, levels.model_copy(update=notes), *pairs)
    smallest = {"minimum": minimum}
    return Outcome(
        blocks=tuple(block.model_copy(update=smallest) for block in blocks), arrays=arrays
    )


def usual_size(moments: Moments, minimum: int) -> int:
    """Images of the median group, at least the smallest number that is not small."""
    return max(int(np.median(moments.count[moments.count > 0])), minimum)


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
    return Target(name, intersections(chosen), codes, table.pictures)


def _by_likeness(table: FaceTable, moments: Moments, attribute: Attribute) -> Attribute:
    """Levels in the order of a dendrogram of their profiles, empty ones last."""
    (target,) = targets_of(table, [attribute.name])
    found = profiles(moments, table.attributes, target)
    present = np.flatnonzero(found.counts > 0)
    ranked = present[leaf_order(found.contrasts[present])]
    order = [*ranked.tolist(), *np.flatnonzero(found.counts == 0).tolist()]
    return Attribute(attribute.name, tuple(attribute.levels[i] for i in order))


def leaf_order(contrasts: FloatArray) -> IntArray:
    """Order of a dendrogram's leaves by the correlation of profiles (n_groups, n_units)."""
    if len(contrasts) < 3:  # noqa: PLR2004
        return np.arange(len(contrasts), dtype=np.int64)
    with np.errstate(invalid="ignore", divide="ignore"):
        distances = np.nan_to_num(pdist(contrasts, "correlation"), nan=1.0)
    return np.asarray(leaves_list(dendrogram(distances)), dtype=np.int64)


def dendrogram(between: FloatArray) -> FloatArray:
    """Average linkage of condensed distances, neighbours as alike as it allows.

    Optimal leaf order: Bar-Joseph et al. 2001, Bioinformatics 17:S22.
    """
    return np.asarray(optimal_leaf_ordering(linkage(between, "average"), between))


def map_blocks(
    plane: Plane, kinds: Sequence[Kind], limit: float | None = None
) -> tuple[list[UnitMap], Arrays]:
    """Maps of several kinds of groups on a layout, with their arrays and the places of units.

    `limit` is the end of the colour scale (default: of each kind its own).
    """
    blocks = []
    arrays: Arrays = {plane.key: plane.positions.astype(np.float32)}
    as_published = ", laid out as published" if plane.is_published else ""
    for kind, title, parts in kinds:
        values = np.concatenate([part.contrasts for part in parts])
        keys = f"layer{plane.number}-{kind}-values", f"layer{plane.number}-{kind}-rasters"
        arrays[keys[0]] = values.astype(np.float32)
        arrays[keys[1]] = rasters(plane.positions, values)
        block = UnitMap(
            title=f"{title} at {plane.layer}{as_published}",
            layer=plane.layer,
            layout=plane.layout,
            n_units=values.shape[1],
            n_silent=plane.n_silent,
            groups=tuple(group for part in parts for group in part.groups),
            counts=tuple(
                part.target.n_images([place])
                for part in parts
                for place in range(len(part.groups))
            ),
            limit=colour_limit(parts) if limit is None else limit,
            positions=plane.key,
            values=keys[0],
            rasters=keys[1],
        )
        blocks.append(block)
    return blocks, arrays


def colour_limit(parts: Sequence[Profiles]) -> float:
    """One colour limit for all groups of a layer: few units saturate, most are seen."""
    values = np.concatenate([part.contrasts[part.counts > 0].ravel() for part in parts])
    limit = float(np.abs(np.quantile(values, _LIMIT_QUANTILES)).max())
    return limit if limit > 0 else float(np.abs(values).max())
