"""Group estimates drawn towards what the attributes of the groups predict.

Fay & Herriot 1979 (JASA 74:269-277), used for intersectional groups in the spirit of structured
regression (Herlihy et al. 2024, arXiv:2401.14893): a small cell borrows from the cells that share
its levels, a large one keeps what was measured in it.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq
from scipy.special import expit, logit
from scipy.stats import norm

from bias_audit.arrays import FloatArray
from bias_audit.statistics.estimate import Estimate, own_quantile, quantile

_MOST_PAIR_EFFECTS = 200


@dataclass(frozen=True)
class Design:
    """Columns that span the effects of a regression over groups."""

    columns: FloatArray
    """Orthonormal, shape (n_groups, n_effects): fits depend on their span alone."""
    said: str
    """Such as "an intercept and main effects of age and race"."""


def design_of(
    codes: npt.NDArray[np.integer], *, names: Sequence[str] | None, pairs: bool, spare: int
) -> Design | None:
    """The largest design that leaves enough residual dimensions.

    Candidates, from large to small: main and pairwise effects (only if asked for, with at least
    twice as many groups as effects); main effects; main effects without the attribute that has
    the most levels, and so on; an intercept alone.

    Args:
        codes: Level of each group, shape (n_groups, n_attributes).
        names: Of the attributes.
        pairs: Whether pairwise effects are wanted.
        spare: Residual dimensions to leave.

    Returns:
        The design; None where not even an intercept leaves as many.
    """
    names = [f"attribute {i + 1}" for i in range(codes.shape[1])] if names is None else list(names)
    varying = [i for i in range(codes.shape[1]) if len(np.unique(codes[:, i])) > 1]
    if pairs and (with_pairs := _with_pairs(codes, names, varying)) is not None:
        return with_pairs
    dropped: list[str] = []
    for kept in _narrowing(codes, varying):
        columns = _span([_main(codes[:, i]) for i in kept], len(codes))
        if columns.shape[1] + spare <= len(codes):
            dropped = [names[i] for i in varying if i not in kept]
            return Design(columns, _told([names[i] for i in kept], dropped))
    return None


def _narrowing(codes: npt.NDArray[np.integer], varying: list[int]) -> Iterator[list[int]]:
    """All attributes, then without the one of the most levels, down to none."""
    order = sorted(varying, key=lambda i: len(np.unique(codes[:, i])))
    for size in range(len(order), -1, -1):
        yield sorted(order[:size])


def _with_pairs(
    codes: npt.NDArray[np.integer], names: Sequence[str], varying: list[int]
) -> Design | None:
    both = list(itertools.combinations(varying, 2))
    mains = {i: _main(codes[:, i]) for i in varying}
    n_effects = sum(mains[i].shape[1] * mains[j].shape[1] for i, j in both)
    if not both or n_effects > min(_MOST_PAIR_EFFECTS, len(codes) // 2):
        return None
    products = [
        (mains[i][:, :, None] * mains[j][:, None, :]).reshape(len(codes), -1) for i, j in both
    ]
    columns = _span([*mains.values(), *products], len(codes))
    if 2 * columns.shape[1] > len(codes):
        return None
    said = f"{_told([names[i] for i in varying], [])}, and their pairwise effects"
    return Design(columns, said)


def _main(codes: npt.NDArray[np.integer]) -> FloatArray:
    """A column per observed level but the first."""
    levels = np.unique(codes)[1:]
    return np.asarray(codes[:, None] == levels[None, :], dtype=np.float64)


def _span(parts: Sequence[FloatArray], n_groups: int) -> FloatArray:
    """Orthonormal columns with the span of an intercept and the parts."""
    matrix = np.concatenate([np.ones((n_groups, 1)), *parts], axis=1)
    left, singular, _ = np.linalg.svd(matrix, full_matrices=False)
    # where cells are missing, columns may depend on each other
    return np.asarray(left[:, singular > 1e-9 * singular[0]], dtype=np.float64)


def _told(kept: Sequence[str], dropped: Sequence[str]) -> str:
    if not kept:
        said = "an intercept alone"
    else:
        said = f"an intercept and main effects of {_listed(kept)}"
    if dropped:
        said += f" (too few groups for effects of {_listed(dropped)})"
    return said


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


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
    pairs: bool = False,
) -> Shrinkage:
    """Empirical best linear unbiased predictions of group values under an area-level model.

    y_g ~ N(theta_g, se_g^2), theta_g ~ N(x_g' beta, tau^2): x_g holds an intercept and the main
    effects of the attributes, beta is fitted by generalised least squares, tau^2 by Fay and
    Herriot's moment equation. Intervals rest on the mean squared error g1 + g2 + 2 g3 of Prasad &
    Rao 1990 (JASA 85:163-171) with the variance of tau^2 of Datta, Rao & Smith 2005 (Biometrika
    92:183-196): they count that beta and tau^2 were estimated.

    The model is reduced until three residual dimensions are left: pairwise effects go first, then
    attributes from the one with the most levels; with fewer than four groups nothing is shrunk.

    Args:
        values: Raw values on a scale where their errors are about normal, shape (n_groups,).
        errors: Their standard errors, positive and finite, shape (n_groups,).
        codes: Level of each group, shape (n_groups, n_attributes).
        level: Coverage of the intervals, such as 0.95.
        names: Of the attributes, for the sentence.
        pairs: Also fit pairwise effects, where at least twice as many groups as effects are there.

    Raises:
        ValueError: Shapes do not fit, or a value or error cannot be used.
    """
    y, variance = _checked(values, errors, codes)
    design = design_of(codes, names=names, pairs=pairs, spare=_MIN_RESIDUAL)
    z = float(norm.ppf((1 + level) / 2))
    if design is None:
        half = z * np.sqrt(variance)
        said = (
            f"Nothing was shrunk: shrinking needs {_MIN_RESIDUAL + 1} measured groups, got "
            f"{len(y)}."
        )
        return Shrinkage(y, y - half, y + half, np.ones(len(y)), 0.0, said)
    tau2 = _between(y, variance, design.columns)
    fitted, leverage = _regression(y, tau2 + variance, design.columns)
    weights = tau2 / (tau2 + variance)
    shrunk = fitted + weights * (y - fitted)
    half = z * np.sqrt(_mean_squared_error(tau2, variance, leverage))
    return Shrinkage(
        shrunk, shrunk - half, shrunk + half, weights, float(np.sqrt(tau2)), _said(design, tau2)
    )


def _checked(
    values: npt.NDArray[np.floating],
    errors: npt.NDArray[np.floating],
    codes: npt.NDArray[np.integer],
) -> tuple[FloatArray, FloatArray]:
    y, se = np.asarray(values, dtype=np.float64), np.asarray(errors, dtype=np.float64)
    if y.ndim != 1 or se.shape != y.shape or codes.ndim != 2 or len(codes) != len(y):  # noqa: PLR2004
        raise ValueError(
            "expected one value, one error and one row of codes per group, got shapes "
            f"{y.shape}, {se.shape} and {codes.shape}"
        )
    if not (np.isfinite(y).all() and np.isfinite(se).all() and (se > 0).all()):
        raise ValueError("expected finite values and positive finite standard errors")
    return y, se**2


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

    The weighted residual sum of squares falls as tau^2 grows, so the root is unique.
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


def _mean_squared_error(tau2: float, variance: FloatArray, leverage: FloatArray) -> FloatArray:
    """Prasad and Rao's g1 + g2 + 2 g3: of the prediction, of beta, and of tau^2."""
    total = tau2 + variance
    keep = variance / total
    spread = 2 * len(variance) / (1 / total).sum() ** 2
    g1 = tau2 * keep
    g2 = keep**2 * leverage
    g3 = variance**2 / total**3 * spread
    return np.asarray(g1 + g2 + 2 * g3, dtype=np.float64)


def _said(design: Design, tau2: float) -> str:
    n_groups, n_effects = design.columns.shape
    return (
        f"Shrunk values come from a Fay-Herriot model of {n_groups} groups with {design.said} "
        f"({n_effects} coefficients); groups vary around it with standard deviation "
        f"{np.sqrt(tau2):.2g}."
    )


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
