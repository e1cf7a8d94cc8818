"""Maps of the difference of two groups, with effects and tests."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

import numpy as np
from scipy.spatial import Delaunay, cKDTree
from scipy.stats import norm
from scipy.stats import t as student

from bias_audit.analyses.analysis import Outcome, Subject
from bias_audit.analyses.mapping.comparisons import (
    Comparison,
    Differences,
    comparisons,
    two_groups,
)
from bias_audit.analyses.mapping.labellings import TwoGroups, Welch
from bias_audit.analyses.mapping.layout import SIDE, Plane, neighbours, raster_cells, rasters
from bias_audit.analyses.mapping.map_sentences import effects_measured, regions_tested
from bias_audit.analyses.mapping.permutation import MapTest, Threshold, cluster_test, unit_test
from bias_audit.analyses.mapping.profiles import Halves
from bias_audit.arrays import FloatArray, IntArray
from bias_audit.shapes.difference_map import DifferenceMap, GroupDifference, MapRegion
from bias_audit.statistics.estimate import Estimate
from bias_audit.statistics.multiplicity import (
    adjusted,
    draws_needed,
    is_rejected,
    smallest_attainable,
)

_FEWEST_DRAWS = 999
_FEWEST_CLUSTERS = 5
"""Independent images of each group, below which nothing is tested."""
_FEWEST_IN_STRATA = 10
"""The same with several strata: of fewer, spread over three strata and with a threefold standard
deviation, tests at 5 % rejected up to 10 % of 600 simulated maps without a difference; of 5 in one
stratum and of 10 in three, up to 8 %."""
_UNITS = 256
"""Units whose activations are read at a time."""
_UNITS_NAMED = 8
_LIMIT_QUANTILE = 0.99


MapFactor = Callable[[float], float]
"""How the p-values of one map's regions are adjusted for the other maps."""


def _adjusted(left: int, floor: float, p_value: float) -> float:
    """By the hypotheses left when Holm's procedure reaches the map, and the maps before it."""
    return max(floor, min(1.0, left * p_value))


def over_maps(p_values: Sequence[float | None]) -> tuple[MapFactor | None, ...]:
    """Holm's procedure over the maps of a layer, for regions within them.

    A region's p-value already allows for the other regions of its map; it is multiplied by the
    factor of its map. That of a map's best region is then Holm's adjusted p of the map. `p_values`
    are of no difference anywhere on each map; None where it was not tested.
    """
    whole = adjusted(p_values, "holm")
    order = sorted((p, i) for i, p in enumerate(p_values) if p is not None)
    result: list[MapFactor | None] = [None] * len(p_values)
    floor = 0.0
    for rank, (_, index) in enumerate(order):
        result[index] = partial(_adjusted, len(order) - rank, floor)
        floor = whole[index] or floor
    return tuple(result)


def differences_by_unit(
    groups: TwoGroups, scale: FloatArray, units: Sequence[int] | None = None
) -> Welch:
    """Standardised mean differences of units with strata held constant, and their errors.

    `scale` is the standard deviation within intersections, shape (n_units,); a unit with 0 gets 0.
    Results have shape (n_chosen,), of the units named (default: all).
    """
    chosen = np.arange(len(scale)) if units is None else np.array(units)
    value, error, freedom = np.zeros((3, len(chosen)))
    labelled = groups.labelled(groups.labels[None])
    for first in range(0, len(chosen), _UNITS):
        rows = slice(first, first + _UNITS)
        own = scale[chosen[rows]]
        found = labelled.differences(groups.centred(chosen[rows]))
        for result, total in ((value, found.value[0]), (error, found.error[0])):
            np.divide(total, own, out=result[rows], where=own > 0)
        freedom[rows] = found.freedom[0]
    return Welch(value, error, freedom)


def region_effect(
    groups: TwoGroups, units: IntArray, scale: FloatArray, *, level: float
) -> Estimate | None:
    """Mean over a region's units of the standardised mean difference, with strata held constant.

    The images must not have chosen the region, or the interval ignores the choice. `scale` is the
    standard deviation within intersections, shape (n_units,). None without two clusters of images
    of each group, or without spread.
    """
    units = units[scale[units] > 0]
    values = (groups.centred(units) / scale[units]).mean(axis=1, keepdims=True)
    found = groups.labelled(groups.labels[None]).differences(values.astype(np.float32))
    if len(np.unique(groups.clusters)) < 4 or not found.error > 0:  # noqa: PLR2004
        return None
    method = "cluster-robust standard error, Student's t with Welch's degrees of freedom"
    return _estimate(groups, found, (1 - level) / 2, level=level, method=method)


