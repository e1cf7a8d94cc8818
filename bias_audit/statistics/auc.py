"""Macro one-vs-rest AUC, plain and under many bootstrap weightings at once."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

_BLOCK_BYTES = 4 * 2**20
"""About what a processor's cache holds."""
_EXACT_IN_FLOAT32 = 2**23
"""Counts, and halves of them, up to here are exact in single precision, which is twice as fast."""


def macro_auc(scores: npt.NDArray[np.floating], codes: IntArray) -> float | None:
    """Mean over classes of the AUC of that class against all others.

    Ties count one half, so the value equals `sklearn.metrics.roc_auc_score` averaged over classes.

    Args:
        scores: One column per class, shape (n_images, n_classes); larger means more of the class.
        codes: Class per image, shape (n_images,).

    Returns:
        The mean over the classes that have both members and non-members; None if there is none.
    """
    value = float(weighted_macro_auc(scores, codes, np.ones((1, len(codes)), dtype=np.uint8))[0])
    return None if np.isnan(value) else value


def weighted_macro_auc(
    scores: npt.NDArray[np.floating], codes: IntArray, weights: npt.NDArray[Any]
) -> FloatArray:
    """Macro one-vs-rest AUC of each bootstrap draw.

    Scores are sorted once per class, whatever the number of draws. A class that a draw leaves
    without members (or without others) is left out of that draw's mean.

    Args:
        scores: Shape (n_images, n_classes).
        codes: Shape (n_images,).
        weights: How often each image counts, shape (n_draws, n_images).

    Returns:
        Shape (n_draws,); NaN for a draw in which no class has an AUC.
    """
    orders = [_Ranking.of(column) for column in scores.T]
    step = max(1, _BLOCK_BYTES // (8 * max(1, len(codes))))
    parts = [
        _block(orders, codes, weights[start : start + step])
        for start in range(0, len(weights), step)
    ]
    return np.concatenate(parts) if parts else np.empty(0)


class _Ranking:
    """The order of one class' scores, and for every place the bounds of its ties."""

    def __init__(self, order: IntArray, left: IntArray, right: IntArray) -> None:
        self.order, self.left, self.right = order, left, right

    @classmethod
    def of(cls, scores: npt.NDArray[np.floating]) -> _Ranking:
        order = np.argsort(scores, kind="stable")
        ordered = scores[order]
        left = np.searchsorted(ordered, ordered, side="left")
        return cls(order, left, np.searchsorted(ordered, ordered, side="right"))


def _block(rankings: list[_Ranking], codes: IntArray, weights: npt.NDArray[Any]) -> FloatArray:
    """Mann-Whitney: a member beats the weight below it; ties, and members among themselves, half.

    With M the members' weights and R the weight ranked below (ties half), over all images,
    sum(M * R) counts every pair of members once and each member with itself half: sum(M)^2 / 2.
    """
    total = weights.sum(axis=1, dtype=np.float64)
    exact = weights.dtype.kind in "ub" and total.max(initial=0) < _EXACT_IN_FLOAT32
    dtype = np.float32 if exact else np.float64
    by_image: npt.NDArray[np.floating[Any]] = np.ascontiguousarray(weights.T, dtype=dtype)
    sums, counts = np.zeros(len(total)), np.zeros(len(total))
    for label, ranking in enumerate(rankings):
        running = np.zeros((len(by_image) + 1, len(total)), dtype=dtype)
        np.cumsum(by_image[ranking.order], axis=0, out=running[1:])
        places = np.flatnonzero(codes[ranking.order] == label)
        members = by_image[ranking.order[places]]
        below = (running[ranking.left[places]] + running[ranking.right[places]]) / 2
        size = members.sum(axis=0, dtype=np.float64)
        pairs = size * (total - size)
        wins = (members * below).sum(axis=0, dtype=np.float64) - size**2 / 2
        defined = pairs > 0
        sums[defined] += wins[defined] / pairs[defined]
        counts += defined
    means = np.full(len(total), np.nan)
    np.divide(sums, counts, out=means, where=counts > 0)
    return means
