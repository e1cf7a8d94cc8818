"""Regions of an aligned face: where a template puts them, and which pixels they have."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Final, Literal

import numpy as np
from pydantic import Field, model_validator

from bias_audit.arrays import BoolArray, FloatArray, IntArray
from bias_audit.backbones.loading import Preprocessing
from bias_audit.config.schema import Component, Strict
from bias_audit.errors import AnalysisError
from bias_audit.shapes.attribution_maps import FaceArea

Share = Annotated[float, Field(ge=0, le=1)]
OUTSIDE: Final = "outside the face"
OUTSIDE_QUARTERS: Final = tuple(
    f"outside, {quarter}" for quarter in ("upper left", "upper right", "lower left", "lower right")
)
"""What lies outside the face, by quarters of the image."""


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
                "expected left < right and top < bottom, in shares of the image's sides, got left "
                f"{self.left:g}, right {self.right:g}, top {self.top:g}, bottom {self.bottom:g}"
            )
        return self

    def holds(self, x: FloatArray, y: FloatArray) -> BoolArray:
        """Which points lie inside."""
        across = (2 * x - self.left - self.right) / (self.right - self.left)
        down = (2 * y - self.top - self.bottom) / (self.bottom - self.top)
        if self.shape == "box":
            return np.asarray((np.abs(across) <= 1) & (np.abs(down) <= 1))
        return np.asarray(across**2 + down**2 <= 1)

    def about_middle(self, factor: float) -> dict[str, float]:
        """Its sides, that many times as far from the middle of the image."""
        sides = ("left", "top", "right", "bottom")
        return {side: 0.5 + factor * (getattr(self, side) - 0.5) for side in sides}


class FaceRegion(Strict):
    """A part of the face."""

    name: str = Field(pattern=r"\S", max_length=40)
    areas: tuple[Area, ...] = Field(min_length=1)


class FaceTemplate(Strict):
    """Where the parts of an aligned face lie; pixels in no region are outside the face."""

    regions: tuple[FaceRegion, ...] = Field(
        min_length=1, description="A pixel belongs to the first region that contains it."
    )

    @model_validator(mode="after")
    def _names_differ(self) -> FaceTemplate:
        names = [region.name for region in self.regions]
        taken = {*OUTSIDE_QUARTERS, OUTSIDE}
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
        if str(data.params.get("padding", "0.25")) == "0.25":
            return TIGHT
        regions = []
        for region in TIGHT.regions:
            smaller = [area.model_copy(update=area.about_middle(_WIDE)) for area in region.areas]
            regions.append(FaceRegion(name=region.name, areas=tuple(smaller)))
        return FaceTemplate(regions=tuple(regions))
    known = {"utkface": TIGHT, "parametric": RENDERED}
    if data.kind not in known:
        raise AnalysisError(
            f"template: expected regions for faces of data kind {data.kind!r}, whose alignment is "
            "not known, got none; set template: {regions: [...]} in shares of the image's sides"
        )
    return known[data.kind]


@dataclass(frozen=True)
class Regions:
    """A template on the pixels of an input."""

    names: tuple[str, ...]
    """Those of the template, then the quarters outside."""
    member: IntArray
    """Region of each pixel, shape (height, width)."""
    drawn: tuple[FaceArea, ...]
    """The areas of the template in shares of the input."""

    @property
    def areas(self) -> FloatArray:
        """Share of the input that each region has, shape (n_regions,)."""
        counts = np.bincount(self.member.ravel(), minlength=len(self.names))
        return np.asarray(counts / self.member.size)

    @property
    def n_inside(self) -> int:
        """Regions of the face, which come first."""
        return len(self.names) - len(OUTSIDE_QUARTERS)


def regions_on(template: FaceTemplate, preprocessing: Preprocessing) -> Regions:
    """Lay a template over an input, of which a crop may show the middle alone.

    Raises:
        AnalysisError: A region has no pixel of its own.
    """
    height, width = preprocessing.height, preprocessing.width
    shown = preprocessing.crop_fraction if preprocessing.resize == "crop" else 1.0
    y = 0.5 + shown * ((np.arange(height) + 0.5) / height - 0.5)
    x = 0.5 + shown * ((np.arange(width) + 0.5) / width - 0.5)
    across, down = np.meshgrid(x, y)
    middle = 0.5
    member = len(template.regions) + 2 * (down >= middle) + (across >= middle)
    for number, region in reversed([*enumerate(template.regions)]):
        for area in region.areas:
            member[area.holds(across, down)] = number
    names = (*(region.name for region in template.regions), *OUTSIDE_QUARTERS)
    drawn = tuple(
        FaceArea(region=region.name, shape=area.shape, **area.about_middle(1 / shown))
        for region in template.regions
        for area in region.areas
    )
    found = Regions(names, member.astype(np.int64), drawn)
    empty = [name for name, area in zip(names, found.areas, strict=True) if area == 0]
    if any(name not in OUTSIDE_QUARTERS for name in empty):
        raise AnalysisError(
            f"template: expected regions with pixels of their own, got none for "
            f"{', '.join(empty)}: other regions, or the border of the crop, cover them"
        )
    return found
