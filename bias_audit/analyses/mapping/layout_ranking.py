"""Which of several layouts is recommended, from repeated measures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import stats

from bias_audit.analyses.mapping.layout_quality import DISPARITY, MEASURES, RANGES
from bias_audit.arrays import FloatArray
from bias_audit.results.blocks import ComparedMethod
from bias_audit.statistics.estimate import Estimate
from bias_audit.statistics.repetitions import mean_over_pairs, mean_over_repetitions

RULE = (
    "In every repetition the layouts are ranked by each measure, equals sharing their ranks, and "
    "those without a value coming last. The layout with the lowest mean rank, over measures and "
    "repetitions, is recommended; another is tied with it unless its paired difference in mean "
    "rank is above 0 by a one-sided t test, Bonferroni-adjusted for the number of others. With "
    "the confidence of the intervals, the layout that is best in the long run is the recommended "
    "one or tied with it (Hsu 1984, Annals of Statistics 12:1136-1144)."
)


@dataclass(frozen=True)
class Repeated:
    """One layout, measured in every repetition."""

    name: str
    values: tuple[dict[str, float | None], ...]
    """By repetition, the measures but the disparity."""
    disparities: FloatArray
    """Of every two repetitions, shape (n_repetitions, n_repetitions)."""


def ranked(layouts: list[Repeated], level: float) -> tuple[ComparedMethod, ...]:
    """The layouts with intervals and their standing, best mean rank first."""
    ranks = mean_ranks(np.stack([_table(layout) for layout in layouts], axis=1))
    order = np.argsort(ranks.mean(axis=0), kind="stable")
    best = ranks[:, order[0]]
    two_sided = 1 - 2 * (1 - level) / max(1, len(layouts) - 1)
    return tuple(
        ComparedMethod(
            name=layouts[i].name,
            estimates=tuple(_estimate(layouts[i], key, level) for key in MEASURES),
            mean_rank=mean_over_repetitions(ranks[:, i], level=level, within=(1, len(layouts))),
            standing="recommended" if i == order[0] else _standing(ranks[:, i] - best, two_sided),
        )
        for i in order
    )


def mean_ranks(values: FloatArray) -> FloatArray:
    """Rank of each layout, averaged over the measures, in each repetition; 1 is best.

    Args:
        values: Shape (n_repetitions, n_layouts, n_measures), measures in the order of `MEASURES`;
            NaN where there is none.

    Returns:
        Shape (n_repetitions, n_layouts).
    """
    sign = np.array([-1.0 if m.better == "higher" else 1.0 for m in MEASURES.values()])
    losses = np.where(np.isnan(values), np.inf, values * sign)
    return np.asarray(stats.rankdata(losses, axis=1).mean(axis=2), dtype=np.float64)


def _table(layout: Repeated) -> FloatArray:
    """Shape (n_repetitions, n_measures); the disparity is the mean to the other repetitions."""
    n = len(layout.values)
    apart = layout.disparities.sum(axis=1) / (n - 1)
    rows = [{**values, DISPARITY: apart[i]} for i, values in enumerate(layout.values)]
    return np.array([[row[key] for key in MEASURES] for row in rows], dtype=np.float64)


def _estimate(layout: Repeated, key: str, level: float) -> Estimate | None:
    if key == DISPARITY:
        return mean_over_pairs(layout.disparities, level=level, within=RANGES[key])
    values = [row[key] for row in layout.values]
    known = [value for value in values if value is not None]
    if len(known) < len(values):
        return None
    return mean_over_repetitions(np.array(known), level=level, within=RANGES[key])


def _standing(differences: FloatArray, level: float) -> Literal["tied", "behind"]:
    return "behind" if mean_over_repetitions(differences, level=level).lower > 0 else "tied"
