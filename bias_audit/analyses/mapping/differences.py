"""Which groups are compared on difference maps, and with which images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.spatial import Delaunay, cKDTree
from scipy.stats import norm
from scipy.stats import t as student

from bias_audit.analyses.analysis import Subject
from bias_audit.analyses.mapping.difference_sentences import (
    Differences,
    difference_findings,
    differences_by_unit,
    effect_told,
    how_tested,
    permutations_of,
    region_effect,
)
from bias_audit.analyses.mapping.group_distances import Halves
from bias_audit.analyses.mapping.group_maps import SIDE, Drawn, Plane, rasters
from bias_audit.analyses.mapping.layout_quality import neighbours
from bias_audit.analyses.mapping.permutation import (
    MapTest,
    Threshold,
    TwoGroups,
    cluster_test,
    unit_test,
)
from bias_audit.arrays import FloatArray, IntArray
from bias_audit.config.catalog import unknown_name
from bias_audit.data.faces import FaceTable
from bias_audit.groups import Attribute
from bias_audit.results.blocks import DifferenceMap, GroupDifference, MapRegion
from bias_audit.statistics.estimate import Estimate
from bias_audit.statistics.multiplicity import adjusted, is_rejected, smallest_attainable


@dataclass(frozen=True)
class Comparison:
    """One level of an attribute against another, or against all others."""

    attribute: str
    one: str
    other: str | None
    """A level; None: all others of the attribute."""


def comparisons(
    attributes: Sequence[Attribute], named: Sequence[tuple[str, str, str]]
) -> tuple[Comparison, ...]:
    """Every level against the rest of its attribute, then the pairs named.

    An attribute of two levels gives one comparison, of one against the other.

    Args:
        attributes: In their order.
        named: (attribute, level, other level).
    """
    found: list[Comparison] = []
    for attribute in attributes:
        name, levels = attribute.name, attribute.levels
        if len(levels) == 2:  # noqa: PLR2004
            found.append(Comparison(name, *levels))
        elif len(levels) > 2:  # noqa: PLR2004
            found += [Comparison(name, level, None) for level in levels]
    found += [Comparison(*entry) for entry in named]
    return tuple(dict.fromkeys(found))


def unknown_levels(
    attributes: Sequence[Attribute], named: Sequence[tuple[str, str, str]]
) -> tuple[str, ...]:
    """A message for every name that is no attribute or none of its levels."""
    known = {attribute.name: attribute.levels for attribute in attributes}
    problems = []
    for name, one, other in named:
        if name not in known:
            problems.append(unknown_name(name, list(known), noun="attribute"))
            continue
        problems += [
            unknown_name(level, list(known[name]), noun=f"level of {name}")
            for level in (one, other)
            if level not in known[name]
        ]
        if one == other:
            problems.append(f"differences.pairs: expected two levels of {name}, got {one} twice")
    return tuple(problems)


def two_groups(
    table: FaceTable,
    comparison: Comparison,
    units: npt.NDArray[np.float32],
    clusters: IntArray,
    images: IntArray,
) -> TwoGroups | str:
    """The images of a comparison, in strata: every combination of the other attributes' levels.

    Strata without images of both groups say nothing about the difference and are left out, so
    that a difference of one attribute is not one of how the others are composed.

    Args:
        table: The annotated faces.
        comparison: Of two of its levels.
        units: Activations of all images, shape (n_images, n_units).
        clusters: Cluster of all images, shape (n_images,).
        images: Those that may be used.

    Returns:
        The images, or why there are none.
    """
    names = [attribute.name for attribute in table.attributes]
    column = names.index(comparison.attribute)
    levels = table.attributes[column].levels
    own = table.codes[images, column]
    is_one = own == levels.index(comparison.one)
    is_other = ~is_one
    if comparison.other is not None:
        is_other = own == levels.index(comparison.other)
    said = comparison.other or f"levels other than {comparison.one}"
    for level, members in ((comparison.one, is_one), (said, is_other)):
        if not members.any():
            return f"no images of {level}"
    kept = np.flatnonzero(is_one | is_other)
    rest = np.delete(table.codes[images[kept]], column, axis=1)
    strata = np.unique(rest, axis=0, return_inverse=True)[1].reshape(-1)
    shares = np.bincount(strata, weights=is_one[kept]) / np.bincount(strata)
    mixed = ((shares > 0) & (shares < 1))[strata]
    if not mixed.any():
        return "no images that are alike in the other attributes"
    kept, strata = kept[mixed], np.unique(strata[mixed], return_inverse=True)[1]
    return TwoGroups(
        units, images[kept], is_one[kept], strata.astype(np.int64), clusters[images[kept]]
    )


def independent(groups: TwoGroups) -> tuple[int, int]:
    """Clusters of images of each group."""
    one, other = (
        len(np.unique(groups.clusters[part])) for part in (groups.labels, ~groups.labels)
    )
    return one, other


@dataclass(frozen=True)
class MapFactor:
    """How the p-values of one map's regions are adjusted for the other maps."""

    factor: int
    """Hypotheses left when Holm's procedure reaches the map."""
    floor: float
    """Adjusted p of the maps before it."""

    def __call__(self, p_value: float) -> float:
        """The adjusted p of a region."""
        return max(self.floor, min(1.0, self.factor * p_value))


