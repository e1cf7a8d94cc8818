"""The blocks of an attribution: maps and shares of regions, by group and by method."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from bias_audit.analyses.attributing.face_regions import OUTSIDE, Regions
from bias_audit.analyses.attributing.names import QUANTITY
from bias_audit.analyses.attributing.summing import ALL, Groups, MapSums, Means
from bias_audit.analyses.small_groups import REMAINDER, levels_shown, without_remainders
from bias_audit.arrays import BoolArray, Float32Array, FloatArray, IntArray
from bias_audit.config.schema import SmallGroups
from bias_audit.data.faces import Faces
from bias_audit.groups import EVERYONE, Group
from bias_audit.shapes.attribution_maps import AttributionMaps
from bias_audit.shapes.group_ledger import GroupLedger
from bias_audit.shapes.group_table import GroupRow, GroupTable
from bias_audit.shapes.measures import Entry, Measure, Measures, Pair
from bias_audit.statistics.estimate import Estimate
from bias_audit.statistics.inference import Measured, difference, estimate, p_apart
from bias_audit.statistics.multiplicity import adjusted


@dataclass(frozen=True)
class ShownGroups:
    """All images, then the levels of some attributes."""

    groups: tuple[Group, ...]
    attributes: tuple[str, ...]
    """Of each group; empty for all images."""
    member: BoolArray
    """Shape (n_images, n_groups)."""
    independent: tuple[int, ...]
    """Images of each group, those of one cluster counted once."""
    reasons: tuple[str | None, ...]
    """Why a group is not shown; None where it is."""
    ledgers: tuple[GroupLedger, ...]
    """One for each attribute with groups that are not shown."""

    def of(self, attribute: str) -> tuple[int, ...]:
        """Places of an attribute's levels."""
        return tuple(i for i, name in enumerate(self.attributes) if name == attribute)

    def is_shown(self, place: int) -> bool:
        """Whether a group's numbers and map may be printed."""
        return self.reasons[place] is None


def shown_groups(
    faces: Faces, images: IntArray, attributes: Sequence[str], policy: SmallGroups
) -> ShownGroups:
    """Decide which groups of some images are shown: a mean of few could show a face.

    Further groups are left out until none of fewer images than the minimum follows from all images
    and the groups of its attribute, nor one below `suppress_below` from those of all attributes:
    an intersection may have few images here, because not all images are attributed. Images are
    those that are attributed, shape (n,), attributes those whose levels are groups; the minimum of
    the policy decides, whatever else it says.
    """
    groups: list[Group] = [EVERYONE]
    names = [""]
    member = [np.ones(len(images), dtype=np.bool_)]
    clusters = faces.clusters[images]
    independent = [len(np.unique(clusters))]
    reasons: list[str | None] = [None]
    ledgers: list[GroupLedger] = []
    for each in levels_shown(
        faces, images, attributes, policy, lambda name: f"Groups of {name} without a map"
    ):
        groups += each.groups
        names += [each.attribute] * len(each.groups)
        member += [each.codes == level for level in range(len(each.groups))]
        independent += each.counts.tolist()
        reasons += each.reasons
        ledgers += each.ledgers
    members, is_shown = np.stack(member, axis=1), np.array([why is None for why in reasons])
    together = without_remainders(members[:, 1:], is_shown[1:], clusters, policy.suppress_below)
    for place in np.flatnonzero(is_shown[1:] & ~together) + 1:
        reasons[place] = REMAINDER
    return ShownGroups(
        tuple(groups), tuple(names), members, tuple(independent), tuple(reasons), tuple(ledgers)
    )


MEAN: Final = "mean of the methods that pass"
_TWO: Final = 2


