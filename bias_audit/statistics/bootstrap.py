"""Resampling whole clusters of images, and intervals from the draws."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from bias_audit.statistics.estimate import Estimate

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
Weights = npt.NDArray[np.uint16]

_NO_SPREAD = 1e-12
SQUARE_AND_ADD = "difference of two intervals by square-and-add (Newcombe)"


def cluster_weights(clusters: IntArray, n_draws: int, rng: np.random.Generator) -> Weights:
    """Draw as many clusters as there are, with replacement, `n_draws` times.

    Args:
        clusters: Cluster per image, shape (n_images,); any numbers.
        n_draws: Number of draws.
        rng: Source of randomness.

    Returns:
        How often each image's cluster was drawn, shape (n_draws, n_images): images of one cluster
        have the same weight, and over clusters the weights of a draw sum to their number.
    """
    _, cluster = np.unique(clusters, return_inverse=True)
    n_clusters = int(cluster.max(initial=-1)) + 1
    weights = np.empty((n_draws, len(cluster)), dtype=np.uint16)
    for draw in range(n_draws):
        drawn = np.bincount(rng.integers(n_clusters, size=n_clusters), minlength=n_clusters)
        weights[draw] = drawn[cluster]
    return weights


def percentile_interval(
    draws: npt.NDArray[np.floating], *, level: float
) -> tuple[float, float] | None:
    """The central interval of the draws that have a value; None when they have no spread.

    Without spread (an AUC of exactly 1, say) a bootstrap knows nothing about what it did not see:
    use a score interval there, never a point.
    """
    finite = draws[np.isfinite(draws)]
    if len(finite) == 0 or np.ptp(finite) < _NO_SPREAD:
        return None
    lower, upper = np.quantile(finite, [(1 - level) / 2, (1 + level) / 2])
    return float(lower), float(upper)


def overlap_factor(n_folds: int) -> float:
    """How much wider cross-validated values spread than a bootstrap with fixed probes says.

    Training folds overlap and every image is both trained on and predicted, which resampling the
    predictions does not see. Nadeau & Bengio 2003 (Machine Learning 52:239-281) correct the
    variance of K-fold values from 1/K to 1/K + n_test/n_train, hence by 1 + K/(K - 1).
    """
    return float(np.sqrt(1 + n_folds / (n_folds - 1)))


def bootstrap_method(unit: str, n_draws: int) -> str:
    """How an interval was made, for `Estimate.method`; `unit` is "images" or "clusters"."""
    return f"percentile bootstrap over {unit}, {n_draws} draws"


def difference(
    one: Estimate, other: Estimate, draws: npt.NDArray[np.floating], *, degenerate: bool
) -> Estimate:
    """Difference of two estimates that share their bootstrap draws.

    Args:
        one: The first.
        other: What is subtracted.
        draws: Paired differences, shape (n_draws,).
        degenerate: Whether either estimate had no usable bootstrap. Then the interval comes from
            the two intervals by Newcombe's square-and-add rule (MOVER), which ignores the pairing.

    Returns:
        The difference, with its interval.
    """
    value = one.value - other.value
    interval = None if degenerate else percentile_interval(draws, level=one.level)
    if interval is not None:
        method = f"paired {one.method}"
        return Estimate(value, *interval, level=one.level, n=one.n, method=method)
    below = np.hypot(one.value - one.lower, other.upper - other.value)
    above = np.hypot(one.upper - one.value, other.value - other.lower)
    return Estimate(
        value,
        float(value - below),
        float(value + above),
        level=one.level,
        n=one.n,
        method=SQUARE_AND_ADD,
    )
