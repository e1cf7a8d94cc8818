"""Settings, effects and sentences of difference maps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from pydantic import Field
from scipy.stats import t as student

from bias_audit.analyses.mapping.differences import Work, comparisons
from bias_audit.analyses.mapping.permutation import TwoGroups
from bias_audit.analyses.mapping.welch import Welch
from bias_audit.analyses.wording import interval
from bias_audit.arrays import FloatArray, IntArray
from bias_audit.config.schema import Strict
from bias_audit.groups import Attribute
from bias_audit.results.blocks import DifferenceMap, Finding
from bias_audit.statistics.estimate import Estimate
from bias_audit.statistics.multiplicity import draws_needed, is_rejected
from bias_audit.statistics.sureness import sureness_of_p, weight_of

_FEWEST_DRAWS = 999


class LevelPair(Strict):
    """Two levels of one attribute."""

    attribute: str
    levels: tuple[str, str]


class Differences(Strict):
    """Which difference maps are drawn, and how they are tested."""

    pairs: tuple[LevelPair, ...] = Field(
        default=(), description="Pairs of levels to compare, besides every level against the rest."
    )
    test: Literal["clusters", "max_t", "none"] = Field(
        default="clusters",
        description="Regions of neighbouring units on half of the images, every unit by itself on "
        "all of them, or nothing.",
    )
    permutations: int | None = Field(
        default=None,
        ge=19,
        le=100_000,
        description="Default: as many as the maps of a layer need, at least 999.",
    )
    unit_p: float = Field(
        default=0.01,
        gt=0,
        lt=0.5,
        description="A unit joins a region when its own two-sided p is at most this, and",
    )
    smallest_effect: float = Field(
        default=0.2,
        ge=0,
        description="its difference at least this, in standard deviations within strata.",
    )
    regions_listed: int = Field(default=3, ge=1, le=50, description="Per map, strongest first.")

    @property
    def named(self) -> tuple[tuple[str, str, str], ...]:
        """(attribute, level, other level)."""
        return tuple((pair.attribute, *pair.levels) for pair in self.pairs)


def too_few_permutations(
    asked: Differences, alpha: float, attributes: Sequence[Attribute]
) -> tuple[str, ...]:
    """A message if the permutations asked for can reject no single map under Holm."""
    n_maps = len(comparisons(attributes, asked.named))
    if asked.permutations is None or asked.test == "none":
        return ()
    needed = draws_needed(n_maps, alpha=alpha, method="holm")
    if asked.permutations >= needed:
        return ()
    return (
        f"differences.permutations: {asked.permutations} permutations cannot reject any of "
        f"{n_maps} difference maps under Holm at {alpha:g}; at least {needed} are needed, and "
        "leaving the key out gives enough",
    )


def permutations_of(asked: Differences, n_maps: int, alpha: float) -> int:
    """Permutations to make for the maps of a layer."""
    if asked.permutations is not None:
        return asked.permutations
    return max(_FEWEST_DRAWS, draws_needed(n_maps, alpha=alpha, method="holm"))


_UNITS = 256


def differences_by_unit(
    groups: TwoGroups, scale: FloatArray, units: Sequence[int] | None = None
) -> Welch:
    """Standardised mean differences of units with strata held constant, and their errors.

    Args:
        groups: The images.
        scale: Standard deviation within intersections, shape (n_units,); a unit with 0 gets 0.
        units: Which; default: all.

    Returns:
        Each of shape (n_units asked for,).
    """
    asked = np.arange(len(scale)) if units is None else np.array(units)
    value, error, freedom = np.zeros((3, len(asked)))
    labelled = groups.labelled(groups.labels[None])
    for first in range(0, len(asked), _UNITS):
        rows = slice(first, first + _UNITS)
        own = scale[asked[rows]]
        found = labelled.differences(groups.centred(asked[rows]))
        for result, total in ((value, found.value[0]), (error, found.error[0])):
            np.divide(total, own, out=result[rows], where=own > 0)
        freedom[rows] = found.freedom[0]
    return Welch(value, error, freedom)


def region_effect(
    groups: TwoGroups, units: IntArray, scale: FloatArray, *, level: float
) -> Estimate | None:
    """Mean over a region's units of the standardised mean difference, with strata held constant.

    Args:
        groups: Images that did not choose the region, or the interval ignores the choice.
        units: Of the region.
        scale: Standard deviation within intersections, shape (n_units,).
        level: Coverage of the interval.

    Returns:
        None without two clusters of images of each group, or without spread.
    """
    units = units[scale[units] > 0]
    values = (groups.centred(units) / scale[units]).mean(axis=1, keepdims=True)
    found = groups.labelled(groups.labels[None]).differences(values.astype(np.float32))
    value, error, freedom = (float(x[0, 0]) for x in (found.value, found.error, found.freedom))
    n = len(np.unique(groups.clusters))
    if n < 4 or not error > 0:  # noqa: PLR2004
        return None
    half = float(student.isf((1 - level) / 2, freedom)) * error
    return Estimate(
        value,
        value - half,
        value + half,
        level=level,
        n=n,
        method="cluster-robust standard error, Student's t with Welch's degrees of freedom",
    )


def how_tested(work: Work, n_tested: int) -> str:
    """How regions were found and tested; empty where no map was."""
    if not n_tested:
        return ""
    family = (
        "z is the difference of the two groups divided by its standard error (Welch's, which "
        "allows for groups that vary unequally and for clusters of images), on the scale of a "
        f"normal variable. Labels are permuted {work.n_draws} times, whole clusters of images at "
        "a time and only among images that are alike in the other attributes; once with the "
        "activations as they are, once with the difference taken out and both groups scaled to "
        "one spread. The larger of the two p-values counts, adjusted over the "
        f"{n_tested} maps by Holm."
    )
    if work.asked.test == "max_t":
        return f"Each unit is tested by its |z| against the largest |z| of any unit. {family}"
    return (
        "A region is made of neighbouring units that differ in one direction (each by itself with "
        f"p at most {work.asked.unit_p:g} and by at least {work.asked.smallest_effect:g} standard "
        "deviations); its summed |z| is tested against the heaviest region of permuted labels, on "
        f"the half of the images that did not place the units. {family}"
    )


def effect_told(work: Work) -> str:
    """What the effects of regions are."""
    if work.asked.test == "max_t":
        return (
            "Difference of the region's strongest unit in standard deviations within "
            "intersections, observed in units selected for being large; the intervals hold for "
            "all units of the map at once."
        )
    return (
        "Mean difference over the region's units in standard deviations within intersections, "
        "measured on the half of the images that did not choose the region."
    )


def difference_findings(block: DifferenceMap) -> tuple[Finding, ...]:
    """One sentence per attribute of which a map was rejected."""
    findings = []
    for attribute in dict.fromkeys(each.attribute for each in block.differences):
        tested = [
            each
            for each in block.differences
            if each.attribute == attribute and each.adjusted_p is not None
        ]
        found = [each for each in tested if each.n_regions and each.regions]
        if not found:
            continue
        widest = max(found, key=lambda each: each.n_units)
        surest = min(each.adjusted_p for each in found if each.adjusted_p is not None)
        effects = {
            f"region {i + 1}": region.effect
            for i, region in enumerate(widest.regions)
            if region.effect is not None and is_rejected(region.adjusted_p, alpha=block.alpha)
        }
        told = next(iter(effects.values()), None)
        size = (
            "" if told is None else f", by {interval(told)} standard deviations in the strongest"
        )
        findings.append(
            Finding(
                text=f"At {block.layer}, units differ by annotated {attribute} on {len(found)} of "
                f"{len(tested)} difference maps, the other attributes held constant; most widely "
                f"for {widest.label}: {widest.n_units} of {block.n_units} "
                f"units in {widest.n_regions} regions{size} (adjusted p = "
                f"{widest.adjusted_p:.3g}).",
                weight=weight_of(sureness_of_p(surest, block.alpha), is_decided=True),
                estimates=effects,
            )
        )
    return tuple(findings)


def differences_method(blocks: Sequence[DifferenceMap]) -> tuple[str, ...]:
    """How difference maps were made and tested; nothing without any."""
    if not blocks:
        return ()
    return (
        "A difference map shows the mean of one group less that of another by unit, in standard "
        "deviations within intersections, with the other attributes held constant: only images "
        "that are alike in them are compared.",
        *dict.fromkeys(block.test for block in blocks if block.test),
        *dict.fromkeys(block.effect for block in blocks if block.test),
    )


def differences_limits(blocks: Sequence[DifferenceMap]) -> tuple[str, ...]:
    """What difference maps cannot say; nothing without any."""
    if not any(block.test for block in blocks):
        return ()
    return (
        "A region that is rejected says that the groups differ somewhere in it, not that every "
        "unit of it differs, nor where exactly it ends (Maris & Oostenveld 2007).",
        "A map without a rejected region does not show that two groups are alike.",
        "Where two groups vary unequally, the tests of difference maps are approximate "
        "(Chung & Romano 2013). In simulations of 5 to 60 images with a threefold standard "
        "deviation they rejected at most 8 % of maps without a difference instead of 5 %, and up "
        "to 10 % where units were skewed.",
    )