@dataclass(frozen=True)
class Shares:
    """Sums of a target's pass, with what its numbers are."""

    means: Means
    methods: tuple[str, ...]
    """Titles, in the order of the sums."""
    trusted: tuple[int, ...]
    """Places of the methods that pass the sanity check."""
    regions: Regions
    shown: ShownGroups
    layer: str
    target: str
    level: float

    @property
    def printed(self) -> tuple[Measure, ...]:
        """The regions, and all that is outside the face as the last one."""
        areas = self.regions.areas
        named = zip(self.regions.names, areas.tolist(), strict=True)
        outside = float(areas[self.regions.n_inside :].sum())
        return (
            *(
                Measure(
                    name=name,
                    reference=area,
                    reference_is="share of the image",
                    part_of=None if place < self.regions.n_inside else OUTSIDE,
                )
                for place, (name, area) in enumerate(named)
            ),
            Measure(name=OUTSIDE, reference=outside, reference_is="share of the image"),
        )

    def weights(self, methods: Sequence[int], region: int) -> FloatArray:
        """Of the values that are summed, for the mean over methods of one printed region."""
        n_regions = len(self.regions.names)
        places = [region] if region < n_regions else [*range(self.regions.n_inside, n_regions)]
        result = np.zeros((len(self.methods), n_regions))
        result[np.ix_(list(methods), places)] = 1 / len(methods)
        return result.ravel()

    def measured(self, groups: Groups, methods: Sequence[int], region: int) -> Measured | None:
        """The mean share of a printed region."""
        return self.means.mean(groups, self.weights(methods, region))


def by_method(shares: Shares) -> Measures:
    """All images, method by method."""
    rows = tuple(_row(shares, ALL, [number], name) for number, name in enumerate(shares.methods))
    return _block(
        shares,
        f"Which parts of the image count for the decision about {shares.target}, by method?",
        rows,
        "region and method (all images)",
        detail=False,
    )


def by_group(shares: Shares, attribute: str) -> Measures:
    """The levels of an attribute, for the mean of the methods that pass, then for each method."""
    places = (ALL, *shares.shown.of(attribute))
    drawn = [_row(shares, place, shares.trusted, MEAN) for place in places]
    rest = [
        _row(shares, place, [number], name)
        for number, name in enumerate(shares.methods)
        for place in places
    ]
    return _block(
        shares,
        f"Which parts of the image count for the decision about {shares.target}, by {attribute}?",
        (*drawn, *(row.model_copy(update={"is_drawn": False}) for row in rest)),
        f"region and group ({MEAN})",
        detail=attribute != shares.target,
        pairs=tuple(_differences(shares, attribute)) if shares.trusted else (),
    )


def _block(
    shares: Shares,
    title: str,
    entries: tuple[Entry, ...],
    by: str,
    *,
    detail: bool,
    pairs: tuple[Pair, ...] = (),
) -> Measures:
    return Measures(
        detail=detail,
        title=title,
        noun="method",
        layer=shares.layer,
        target=shares.target,
        measures=shares.printed,
        entries=entries,
        pairs=pairs,
        caption=(
            f"Share of absolute attribution at {shares.layer} by {by}, with intervals. Dotted: "
            "the region's share of the image, which an even spread would give."
        ),
        notes=(_ADJUSTMENT,) if pairs else (),
        reading=(_READING,),
    )


_READING = (
    "Each panel is a part of the aligned face, or a quarter of what lies outside it. A dot right "
    "of the dotted line: that part has more of the attribution than its size alone would give it."
)
_ADJUSTMENT = (
    "Each group is compared with all other images, region by region. The two sides share no "
    "image, so the difference is unpaired except for clusters with images in both. P-values are "
    "adjusted over the regions and groups of the attribute by Holm."
)


def outside_table(shares: Shares, attributes: Sequence[str]) -> GroupTable:
    """What criteria can name: the share outside the face, of all images and of every level."""
    region = len(shares.printed) - 1
    area = area_of(shares.printed[region])
    places = [ALL, *(place for name in attributes for place in shares.shown.of(name))]
    rows = []
    for place in places:
        row = _row(shares, place, shares.trusted, MEAN)
        n = int(shares.shown.member[:, place].sum())
        rows.append(
            GroupRow(
                group=shares.shown.groups[place],
                n=n,
                estimate=row.values[region],
                reason=row.reasons[region],
            )
        )
    return GroupTable(
        detail=True,
        title=f"Attribution outside the face, decision about {shares.target}",
        quantity=QUANTITY,
        metric=f"share of attribution outside the face (even spread: {area:.2f})",
        layer=shares.layer,
        target=shares.target,
        chance=None,
        rows=tuple(rows),
    )


