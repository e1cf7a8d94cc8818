"""Confusions of any probe, with intervals: single pairs, and classes of changed attributes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bias_audit.analyses.confusing.confusion_counts import (
    change_classes,
    confusion_matrix,
    expected_shares,
    most_frequent_pairs,
)
from bias_audit.groups import Group, IntArray
from bias_audit.results.blocks import Confusion, ConfusionClass, Confusions
from bias_audit.statistics.bootstrap import (
    Weights,
    bootstrap_method,
    overlap_factor,
    percentile_interval,
)
from bias_audit.statistics.estimate import Estimate
from bias_audit.statistics.proportions import METHOD, proportion, wilson_interval

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Predictions:
    """What a probe predicted for images it never saw."""

    layer: str
    groups: tuple[Group, ...]
    """Those it could predict."""
    true: IntArray
    """Annotated group of each image, index into `groups`, shape (n,)."""
    predicted: IntArray
    """Shape (n,)."""
    clusters: IntArray
    """Shape (n,)."""
    weights: Weights
    """Bootstrap weights, shape (n_draws, n)."""
    n_folds: int | None
    """Of the cross-validation, whose training folds overlap; None for a single split."""
    level: float
    """Coverage of the intervals."""

    @property
    def widening(self) -> float:
        """What intervals over all confusions are widened by."""
        return 1.0 if self.n_folds is None else overlap_factor(self.n_folds)


@dataclass(frozen=True)
class Wrong:
    """The wrong predictions of a probe and their classes."""

    predictions: Predictions
    classes: tuple[tuple[str, ...], ...]
    of_image: IntArray
    """Class per image; -1 where the prediction is right, shape (n,)."""
    expected: FloatArray
    """Share of each class by chance, shape (n_classes,)."""

    @classmethod
    def of(cls, predictions: Predictions) -> Wrong:
        """Class the wrong predictions by the attributes that changed."""
        classes, pairs = change_classes(predictions.groups)
        of_image = pairs[predictions.true, predictions.predicted]
        matrix = _matrix(predictions)
        return cls(predictions, classes, of_image, expected_shares(matrix, pairs, len(classes)))

    @property
    def count(self) -> int:
        """Wrong predictions."""
        return int((self.of_image >= 0).sum())

    def share(self, chosen: IntArray) -> Estimate:
        """Share of all confusions that fall in the chosen classes."""
        own = self.predictions
        wrong = self.of_image >= 0
        hit = np.isin(self.of_image, chosen)
        value = float(hit.sum() / wrong.sum())
        total = own.weights @ wrong.astype(np.float64)
        draws = np.divide(
            own.weights @ hit.astype(np.float64),
            total,
            out=np.full(len(total), np.nan),
            where=total > 0,
        )
        draws = value + own.widening * (draws - value)
        n = len(np.unique(own.clusters[wrong]))
        interval = percentile_interval(draws, level=own.level) if 0 < value < 1 else None
        method = self._method(len(draws))
        if interval is None:
            interval, method = wilson_interval(value, n, level=own.level), METHOD
        lower = max(0.0, min(value, interval[0]))
        upper = min(1.0, max(value, interval[1]))
        return Estimate(value, lower, upper, level=own.level, n=n, method=method)

    def _method(self, n_draws: int) -> str:
        own = self.predictions
        whole = len(np.unique(own.clusters)) == len(own.clusters)
        method = bootstrap_method("images" if whole else "clusters of images", n_draws)
        return method if own.n_folds is None else f"{method}, widened for overlapping folds"


def confusion_block(wrong: Wrong, title: str, most_frequent: int) -> tuple[Confusions, int]:
    """The block, and how many pairs left out are as frequent as the last one shown."""
    predictions = wrong.predictions
    pairs, tied = most_frequent_pairs(_matrix(predictions), most_frequent)
    block = Confusions(
        title=title,
        layer=predictions.layer,
        n_images=len(predictions.true),
        n_confused=wrong.count,
        most_frequent=_frequent(predictions, pairs),
        classes=_classes(wrong) if wrong.count else (),
    )
    return block, tied


def _matrix(predictions: Predictions) -> IntArray:
    return confusion_matrix(predictions.true, predictions.predicted, len(predictions.groups))


def _frequent(predictions: Predictions, pairs: list[tuple[int, int]]) -> tuple[Confusion, ...]:
    groups = predictions.groups
    names, numbers = change_classes(groups)
    result = []
    for true, predicted in pairs:
        annotated = predictions.true == true
        n_true = int(annotated.sum())
        n_clusters = len(np.unique(predictions.clusters[annotated]))
        count = int((predictions.predicted[annotated] == predicted).sum())
        share = proportion(
            count,
            n_true,
            level=predictions.level,
            n_clusters=n_clusters,
            widened=predictions.widening,
        )
        if share is None:
            continue
        result.append(
            Confusion(
                true=groups[true],
                predicted=groups[predicted],
                count=count,
                n_true=n_true,
                share=share,
                changed=names[numbers[true, predicted]],
            )
        )
    return tuple(result)


def _classes(wrong: Wrong) -> tuple[ConfusionClass, ...]:
    return tuple(
        ConfusionClass(
            changed=changed,
            count=int((wrong.of_image == number).sum()),
            share=wrong.share(np.array([number])),
            expected=float(wrong.expected[number]),
        )
        for number, changed in enumerate(wrong.classes)
    )
