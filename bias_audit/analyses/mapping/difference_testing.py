"""One difference map: measured on all images, tested on some."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import norm
from scipy.stats import t as student

from bias_audit.analyses.analysis import Subject
from bias_audit.analyses.mapping.cluster_permutation import (
    MapTest,
    Threshold,
    TwoGroups,
    cluster_test,
    unit_test,
)
from bias_audit.analyses.mapping.difference_settings import Differences
from bias_audit.analyses.mapping.differences import Comparison, independent, two_groups
from bias_audit.analyses.mapping.group_maps import Plane
from bias_audit.analyses.mapping.region_effects import differences_by_unit, region_effect
from bias_audit.arrays import FloatArray, IntArray
from bias_audit.statistics.estimate import Estimate

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
