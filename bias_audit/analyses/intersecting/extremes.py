"""Which groups lie highest and lowest, and which others may truly be the ones that do."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bias_audit.arrays import FloatArray
from bias_audit.statistics.inference import (
    Measured,
    bounds,
    joint_draws,
    normal_score,
    quantile_of,
)
from bias_audit.statistics.multiplicity import is_rejected, max_t, resampling_p

_NO_SPREAD = 1e-9


@dataclass(frozen=True)
class Extremes:
    """The highest and the lowest of several values, as indices into them."""

    highest: int
    lowest: int
    like_highest: tuple[int, ...]
    """Others that may be the highest: no value exceeds them beyond chance."""
    like_lowest: tuple[int, ...]
    p_value: float
    """That the highest exceeds the lowest by chance, adjusted for all pairs."""
    gap: float
    """The highest minus the lowest, less what label errors may add."""
    claim: float
    """Lower bound of that gap that holds for all pairs."""
    quantile: float
    """Of that bound, in standard errors of the two as measured."""


def extremes(
    values: Sequence[Measured],
    *,
    n_draws: int,
    alpha: float,
    rng: np.random.Generator,
    without_errors: Sequence[Measured] | None = None,
) -> Extremes:
    """Find the extremes, and what else may be extreme, by max-T over paired differences.

    The two extremes are picked by what is then tested, so their difference is tested at a level
    that holds for every pair (Tukey's comparison, with joint draws of the errors). A value may be
    the highest if none exceeds it beyond chance, at a level that holds for all that could exceed
    it: the set of these holds the true highest in a share 1 - alpha of cases (Mogstad, Romano,
    Shaikh & Wilhelm 2024, Review of Economic Studies 91:476-518).

    Args:
        values: Of one subject, at least two.
        n_draws: Joint draws.
        alpha: Chance of a wrong statement, for each of the three.
        rng: Source of the draws.
        without_errors: What each value may be if its labels have errors, one of two ends; then
            only what no such errors explain counts as beyond chance. None: labels have none.
    """
    clear = values if without_errors is None else without_errors
    size = np.array([value.value for value in values])
    scores = _pair_scores(values, clear)
    influence = np.stack([value.influence for value in values])
    errors = _pair_errors(influence)
    draws = joint_draws(values, n_draws, rng) * np.sqrt((influence**2).sum(axis=1))
    highest, lowest = int(size.argmax()), int(size.argmin())
    largest, above, below = np.zeros(n_draws), [], []
    for one in range(len(size)):
        apart = _studentised(draws - draws[:, [one]], errors[one])
        up, down = apart.max(axis=1), -apart.min(axis=1)
        above.append(resampling_p(float(scores[:, one].max()), up))
        below.append(resampling_p(float(-scores[:, one].min()), down))
        np.maximum(largest, up, out=largest)
    statistic = float(scores[highest, lowest])
    joint = max_t([statistic], largest[:, None], alpha=alpha)
    observed, gap = values[highest] - values[lowest], values[highest] - clear[lowest]
    return Extremes(
        highest=highest,
        lowest=lowest,
        like_highest=_kept(above, highest, alpha),
        like_lowest=_kept(below, lowest, alpha),
        p_value=resampling_p(statistic, largest),
        gap=gap.value,
        claim=bounds(gap, quantile_of(gap, joint.critical))[0],
        quantile=quantile_of(observed, joint.critical),
    )


def _kept(p_values: Sequence[float], extreme: int, alpha: float) -> tuple[int, ...]:
    return tuple(
        i for i, p in enumerate(p_values) if i != extreme and not is_rejected(p, alpha=alpha)
    )


def _studentised(differences: FloatArray, errors: FloatArray) -> FloatArray:
    """Differences over their errors; 0 where there is no error, as of a value to itself."""
    usable = errors > _NO_SPREAD
    return np.asarray(differences * usable / np.where(usable, errors, 1.0), dtype=np.float64)


def _pair_scores(values: Sequence[Measured], clear: Sequence[Measured]) -> FloatArray:
    """Normal score of every value minus every other, shape (n, n).

    The lower of two is taken without errors; where that makes it the higher one, the score is 0.
    """
    n = len(values)
    scores = np.zeros((n, n))
    for one, other in itertools.permutations(range(n), 2):
        if values[one].value >= values[other].value:
            scores[one, other] = max(0.0, normal_score(values[one] - clear[other]))
            scores[other, one] = -scores[one, other]
    return scores


def _pair_errors(influence: FloatArray) -> FloatArray:
    """Standard error of the difference of every pair, shape (n, n)."""
    products = influence @ influence.T
    own = np.diag(products)
    return np.asarray(np.sqrt(np.maximum(own[:, None] + own[None, :] - 2 * products, 0)))
