"""Which values can be told apart, and which ranks that leaves open."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy.stats import norm

from bias_audit.arrays import FloatArray
from bias_audit.statistics.estimate import Estimate, interval_at, quantile
from bias_audit.statistics.inference import Measured, quantile_for
from bias_audit.statistics.influence import Statistic
from bias_audit.statistics.multiplicity import adjusted, is_rejected

_FEWEST = 3
_CONSTANT = 1e-7
_NEAREST_ONE = 1 - 1e-9


def pearson(one: FloatArray, other: FloatArray) -> Statistic | None:
    """Pearson's correlation; influences after Devlin, Gnanadesikan & Kettenring 1975.

    Source of the influences: Biometrika 62:531-545.

    Args:
        one: Shape (n_images,).
        other: Shape (n_images,).

    Returns:
        None for fewer than three images, or where either is constant up to rounding.
    """
    n = len(one)
    if n < _FEWEST or any(_is_constant(values) for values in (one, other)):
        return None
    x, y = ((values - values.mean()) / values.std() for values in (one, other))
    value = float(np.clip((x * y).mean(), -1, 1))
    influence = (x * y - value * (x**2 + y**2) / 2) / n * np.sqrt(n / (n - 1))
    return Statistic(value, np.asarray(influence, np.float64), np.full(n, 1 / n))


def _is_constant(values: FloatArray) -> bool:
    return bool(values.std() <= _CONSTANT * np.abs(values).max())


def correlation_estimate(measured: Measured, *, level: float) -> Estimate:
    """A correlation with an interval that is symmetric on Fisher's z scale, so within [-1, 1]."""
    value = float(np.clip(measured.value, -_NEAREST_ONE, _NEAREST_ONE))
    half = quantile_for(measured, level) * measured.standard_error / (1 - value**2)
    lower, upper = (float(np.tanh(np.arctanh(value) + side * half)) for side in (-1, 1))
    return Estimate(
        measured.value,
        min(lower, measured.value),
        max(upper, measured.value),
        level=level,
        n=measured.n,
        method=f"clustered influence on Fisher's z scale, Student's t, {measured.unit}",
        freedom=measured.freedom,
        clusters=measured.clusters,
        choice=measured.choice,
    )


_SMALLEST_P: Final = 1e-300


@dataclass(frozen=True)
class Standing:
    """Where one value stands among others; rank 1 is the highest."""

    best: int
    """The highest rank that the comparisons leave open."""
    worst: int
    """The lowest one."""
    alike: tuple[int, ...]
    """Places of the others that are not told apart from it."""


def standings(
    estimates: Sequence[Estimate], *, alpha: float, choices: Sequence[int] = ()
) -> tuple[Standing, ...]:
    """Rank confidence sets from all pairwise comparisons, adjusted by Holm.

    A rank is at least 1 + the number of values told to be higher, and at most all of them minus
    the number told to be lower: all sets hold the true ranks together with a probability of at
    least 1 - alpha. Source: Mogstad, Romano, Shaikh & Wilhelm 2024, Review of Economic Studies
    91:476-518, with Holm's step-down procedure in place of the bootstrap.

    Values are compared as independent ones; over the same images they usually vary together, and
    then fewer pairs are told apart than a paired comparison would tell.

    Args:
        estimates: At least one.
        alpha: Chance of any wrong comparison.
        choices: Among how many each estimate was picked because it is the highest; its interval
            is widened by Bonferroni's rule for that. Default: 1 each.
    """
    picked = tuple(choices) or (1,) * len(estimates)
    sides = [_sides(one, k) for one, k in zip(estimates, picked, strict=True)]
    pairs = list(itertools.combinations(range(len(estimates)), 2))
    values = [estimate.value for estimate in estimates]
    p_values = [_p_value(values[i] - values[j], sides[i], sides[j]) for i, j in pairs]
    higher: list[set[int]] = [set() for _ in estimates]
    lower: list[set[int]] = [set() for _ in estimates]
    for (i, j), p_value in zip(pairs, adjusted(p_values, "holm"), strict=True):
        if is_rejected(p_value, alpha=alpha):
            top, bottom = (i, j) if values[i] > values[j] else (j, i)
            higher[bottom].add(top)
            lower[top].add(bottom)
    n = len(estimates)
    return tuple(
        Standing(
            best=1 + len(higher[i]),
            worst=n - len(lower[i]),
            alike=tuple(j for j in range(n) if j != i and j not in higher[i] | lower[i]),
        )
        for i in range(n)
    )


def _sides(estimate: Estimate, choices: int) -> tuple[float, float]:
    """Standard errors below and above a value, from its interval."""
    level = 1 - (1 - estimate.level) / choices
    lower, upper = interval_at(estimate, level)
    # The wider interval, of Student's t where clusters are few, counts as a normal one.
    z = quantile(estimate.level)
    return (estimate.value - lower) / z, (upper - estimate.value) / z


def _p_value(difference: float, one: tuple[float, float], other: tuple[float, float]) -> float:
    """Two-sided, of no difference; intervals joined by square-and-add (Newcombe; MOVER)."""
    towards = (one[0], other[1]) if difference > 0 else (one[1], other[0])
    error = math.hypot(*towards)
    if error == 0:
        return _SMALLEST_P if difference else 1.0
    return max(_SMALLEST_P, float(2 * norm.sf(abs(difference) / error)))


def groups_alike(found: Sequence[Standing]) -> tuple[tuple[int, ...], ...]:
    """Largest sets within which no pair is told apart, by their first member.

    What a compact letter display shows: insert and absorb, Piepho 2004, Journal of Computational
    and Graphical Statistics 13:456-466. A value may be in several.
    """
    n = len(found)
    sets = {frozenset(range(n))}
    for i, j in itertools.combinations(range(n), 2):
        if j in found[i].alike:
            continue
        split = {s - {k} for s in sets if {i, j} <= s for k in (i, j)}
        kept = {s for s in sets if not {i, j} <= s}
        sets = kept | {s for s in split if not any(s <= other for other in kept)}
    largest = [s for s in sets if not any(s < other for other in sets)]
    return tuple(sorted(tuple(sorted(s)) for s in largest if s))
