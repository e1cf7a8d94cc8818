"""What erasing a target changed: numbers with intervals that share their bootstrap draws."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy.stats import t as student

from bias_audit.analyses.erasing.erasure import ErasedTarget
from bias_audit.groups import IntArray
from bias_audit.statistics import auc_interval, proportions
from bias_audit.statistics.auc import weighted_macro_auc
from bias_audit.statistics.balanced_accuracy import weighted_balanced_accuracy
from bias_audit.statistics.bootstrap import (
    Weights,
    bootstrap_method,
    difference,
    overlap_factor,
    percentile_interval,
)
from bias_audit.statistics.estimate import Estimate

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Sampling:
    """What all measures of one target share."""

    weights: Weights
    """Of the target's images, shape (n_draws, n)."""
    clusters: IntArray
    """Of the target's images, shape (n,)."""
    n_folds: int | None
    """Of the cross-fitting; None where the images were in no fold, so that nothing overlaps."""
    level: float

    @property
    def widening(self) -> float:
        """What intervals are widened by."""
        return 1.0 if self.n_folds is None else overlap_factor(self.n_folds)

    @property
    def method(self) -> str:
        """How intervals are made."""
        plain = bootstrap_method(self.unit, len(self.weights))
        return plain if self.n_folds is None else f"{plain}, widened for overlapping folds"

    @property
    def unit(self) -> str:
        """What is drawn."""
        whole = len(np.unique(self.clusters)) == len(self.clusters)
        return "images" if whole else "clusters of images"


@dataclass(frozen=True)
class Drawn:
    """An estimate with its draws, None where the bootstrap has no spread."""

    estimate: Estimate
    draws: FloatArray | None

    def minus(self, other: Drawn) -> Estimate:
        """The paired difference."""
        if self.draws is None or other.draws is None:
            none = np.empty(0)
            return difference(self.estimate, other.estimate, none, degenerate=True)
        draws = self.draws - other.draws
        return difference(self.estimate, other.estimate, draws, degenerate=False)


def _drawn(
    values: FloatArray, fallback: Callable[[float], tuple[float, float, str]], sampling: Sampling
) -> Drawn:
    """The first value is that of the sample, the others are draws of it."""
    value, n = float(values[0]), len(np.unique(sampling.clusters))
    draws = value + sampling.widening * (values[1:] - value)
    interval = percentile_interval(draws, level=sampling.level) if 0 < value < 1 else None
    if interval is None:
        lower, upper, method = fallback(value)
    else:
        method = sampling.method
        lower, upper = max(0.0, min(interval[0], value)), min(1.0, max(interval[1], value))
    estimate = Estimate(value, lower, upper, level=sampling.level, n=n, method=method)
    return Drawn(estimate, None if interval is None else draws)


def _with_sample(weights: Weights) -> Weights:
    """The sample itself in front of its draws."""
    return np.concatenate([np.ones_like(weights[:1]), weights])


def _smallest(codes: IntArray, sampling: Sampling) -> int:
    return min(len(np.unique(sampling.clusters[codes == code])) for code in np.unique(codes))


def auc(probabilities: FloatArray, codes: IntArray, sampling: Sampling) -> Drawn:
    """Macro one-vs-rest AUC of out-of-fold probabilities, shape (n, n_levels)."""
    m = _smallest(codes, sampling)
    others = max(1, len(np.unique(sampling.clusters)) - m)

    def score(value: float) -> tuple[float, float, str]:
        bounds = auc_interval.auc_score_interval(value, m, others, level=sampling.level)
        return (*bounds, auc_interval.METHOD)

    scores = probabilities.astype(np.float32)  # differences below this precision are rounding
    return _drawn(
        weighted_macro_auc(scores, codes, _with_sample(sampling.weights)), score, sampling
    )


def balanced_accuracy(probabilities: FloatArray, codes: IntArray, sampling: Sampling) -> Drawn:
    """Recall averaged over levels, of out-of-fold probabilities, shape (n, n_levels)."""
    m = _smallest(codes, sampling)

    def wilson(value: float) -> tuple[float, float, str]:
        bounds = proportions.wilson_interval(value, m, level=sampling.level)
        return (*bounds, f"{proportions.METHOD}, smallest class")

    values = weighted_balanced_accuracy(
        probabilities.argmax(axis=1),
        codes,
        probabilities.shape[1],
        _with_sample(sampling.weights),
    )
    return _drawn(values, wilson, sampling)


