"""What is said of topographic maps: findings, method and limits."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Literal

from bias_audit.analyses.mapping.comparisons import Differences
from bias_audit.analyses.mapping.group_distances import Shares
from bias_audit.analyses.wording import coverage, decided_at
from bias_audit.groups import Group
from bias_audit.results.finding import Finding
from bias_audit.shapes.difference_map import DifferenceMap
from bias_audit.shapes.printed import (
    chance_of,
    counted,
    interval,
    percent_interval,
    points_interval,
)
from bias_audit.shapes.unit_map import EarlierMap, UnitMap
from bias_audit.statistics.estimate import interval_at
from bias_audit.statistics.multiplicity import is_rejected
from bias_audit.statistics.sureness import sureness_above, sureness_of_p, weight_of

_NAMED = 5
_SAME_PLACE = 0.005
"""In sides of a map: below, a unit is drawn in the same cell of the raster."""


def share_finding(layer: str, shares: Shares, *, alpha: float) -> Iterator[Finding]:
    """Which attribute moves the maps most; said only if its lead is above 0 at rate `alpha`."""
    if (found := shares.lead()) is None:
        return
    first, second, lead = found
    estimates = dict(zip(shares.attributes, shares.estimates, strict=True))
    parts = ", ".join(
        f"{name} {percent_interval(estimate)}"
        for name, estimate in sorted(estimates.items(), key=lambda entry: -entry[1].value)
    )
    one, other = shares.attributes[first], shares.attributes[second]
    surely = interval_at(lead, 1 - alpha)[0]
    claim, margin = (
        "the data do not show which attribute changes the maps most",
        f"the lead of {one} over {other} is not significant",
    )
    if surely > 0:
        claim = f"maps differ most by {one}"
        margin = f"{one} exceeds {other} by {points_interval(lead)}"
    text = (
        f"At {layer}, {claim}. Share of the variance of the profiles of intersections that each "
        f"attribute explains beyond the others (its main effect): {parts} "
        f"({coverage(lead.level)}s); {margin}{decided_at(alpha, lead.level)}."
    )
    yield Finding(text=text, weight=sureness_above(lead.value, surely), estimates=estimates)


def maps_method(
    maps: Sequence[UnitMap],
    chosen: str,
    *,
    is_half: bool,
    is_aligned: bool,
    is_dendrogram: bool,
    n_draws: int,
) -> Iterator[str]:
    """How maps of groups were made."""
    where = "; ".join(dict.fromkeys(f"{block.layer}: {block.layout}" for block in maps))
    half = (
        " Places rest on half of the images, drawn at random, so that the other half can test "
        "differences over a layout that does not know them."
    )
    yield (
        "A topographic map shows a group's profile (mean activation by unit, less the unweighted "
        "mean over groups) at the places of a layer's units. Units lie near each other when they "
        "respond alike to all intersections; the places, and the colour scale, are the same for "
        f"all groups of a layer.{half if is_half else ''} Drawn ({chosen}): {where}."
    )
    yield (
        "Between units values are interpolated linearly on a 100 x 100 raster; outside the units "
        "a map is 0. Colours end at the 0.5th or the 99.5th percentile of all values, whichever "
        "is farther from 0, on both sides alike."
    )
    if is_aligned and len({block.layer for block in maps}) > 1:
        yield (
            "The layout of each further layer is turned, and mirrored where that fits better, so "
            "that its maps look as much as possible like those of the layer before; nothing else "
            "changes."
        )
    if is_dendrogram:
        yield (
            "Groups of each attribute are in the order of a dendrogram of their profiles "
            "(correlation, average linkage, optimal leaf order), empty ones last."
        )
    if any(block.shares for block in maps):
        yield (
            "An attribute's share is the part of the variance of the profiles of intersections, "
            "each counted once and in standard deviations within intersections, that its main "
            "effect explains beyond those of the others; what sampling noise alone would add is "
            f"subtracted. Intervals: Bayesian bootstrap over clusters of images, {n_draws} draws."
        )


def maps_limits(maps: Sequence[UnitMap]) -> Iterator[str]:
    """What maps of groups cannot say."""
    yield (
        "Distances within a topographic map, and the shape of its patches, depend on the layout; "
        "compare the colours of two groups at one place, not the places."
    )
    yield (
        "Maps of groups have no intervals; those of small groups are noisier than those of large "
        "ones."
    )
    for layer, n_silent, n_units in dict.fromkeys(
        (block.layer, block.n_silent, block.n_units) for block in maps
    ):
        if n_silent:
            yield (
                f"{n_silent} of {n_units} units of {layer} respond alike to every group; where "
                "they lie on the map means nothing."
            )


def regions_tested(settings: Differences, n_draws: int, n_tested: int) -> str:
    """How the regions of some maps were found and tested."""
    family = (
        "z is the difference of the two groups divided by its standard error (Welch's, which "
        "allows for groups that vary unequally and for clusters of images), on the scale of a "
        f"normal variable. Labels are permuted {n_draws} times, whole clusters of images at "
        "a time and only among images that are alike in the other attributes; once with the "
        "activations as they are, once with the difference taken out and both groups scaled to "
        "one spread. The larger of the two p-values counts, adjusted over the "
        f"{n_tested} maps by Holm."
    )
    if settings.test == "max_t":
        return f"Each unit is tested by its |z| against the largest |z| of any unit. {family}"
    return (
        "A region is made of neighbouring units that differ in one direction (each by itself with "
        f"p at most {settings.unit_p:g} and by at least {settings.smallest_effect:g} standard "
        "deviations); its summed |z| is tested against the heaviest region of permuted labels, on "
        f"the half of the images that did not place the units. {family}"
    )


def effects_measured(test: str) -> str:
    """What the effects of regions are."""
    if test == "max_t":
        return (
            "Difference of the region's strongest unit in standard deviations within "
            "intersections, observed in units selected for being large; the intervals hold for "
            "all units of the map at once."
        )
    return (
        "Mean difference over the region's units in standard deviations within intersections, "
        "measured on the half of the images that did not choose the region."
    )


def difference_findings(block: DifferenceMap) -> Iterator[Finding]:
    """One sentence per attribute of which a map was rejected."""
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
        smallest = min(each.adjusted_p for each in found if each.adjusted_p is not None)
        effects = {
            f"region {i + 1}": region.effect
            for i, region in enumerate(widest.regions)
            if region.effect is not None and is_rejected(region.adjusted_p, alpha=block.alpha)
        }
        strongest = next(iter(effects.values()), None)
        size = ""
        if strongest is not None:
            size = f" The strongest region differs by {interval(strongest)} standard deviations."
        yield Finding(
            text=(
                f"At {block.layer}, units differ significantly by {attribute} on {len(found)} of "
                f"{counted(len(tested), 'difference map')}, with the other attributes held "
                f"constant. They differ most widely for {widest.label}: {widest.n_units} of "
                f"{block.n_units} units in {counted(widest.n_regions, 'region')} (adjusted "
                f"{chance_of(widest.adjusted_p, block.smallest_p)}).{size}"
            ),
            weight=weight_of(sureness_of_p(smallest, block.alpha), is_decided=True),
            estimates=effects,
        )


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
        "A significant region says that the groups differ somewhere in it, not that every unit "
        "in it differs, nor where exactly it ends (Maris & Oostenveld 2007).",
        "A map without a significant region does not show that two groups are alike.",
        "Where two groups vary unequally, the tests of difference maps are approximate (Chung & "
        "Romano 2013). In simulations of 5 to 60 images with a threefold standard deviation they "
        "found a difference on at most 8 % of maps without one instead of 5 %, and on up to 10 % "
        "where units were skewed.",
    )


def earlier_method(
    maps: Sequence[UnitMap], places: Literal["own", "earlier"], colours: Literal["earlier", "own"]
) -> Iterator[str]:
    """How layouts were laid beside those of an earlier audit; nothing where none was."""
    first = next((block.earlier for block in maps if block.earlier), None)
    if first is None:
        return
    scale = (
        "Colours end where they end in the earlier audit."
        if colours == "earlier"
        else "Colours end where these maps need it, not where they end in the earlier audit."
    )
    turned = (
        "turned, and mirrored where that fits better, so that its units lie as near as possible "
        "to where the same units lie there (orthogonal Procrustes, Schoenemann 1966)"
    )
    chance = f"with its units shuffled ({first.draws} draws, p at most {first.alpha:.2g})"
    placed = (
        f"Each layout was {turned}; nothing else changes. A layout is turned only if it fits "
        f"better than {chance}."
        if places == "own"
        else "Every unit is drawn where it was drawn there. Whether units of the two audits "
        f"respond alike is judged by a layout of this audit's own, {turned}; it matches if it "
        f"fits better than {chance}."
    )
    yield (
        f"Maps are to be compared with those of the earlier audit {first.run} (begun "
        f"{first.started}, backbone {first.backbone}). {placed} {scale}"
    )


def earlier_limits(
    maps: Sequence[UnitMap], run: str, groups: Mapping[str, Collection[Group]]
) -> Iterator[str]:
    """What a reader must not conclude from two reports; `groups` are those of the earlier maps."""
    for block in maps:
        if block.earlier:
            yield from _fit(block.layer, block.earlier)
    drawn = dict.fromkeys(block.layer for block in maps)
    if missing := [layer for layer in drawn if layer not in groups]:
        yield (
            f"The earlier audit {run} has no maps of {', '.join(missing)}; the maps of this audit "
            "were not turned."
        )
    for layer in drawn:
        if layer in groups:
            here = groups_drawn([block for block in maps if block.layer == layer])
            yield from _other_groups(here, set(groups[layer]), layer)


def _fit(layer: str, beside: EarlierMap) -> Iterator[str]:
    by_chance = f"(p {beside.p_value:.3g} with units shuffled)"
    if not beside.is_match and beside.places == "taken":
        yield (
            f"Units of {layer} lie where the earlier audit {beside.run} has them, but a "
            f"layout of their own does not match that one {by_chance}: places mean nothing for "
            "how these units respond."
        )
    elif not beside.is_match:
        yield (
            f"The layout of {layer} does not match that of the earlier audit {beside.run} "
            f"{by_chance}: the same place in both reports does not mean the same units, and only "
            "colours of one report can be compared by place."
        )
    elif beside.places != "taken" and beside.shift >= _SAME_PLACE:
        yield (
            f"In {layer} the two layouts are not the same: once turned, half of the units lie "
            f"more than {100 * beside.shift:.0f} % of a map's side away from where the earlier "
            f"audit {beside.run} has them, so that a patch may move without any unit responding "
            "otherwise. Compare values unit by unit in the files of figure data, or draw this "
            "audit on the earlier places (places: earlier)."
        )


def groups_drawn(maps: Sequence[UnitMap]) -> set[Group]:
    """Groups with images that some maps show."""
    return {
        group for block in maps for group, n in zip(block.groups, block.counts, strict=True) if n
    }


def _other_groups(here: set[Group], there: set[Group], layer: str) -> Iterator[str]:
    """Groups that only one of both audits has images of."""
    parts = []
    for only, where in ((here - there, "this"), (there - here, "the earlier")):
        labels = sorted(group.label for group in only)
        if labels:
            more = f" and {len(labels) - _NAMED} more" if len(labels) > _NAMED else ""
            parts.append(f"only {where} audit maps {'; '.join(labels[:_NAMED])}{more}")
    if parts:
        yield (
            f"The two audits do not map the same groups of {layer}: {', and '.join(parts)}. Every "
            "map shows a group less the mean over the groups of its own audit, so that colours of "
            "one group are shifted between the reports."
        )
