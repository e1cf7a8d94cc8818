"""Difference maps in sentences."""

from __future__ import annotations

from collections.abc import Sequence

from bias_audit.analyses.mapping.difference_testing import Work
from bias_audit.analyses.wording import interval
from bias_audit.results.blocks import DifferenceMap, Finding
from bias_audit.statistics.multiplicity import is_rejected
from bias_audit.statistics.sureness import sureness_of_p, weight_of


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
