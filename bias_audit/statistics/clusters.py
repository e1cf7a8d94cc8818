"""How many independent units images count for, where several show one person."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def effective_size(clusters: npt.NDArray[np.integer]) -> float:
    """Independent observations that a mean over images counts, if a cluster's are all alike.

    (sum m)^2 / sum m^2 for clusters of m images (Kish 1965, Survey Sampling).

    Args:
        clusters: Number of each image's cluster, shape (n_images,), at least one image.
    """
    sizes = np.bincount(clusters).astype(np.float64)
    return float(sizes.sum() ** 2 / (sizes**2).sum())


def effective_clusters(sizes: npt.NDArray[np.number]) -> float:
    """Clusters of one size that would estimate a variance as well as these: (sum m^2)^2 / sum m^4.

    The variance of a sum over clusters whose spread grows with their size is itself estimated from
    them; equal clusters give their number, a dominating one gives 1. Source: Satterthwaite 1946,
    Biometrics Bulletin 2:110-114; on numbers of clusters, Carter, Schnepel & Steigerwald 2017,
    Review of Economics and Statistics 99:698-709.

    Args:
        sizes: Of each cluster, or how far it can move a value, not negative, shape (n_clusters,).

    Returns:
        0 where all are 0.
    """
    squares = np.asarray(sizes, dtype=np.float64) ** 2
    total = squares.sum()
    return float(total / (squares**2).sum() * total) if total > 0 else 0.0
