"""Mean squares of differences of group means, without what noise adds, and their intervals."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import stdtrit

from bias_audit.arrays import FloatArray
from bias_audit.statistics.estimate import Estimate

_NO_SPREAD = 1e-12


@dataclass(frozen=True)
class Squares:
    """Squares of contrasts of standardised group means, averaged over units.

    Arrays have shape (n,), one entry for each contrast.
    """

    observed: FloatArray
    """As the images have them, with what noise adds."""
    noise: FloatArray
    """Variance of the contrast by chance alone, averaged over units."""
    freedom: FloatArray
    """Degrees of freedom of `noise` at a single unit."""
    variance: FloatArray
    """Of bootstrap draws of `observed`; NaN where there are none."""
    n_draws: int
    n_units: int
    scale_freedom: float
    """Degrees of freedom of the standard deviations that means are divided by."""

    @property
    def values(self) -> FloatArray:
        """Without the noise; may be negative.

        1 / s^2 is too large by (f - 2) / f for a standard deviation s of f degrees of freedom.
        """
        return np.asarray(self.observed * (1 - 2 / self.scale_freedom) - self.noise)

    def bounds(self, level: float) -> FloatArray:
        """The squares that the observed one does not contradict, shape (2, n).

        With a noise s in each of u independent units, and a scale of f degrees of freedom, the
        value of a square q has the variance (4 s q + 2 s^2 + 2 q^2 / f) / u. It depends on q, so
        that the interval holds every q from which the value lies at most t standard errors away
        (a score interval, as Wilson's 1927 of a share). Units are correlated: u follows from the
        variance of bootstrap draws. t is Student's with u times the freedom of one unit.
        """
        s, value = self.noise, self.values
        with np.errstate(divide="ignore", invalid="ignore"):
            u = (4 * self.observed * s + 2 * s**2) / self.variance
            u = np.clip(u, 1, self.n_units)
            t_squared = stdtrit(u * self.freedom, (1 - level) / 2) ** 2
            middle = value + 2 * t_squared * s / u
            rest = t_squared * (2 * s**2 + 2 * value**2 / self.scale_freedom) / u
            half = np.sqrt(middle**2 - value**2 + rest)
        has_spread = np.nan_to_num(self.variance) > _NO_SPREAD**2
        return np.where(has_spread, np.stack([middle - half, middle + half]), np.nan)

    def estimates(self, ns: npt.NDArray[np.integer], level: float) -> tuple[Estimate | None, ...]:
        """Roots of the squares; None where the draws have no spread.

        Args:
            ns: Independent images of each, shape (n,).
            level: Coverage of the intervals.
        """
        roots = np.sqrt(np.maximum([self.values, *self.bounds(level)], 0))
        return tuple(
            Estimate(
                float(value),
                float(min(lower, value)),
                float(max(upper, value)),
                level=level,
                n=int(n),
                method="score interval of the squared distance; independent units from "
                f"{self.n_draws} Bayesian bootstrap draws over clusters of images; "
                "sampling noise subtracted",
            )
            if np.isfinite(upper)
            else None
            for (value, lower, upper), n in zip(roots.T, ns, strict=True)
        )
