"""A score interval for an AUC, for where influences have no spread."""

from __future__ import annotations

from scipy.optimize import brentq
from scipy.stats import norm

METHOD = "score interval for an AUC (Newcombe 2006), smallest class"
_EDGE = 1e-12


def auc_score_interval(value: float, m: int, n: int, *, level: float) -> tuple[float, float]:
    """Newcombe's method 5: the AUCs whose Hanley-McNeil variance is compatible with the value.

    It inverts a test as Wilson's interval does, so an AUC of exactly 1 gets a lower bound that
    depends on the sample sizes. Source: Newcombe 2006, Statistics in Medicine 25:559-573.

    Args:
        value: The observed AUC.
        m: Members of the class; for a macro average, of the smallest class, which is conservative.
        n: Images of the other classes.
        level: Coverage, such as 0.95.

    Returns:
        Lower and upper bound.
    """
    z = float(norm.ppf((1 + level) / 2))
    common = (m + n) / 2 - 1

    def excess(theta: float) -> float:
        spread = 1 + common * ((1 - theta) / (2 - theta) + theta / (1 + theta))
        return (theta - value) ** 2 - z**2 * theta * (1 - theta) * spread / (m * n)

    # At 0 and 1 themselves the variance vanishes: a root of the equation, but not the one sought.
    lower = 0.0 if value <= 0 else float(brentq(excess, 0.0, min(value, 1 - _EDGE)))
    upper = 1.0 if value >= 1 else float(brentq(excess, max(value, _EDGE), 1.0))
    return lower, upper
