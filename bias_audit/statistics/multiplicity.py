"""Many tests at once: p-values from resampling, their adjustment, and gates between families.

Missing entries are None on the way in and None on the way out; they are no part of a family.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from bias_audit.arrays import FloatArray

Method = Literal["holm", "benjamini_hochberg", "max_t"]
MaybeP = float | None

NAMES: Final[dict[Method, str]] = {
    "holm": "Holm",
    "benjamini_hochberg": "Benjamini-Hochberg",
    "max_t": "single-step max-T",
}
CONTROLS: Final[dict[Method, str]] = {
    **dict.fromkeys(NAMES, "family-wise error rate"),
    "benjamini_hochberg": "false discovery rate",
}
_ROUNDING: Final = 1e-9
"""Statistics this close are ties, and p-values this close above alpha are alpha."""


def resampling_p(observed: float, draws: npt.NDArray[np.floating]) -> float:
    """Share of the draws under the null that reach the observed value, itself counted.

    (1 + b) / (1 + B), never 0: Phipson & Smyth 2010 (SAGMB 9:39). Large statistics speak against
    the null; draws, (B,), are those under it, and NaN counts as reaching the observed one.
    """
    below = draws < observed - _ROUNDING * max(1.0, abs(observed))
    return float((1 + np.count_nonzero(~below)) / (1 + len(draws)))


def adjusted(p_values: Sequence[MaybeP], method: Method) -> tuple[MaybeP, ...]:
    """Adjust the p-values of one family, by Holm or by Benjamini and Hochberg.

    Holm keeps the chance of any false rejection at alpha, whatever the dependence;
    Benjamini-Hochberg the expected share of false ones among the rejected, for independent or
    positively dependent tests. None stands where there is no p-value.

    Raises:
        ValueError: A p-value is not in (0, 1], or the method needs more than p-values.
    """
    if method == "max_t":
        raise ValueError("expected holm or benjamini_hochberg; `max_t` needs the statistics")
    known = [(i, p) for i, p in enumerate(p_values) if p is not None]
    if any(not 0 < p <= 1 for _, p in known):
        raise ValueError("expected p-values above 0 and at most 1")
    result: list[MaybeP] = [None] * len(p_values)
    if not known:
        return tuple(result)
    own = np.array([p for _, p in known])
    if method == "holm":
        # step down, with p_(1) <= ... <= p_(m):
        # adjusted p_(k) = max over j <= k of min(1, (m - j + 1) p_(j))
        order = np.argsort(own, kind="stable")
        stepped = np.maximum.accumulate(own[order] * np.arange(len(order), 0, -1))
        values = np.empty(len(order))
        values[order] = np.minimum(stepped, 1.0)
    else:
        # step up: adjusted p_(k) = min over j >= k of (m / j) p_(j)
        from scipy.stats import false_discovery_control  # noqa: PLC0415  loads slowly

        values = false_discovery_control(own)
    for (index, _), value in zip(known, values, strict=True):
        result[index] = float(value)
    return tuple(result)


@dataclass(frozen=True)
class MaxT:
    """Single-step max-T: what exceeds `critical` has an adjusted p-value of at most alpha."""

    adjusted: tuple[MaybeP, ...]
    critical: float
    """Also the half width, in standard errors, of simultaneous intervals when statistics are
    absolute values; infinite when there are too few draws for alpha."""


def max_t(observed: Sequence[MaybeP], draws: npt.NDArray[np.floating], *, alpha: float) -> MaxT:
    """Adjust by the largest statistic of each draw, which knows how tests depend on each other.

    Source: Westfall & Young 1993, Resampling-Based Multiple Testing. Keeps the chance of any false
    rejection at alpha; the more tests depend on each other, the more it finds beyond Holm.

    Statistics are studentised, large against the null (absolute ones for two sides), None where
    there is none; draws are the same under the null, whole draws at a time, (B, n_hypotheses), NaN
    where a draw has no value. `alpha` is for the critical value.

    Raises:
        ValueError: There is not one column per hypothesis, or no draw.
    """
    if draws.ndim != 2 or draws.shape[1] != len(observed) or not len(draws):  # noqa: PLR2004
        raise ValueError(f"expected draws of shape (B, {len(observed)}), got {draws.shape}")
    known = [i for i, statistic in enumerate(observed) if statistic is not None]
    if not known:
        return MaxT((None,) * len(observed), math.inf)
    # p_i = (1 + #{b : max over j of T_bj >= t_i}) / (1 + B): draws stay whole, so that the largest
    # of each knows how the tests depend on each other; `critical` is the floor(alpha (B + 1))-th
    # largest of these
    largest = np.where(np.isnan(draws), -np.inf, draws)[:, known].max(axis=1)
    p_values = tuple(None if t is None else resampling_p(t, largest) for t in observed)
    place = math.floor(alpha * (len(largest) + 1) + _ROUNDING)
    critical = float(np.sort(largest)[-place]) if place else math.inf
    return MaxT(p_values, critical)


@dataclass(frozen=True)
class Resampled:
    """The statistics of one family, and joint draws of them without any effect."""

    observed: tuple[float | None, ...]
    draws: FloatArray
    """Shape (B, n_hypotheses); NaN for those without a value."""

    @property
    def p_values(self) -> tuple[MaybeP, ...]:
        """By resampling, unadjusted."""
        return tuple(
            None if t is None else resampling_p(t, self.draws[:, i])
            for i, t in enumerate(self.observed)
        )

    def adjusted(self, method: Method, alpha: float) -> tuple[MaybeP, ...]:
        """By any method."""
        if method == "max_t":
            return max_t(self.observed, self.draws, alpha=alpha).adjusted
        return adjusted(self.p_values, method)


def is_rejected(p_value: MaybeP, *, alpha: float) -> bool:
    """Whether an adjusted p-value is at most alpha, up to rounding; a missing one is not."""
    return p_value is not None and p_value <= alpha * (1 + _ROUNDING)


def draws_needed(n_hypotheses: int, *, alpha: float, method: Method) -> int:
    """Draws with which a single effect, however strong, can be rejected in a family.

    The smallest p-value is 1 / (1 + B). Holm and Benjamini-Hochberg compare the smallest of m to
    alpha / m (the latter less strictly when several are as small); max-T compares it to alpha.
    """
    tests = 1 if method == "max_t" else max(1, n_hypotheses)
    return math.ceil(tests / Fraction(str(alpha))) - 1


def smallest_attainable(n_hypotheses: int, *, draws: int, method: Method) -> float:
    """The smallest adjusted p-value that a single effect can have with so many draws."""
    tests = 1 if method == "max_t" else max(1, n_hypotheses)
    return min(1.0, tests / (1 + draws))


@dataclass(frozen=True)
class Family:
    """Hypotheses that are adjusted together, one level of a hierarchy."""

    name: str
    adjusted: tuple[MaybeP, ...]
    """Adjusted p-values over the whole family."""
    parents: tuple[tuple[int, ...], ...] | None = None
    """Per hypothesis, the ones of the family before of which at least one must be rejected; None
    for "any of them"."""


@dataclass(frozen=True)
class Gated:
    """What became of a family."""

    name: str
    is_open: bool
    reason: str
    adjusted: tuple[MaybeP, ...]
    """None where the hypothesis was not tested."""
    rejected: tuple[bool | None, ...]
    """None where the hypothesis was not tested."""


def gatekeep(families: Sequence[Family], *, alpha: float, gates: bool = True) -> tuple[Gated, ...]:
    """Test families in order, each only if the one before it rejected something.

    A family's adjustment stays that of all its hypotheses, also where parents close some of them:
    gates only take rejections away, so within each family the error rate of its method holds. Over
    all families together it holds when no hypothesis is false; if some are, it is at most alpha
    per family. Families come from coarse to fine, such as global, marginals, pairs, cells; without
    gates every one is open, whole.

    Raises:
        ValueError: Parents do not fit the family or the one before it.
    """
    result: list[Gated] = []
    for family in families:
        everything = frozenset(range(len(family.adjusted)))
        before = result[-1] if result and gates else None
        is_open, reason, tested = True, "tested first", everything
        if not gates:
            reason = "tested, because no gates were declared"
        elif before is not None and any(before.rejected):
            reason = f"tested, because {_named(before)}"
        elif before is not None:
            is_open, tested = False, frozenset()
            reason = f"not tested, because {_named(before, is_any=False)}"
            if all(verdict is None for verdict in before.rejected):
                reason = f"not tested, because nothing could be tested in {before.name}"
            if not before.is_open:
                reason = f"not tested, because {before.name} was not tested"
        if gates and is_open and family.parents is not None:
            tested = _behind_parents(family, before)
        p_values = tuple(p if i in tested else None for i, p in enumerate(family.adjusted))
        rejected = tuple(None if p is None else is_rejected(p, alpha=alpha) for p in p_values)
        result.append(Gated(family.name, is_open, reason, p_values, rejected))
    return tuple(result)


def _named(family: Gated, *, is_any: bool = True) -> str:
    """Whether any test of a family was significant, for the end of a sentence."""
    if len(family.rejected) == 1:
        name = "overall" if family.name == "global" else family.name
        return f"the {name} test was {'' if is_any else 'not '}significant"
    return f"{'a' if is_any else 'no'} test in {family.name} was significant"


def _behind_parents(family: Family, before: Gated | None) -> frozenset[int]:
    """Hypotheses that a rejected parent opens."""
    parents = family.parents or ()
    if before is None or len(parents) != len(family.adjusted):
        raise ValueError(f"{family.name}: expected parents for every hypothesis")
    if any(not 0 <= i < len(before.rejected) for own in parents for i in own):
        raise ValueError(f"{family.name}: expected parents below {len(before.rejected)}")
    return frozenset(
        place for place, own in enumerate(parents) if any(before.rejected[i] for i in own)
    )
