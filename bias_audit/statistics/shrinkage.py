"""Group estimates drawn towards what the attributes of the groups predict.

Fay & Herriot 1979 (JASA 74:269-277), used for intersectional groups in the spirit of structured
regression (Herlihy et al. 2024, arXiv:2401.14893): a small cell borrows from the cells that share
its levels, a large one keeps what was measured in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq
from scipy.stats import norm

from bias_audit.arrays import FloatArray
from bias_audit.statistics.group_effects import Design, design_of

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
