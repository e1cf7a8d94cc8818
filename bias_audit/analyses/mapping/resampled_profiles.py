"""Group profiles of images drawn anew, for quantities that have no formula for their interval."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array

from bias_audit.arrays import FloatArray, IntArray

_BLOCK = 1024


def weights_within_groups(
    codes: IntArray, clusters: IntArray, rng: np.random.Generator
) -> IntArray:
    """Draw clusters of images with replacement, as many of each group as it has.

    A cluster counts to the group of its first image.

    Args:
        codes: Group per image, shape (n_images,).
        clusters: Cluster per image, shape (n_images,); any numbers.
        rng: Source of randomness.

    Returns:
        How often each image was drawn, shape (n_images,).
    """
    _, first, cluster = np.unique(clusters, return_index=True, return_inverse=True)
    drawn = np.zeros(len(first), dtype=np.int64)
    for group in np.unique(codes[first]):
        members = np.flatnonzero(codes[first] == group)
        np.add.at(drawn, rng.choice(members, size=len(members)), 1)
    return drawn[cluster]


def weighted_contrasts(
    units: npt.NDArray[np.float32], codes: IntArray, weights: IntArray
) -> FloatArray:
    """Profiles of weighted images less their mean over groups.

    Args:
        units: Activations, shape (n_images, n_units); may be memory-mapped.
        codes: Group per image, shape (n_images,).
        weights: Shape (n_images,).

    Returns:
        Shape (n_present, n_units): of the groups with an image of positive weight, ascending.
    """
    drawn = np.flatnonzero(weights)
    present, group = np.unique(codes[drawn], return_inverse=True)
    total = np.zeros((len(present), units.shape[1]))
    for start in range(0, len(drawn), _BLOCK):
        part = slice(start, start + _BLOCK)
        images = drawn[part]
        by_group = csr_array(
            (weights[images].astype(np.float64), (group[part], np.arange(len(images)))),
            shape=(len(present), len(images)),
        )
        total += by_group @ units[images].astype(np.float64)
    means = total / np.bincount(group, weights[drawn])[:, None]
    return np.asarray(means - means.mean(axis=0), dtype=np.float64)
