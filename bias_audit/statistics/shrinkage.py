"""Group estimates drawn towards what the attributes of the groups predict.

Fay & Herriot 1979 (JASA 74:269-277), used for intersectional groups in the spirit of structured
regression (Herlihy et al. 2024, arXiv:2401.14893): a small cell borrows from the cells that share
its levels, a large one keeps what was measured in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq
from scipy.special import expit, logit
from scipy.stats import norm

from bias_audit.arrays import FloatArray
from bias_audit.statistics.estimate import Estimate, own_quantile, quantile


def _design_of(
    codes: npt.NDArray[np.integer], names: Sequence[str] | None
) -> tuple[FloatArray, str] | None:
    """The largest design that leaves enough residual dimensions, and what it is made of.

    Candidates, from large to small: main effects; main effects without the attribute that has the
    most levels, and so on; an intercept alone. Codes are the level of each group, (n_groups,
    n_attributes). Columns, (n_groups, n_effects), are orthonormal: fits depend on their span
    alone. None where not even an intercept leaves enough.
    """
    n_groups, n_attributes = codes.shape
    names = [f"attribute {i + 1}" for i in range(n_attributes)] if names is None else list(names)
    varying = [i for i in range(n_attributes) if len(np.unique(codes[:, i])) > 1]
    # a column for each level that occurs, but the first
    mains = {
        i: np.asarray(codes[:, i, None] == np.unique(codes[:, i])[1:], dtype=np.float64)
        for i in varying
    }
    by_levels = sorted(varying, key=lambda i: mains[i].shape[1])
    for size in range(len(varying), -1, -1):
        kept = sorted(by_levels[:size])
        matrix = np.concatenate([np.ones((n_groups, 1)), *(mains[i] for i in kept)], axis=1)
        left, singular, _ = np.linalg.svd(matrix, full_matrices=False)
        # where cells are missing, columns may depend on each other
        columns = np.asarray(left[:, singular > 1e-9 * singular[0]], dtype=np.float64)
        if columns.shape[1] + _MIN_RESIDUAL <= n_groups:
            said = f"an intercept and main effects of {_listed([names[i] for i in kept])}"
            dropped = _listed([names[i] for i in varying if i not in kept])
            too_few = f" (too few groups for effects of {dropped})" if dropped else ""
            return columns, (said if kept else "an intercept alone") + too_few
    return None


def _listed(names: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))


_MIN_RESIDUAL: Final = 3
"""Shrinking towards a fit beats the raw values from three residual dimensions on (Stein)."""


@dataclass(frozen=True)
class Shrinkage:
    """What was fitted, and the shrunk value of each group; arrays have shape (n_groups,)."""

    values: FloatArray
    lower: FloatArray
    upper: FloatArray
    weights: FloatArray
    """On the raw value, in [0, 1]; the rest is on the regression."""
    tau: float
    """Standard deviation of groups around the regression."""
    said: str
    """What was fitted, in a sentence."""


def shrink(
    values: npt.NDArray[np.floating],
    errors: npt.NDArray[np.floating],
    codes: npt.NDArray[np.integer],
    *,
    level: float,
    names: Sequence[str] | None = None,
) -> Shrinkage:
    """Empirical best linear unbiased predictions of group values under an area-level model.

    y_g ~ N(theta_g, se_g^2), theta_g ~ N(x_g' beta, tau^2): x_g holds an intercept and the main
    effects of the attributes, beta is fitted by generalised least squares, tau^2 by Fay and
    Herriot's moment equation. Intervals rest on the mean squared error g1 + g2 + 2 g3 of Prasad &
    Rao 1990 (JASA 85:163-171) with the variance of tau^2 of Datta, Rao & Smith 2005 (Biometrika
    92:183-196): they count that beta and tau^2 were estimated.

    The model is reduced until three residual dimensions are left, by attributes from the one with
    the most levels; with fewer than four groups nothing is shrunk.
    Values lie on a scale where their errors are about normal, errors are positive and finite, both
    (n_groups,); codes are levels, (n_groups, n_attributes).

    Raises:
        ValueError: Shapes do not fit, or a value or error cannot be used.
    """
    y, se = np.asarray(values, dtype=np.float64), np.asarray(errors, dtype=np.float64)
    if y.ndim != 1 or se.shape != y.shape or codes.ndim != 2 or len(codes) != len(y):  # noqa: PLR2004
        raise ValueError(
            "expected one value, one error and one row of codes per group, got shapes "
            f"{y.shape}, {se.shape} and {codes.shape}"
        )
    if not (np.isfinite(y).all() and np.isfinite(se).all() and (se > 0).all()):
        raise ValueError("expected finite values and positive finite standard errors")
    variance = se**2
    design = _design_of(codes, names)
    z = float(norm.ppf((1 + level) / 2))
    if design is None:
        half = z * np.sqrt(variance)
        said = (
            f"No value was stabilised: this needs {_MIN_RESIDUAL + 1} measured groups, got "
            f"{len(y)}."
        )
        return Shrinkage(y, y - half, y + half, np.ones(len(y)), 0.0, said)
    columns, effects = design
    tau2 = _between(y, variance, columns)
    fitted, leverage = _regression(y, tau2 + variance, columns)
    # theta_g = x_g' beta + w_g (y_g - x_g' beta), w_g = tau^2 / (tau^2 + se_g^2): the fewer the
    # images of a group, the larger its error and the nearer it is drawn to the regression
    weights = tau2 / (tau2 + variance)
    shrunk = fitted + weights * (y - fitted)
    # Prasad and Rao's g1 + g2 + 2 g3: of the prediction, of beta, and of tau^2 (whose variance,
    # `spread`, is that of Datta et al. 2005)
    total = tau2 + variance
    keep, spread = variance / total, 2 * len(variance) / (1 / total).sum() ** 2
    g1, g2, g3 = tau2 * keep, keep**2 * leverage, variance**2 / total**3 * spread
    half = z * np.sqrt(g1 + g2 + 2 * g3)
    tau, (n_groups, n_effects) = float(np.sqrt(tau2)), columns.shape
    said = (
        "pulled towards what the attributes predict, the more so the fewer images a group has "
        f"(Fay-Herriot model of {n_groups} groups with {effects}, {n_effects} coefficients; "
        f"groups vary around it with standard deviation {tau:.2g})."
    )
    return Shrinkage(shrunk, shrunk - half, shrunk + half, weights, tau, said)


def _regression(
    y: FloatArray, total: FloatArray, columns: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Fitted values of a weighted regression, and x' (X' V^-1 X)^-1 x of each group."""
    root = 1 / np.sqrt(total)
    q, _ = np.linalg.qr(columns * root[:, None])
    fitted = (q @ (q.T @ (y * root))) / root
    return fitted, (q**2).sum(axis=1) * total


def _between(y: FloatArray, variance: FloatArray, columns: FloatArray) -> float:
    """Root of Fay and Herriot's moment equation, 0 where it has none.

    sum of (y_g - x_g' beta)^2 / (tau^2 + se_g^2) = n_groups - n_effects. The weighted sum of
    squares on the left falls as tau^2 grows, so the root is unique.
    """
    freedom = len(y) - columns.shape[1]

    def excess(tau2: float) -> float:
        total = tau2 + variance
        fitted, _ = _regression(y, total, columns)
        return float(((y - fitted) ** 2 / total).sum() - freedom)

    if excess(0.0) <= 0:
        return 0.0
    upper = float(np.var(y) + variance.mean())
    while excess(upper) > 0:
        upper *= 2
    return float(brentq(excess, 0.0, upper, xtol=1e-12 * upper, rtol=1e-10))


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
) -> tuple[tuple[Estimate | None, ...], str | None]:
    """Draw the estimates of groups towards what the attributes of the groups predict.

    Shares with a Wilson interval are shrunk as counts, see `shrink_counts`. Estimates that are
    symmetric on the logit scale take their error from their interval there, as do all others on
    their own scale; on the logit scale, bounds of 0 and 1 are moved in by half an observation.

    Estimates are None where a group was not measured; codes are levels, (n_groups, n_attributes).
    A shrunk estimate is found for each group that was measured with an error, and said is what was
    fitted; None where there is no such group.

    Raises:
        ValueError: Estimates are on several scales or levels.
    """
    usable = [
        (place, estimate)
        for place, estimate in enumerate(estimates)
        if estimate and (estimate.scale == "wilson" or estimate.lower < estimate.upper)
    ]
    result: list[Estimate | None] = [None] * len(estimates)
    if not usable:
        return tuple(result), None
    measured = [estimate for _, estimate in usable]
    if len({(estimate.scale, estimate.level) for estimate in measured}) > 1:
        raise ValueError("expected estimates on one scale and level, got several")
    rows = np.asarray(codes)[[i for i, _ in usable]]
    level, scale = measured[0].level, measured[0].scale
    if scale == "wilson":
        n = np.array([estimate.counted for estimate in measured], dtype=np.float64)
        hits = np.array([estimate.value for estimate in measured]) * n
        fit = shrink_counts(hits, n, rows, level=level, names=names)
    else:
        values, errors = np.array([_normal(estimate) for estimate in measured]).T
        fit = shrink(values, errors, rows, level=level, names=names)
    if (fit.weights == 1).all():  # too few groups: there is nothing to print beside the raw value
        return tuple(result), fit.said
    on_logit = scale not in {"identity", "paired"}
    for place, (index, estimate) in enumerate(usable):
        # fits use normal quantiles; few clusters and a chosen layer make the interval wider
        wider = own_quantile(estimate, estimate.level) / quantile(estimate.level)
        middle = fit.values[place]
        ends = (middle + (end[place] - middle) * wider for end in (fit.lower, fit.upper))
        value, lower, upper = (float(expit(x)) if on_logit else float(x) for x in (middle, *ends))
        result[index] = replace(
            estimate,
            value=value,
            lower=lower,
            upper=upper,
            method=METHOD,
            scale="logit" if on_logit else "identity",
            effective=None,
        )
    said = fit.said + (" Values and their spread are on the logit scale." if on_logit else "")
    return tuple(result), said


def shrink_counts(
    hits: npt.NDArray[np.floating],
    totals: npt.NDArray[np.floating],
    codes: npt.NDArray[np.integer],
    *,
    level: float,
    names: Sequence[str] | None = None,
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

    Hits, successes per group, need not be whole, totals are more than 0, both (n_groups,); codes
    are levels, (n_groups, n_attributes). The shrinkage is on the logit scale.
    """
    most = np.log((totals + _HALF) / _HALF)
    values = np.log((hits + _HALF) / (totals - hits + _HALF))
    errors = np.sqrt(1 / (hits + _HALF) + 1 / (totals - hits + _HALF))
    fit = shrink(values, errors, codes, level=level, names=names)
    for _ in range(_MAX_ITERATIONS):
        centre = np.clip(fit.values, -most, most)
        share = expit(centre)
        information = totals * share * (1 - share)
        values = centre + (hits - totals * share) / information
        errors = 1 / np.sqrt(information)
        before = fit.values
        fit = shrink(values, errors, codes, level=level, names=names)
        if np.abs(fit.values - before).max() < _TOLERANCE:
            break
    return fit


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
