"""Shrinkage of estimates that stand in a table: from intervals to errors, and back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.special import expit, logit

from bias_audit.statistics.coverage import own_quantile, quantile
from bias_audit.statistics.estimate import Estimate
from bias_audit.statistics.shrinkage import Shrinkage, shrink

METHOD: Final = "Fay-Herriot shrinkage, mean squared error by Prasad and Rao"
_HALF: Final = 0.5
"""Half a success and half a failure are added to a share (Haldane 1956, Anscombe 1956), so that 0
and 1 have a logit: 0 of 10 counts as 0.5 of 11."""
_MAX_ITERATIONS: Final = 50
_TOLERANCE: Final = 1e-6


def shrink_estimates(
    estimates: Sequence[Estimate | None],
    codes: npt.NDArray[np.integer],
    *,
    names: Sequence[str] | None = None,
    pairs: bool = False,
) -> tuple[tuple[Estimate | None, ...], str | None]:
    """Draw the estimates of groups towards what the attributes of the groups predict.

    Shares with a Wilson interval are shrunk as counts, see `shrink_counts`. Estimates that are
    symmetric on the logit scale take their error from their interval there, as do all others on
    their own scale; on the logit scale, bounds of 0 and 1 are moved in by half an observation.

    Args:
        estimates: Of each group, None where it was not measured; all on one scale and level.
        codes: Level of each group, shape (n_groups, n_attributes).
        names: Of the attributes, for the sentence.
        pairs: Also fit pairwise effects, where there are groups enough.

    Returns:
        A shrunk estimate for each group that was measured with an error, and what was fitted;
        None for the sentence where there is no such group.

    Raises:
        ValueError: Estimates are on several scales or levels.
    """
    usable = [(i, e) for i, e in enumerate(estimates) if e is not None and _has_error(e)]
    result: list[Estimate | None] = [None] * len(estimates)
    if not usable:
        return tuple(result), None
    measured = [estimate for _, estimate in usable]
    if len({(estimate.scale, estimate.level) for estimate in measured}) > 1:
        raise ValueError("expected estimates on one scale and level, got several")
    rows = np.asarray(codes)[[i for i, _ in usable]]
    fit = _fit(measured, rows, names=names, pairs=pairs)
    if (fit.weights == 1).all():  # too few groups: there is nothing to print beside the raw value
        return tuple(result), fit.said
    on_logit = measured[0].scale not in {"identity", "paired"}
    for place, (index, estimate) in enumerate(usable):
        # fits use normal quantiles; few clusters and a chosen layer make the interval wider
        wider = own_quantile(estimate, estimate.level) / quantile(estimate.level)
        middle = fit.values[place]
        ends = (middle + (end[place] - middle) * wider for end in (fit.lower, fit.upper))
        value, lower, upper = (float(expit(x)) if on_logit else float(x) for x in (middle, *ends))
        result[index] = Estimate(
            value,
            lower,
            upper,
            level=estimate.level,
            n=estimate.n,
            method=METHOD,
            scale="logit" if on_logit else "identity",
            freedom=estimate.freedom,
            clusters=estimate.clusters,
            choice=estimate.choice,
        )
    said = fit.said + (" Values and their spread are on the logit scale." if on_logit else "")
    return tuple(result), said


def _fit(
    measured: Sequence[Estimate],
    codes: npt.NDArray[np.integer],
    *,
    names: Sequence[str] | None,
    pairs: bool,
) -> Shrinkage:
    level, scale = measured[0].level, measured[0].scale
    if scale != "wilson":
        values, errors = np.array([_normal(estimate) for estimate in measured]).T
        return shrink(values, errors, codes, level=level, names=names, pairs=pairs)
    n = np.array([estimate.counted for estimate in measured], dtype=np.float64)
    hits = np.array([estimate.value for estimate in measured]) * n
    return shrink_counts(hits, n, codes, level=level, names=names, pairs=pairs)


def shrink_counts(
    hits: npt.NDArray[np.floating],
    totals: npt.NDArray[np.floating],
    codes: npt.NDArray[np.integer],
    *,
    level: float,
    names: Sequence[str] | None = None,
    pairs: bool = False,
) -> Shrinkage:
    """Shrink shares as logits, by penalised quasi-likelihood.

    A logit of few images is far from normal, and its usual error depends on the share observed.
    So, as in Breslow & Clayton 1993 (JASA 88:9-25), the share is expanded about the current
    shrunk one, p: the working value logit(p) + (hits / n - p) / (p (1 - p)) has the error
    1 / sqrt(n p (1 - p)), and the fit is repeated until it stays. The first p comes from counts
    with half a success and half a failure added, and no p is taken beyond what those would give
    for a group without (or with nothing but) successes: 0 of 10 needs no logit of 0.

    In simulations of 126 groups with additive effects, 95 % intervals covered 91 to 99 % of the
    true shares; least with few images, rare successes and groups far from additive.

    Args:
        hits: Successes per group, not necessarily whole, shape (n_groups,).
        totals: Of how many, more than 0, shape (n_groups,).
        codes: Level of each group, shape (n_groups, n_attributes).
        level: Coverage of the intervals.
        names: Of the attributes, for the sentence.
        pairs: Also fit pairwise effects, where there are groups enough.

    Returns:
        The shrinkage, on the logit scale.
    """
    most = np.log((totals + _HALF) / _HALF)
    values = np.log((hits + _HALF) / (totals - hits + _HALF))
    errors = np.sqrt(1 / (hits + _HALF) + 1 / (totals - hits + _HALF))
    fit = shrink(values, errors, codes, level=level, names=names, pairs=pairs)
    for _ in range(_MAX_ITERATIONS):
        centre = np.clip(fit.values, -most, most)
        share = expit(centre)
        information = totals * share * (1 - share)
        values = centre + (hits - totals * share) / information
        errors = 1 / np.sqrt(information)
        before = fit.values
        fit = shrink(values, errors, codes, level=level, names=names, pairs=pairs)
        if np.abs(fit.values - before).max() < _TOLERANCE:
            break
    return fit


def _has_error(estimate: Estimate) -> bool:
    return estimate.scale == "wilson" or estimate.lower < estimate.upper


def _normal(estimate: Estimate) -> tuple[float, float]:
    """Value and standard error on the scale on which the interval is symmetric."""
    width = 2 * own_quantile(estimate, estimate.level)
    if estimate.scale in {"identity", "paired"}:
        return estimate.value, (estimate.upper - estimate.lower) / width
    # A bound of 0 or 1 moves in by half an observation, but never past the other bound.
    half = _HALF / (estimate.counted + 2 * _HALF)
    low = 0.0 if estimate.lower > 0 else min(half, estimate.upper / 2)
    high = 0.0 if estimate.upper < 1 else min(half, (1 - estimate.lower) / 2)
    value, lower, upper = (
        float(logit(min(max(number, low), 1 - high)))
        for number in (estimate.value, estimate.lower, estimate.upper)
    )
    return value, (upper - lower) / width
