"""Regions of an aligned face: where they lie, and their shares of attribution."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Final, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from bias_audit.analyses.attributing.maps import ALL, Groups, Means, ShownGroups
from bias_audit.arrays import FloatArray
from bias_audit.backbones.loading import Preprocessing
from bias_audit.config.schema import Component, Strict
from bias_audit.errors import AnalysisError
from bias_audit.results.blocks import (
    Entry,
    FaceArea,
    GroupRow,
    GroupTable,
    Measure,
    Measures,
    Pair,
)
from bias_audit.statistics.estimate import Estimate
from bias_audit.statistics.inference import Measured, difference, estimate, p_apart
from bias_audit.statistics.multiplicity import adjusted

Share = Annotated[float, Field(ge=0, le=1)]
OUTSIDE: Final = "outside the face"
_MIDDLE: Final = 0.5
_QUARTERS: Final = ("upper left", "upper right", "lower left", "lower right")


def outside_names() -> tuple[str, ...]:
    """What lies outside the face, by quarters of the image."""
    return tuple(f"outside, {quarter}" for quarter in _QUARTERS)


class Area(Strict):
    """An ellipse or a box; (0, 0) is the image's upper left corner."""

    shape: Literal["ellipse", "box"] = "ellipse"
    left: Share
    top: Share
    right: Share
    bottom: Share

    @model_validator(mode="after")
    def _has_an_inside(self) -> Area:
        if self.left >= self.right or self.top >= self.bottom:
            raise ValueError(
                "expected left < right and top < bottom, in shares of the image's sides, got "
                f"left {self.left:g}, right {self.right:g}, top {self.top:g}, "
                f"bottom {self.bottom:g}"
            )
        return self

    def holds(
        self, x: npt.NDArray[np.float64], y: npt.NDArray[np.float64]
    ) -> npt.NDArray[np.bool_]:
        """Which points lie inside."""
        across = (2 * x - self.left - self.right) / (self.right - self.left)
        down = (2 * y - self.top - self.bottom) / (self.bottom - self.top)
        if self.shape == "box":
            return np.asarray((np.abs(across) <= 1) & (np.abs(down) <= 1))
        return np.asarray(across**2 + down**2 <= 1)


class FaceRegion(Strict):
    """A part of the face."""

    name: str = Field(pattern=r"\S", max_length=40)
    areas: tuple[Area, ...] = Field(min_length=1)


class FaceTemplate(Strict):
    """Where the parts of an aligned face lie; what no region holds is outside the face."""

    regions: tuple[FaceRegion, ...] = Field(
        min_length=1, description="The first region that holds a pixel has it."
    )

    @model_validator(mode="after")
    def _names_differ(self) -> FaceTemplate:
        names = [region.name for region in self.regions]
        taken = {*outside_names(), OUTSIDE}
        wrong = sorted({name for name in names if names.count(name) > 1 or name in taken})
        if wrong:
            raise ValueError(
                f"expected regions with names of their own, other than {OUTSIDE!r}, got "
                f"{', '.join(map(repr, wrong))}"
            )
        return self


def _ellipse(x: float, y: float, across: float, down: float) -> Area:
    left, right = max(0.0, x - across), min(1.0, x + across)
    return Area(left=left, top=max(0.0, y - down), right=right, bottom=min(1.0, y + down))


def _eyes(left: float, right: float, y: float, radii: tuple[float, float]) -> tuple[Area, Area]:
    return _ellipse(left, y, *radii), _ellipse(right, y, *radii)


def _box(left: float, top: float, right: float, bottom: float) -> Area:
    return Area(shape="box", left=left, top=top, right=right, bottom=bottom)


TIGHT: Final = FaceTemplate(
    regions=(
        FaceRegion(
            name="eyes", areas=(_ellipse(0.3, 0.27, 0.15, 0.1), _ellipse(0.7, 0.27, 0.15, 0.1))
        ),
        FaceRegion(name="nose", areas=(_ellipse(0.5, 0.4, 0.1, 0.19),)),
        FaceRegion(name="mouth", areas=(_ellipse(0.5, 0.69, 0.2, 0.1),)),
        FaceRegion(name="forehead and hair", areas=(_box(0.1, 0.0, 0.9, 0.19),)),
        FaceRegion(name="cheeks and chin", areas=(_ellipse(0.5, 0.5, 0.41, 0.47),)),
    )
)
"""FairFace with padding 0.25 and UTKFace's aligned crops, read off their mean images."""

RENDERED: Final = FaceTemplate(
    regions=(
        FaceRegion(
            name="eyes",
            areas=(_ellipse(0.385, 0.42, 0.085, 0.05), _ellipse(0.595, 0.42, 0.085, 0.05)),
        ),
        FaceRegion(name="nose", areas=(_ellipse(0.49, 0.48, 0.055, 0.09),)),
        FaceRegion(name="mouth", areas=(_ellipse(0.49, 0.63, 0.11, 0.05),)),
        FaceRegion(name="forehead and hair", areas=(_box(0.24, 0.05, 0.76, 0.36),)),
        FaceRegion(name="cheeks and chin", areas=(_ellipse(0.49, 0.5, 0.25, 0.32),)),
    )
)
"""The bundled parametric heads, whose pose varies, read off their mean image."""