def _estimate(
    groups: TwoGroups, found: Welch, tail: float, *, level: float, method: str
) -> Estimate | None:
    """One difference with Student's t about it; None where that has no end."""
    value, error, freedom = (x.item() for x in (found.value, found.error, found.freedom))
    half = float(student.isf(tail, freedom)) * error
    n = len(np.unique(groups.clusters))
    if not np.isfinite(half):
        return None
    return Estimate(value, value - half, value + half, level=level, n=n, method=method)


def simultaneous_effect(
    groups: TwoGroups, unit: int, scale: FloatArray, *, critical: float, alpha: float
) -> Estimate | None:
    """Of a region's strongest unit; the intervals of all units hold together but for `alpha`.

    `critical` is the largest |z| of any unit that permuted labels exceed with that chance.
    """
    found, method = differences_by_unit(groups, scale, [unit]), "simultaneous over all units of "
    method += "the map, by max-T"
    return _estimate(groups, found, norm.sf(critical), level=1 - alpha, method=method)


@dataclass(frozen=True)
class Tested:
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


@dataclass(frozen=True)
class _Layer:
    """What all maps of a layer share."""

    subject: Subject
    name: str
    scale: FloatArray
    settings: Differences
    edges: IntArray
    testing: IntArray
    measuring: IntArray
    n_draws: int
    level: float

    def groups(self, comparison: Comparison, images: IntArray) -> TwoGroups | str:
        """The images of a comparison among those given."""
        units = self.subject.activations.units(self.name)
        subject = self.subject
        return two_groups(subject.faces, units, comparison, images, device=subject.device)


def _tested(layer: _Layer, comparison: Comparison) -> Tested:
    """Measure one difference at every unit, and test it if the config says so."""
    settings, alpha = layer.settings, layer.subject.multiplicity.alpha
    groups = layer.groups(comparison, np.arange(len(layer.subject.faces)))
    if isinstance(groups, str):
        return Tested(comparison, np.full(len(layer.scale), np.nan), reason=groups)
    values, counts = differences_by_unit(groups, layer.scale).value, groups.sizes
    if settings.test == "none":
        return Tested(comparison, values, counts, reason="no test was requested")
    tested = layer.groups(comparison, layer.testing)
    few = tested if isinstance(tested, str) else _too_few(tested)
    if isinstance(tested, str) or few is not None:
        return Tested(comparison, values, counts, reason=f"not tested: {few}")
    rng = layer.subject.rng("permutations", layer.name, *map(str, vars(comparison).values()))
    if settings.test == "clusters":
        threshold = Threshold(settings.unit_p, settings.smallest_effect)
        found = cluster_test(tested, layer.edges, threshold, n_draws=layer.n_draws, rng=rng)
        effects = _held_out_effects(layer, comparison, found, tested)
    else:
        found, units = unit_test(tested, layer.edges, alpha=alpha, n_draws=layer.n_draws, rng=rng)
        effects = tuple(
            simultaneous_effect(
                tested, int(region.units[0]), layer.scale, critical=units.critical, alpha=alpha
            )
            for region in found.regions[: settings.regions_listed]
        )
    return Tested(comparison, values, counts, tested.sizes, found, effects)


def _too_few(groups: TwoGroups) -> str | None:
    fewest, needed, strata = min(groups.independent), _FEWEST_CLUSTERS, ""
    if groups.strata.any():
        needed, strata = _FEWEST_IN_STRATA, " with the other attributes held constant"
    if fewest < needed:
        return f"{fewest} independent images in the smaller group, {needed} are needed{strata}"
    if groups.exchange.n_fixed == len(groups.images):
        return "no permutation changes a label"
    return None


def _held_out_effects(
    layer: _Layer, comparison: Comparison, found: MapTest, tested: TwoGroups
) -> tuple[Estimate | None, ...]:
    """Of the regions listed, on the images that neither chose nor tested them.

    What is drawn of all images, less an effect, is that of the images tested: neither half may
    have few.
    """
    groups = layer.groups(comparison, layer.measuring)
    listed = found.regions[: layer.settings.regions_listed]
    fewest = layer.subject.small_groups.suppress_below
    if isinstance(groups, str) or min(*groups.independent, *tested.independent) < fewest:
        return (None,) * len(listed)
    return tuple(
        region_effect(groups, region.units, layer.scale, level=layer.level) for region in listed
    )


_AT_ONCE: Final = 4
"""Maps that are tested side by side; each draws its own labels."""


