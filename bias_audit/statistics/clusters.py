"""How many independent units images are worth, where several show one person.

Satterthwaite (1946), An approximate distribution of estimates of variance components, Biometrics
Bulletin 2:110-114; Carter, Schnepel & Steigerwald (2017), Asymptotic behavior of a t-test robust
to cluster heterogeneity, Review of Economics and Statistics 99:698-709.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

FEW_CLUSTERS = 30
"""With a smaller effective number a reader is warned: intervals are wide, and a few people decide
the value."""
FEWEST_CLUSTERS = 10
"""With a smaller effective number a target is not measured: in simulations of fewer, intervals
hold their level only by being so wide that they say nothing."""

_EVEN = 0.8


def is_worth_less(n: int, clusters: float | None) -> bool:
    """Whether an effective number of clusters says more than the number of images or clusters.

    The effective number is None where it was not found.
    """
    return clusters is not None and clusters <= _EVEN * n


def effective_clusters(sizes: npt.ArrayLike) -> float:
    """Effective number of clusters: (sum m^2)^2 / sum m^4 over the sizes m.

    The variance of an estimate is summed over clusters. Where a cluster's total spreads as its
    size m does, its part of the variance is proportional to m^2, and Satterthwaite's degrees of
    freedom of a sum of parts a is (sum a)^2 / sum a^2. Equal clusters give their number. Sizes are
    images of each cluster, (n_clusters,); empty clusters count for nothing, so the result is from
    1 to the number of the others.

    Raises:
        ValueError: No cluster has an image, or a size is negative or not finite.
    """
    m = np.asarray(sizes, dtype=np.float64).ravel()
    largest = m.max(initial=0.0)
    if not (np.isfinite(m).all() and m.min(initial=0.0) >= 0 and largest > 0):
        raise ValueError(f"sizes: expected numbers from 0, one of them above it, got {sizes!r}")
    parts = (m / largest) ** 2
    return float(parts.sum() ** 2 / (parts**2).sum())


def effective_size(clusters: npt.NDArray[np.integer]) -> float:
    """Independent observations that a mean over images counts, if a cluster's are all alike.

    (sum m)^2 / sum m^2 for clusters of m images (Kish 1965, Survey Sampling). Clusters are numbers
    by image, (n_images,), of at least one image.
    """
    sizes = np.bincount(clusters).astype(np.float64)
    return float(sizes.sum() ** 2 / (sizes**2).sum())
