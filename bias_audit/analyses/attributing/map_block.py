"""Mean maps of groups as a block."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from bias_audit.analyses.attributing.groups_shown import ALL
from bias_audit.analyses.attributing.passing import MapSums
from bias_audit.analyses.attributing.region_blocks import Shares
from bias_audit.analyses.attributing.trust import Checked
from bias_audit.results.blocks import AttributionMaps, FaceArea

_LEAST, _MOST = 2.0, 8.0
_SHOWN: Final = 99.0
"""Percentile of the cells that the colours reach."""


def maps_block(
    shares: Shares,
    attribute: str,
    sums: MapSums,
    trust: Checked,
    *,
    said: str,
    areas: tuple[FaceArea, ...],
) -> tuple[AttributionMaps, npt.NDArray[np.float32]]:
    """Maps of all images and of an attribute's levels, relative to an even spread.

    Returns:
        The block, with no key yet, and its maps; NaN for groups that are not shown.
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
        decision=said,
        methods=shares.methods,
        flagged=tuple(
            name
            for name, standing in zip(shares.methods, trust.standing, strict=True)
            if standing != "passes"
        ),
        groups=tuple(shown.groups[place] for place in places),
        counts=tuple(shown.independent[place] for place in places),
        reasons=tuple(shown.reasons[place] for place in places),
        limit=limit,
        areas=areas,
        maps="",
    )
    return block, maps.astype(np.float32)
