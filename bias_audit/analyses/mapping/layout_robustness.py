"""How much of the maps survives blurring and shrinking, by strength and layout.

The curves of Krug, Ratul, Olson & Stober (arXiv:2204.03528), with intervals over repetitions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from bias_audit.analyses.mapping.layout_quality import Quality
from bias_audit.analyses.mapping.raster_quality import BLURS, SHRINKS
from bias_audit.arrays import FloatArray
from bias_audit.results.blocks import (
    RobustnessCurve,
    RobustnessCurves,
    RobustnessPanel,
    RobustnessPoint,
)
from bias_audit.statistics.repetitions import mean_over_repetitions

_RANGE = (0.0, np.inf)


def robustness(
    layer: str, layouts: Mapping[str, Sequence[Quality]], level: float
) -> RobustnessCurves:
    """Curves of every layout under both disturbances.

    Args:
        layer: Whose units are placed.
        layouts: Repetitions by name, in the order in which they are listed.
        level: Coverage of the intervals.
    """
    blur = {name: [found.blur for found in repeated] for name, repeated in layouts.items()}
    shrink = {name: [found.shrink for found in repeated] for name, repeated in layouts.items()}
    return RobustnessCurves(
        title=f"Robustness of the maps of {layer}",
        noun="layout",
        layer=layer,
        metric="relative change of the maps",
        panels=(
            _panel("Gaussian blur", "standard deviation, in cells of 100", BLURS, blur, level),
            _panel("shrinking and enlarging", "factor of the side", SHRINKS, shrink, level),
        ),
    )


def _panel(
    disturbance: str,
    strength: str,
    strengths: Sequence[float],
    curves: Mapping[str, Sequence[FloatArray | None]],
    level: float,
) -> RobustnessPanel:
    return RobustnessPanel(
        disturbance=disturbance,
        strength=strength,
        curves=tuple(
            RobustnessCurve(method=name, points=_points(strengths, repeated, level))
            for name, repeated in curves.items()
        ),
    )


def _points(
    strengths: Sequence[float], repeated: Sequence[FloatArray | None], level: float
) -> tuple[RobustnessPoint, ...]:
    """Means over repetitions; none where a repetition has no map."""
    known = [curve for curve in repeated if curve is not None]
    if len(known) < len(repeated):
        return ()
    by_strength = np.stack(known, axis=1)
    return tuple(
        RobustnessPoint(
            strength=float(strength),
            change=mean_over_repetitions(values, level=level, within=_RANGE),
        )
        for strength, values in zip(strengths, by_strength, strict=True)
    )
