"""Statistics of out-of-fold predictions, each with what every image contributes to it.

The influence of an image is the derivative of the statistic with respect to the image's weight
(Hampel 1974; for an AUC the structural components of DeLong et al. 1988). Sums of squares of
influences are variances, sums over images of one person respect that these belong together, and
differences of influences compare two statistics of the same images as pairs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
ScoreArray = npt.NDArray[np.floating]


@dataclass(frozen=True)
class Statistic:
    """A value and the influence of every image on it."""

    value: float
    influence: FloatArray
    """Shape (n_images,)."""
    smallest: int
    """Images of the smallest class it rests on."""
    is_mean: bool = False
    """Whether it is one mean over all its images, rather than a ranking or a mean of classes."""


def auc(scores: ScoreArray, is_member: npt.NDArray[np.bool_], folds: IntArray) -> Statistic | None:
    """Share of pairs of a member and another image of the same fold that are ranked rightly.

    Scores of different folds come from different probes, so only images of one fold are compared:
    an AUC over all pairs falls below one half on null data, because a fold with more members was
    predicted by a probe that had seen fewer.

    Args:
        scores: Larger means more of a member, shape (n_images,). Ties count one half.
        is_member: Shape (n_images,).
        folds: Fold of each image, shape (n_images,).

    Returns:
        None where no fold has both members and others.
    """
    n = len(scores)
    wins, pairs = np.zeros(n), np.zeros(n)
    for fold in np.unique(folds):
        inside = folds == fold
        members, others = np.flatnonzero(inside & is_member), np.flatnonzero(inside & ~is_member)
        wins[members] = _below(scores[members], scores[others])
        pairs[members] = len(others)
        wins[others] = len(members) - _below(scores[others], scores[members])
        pairs[others] = len(members)
    total = pairs[is_member].sum()
    if total == 0:
        return None
    value = float(wins[is_member].sum() / total)
    influence = (wins - value * pairs) / total
    for side in (is_member, ~is_member):
        influence[side] *= _small_sample(int((pairs[side] > 0).sum()))
    return Statistic(value, influence, int((pairs[is_member] > 0).sum()))


def macro_auc(scores: ScoreArray, codes: IntArray, folds: IntArray) -> Statistic | None:
    """Mean over classes of the AUC of that class against all others.

    Args:
        scores: One column per class, shape (n_images, n_classes).
        codes: Class per image, shape (n_images,).
        folds: Fold of each image, shape (n_images,).
    """
    n_classes = scores.shape[1]
    return mean(
        [auc(column, codes == label, folds) for label, column in enumerate(scores.T)]
        if n_classes > 2  # noqa: PLR2004  two classes mirror each other
        else [auc(scores[:, 1] - scores[:, 0], codes == 1, folds)],
    )


def class_recall(predicted: IntArray, codes: IntArray, label: int) -> Statistic | None:
    """Share of the images of a class that are predicted as that class; None without images."""
    members = codes == label
    n = int(members.sum())
    if n == 0:
        return None
    value = float((predicted[members] == label).mean())
    influence = np.zeros(len(codes))
    influence[members] = ((predicted[members] == label) - value) / n * _small_sample(n)
    return Statistic(value, influence, n)


def balanced_accuracy(predicted: IntArray, codes: IntArray, n_classes: int) -> Statistic | None:
    """Recall averaged over the classes that have images; None where none has."""
    return mean([class_recall(predicted, codes, label) for label in range(n_classes)])


def class_f1(predicted: IntArray, codes: IntArray, label: int) -> Statistic | None:
    """Harmonic mean of a class' precision and recall: 2 hits / (predicted + annotated).

    Args:
        predicted: Class per image, shape (n_images,).
        codes: The annotated one, same shape.
        label: The class.

    Returns:
        None where no image is annotated as the class.
    """
    members = codes == label
    n = int(members.sum())
    if n == 0:
        return None
    named = predicted == label
    hits = members & named
    total = n + int(named.sum())
    value = 2 * float(hits.sum()) / total
    influence = (2.0 * hits - value * (members.astype(np.float64) + named)) / total
    return Statistic(value, influence * _small_sample(n), n)


def average(values: npt.NDArray[np.bool_ | np.floating]) -> Statistic:
    """Mean of a number in [0, 1] per image, such as whether an image has some property.

    Args:
        values: Shape (n_images,), at least one image.
    """
    numbers = np.asarray(values, dtype=np.float64)
    n, value = len(numbers), float(numbers.mean())
    return Statistic(value, (numbers - value) / n * _small_sample(n), n, is_mean=True)


def bits(probabilities: ScoreArray, codes: IntArray, folds: IntArray) -> Statistic | None:
    """Information about the class, in bits per image, beyond the base rates.

    Cross-entropy of predicting the classes' shares in the training folds, minus that of the
    probabilities; negative where these do worse than the base rates.

    Args:
        probabilities: Shape (n_images, n_classes).
        codes: Class per image, shape (n_images,).
        folds: Fold of each image, shape (n_images,).
    """
    n = len(codes)
    if n < 2:  # noqa: PLR2004
        return None
    own = probabilities[np.arange(n), codes].astype(np.float64)
    base = np.empty(n)
    for fold in np.unique(folds):
        outside, inside = folds != fold, folds == fold
        shares = np.bincount(codes[outside], minlength=probabilities.shape[1]) / outside.sum()
        base[inside] = shares[codes[inside]]
    smallest = np.finfo(np.float32).tiny
    gains = np.log2(np.maximum(own, smallest)) - np.log2(np.maximum(base, smallest))
    value = float(gains.mean())
    n_smallest = int(np.bincount(codes)[np.unique(codes)].min())
    return Statistic(value, (gains - value) / n * _small_sample(n), n_smallest)


def mean(parts: Sequence[Statistic | None]) -> Statistic | None:
    """Unweighted mean of the statistics that have a value; None where none has."""
    known = [part for part in parts if part is not None]
    if not known:
        return None
    return Statistic(
        float(np.mean([part.value for part in known])),
        np.asarray(np.mean([part.influence for part in known], axis=0)),
        min(part.smallest for part in known),
    )


def _below(scores: ScoreArray, others: ScoreArray) -> FloatArray:
    """For each score how many of the others lie below it, ties counted one half."""
    ordered = np.sort(others)
    left = np.searchsorted(ordered, scores, side="left")
    return np.asarray((left + np.searchsorted(ordered, scores, side="right")) / 2, np.float64)


def _small_sample(n: int) -> float:
    """A sample's variance divides by n - 1."""
    return float(np.sqrt(n / (n - 1))) if n > 1 else 1.0
