"""What wrong labels do to AUCs, and which wrong labels would explain a difference between groups.

Let a share s of a group's labels be replaced by labels drawn at random in the shares q_k that the
levels have there. Of the images labelled k, a share s (1 - q_k) then has another level; of those
labelled otherwise, a share s q_k has level k. An AUC between two such mixtures keeps 1 minus the
sum of the two shares of its distance from 1/2 (Menon et al. 2015, ICML, PMLR 37:125-134), here

    AUC_observed - 1/2 = (1 - s) (AUC - 1/2),

for every level against all others, and so for their mean, whatever the q_k are. The share of wrong
labels is e = s (1 - sum of q_k^2). For K balanced levels the factor is 1 - e K / (K - 1): 1 - 2 e
for two. For one level alone, of the images labelled so a share e = s (1 - q_k) is wrong.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq

from bias_audit.arrays import FloatArray
from bias_audit.statistics.estimate import Estimate
from bias_audit.statistics.inference import Measured, bounds, combined, estimate, quantile_for

_MOST_REPLACED: Final = 0.99
"""At 1, labels are drawn at random and an AUC without their errors is unknown."""


@dataclass(frozen=True)
class Labels:
    """What is known of the labels behind a group's AUC."""

    guessing: float = 0.5
    """Label error of labels drawn at random in the shares of the levels, in (0, 1)."""
    disagreement: float = 0.0
    """Largest label error that the annotators' disagreement allows, in [0, 1)."""

    @classmethod
    def among(cls, counts: npt.NDArray[np.integer], disagreement: float) -> Labels:
        """Of the mean AUC over several levels.

        Counts are images of each level, (n_levels,), of which at least two have any; the
        disagreement is the largest label error.
        """
        return cls(float(1 - ((counts / counts.sum()) ** 2).sum()), disagreement)

    @property
    def replaced(self) -> float:
        """Share of labels drawn at random that makes the largest label error."""
        return min(_MOST_REPLACED, self.disagreement / self.guessing)


def cleared(measured: Measured, replaced: float) -> Measured:
    """The AUC that labels without errors would give, at most 1.

    `replaced` is the share of its labels that were drawn at random, in [0, 1).
    """
    factor = 1 / (1 - replaced)
    value = 0.5 + (measured.value - 0.5) * factor
    return replace(
        measured, value=min(1.0, max(0.0, value)), influence=measured.influence * factor
    )


@dataclass(frozen=True)
class Explaining:
    """Label errors that would explain a difference, if there were none in the other groups."""

    is_own: bool
    """Whether they would be in the groups of the one side."""
    error: float | None
    """That makes the difference 0; None where even random labels would not."""
    inconclusive: float | None
    """From which on the interval holds 0; None where it does without any, or never does."""


@dataclass(frozen=True)
class GroupContrast:
    """A weighted sum of the AUCs of groups, with weights that add up to 0."""

    observed: Measured
    """The sum as it was measured."""
    values: tuple[Measured, ...]
    """AUC of each group."""
    weights: FloatArray
    """Shape (n_groups,)."""
    labels: tuple[Labels, ...]
    """Of each group."""
    own: npt.NDArray[np.bool_]
    """Groups on the one side, shape (n_groups,): the sum is positive where they lie higher."""

    @classmethod
    def pair(
        cls, values: tuple[Measured, Measured], labels: tuple[Labels, Labels]
    ) -> GroupContrast:
        """One group minus another."""
        own = np.array([True, False])
        return cls(values[0] - values[1], values, np.array([1.0, -1.0]), labels, own)

    def without_errors(self, replaced: FloatArray) -> Measured:
        """The sum if a share of each group's labels was drawn at random, shape (n_groups,)."""
        values = [cleared(v, float(r)) for v, r in zip(self.values, replaced, strict=True)]
        return replace(combined(self.weights, values), n=self.observed.n)

    @property
    def ends(self) -> tuple[Measured, Measured]:
        """The lowest and the highest sum for label errors from 0 to the declared disagreement.

        Every disagreement may be an error of the label used, in any group and in none of the
        others: outer bounds as in Manski 2003 (Partial Identification of Probability
        Distributions).
        """
        most = np.array([labels.replaced for labels in self.labels])
        if not most.any():
            return self.observed, self.observed
        raises = self.weights * (np.array([value.value for value in self.values]) - 0.5) > 0
        lowest, highest = (self.without_errors(most * where) for where in (~raises, raises))
        return lowest, highest

    @property
    def nearest(self) -> Measured:
        """What is left of the sum by the label errors that bring it nearest to 0."""
        lowest, highest = self.ends
        if lowest.value > 0:
            return lowest
        return highest if highest.value < 0 else replace(self.observed, value=0.0)

    def estimate(self, level: float) -> Estimate:
        """The sum with an interval that holds whatever the declared disagreement hides."""
        own, ends = estimate(self.observed, level=level), self.ends
        if ends[0] is self.observed:
            return own
        lower, upper = (
            bounds(end, quantile_for(end, level))[side] for side, end in enumerate(ends)
        )
        return replace(
            own,
            lower=max(-1.0, min(own.lower, lower)),
            upper=min(1.0, max(own.upper, upper)),
            method=f"{own.method}, allowing for the disagreement of annotators",
            scale="identity",
            effective=None,
        )

    def explaining(self, quantile: float) -> Explaining:
        """The label errors that would explain the sum.

        They are taken to be in the groups that lie lower, alike in all of them. The quantile is
        half the width of the interval in standard errors.
        """
        sign = 1 if self.observed.value > 0 else -1
        wrong = ~self.own if sign > 0 else self.own
        guessing = float(np.mean(np.array([labels.guessing for labels in self.labels])[wrong]))

        def value(replaced: float) -> float:
            return sign * self.without_errors(np.where(wrong, replaced, 0.0)).value

        def bound(replaced: float) -> float:
            found = bounds(self.without_errors(np.where(wrong, replaced, 0.0)), quantile)
            return found[0] if sign > 0 else -found[1]

        error, inconclusive = (
            None
            if function(0.0) <= 0 or function(_MOST_REPLACED) > 0
            else guessing * float(brentq(function, 0.0, _MOST_REPLACED, xtol=1e-6))
            for function in (value, bound)
        )
        return Explaining(sign < 0, error, inconclusive)