def over_maps(p_values: Sequence[float | None]) -> tuple[MapFactor | None, ...]:
    """Holm's procedure over the maps of a layer, for regions within them.

    A region's p-value already allows for the other regions of its map; it is multiplied by the
    factor of its map. That of a map's best region is then Holm's adjusted p of the map.

    Args:
        p_values: Of no difference anywhere on each map; None where it was not tested.
    """
    whole = adjusted(p_values, "holm")
    order = sorted((p, i) for i, p in enumerate(p_values) if p is not None)
    result: list[MapFactor | None] = [None] * len(p_values)
    floor = 0.0
    for rank, (_, index) in enumerate(order):
        result[index] = MapFactor(len(order) - rank, floor)
        floor = whole[index] or floor
    return tuple(result)


_FEWEST_CLUSTERS = 5
"""Independent images of each group, below which nothing is tested."""
_FEWEST_IN_STRATA = 10
"""The same with several strata: of fewer, spread over three strata and with a threefold standard
deviation, tests at 5 % rejected up to 10 % of 600 simulated maps without a difference; of 5 in one
stratum and of 10 in three, up to 8 %."""


@dataclass(frozen=True)
class Work:
    """What all maps of a layer share."""

    subject: Subject
    plane: Plane
    scale: FloatArray
    asked: Differences
    edges: IntArray
    testing: IntArray
    measuring: IntArray
    n_draws: int
    level: float

    def groups(self, comparison: Comparison, images: IntArray) -> TwoGroups | str:
        """The images of a comparison among those given."""
        units = self.subject.activations.units(self.plane.layer)
        faces = self.subject.faces
        return two_groups(faces.table, comparison, units, faces.clusters, images)


@dataclass(frozen=True)
class TestedMap:
    """One comparison, before its p-values know of the other maps."""

    comparison: Comparison
    values: FloatArray
    """Shape (n_units,); NaN where it could not be drawn."""
    counts: tuple[int, int] = (0, 0)
    tested: tuple[int, int] = (0, 0)
    found: MapTest | None = None
    effects: tuple[Estimate | None, ...] = ()
    """Of the regions that are listed."""
    reason: str | None = None


def tested_map(work: Work, comparison: Comparison) -> TestedMap:
    """Measure one difference at every unit, and test it if that was asked for."""
    nothing = np.full(len(work.scale), np.nan)
    groups = work.groups(comparison, np.arange(len(work.subject.faces)))
    if isinstance(groups, str):
        return TestedMap(comparison, nothing, reason=groups)
    values = differences_by_unit(groups, work.scale).value
    counts = _sizes(groups)
    if work.asked.test == "none":
        return TestedMap(comparison, values, counts, reason="no test was asked for")
    tested = work.groups(comparison, work.testing)
    few = tested if isinstance(tested, str) else _too_few(tested)
    if isinstance(tested, str) or few is not None:
        return TestedMap(comparison, values, counts, reason=f"not tested: {few}")
    rng = work.subject.rng("permutations", work.plane.layer, *map(str, vars(comparison).values()))
    if work.asked.test == "clusters":
        threshold = Threshold(work.asked.unit_p, work.asked.smallest_effect)
        found = cluster_test(tested, work.edges, threshold, n_draws=work.n_draws, rng=rng)
        effects = _held_out_effects(work, comparison, found, tested)
    else:
        alpha = work.subject.multiplicity.alpha
        found, units = unit_test(tested, work.edges, alpha=alpha, n_draws=work.n_draws, rng=rng)
        effects = tuple(
            _simultaneous(work, int(region.units[0]), tested, units.critical)
            for region in found.regions[: work.asked.regions_listed]
        )
    return TestedMap(comparison, values, counts, _sizes(tested), found, effects)


def _sizes(groups: TwoGroups) -> tuple[int, int]:
    return int(groups.labels.sum()), int((~groups.labels).sum())


def _too_few(groups: TwoGroups) -> str | None:
    fewest, needed, strata = min(independent(groups)), _FEWEST_CLUSTERS, ""
    if groups.strata.any():
        needed, strata = _FEWEST_IN_STRATA, " with the other attributes held constant"
    if fewest < needed:
        return f"{fewest} independent images in the smaller group, {needed} are needed{strata}"
    if groups.exchange.n_fixed == len(groups.images):
        return "no permutation changes a label"
    return None


def _held_out_effects(
    work: Work, comparison: Comparison, found: MapTest, tested: TwoGroups
) -> tuple[Estimate | None, ...]:
    """Of the regions listed, on the images that neither chose nor tested them.

    What is drawn of all images, less an effect, is that of the images tested: neither half may
    have few.
    """
    groups = work.groups(comparison, work.measuring)
    listed = found.regions[: work.asked.regions_listed]
    fewest = work.subject.small_groups.suppress_below
    if isinstance(groups, str) or min(*independent(groups), *independent(tested)) < fewest:
        return (None,) * len(listed)
    return tuple(
        region_effect(groups, region.units, work.scale, level=work.level) for region in listed
    )


def _simultaneous(work: Work, unit: int, tested: TwoGroups, critical: float) -> Estimate | None:
    """Of a region's strongest unit; the interval holds for all units at once."""
    found = differences_by_unit(tested, work.scale, [unit])
    value, error, freedom = (float(x[0]) for x in (found.value, found.error, found.freedom))
    half = float(student.isf(norm.sf(critical), freedom)) * error
    if not np.isfinite(half):
        return None
    return Estimate(
        value,
        value - half,
        value + half,
        level=1 - work.subject.multiplicity.alpha,
        n=len(np.unique(tested.clusters)),
        method="simultaneous over all units of the map, by max-T",
    )


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
