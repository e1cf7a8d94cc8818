"""Shares of attribution by region, as blocks of a result."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from bias_audit.analyses.attributing.face_template import OUTSIDE, Regions
from bias_audit.analyses.attributing.groups_shown import ALL, ShownGroups
from bias_audit.analyses.attributing.totals import Groups, Means
from bias_audit.arrays import FloatArray
from bias_audit.results.blocks import (
    FaceRegionArea,
    GroupRow,
    GroupTable,
    RegionDifference,
    RegionRow,
    RegionShares,
)
from bias_audit.statistics.estimate import Estimate
from bias_audit.statistics.inference import Measured, difference, estimate, p_apart
from bias_audit.statistics.multiplicity import adjusted

MEAN: Final = "mean of the methods that pass"
QUANTITY: Final = "attribution_outside_share"
EVERYONE: Final[Groups] = {ALL: 1}
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
    def printed(self) -> tuple[FaceRegionArea, ...]:
        """The regions, and all that is outside the face as the last one."""
        areas = self.regions.areas
        named = zip(self.regions.names, areas.tolist(), strict=True)
        outside = float(areas[self.regions.n_inside :].sum())
        return (
            *(
                FaceRegionArea(
                    name=name,
                    area=area,
                    part_of=None if place < self.regions.n_inside else OUTSIDE,
                )
                for place, (name, area) in enumerate(named)
            ),
            FaceRegionArea(name=OUTSIDE, area=outside),
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


def by_method(shares: Shares) -> RegionShares:
    """All images, method by method."""
    rows = tuple(_row(shares, ALL, [number], name) for number, name in enumerate(shares.methods))
    return RegionShares(
        detail=False,
        title=f"Where each method sees the decision about {shares.target}, by region",
        layer=shares.layer,
        target=shares.target,
        by="method",
        regions=shares.printed,
        rows=rows,
        n_drawn=len(rows),
    )


def by_group(shares: Shares, attribute: str) -> RegionShares:
    """The levels of an attribute, for the mean of the methods that pass, then for each method."""
    places = (ALL, *shares.shown.of(attribute))
    drawn = [_row(shares, place, shares.trusted, MEAN) for place in places]
    rest = [
        _row(shares, place, [number], name)
        for number, name in enumerate(shares.methods)
        for place in places
    ]
    found = tuple(_differences(shares, attribute)) if shares.trusted else ()
    return RegionShares(
        detail=attribute != shares.target,
        title=f"Where the decision about {shares.target} is seen, by {attribute}",
        layer=shares.layer,
        target=shares.target,
        by="group",
        regions=shares.printed,
        rows=(*drawn, *rest),
        n_drawn=len(drawn),
        differences=found,
        adjustment=_ADJUSTMENT if found else "",
    )


_ADJUSTMENT = (
    "Each level is compared with all other images, region by region; the images of two groups "
    "are different ones, so the difference is unpaired, but for clusters with images in both. "
    "P-values are adjusted over the regions and levels of the attribute by Holm."
)


def outside_table(shares: Shares, attributes: Sequence[str]) -> GroupTable:
    """What criteria can name: the share outside the face, of all images and of every level."""
    region = len(shares.printed) - 1
    area = shares.printed[region].area
    places = [ALL, *(place for name in attributes for place in shares.shown.of(name))]
    rows = []
    for place in places:
        row = _row(shares, place, shares.trusted, MEAN)
        n = int(shares.shown.member[:, place].sum())
        rows.append(GroupRow(group=row.group, n=n, estimate=row.shares[region], reason=row.reason))
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


def _row(shares: Shares, place: int, methods: Sequence[int], name: str) -> RegionRow:
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
    return RegionRow(
        method=name,
        group=shown.groups[place],
        n=shown.independent[place],
        shares=tuple(values),
        reason=reason,
    )


def _differences(shares: Shares, attribute: str) -> Iterator[RegionDifference]:
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
        yield RegionDifference(
            region=shares.printed[region].name,
            one=shown.groups[place],
            other=None if other is None else shown.groups[other],
            estimate=difference(one, rest, level=shares.level),
            adjusted_p=1.0 if p is None else float(p),
        )
