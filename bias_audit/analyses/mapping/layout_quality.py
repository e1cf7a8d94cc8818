"""The measures by which layouts are compared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.spatial import QhullError

from bias_audit.analyses.mapping.layout import Distance, comparable
from bias_audit.analyses.mapping.neighbourhood_quality import kept_neighbours
from bias_audit.analyses.mapping.raster import rasters
from bias_audit.analyses.mapping.raster_quality import (
    BLURS,
    SHRINKS,
    active_regions,
    area_under,
    blur_curve,
    shrink_curve,
)
from bias_audit.arrays import FloatArray
from bias_audit.results.blocks import ComparedMeasure

DISPARITY = "disparity"
MEASURES: Mapping[str, ComparedMeasure] = {
    "trustworthiness": ComparedMeasure(
        name="trustworthiness",
        better="higher",
        meaning="whether units that lie near each other respond alike (Venna & Kaski 2001)",
    ),
    "continuity": ComparedMeasure(
        name="continuity",
        better="higher",
        meaning="whether units that respond alike lie near each other (Venna & Kaski 2001)",
    ),
    "preservation": ComparedMeasure(
        name="neighbours kept",
        better="higher",
        meaning="share of a unit's ten nearest by response that are among its ten nearest",
    ),
    "blur": ComparedMeasure(
        name="change by blur",
        better="lower",
        meaning="relative change of the maps under Gaussian blur, mean over strengths "
        f"up to {BLURS[-1]:g} of 100 raster cells",
    ),
    "shrink": ComparedMeasure(
        name="change by shrinking",
        better="lower",
        meaning="relative change of the maps when shrunk and enlarged again, mean over factors "
        f"up to {SHRINKS[-1]}",
    ),
    "regions": ComparedMeasure(
        name="active regions",
        better="lower",
        meaning="connected regions of high activity per map, above the 90th percentile of units",
    ),
    "region_area": ComparedMeasure(
        name="area of a region (%)",
        better="higher",
        meaning="mean area of such a region, in percent of the map",
    ),
    DISPARITY: ComparedMeasure(
        name="disparity",
        better="lower",
        meaning="Procrustes disparity between the layouts of two repetitions: 0 for one shape",
    ),
}
"""By the key that values have."""
RANGES: Mapping[str, tuple[float, float]] = {
    **dict.fromkeys(("trustworthiness", "continuity", "preservation", DISPARITY), (0.0, 1.0)),
    **dict.fromkeys(("blur", "shrink", "regions"), (0.0, np.inf)),
    "region_area": (0.0, 100.0),
}
"""The smallest and largest value of each measure."""


@dataclass(frozen=True)
class Quality:
    """One layout, measured."""

    measures: dict[str, float | None]
    """By key, all but the disparity; None for those of maps where units on one line span none."""
    blur: FloatArray | None
    """Change of the maps by `BLURS`, shape (n_blurs,)."""
    shrink: FloatArray | None
    """Change of the maps by `SHRINKS`, shape (n_shrinks,)."""


def quality(signatures: FloatArray, distance: Distance, positions: FloatArray) -> Quality:
    """Every measure of one layout but the disparity, which takes two.

    Args:
        signatures: Contrasted profiles of units, shape (n_units, n_groups), none of them 0.
        distance: By which units were placed.
        positions: In [0, 1], shape (n_units, 2).
    """
    neighbours = kept_neighbours(comparable(signatures, distance), positions)
    places: dict[str, float | None] = {
        "trustworthiness": neighbours.trustworthiness,
        "continuity": neighbours.continuity,
        "preservation": neighbours.preservation,
    }
    values = signatures.T
    try:
        drawn = rasters(positions, values)
    except QhullError:
        lost = dict.fromkeys(("blur", "shrink", "regions", "region_area"))
        return Quality(places | lost, None, None)
    number, area = active_regions(drawn, values)
    blur, shrink = blur_curve(drawn), shrink_curve(drawn)
    maps: dict[str, float | None] = {
        "blur": area_under(blur, BLURS),
        "shrink": area_under(shrink, SHRINKS),
        "regions": number,
        "region_area": 100 * area,
    }
    return Quality(places | maps, blur, shrink)