def area_of(measure: Measure) -> float:
    """A region's share of the image."""
    return measure.reference or 0.0


def _row(shares: Shares, place: int, methods: Sequence[int], name: str) -> Entry:
    shown = shares.shown
    n_regions = len(shares.printed)
    reason = shown.reasons[place]
    if reason is None and not methods:
        reason = "no method passes its sanity check"
    if reason is not None:
        values: list[Estimate | None] = [None] * n_regions
    else:
        values = [
            None if found is None else estimate(found, level=shares.level)
            for found in (shares.measured({place: 1}, methods, i) for i in range(n_regions))
        ]
    return Entry(
        name=name,
        group=shown.groups[place],
        n=shown.independent[place],
        values=tuple(values),
        reasons=(reason,) * n_regions,
    )


def _differences(shares: Shares, attribute: str) -> Iterator[Pair]:
    shown = shares.shown
    places = [place for place in shown.of(attribute) if shown.is_shown(place)]
    pairs: list[tuple[int, Groups, int | None]] = [
        (place, {ALL: 1, place: -1}, None) for place in places
    ]
    if len(shown.of(attribute)) == _TWO and len(places) == _TWO:
        pairs = [(places[0], {places[1]: 1}, places[1])]
    found = []
    for place, against, other in pairs:
        for region in range(len(shares.printed)):
            one = shares.measured({place: 1}, shares.trusted, region)
            rest = shares.measured(against, shares.trusted, region)
            if one is not None and rest is not None:
                found.append((region, place, other, one, rest))
    p_values = [p_apart(one - rest) for *_, one, rest in found]
    for (region, place, other, one, rest), p in zip(
        found, adjusted(p_values, "holm"), strict=True
    ):
        yield Pair(
            measure=shares.printed[region].name,
            one=shown.groups[place].label,
            other="all others" if other is None else shown.groups[other].label,
            estimate=difference(one, rest, level=shares.level),
            adjusted_p=1.0 if p is None else float(p),
        )


_LEAST, _MOST = 2.0, 8.0
_SHOWN: Final = 99.0
"""Percentile of the cells that the colours reach."""


def maps_block(
    shares: Shares, attribute: str, sums: MapSums, *, decision: str, key: str
) -> tuple[AttributionMaps, Float32Array]:
    """Maps of all images and of an attribute's levels, relative to an even spread.

    Returns:
        The block, and the maps that it names by the key; NaN for groups that are not shown.
    """
    shown = shares.shown
    places = [ALL, *shown.of(attribute)]
    counts = sums.totals.counts
    maps = np.full((len(shares.methods), len(places), *sums.maps.shape[2:]), np.nan)
    for number, place in enumerate(places):
        if shown.is_shown(place):
            maps[:, number] = sums.maps[:, place] / counts[place] * sums.maps[0, 0].size
    drawn = np.abs(np.log2(np.clip(maps[np.isfinite(maps)], 1e-6, None)))
    limit = float(np.clip(2 ** np.percentile(drawn, _SHOWN), _LEAST, _MOST))
    block = AttributionMaps(
        detail=attribute != shares.target,
        title=f"Maps of the decision about {shares.target}, by {attribute}",
        layer=shares.layer,
        target=shares.target,
        decision=decision,
        methods=shares.methods,
        flagged=tuple(n for i, n in enumerate(shares.methods) if i not in shares.trusted),
        groups=tuple(shown.groups[place] for place in places),
        counts=tuple(shown.independent[place] for place in places),
        reasons=tuple(shown.reasons[place] for place in places),
        limit=limit,
        areas=shares.regions.drawn,
        maps=key,
    )
    return block, maps.astype(np.float32)