_WIDE: Final = 1.5 / 3.5
"""FairFace cuts the face with a padding on every side: 1 + 2 x 0.25 against 1 + 2 x 1.25."""


def template_of(data: Component, given: FaceTemplate | None) -> FaceTemplate:
    """The template of a config, else the one declared for its source of faces.

    Raises:
        AnalysisError: The source's faces are not known to be aligned.
    """
    if given is not None:
        return given
    if data.kind == "fairface":
        padding = str(data.params.get("padding", "0.25"))
        return TIGHT if padding == "0.25" else _scaled(TIGHT, _WIDE)
    known = {"utkface": TIGHT, "parametric": RENDERED}
    if data.kind not in known:
        raise AnalysisError(
            f"template: expected regions for faces of data kind {data.kind!r}, whose alignment is "
            "not known, got none; set template: {regions: [...]} in shares of the image's sides"
        )
    return known[data.kind]


def _scaled(template: FaceTemplate, factor: float) -> FaceTemplate:
    """The template of the same faces seen smaller, about the middle."""

    def moved(area: Area) -> Area:
        ends = {side: 0.5 + factor * (getattr(area, side) - 0.5) for side in _SIDES}
        return area.model_copy(update=ends)

    return FaceTemplate(
        regions=tuple(
            FaceRegion(name=region.name, areas=tuple(map(moved, region.areas)))
            for region in template.regions
        )
    )


_SIDES: Final = ("left", "top", "right", "bottom")


@dataclass(frozen=True)
class Regions:
    """A template on the pixels of an input."""

    names: tuple[str, ...]
    """Those of the template, then the quarters outside."""
    member: npt.NDArray[np.int64]
    """Region of each pixel, shape (height, width)."""

    @property
    def areas(self) -> npt.NDArray[np.float64]:
        """Share of the input that each region has, shape (n_regions,)."""
        counts = np.bincount(self.member.ravel(), minlength=len(self.names))
        result: npt.NDArray[np.float64] = counts / self.member.size
        return result

    @property
    def n_inside(self) -> int:
        """Regions of the face, which come first."""
        return len(self.names) - len(_QUARTERS)


def drawn_areas(template: FaceTemplate, preprocessing: Preprocessing) -> tuple[FaceArea, ...]:
    """The areas of a template in shares of an input, of which a crop may show the middle alone."""
    shown = _shown(preprocessing)

    def moved(area: Area) -> dict[str, float]:
        return {side: 0.5 + (getattr(area, side) - 0.5) / shown for side in _SIDES}

    return tuple(
        FaceArea(region=region.name, shape=area.shape, **moved(area))
        for region in template.regions
        for area in region.areas
    )


def _shown(preprocessing: Preprocessing) -> float:
    """Share of the image's sides that the input shows."""
    return preprocessing.crop_fraction if preprocessing.resize == "crop" else 1.0


def regions_on(template: FaceTemplate, preprocessing: Preprocessing) -> Regions:
    """Lay a template over an input, of which a crop may show the middle alone.

    Raises:
        AnalysisError: A region has no pixel of its own.
    """
    height, width = preprocessing.height, preprocessing.width
    shown = _shown(preprocessing)
    y = 0.5 + shown * ((np.arange(height) + 0.5) / height - 0.5)
    x = 0.5 + shown * ((np.arange(width) + 0.5) / width - 0.5)
    across, down = np.meshgrid(x, y)
    member = len(template.regions) + 2 * (down >= _MIDDLE) + (across >= _MIDDLE)
    for number, region in reversed([*enumerate(template.regions)]):
        for area in region.areas:
            member[area.holds(across, down)] = number
    names = (*(region.name for region in template.regions), *outside_names())
    found = Regions(names, member.astype(np.int64))
    empty = [name for name, area in zip(names, found.areas, strict=True) if area == 0]
    if any(name not in outside_names() for name in empty):
        raise AnalysisError(
            f"template: expected regions with pixels of their own, got none for "
            f"{', '.join(empty)}: other regions, or the border of the crop, cover them"
        )
    return found


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
        f"Where each method sees the decision about {shares.target}, by region",
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
    found = tuple(_differences(shares, attribute)) if shares.trusted else ()
    return _block(
        shares,
        f"Where the decision about {shares.target} is seen, by {attribute}",
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
    "Each level is compared with all other images, region by region; the images of two groups "
    "are different ones, so the difference is unpaired, but for clusters with images in both. "
    "P-values are adjusted over the regions and levels of the attribute by Holm."
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