def agreements(agreement: npt.NDArray[np.generic], sampling: Sampling) -> Agreements:
    """Mean agreement under the eraser of the annotated labels, and under those of shuffled ones.

    Labels that mean nothing would be one more shuffle: the interval of the excess also holds how
    much single shuffles differ, by Student's t with a variance of (1 + 1 / shuffles) times theirs.

    Args:
        agreement: Per image, in [0, 1], shape (1 + shuffles, n).
        sampling: Draws of images.
    """
    numbers = np.asarray(agreement, dtype=np.float64)
    weights = _with_sample(sampling.weights).astype(np.float64)
    means = weights @ numbers.T / weights.sum(axis=1, keepdims=True)
    n_shuffles = means.shape[1] - 1
    spread = float(student.ppf((1 + sampling.level) / 2, n_shuffles - 1)) * means[0, 1:].std(
        ddof=1
    )
    n = len(np.unique(sampling.clusters))

    def wilson(value: float) -> tuple[float, float, str]:
        bounds = proportions.wilson_interval(value, n, level=sampling.level)
        return (*bounds, proportions.METHOD)

    annotated = _drawn(means[:, 0], wilson, sampling)
    shuffled = _drawn(means[:, 1:].mean(axis=1), wilson, sampling)
    return Agreements(
        annotated.estimate,
        _widened(shuffled.estimate, spread / np.sqrt(n_shuffles), (0.0, 1.0)),
        _widened(shuffled.minus(annotated), spread * np.sqrt(1 + 1 / n_shuffles), (-1.0, 1.0)),
    )


def _widened(estimate: Estimate, by: float, limits: tuple[float, float]) -> Estimate:
    """With the deviation of another, independent source added on both sides."""
    value = estimate.value
    return replace(
        estimate,
        lower=float(max(limits[0], value - np.hypot(value - estimate.lower, by))),
        upper=float(min(limits[1], value + np.hypot(estimate.upper - value, by))),
        method=f"{estimate.method}, with the spread of the shuffles",
    )


@dataclass(frozen=True)
class Agreements:
    """One measure of agreement, overall."""

    annotated: Estimate
    shuffled: Estimate
    excess: Estimate
    """How much more the annotated eraser changes: shuffled minus annotated agreement."""


@dataclass(frozen=True)
class Measures:
    """Everything measured of one target."""

    erased: ErasedTarget
    values: dict[str, Estimate]
    """By quantity: "head_auc", "erased_auc", "erased_auc_drop", ..."""
    top1: Agreements
    top5: Agreements
    reference: Agreements | None
    """Of the most probable class of the reference images."""
    reference_top5: Agreements | None


def measured(
    erased: ErasedTarget, sampling: Sampling, reference: Sampling | None = None
) -> Measures:
    """Measure one erased target, on its images and, where there are some, the reference images."""
    codes, values = erased.part.codes, {}
    for measure, name in ((auc, "auc"), (balanced_accuracy, "balanced_accuracy")):
        before, after = (measure(p, codes, sampling) for p in (erased.before, erased.erased))
        values[f"head_{name}"], values[f"erased_{name}"] = before.estimate, after.estimate
        values[f"erased_{name}_drop"] = before.minus(after)
    if erased.new_before is not None and erased.new_erased is not None:
        before, after = (
            auc(scores, codes, sampling) for scores in (erased.new_before, erased.new_erased)
        )
        values["refitted_head_auc"], values["refitted_erased_auc"] = (
            before.estimate,
            after.estimate,
        )
        values["refitted_erased_auc_drop"] = before.minus(after)
    return Measures(
        erased,
        values,
        agreements(erased.kept, sampling),
        agreements(erased.overlap, sampling),
        _of_reference(erased.reference_kept, reference),
        _of_reference(erased.reference_overlap, reference),
    )


def _of_reference(
    agreement: npt.NDArray[np.generic] | None, sampling: Sampling | None
) -> Agreements | None:
    if agreement is None or sampling is None:
        return None
    return agreements(agreement, sampling)
