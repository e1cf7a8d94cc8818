"""Which groups a probe confuses, and which attributes change when it does."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from bias_audit.analyses.probing.separability import Units
from bias_audit.analyses.small_groups import Mask, independent_images, without_remainders
from bias_audit.arrays import FloatArray, IntArray
from bias_audit.groups import Group, changed_attributes
from bias_audit.results.blocks import Confusion, ConfusionClass, Confusions
from bias_audit.statistics.estimate import Estimate
from bias_audit.statistics.inference import share_estimate


def confusion_matrix(true: IntArray, predicted: IntArray, n_groups: int) -> IntArray:
    """Images by true and predicted group, shape (n_groups, n_groups)."""
    flat = np.bincount(true * n_groups + predicted, minlength=n_groups**2)
    return flat.reshape(n_groups, n_groups).astype(np.int64)


def most_frequent_pairs(matrix: IntArray, top: int) -> tuple[list[tuple[int, int]], int]:
    """The most frequent (true, predicted) pairs that differ.

    Args:
        matrix: Shape (n_groups, n_groups), true group by row.
        top: How many pairs.

    Returns:
        The pairs, most frequent first, the more frequent share of their true group first among
        equals; and how many pairs left out are as frequent as the last one shown.
    """
    wrong = matrix.copy()
    np.fill_diagonal(wrong, 0)
    rows, columns = np.nonzero(wrong)
    counts = wrong[rows, columns]
    shares = counts / matrix.sum(axis=1)[rows]
    order = np.lexsort((columns, rows, -shares, -counts))
    pairs = [(int(rows[i]), int(columns[i])) for i in order[:top]]
    tied = int((counts[order[top:]] == counts[order[top - 1]]).sum()) if len(order) > top else 0
    return pairs, tied


def change_classes(groups: Sequence[Group]) -> tuple[tuple[tuple[str, ...], ...], IntArray]:
    """Number every ordered pair of groups by the set of attributes in which it differs.

    Returns:
        The sets that occur, the smaller first; and the index of each pair's set, shape
        (n_groups, n_groups), -1 on the diagonal.
    """
    names = [name for name, _ in groups[0].levels]
    sets = [
        subset
        for size in range(1, len(names) + 1)
        for subset in itertools.combinations(names, size)
    ]
    number = {subset: index for index, subset in enumerate(sets)}
    pairs = np.full((len(groups), len(groups)), -1, dtype=np.int64)
    for i, one in enumerate(groups):
        for j, other in enumerate(groups):
            if i != j:
                pairs[i, j] = number[changed_attributes(one, other)]
    occurring = np.unique(pairs[pairs >= 0])
    renumbered = np.where(pairs >= 0, np.searchsorted(occurring, pairs), -1)
    return tuple(sets[i] for i in occurring), renumbered


def expected_shares(matrix: IntArray, classes: IntArray, n_classes: int) -> FloatArray:
    """Shares of confusions by class if a wrong prediction fell anywhere, as groups are predicted.

    A wrongly predicted image of group g falls on group h with probability q[h] / (1 - q[g]), q
    being the share of all predictions that name a group.

    Args:
        matrix: Confusion matrix, shape (n_groups, n_groups).
        classes: Class of each pair, -1 on the diagonal, same shape.
        n_classes: Number of classes.

    Returns:
        Shape (n_classes,); sums to 1 where anything is confused, else all 0.
    """
    predicted = matrix.sum(axis=0) / max(1, matrix.sum())
    wrong = matrix.sum(axis=1) - np.diag(matrix)
    shares = np.zeros(n_classes)
    if wrong.sum() == 0:
        return shares
    for true in np.flatnonzero(wrong):
        others = classes[true] >= 0
        chance = predicted[others] / predicted[others].sum()
        np.add.at(shares, classes[true][others], chance * wrong[true])
    return np.asarray(shares / wrong.sum(), dtype=np.float64)


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
    units: Units
    """Of the subject."""
    images: IntArray
    """Number of each image among the subject's, shape (n,)."""
    widened: float
    """Factor on errors, because probes are refitted; 1 for a single split and fit."""
    level: float
    """Coverage of the intervals."""
    fewest: int
    """Independent images that a group's confusions must rest on."""
    choice: float = 1.0
    """Share of the error rate that the choice of the layer left."""

    def share(self, hits: npt.NDArray[np.bool_], images: IntArray) -> Estimate:
        """Share of some images, at least one, that have a property."""
        found = share_estimate(
            hits,
            self.units.clusters[images],
            level=self.level,
            widened=self.widened,
            choice=self.choice,
        )
        if found is None:
            raise ValueError("expected a share of at least one image, got none")
        return found

    @cached_property
    def shown(self) -> Mask:
        """Annotated groups with images enough here, shape (n_groups,)."""
        clusters, n_groups = self.units.clusters[self.images], len(self.groups)
        counts = independent_images(self.true, clusters, n_groups)
        member = self.true[:, None] == np.arange(n_groups)
        return without_remainders(member, counts >= self.fewest, clusters, self.fewest)


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

    @property
    def is_enough(self) -> bool:
        """Whether wrong predictions are of people enough for shares of them to be shown."""
        own = self.predictions
        people = np.unique(own.units.clusters[own.images[self.of_image >= 0]])
        return len(people) >= max(1, own.fewest)

    def share(self, chosen: IntArray) -> Estimate:
        """Share of all confusions that fall in the chosen classes."""
        own, wrong = self.predictions, self.of_image >= 0
        hit = np.isin(self.of_image[wrong], chosen)
        return own.share(hit, own.images[wrong])


def confusion_block(wrong: Wrong, title: str, most_frequent: int) -> tuple[Confusions, int]:
    """The block, and how many pairs left out are as frequent as the last one shown."""
    predictions = wrong.predictions
    matrix = np.where(predictions.shown[:, None], _matrix(predictions), 0)
    pairs, tied = most_frequent_pairs(matrix, most_frequent)
    block = Confusions(
        title=title,
        layer=predictions.layer,
        n_images=len(predictions.true),
        n_confused=wrong.count,
        most_frequent=_frequent(predictions, pairs),
        classes=_classes(wrong) if wrong.is_enough else (),
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
        hits = predictions.predicted[annotated] == predicted
        share = predictions.share(hits, predictions.images[annotated])
        result.append(
            Confusion(
                true=groups[true],
                predicted=groups[predicted],
                count=int(hits.sum()),
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
