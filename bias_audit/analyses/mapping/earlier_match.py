"""Laying a layout beside that of an earlier audit, and how well the two fit."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from bias_audit.analyses.analysis import Subject
from bias_audit.analyses.mapping.alignment import align_units
from bias_audit.analyses.mapping.earlier import EarlierMaps
from bias_audit.analyses.mapping.group_maps import Plane
from bias_audit.analyses.mapping.layout import unit_square
from bias_audit.analyses.mapping.neighbourhood_quality import disparity
from bias_audit.arrays import FloatArray
from bias_audit.results.blocks import EarlierMap

_DRAWS = 999
_CENTRAL = (0.025, 0.975)


@dataclass(frozen=True)
class Match:
    """How well two layouts of the same units fit after the best turn."""

    disparity: float
    by_chance: tuple[float, float]
    """Central 95 % of the disparity with units shuffled."""
    p_value: float
    """Of a disparity as small, were units matched at random."""
    shift: float
    """Median distance of a unit from its counterpart, both in [0, 1]."""
    shift_by_chance: float
    """The median of it with units shuffled."""


@dataclass(frozen=True)
class Beside:
    """What a layer's maps take over from an earlier audit."""

    told: EarlierMap
    difference_limit: float | None
    """End of the colour scale of its difference maps; None where it has none."""


def match_units(
    positions: FloatArray, reference: FloatArray, rng: np.random.Generator, draws: int = _DRAWS
) -> tuple[FloatArray, Match]:
    """Turn a layout onto another of the same units, and compare the fit with chance.

    The fit is the Procrustes disparity (see `neighbourhood_quality.disparities`). Chance is the
    same with the units of one layout shuffled, each time turned anew; p-values count the layouts
    themselves as one of the draws (Phipson & Smyth 2010).

    Args:
        positions: In [0, 1], shape (n_units, 2).
        reference: Of the same units in the same order, in [0, 1], shape (n_units, 2).
        rng: Shuffles units.
        draws: How often.

    Returns:
        The turned layout in [0, 1], shape (n_units, 2), and the fit.
    """
    turned = unit_square(align_units(positions, reference))
    observed = disparity(positions, reference)
    chance, shifts = np.empty(draws), np.empty(draws)
    for draw in range(draws):
        shuffled = positions[rng.permutation(len(positions))]
        chance[draw] = disparity(shuffled, reference)
        shifts[draw] = _shift(unit_square(align_units(shuffled, reference)), reference)
    lower, upper = (float(end) for end in np.quantile(chance, _CENTRAL))
    as_small = int((chance <= observed).sum())
    return turned, Match(
        disparity=observed,
        by_chance=(lower, upper),
        p_value=(1 + as_small) / (1 + draws),
        shift=_shift(turned, reference),
        shift_by_chance=float(np.median(shifts)),
    )


def laid_beside(
    subject: Subject,
    plane: Plane,
    earlier: EarlierMaps,
    *,
    alpha: float,
    places: Literal["own", "earlier"],
) -> tuple[Plane, Beside]:
    """Turn the layout of a layer onto an earlier audit's, where units match better than by chance.

    Or take the earlier places themselves: then every unit is where it was.

    Args:
        subject: Of this audit.
        plane: The layout.
        earlier: It has the layer.
        alpha: The largest p-value of a match.
        places: "own" turns the layout, "earlier" replaces it.

    Raises:
        AnalysisError: The positions of the earlier audit cannot be used.
    """
    layer = plane.layer
    reference = earlier.positions(layer, len(plane.positions))
    turned, match = match_units(plane.positions, reference, subject.rng("earlier", layer))
    is_match = match.p_value <= alpha
    drawn = {"turned": turned, "taken": reference, "own": plane.positions}
    chosen: Literal["turned", "taken", "own"] = "turned" if is_match else "own"
    if places == "earlier":
        chosen = "taken"
    found, backbone = earlier.layers[layer], earlier.subject.backbone
    told = EarlierMap(
        run=earlier.run,
        folder=earlier.folder.name,
        started=earlier.started,
        backbone=backbone.name,
        weights_sha256=backbone.weights_sha256,
        has_same_weights=backbone.weights_sha256 == subject.weights_sha256,
        layout=found.maps[0].layout,
        limit=found.limit,
        disparity=match.disparity,
        by_chance=match.by_chance,
        p_value=match.p_value,
        alpha=alpha,
        draws=_DRAWS,
        is_match=is_match,
        places=chosen,
        shift=match.shift,
        shift_by_chance=match.shift_by_chance,
    )
    layout = f"{told.layout}, as in the audit {earlier.run}" if chosen == "taken" else plane.layout
    laid = replace(plane, positions=drawn[chosen], layout=layout)
    return laid, Beside(told, found.difference_limit)


def _shift(one: FloatArray, other: FloatArray) -> float:
    return float(np.median(np.linalg.norm(one - other, axis=1)))
