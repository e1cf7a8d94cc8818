"""Recall per level, and its mean over levels."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

_BLOCK_DRAWS = 64


def weighted_balanced_accuracy(
    predicted: IntArray, codes: IntArray, n_levels: int, weights: npt.NDArray[Any]
) -> FloatArray:
    """Recall averaged over levels, of each bootstrap draw.

    A level without images in a draw is left out of that draw's mean.

    Args:
        predicted: Level per image, shape (n_images,).
        codes: Annotated level per image, shape (n_images,).
        n_levels: Number of levels.
        weights: How often each image counts, shape (n_draws, n_images).

    Returns:
        Shape (n_draws,); NaN for a draw without any image.
    """
    member = np.eye(n_levels)[codes]
    hit = member * (predicted == codes)[:, None]
    parts = []
    for start in range(0, len(weights), _BLOCK_DRAWS):
        block = weights[start : start + _BLOCK_DRAWS].astype(np.float64)
        size, hits = block @ member, block @ hit
        present = size > 0
        recalls = np.divide(hits, size, out=np.zeros_like(hits), where=present)
        n = present.sum(axis=1)
        parts.append(np.divide(recalls.sum(axis=1), n, out=np.full(len(n), np.nan), where=n > 0))
    return np.concatenate(parts) if parts else np.empty(0)


def balanced_accuracy(predicted: IntArray, codes: IntArray, n_levels: int) -> float | None:
    """Recall averaged over the levels that have images; None when none has."""
    ones = np.ones((1, len(codes)))
    value = float(weighted_balanced_accuracy(predicted, codes, n_levels, ones)[0])
    return None if np.isnan(value) else value