def difference_maps(
    subject: Subject,
    plane: Plane,
    scale: FloatArray,
    settings: Differences,
    *,
    split: Halves | None,
    level: float,
    limit: float | None = None,
) -> Outcome:
    """Draw and test every comparison; `level` is the coverage of intervals.

    `split` says which images test and which measure effects (None: all do both); the layout must
    not know those that test. `scale` is the deviation within intersections, shape (n_units,), and
    `limit` the end of the colour scale (default: from the maps).
    """
    compared = comparisons(subject.faces.table.attributes, settings.named)
    if not compared:
        return Outcome(blocks=())
    everything, alpha = np.arange(len(subject.faces)), subject.multiplicity.alpha
    n_draws = settings.permutations or max(
        _FEWEST_DRAWS, draws_needed(len(compared), alpha=alpha, method="holm")
    )
    layer = _Layer(
        subject,
        plane.layer,
        scale,
        settings,
        edges=neighbours(plane.positions),
        testing=everything if split is None else split.testing,
        measuring=everything if split is None else split.placing,
        n_draws=n_draws,
        level=level,
    )
    title = f"Difference maps of {plane.layer} of"
    maps = subject.mapped(partial(_tested, layer), compared, title, unit="map", workers=_AT_ONCE)
    factors = over_maps([each.found.p_value if each.found else None for each in maps])
    n_tested = sum(factor is not None for factor in factors)
    values = np.stack([each.values for each in maps])
    p_values, directions = _by_unit(values.shape, maps, factors, alpha)
    sizes = np.abs(values[np.isfinite(values)])
    own_limit = float(np.quantile(sizes, _LIMIT_QUANTILE)) if sizes.size else 0.0
    name = f"layer{plane.number}-differences"
    keys = {part: f"{name}-{part}" for part in ("values", "p_values", "rasters", "masks")}
    block = DifferenceMap(
        detail=False,
        title=f"Where do groups differ at {plane.layer}?",
        layer=plane.layer,
        layout=plane.layout,
        n_units=len(scale),
        limit=limit or own_limit or 1.0,
        test=regions_tested(settings, n_draws, n_tested) if n_tested else "",
        effect=effects_measured(settings.test),
        alpha=alpha,
        draws=n_draws if n_tested else None,
        smallest_p=(
            smallest_attainable(n_tested, draws=n_draws, method="holm") if n_tested else None
        ),
        differences=tuple(
            _difference(each, factor, alpha, settings.regions_listed)
            for each, factor in zip(maps, factors, strict=True)
        ),
        positions=plane.key,
        **keys,
    )
    # The direction of the nearest unit; outside the units' hull 0, as maps are.
    grid = raster_cells()
    masks = directions[:, cKDTree(plane.positions).query(grid)[1]]
    masks = masks * (Delaunay(plane.positions).find_simplex(grid) >= 0)
    arrays = {
        keys["values"]: values.astype(np.float32),
        keys["p_values"]: p_values.astype(np.float32),
        keys["rasters"]: rasters(plane.positions, values),
        keys["masks"]: masks.reshape(-1, SIDE, SIDE).astype(np.float32),
    }
    return Outcome(blocks=(block,), arrays=arrays)


def _by_unit(
    shape: tuple[int, ...],
    maps: Sequence[Tested],
    factors: Sequence[MapFactor | None],
    alpha: float,
) -> tuple[FloatArray, FloatArray]:
    """Adjusted p of every unit's region, and its direction where it is rejected, else 0."""
    p_values, directions = np.full(shape, np.nan), np.zeros(shape)
    for row, (each, factor) in enumerate(zip(maps, factors, strict=True)):
        if each.found is None or factor is None:
            continue
        p_values[row] = 1
        for region in each.found.regions:
            p = factor(region.p_value)
            p_values[row, region.units] = p
            if is_rejected(p, alpha=alpha):
                directions[row, region.units] = region.sign
    return p_values, directions


def _difference(
    each: Tested, factor: MapFactor | None, alpha: float, n_listed: int
) -> GroupDifference:
    found = GroupDifference(
        attribute=each.comparison.attribute,
        one=each.comparison.one,
        other=each.comparison.other,
        counts=each.counts,
        tested=each.tested,
        reason=each.reason,
    )
    if each.found is None or factor is None:
        return found
    regions = [(region, factor(region.p_value)) for region in each.found.regions]
    rejected = [region for region, p in regions if is_rejected(p, alpha=alpha)]
    listed = tuple(
        MapRegion(
            n_units=len(region.units),
            units=tuple(int(unit) for unit in region.units[:_UNITS_NAMED]),
            is_higher=region.sign > 0,
            effect=effect,
            p_value=region.p_value,
            adjusted_p=p,
        )
        for (region, p), effect in zip(regions[:n_listed], each.effects, strict=True)
    )
    return found.model_copy(
        update={
            "n_fixed": each.found.n_fixed,
            "adjusted_p": factor(each.found.p_value),
            "n_units": sum(len(region.units) for region in rejected),
            "n_regions": len(rejected),
            "regions": listed,
        }
    )
