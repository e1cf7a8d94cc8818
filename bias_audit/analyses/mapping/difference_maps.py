"""Difference maps of a layer, tested as one family."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.spatial import Delaunay, cKDTree

from bias_audit.analyses.analysis import Subject
from bias_audit.analyses.mapping.difference_settings import Differences, permutations_of
from bias_audit.analyses.mapping.difference_testing import TestedMap, Work, tested_map
from bias_audit.analyses.mapping.difference_wording import (
    difference_findings,
    effect_told,
    how_tested,
)
from bias_audit.analyses.mapping.differences import MapFactor, comparisons, over_maps
from bias_audit.analyses.mapping.group_maps import Drawn, Plane
from bias_audit.analyses.mapping.halves import Halves
from bias_audit.analyses.mapping.neighbourhood import neighbours
from bias_audit.analyses.mapping.raster import SIDE, rasters
from bias_audit.arrays import FloatArray
from bias_audit.results.blocks import DifferenceMap, GroupDifference, MapRegion
from bias_audit.statistics.multiplicity import is_rejected, smallest_attainable

_UNITS_NAMED = 8
_LIMIT_QUANTILE = 0.99


def difference_maps(
    subject: Subject,
    plane: Plane,
    scale: FloatArray,
    asked: Differences,
    *,
    split: Halves | None,
    level: float,
    limit: float | None = None,
) -> Drawn:
    """Draw every comparison, and say where the groups differ.

    Args:
        subject: Whose activations.
        plane: The layout; it must not know the images of `split.testing`.
        scale: Standard deviation within intersections, shape (n_units,).
        asked: What to compare and how.
        split: Which images test and which measure effects; None: all do both.
        level: Coverage of the intervals.
        limit: Of the colour scale; default: from the maps themselves.
    """
    compared = comparisons(subject.faces.table.attributes, asked.named)
    if not compared:
        return Drawn((), {})
    everything = np.arange(len(subject.faces))
    alpha = subject.multiplicity.alpha
    work = Work(
        subject,
        plane,
        scale,
        asked,
        edges=neighbours(plane.positions),
        testing=everything if split is None else split.testing,
        measuring=everything if split is None else split.placing,
        n_draws=permutations_of(asked, len(compared), alpha),
        level=level,
    )
    title = f"Difference maps of {plane.layer}"
    maps: list[TestedMap] = []
    with subject.progress.step(title, total=len(compared), unit="map") as step:
        for comparison in compared:
            maps.append(tested_map(work, comparison))
            step.advance()
    return _assembled(work, maps, limit)


def _assembled(work: Work, maps: Sequence[TestedMap], limit: float | None) -> Drawn:
    factors = over_maps([each.found.p_value if each.found else None for each in maps])
    alpha = work.subject.multiplicity.alpha
    values = np.stack([each.values for each in maps])
    p_values = np.stack(
        [_by_unit(each, factor) for each, factor in zip(maps, factors, strict=True)]
    )
    directions = np.stack(
        [_directions(each, own, alpha) for each, own in zip(maps, p_values, strict=True)]
    )
    n_tested = sum(factor is not None for factor in factors)
    name = f"layer{work.plane.number}-differences"
    keys = {part: f"{name}-{part}" for part in ("values", "p_values", "rasters", "masks")}
    block = DifferenceMap(
        detail=False,
        title=f"Differences of groups at {work.plane.layer}",
        layer=work.plane.layer,
        layout=work.plane.layout,
        n_units=len(work.scale),
        limit=limit or _colour_limit(values),
        test=how_tested(work, n_tested),
        effect=effect_told(work),
        alpha=alpha,
        draws=work.n_draws if n_tested else None,
        smallest_p=(
            smallest_attainable(n_tested, draws=work.n_draws, method="holm") if n_tested else None
        ),
        differences=tuple(
            _told(each, factor, alpha, work.asked.regions_listed)
            for each, factor in zip(maps, factors, strict=True)
        ),
        positions=work.plane.key,
        **keys,
    )
    arrays: dict[str, npt.NDArray[Any]] = {
        keys["values"]: values.astype(np.float32),
        keys["p_values"]: p_values.astype(np.float32),
        keys["rasters"]: rasters(work.plane.positions, values),
        keys["masks"]: _masks(work.plane.positions, directions),
    }
    return Drawn((block,), arrays, difference_findings(block))


def _colour_limit(values: FloatArray) -> float:
    sizes = np.abs(values[np.isfinite(values)])
    limit = float(np.quantile(sizes, _LIMIT_QUANTILE)) if sizes.size else 0.0
    return limit if limit > 0 else 1.0


def _by_unit(each: TestedMap, factor: MapFactor | None) -> FloatArray:
    """Adjusted p of every unit's region, shape (n_units,)."""
    if each.found is None or factor is None:
        return np.full(len(each.values), np.nan)
    result = np.ones(len(each.values))
    for region in each.found.regions:
        result[region.units] = factor(region.p_value)
    return result


def _directions(each: TestedMap, p_values: FloatArray, alpha: float) -> FloatArray:
    """+1 and -1 at the units of rejected regions, by direction, else 0, shape (n_units,)."""
    result = np.zeros(len(p_values))
    for region in each.found.regions if each.found else ():
        if is_rejected(float(p_values[region.units[0]]), alpha=alpha):
            result[region.units] = region.sign
    return result


def _masks(positions: FloatArray, directions: FloatArray) -> npt.NDArray[np.float32]:
    """The direction of the nearest unit, shape (n_maps, 100, 100), row 0 at the bottom.

    Outside the units' hull it is 0, as maps are.
    """
    axis = np.linspace(0, 1, SIDE)
    grid = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    nearest = cKDTree(positions).query(grid)[1]
    inside = Delaunay(positions).find_simplex(grid) >= 0
    masks = directions[:, nearest] * inside
    return np.asarray(masks.reshape(-1, SIDE, SIDE), dtype=np.float32)


def _told(
    each: TestedMap, factor: MapFactor | None, alpha: float, n_listed: int
) -> GroupDifference:
    regions = each.found.regions if each.found and factor else ()
    adjusted = [factor(region.p_value) for region in regions] if factor else []
    rejected = [is_rejected(p, alpha=alpha) for p in adjusted]
    effects = each.effects if regions else ()
    listed = zip(regions[:n_listed], adjusted[:n_listed], effects, strict=True)
    return GroupDifference(
        attribute=each.comparison.attribute,
        one=each.comparison.one,
        other=each.comparison.other,
        counts=each.counts,
        tested=each.tested,
        n_fixed=each.found.n_fixed if each.found else 0,
        adjusted_p=factor(each.found.p_value) if each.found and factor else None,
        n_units=sum(
            len(region.units) for region, found in zip(regions, rejected, strict=True) if found
        ),
        n_regions=sum(rejected),
        regions=tuple(
            MapRegion(
                n_units=len(region.units),
                units=tuple(int(unit) for unit in region.units[:_UNITS_NAMED]),
                is_higher=region.sign > 0,
                effect=effect,
                p_value=region.p_value,
                adjusted_p=p,
            )
            for region, p, effect in listed
        ),
        reason=each.reason,
    )
