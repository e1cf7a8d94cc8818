"""Which groups a probe confuses, and which attributes change when it does."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from bias_audit.analyses.small_groups import Mask, independent_images, without_remainders
from bias_audit.arrays import FloatArray, IntArray
from bias_audit.cache import Arrays
from bias_audit.data.faces import images_among
from bias_audit.groups import Group, changed_attributes
from bias_audit.shapes.confusions import Confusion, ConfusionClass, ConfusionMatrix, Confusions
from bias_audit.statistics.estimate import Estimate
from bias_audit.statistics.inference import share_estimate


def confusion_matrix(true: IntArray, predicted: IntArray, n_groups: int) -> IntArray:
    """Images by true and predicted group, shape (n_groups, n_groups)."""
    flat = np.bincount(true * n_groups + predicted, minlength=n_groups**2)
    return flat.reshape(n_groups, n_groups).astype(np.int64)


def most_frequent_pairs(matrix: IntArray, top: int) -> tuple[list[tuple[int, int]], int]:
    """The most frequent (true, predicted) pairs that differ.

    Rows of the matrix, (n_groups, n_groups), are the true groups. Pairs come most frequent first,
    the more frequent share of their true group first among equals; with them comes how many pairs
    left out are as frequent as the last one shown.
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

    The sets that occur come the smaller first; the index of each pair's set has shape (n_groups,
    n_groups), -1 on the diagonal.
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
    being the share of all predictions that name a group. The matrix and the classes of pairs, -1
    on the diagonal, have shape (n_groups, n_groups), the shares (n_classes,); they sum to 1 where
    anything is confused, else all are 0.
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
    """What a probe predicted for images it never saw, and which attributes wrong ones change."""

    layer: str
    groups: tuple[Group, ...]
    """Those it could predict."""
    true: IntArray
    """Annotated group of each image, index into `groups`, shape (n,)."""
    predicted: IntArray
    """Shape (n,)."""
    clusters: IntArray
    """Cluster of each image, shape (n,)."""
    widened: float
    """Factor on errors, because probes are refitted; 1 for a single split and fit."""
    level: float
    """Coverage of the intervals."""
    fewest: int
    """Independent images that a group's confusions must rest on."""
    choice: float = 1.0
    """Share of the error rate that the choice of the layer left."""
    pictures: IntArray | None = None
    """Image of each row, shape (n,), where some have several."""

    @cached_property
    def matrix(self) -> IntArray:
        """Images by true and predicted group, shape (n_groups, n_groups)."""
        return confusion_matrix(self.true, self.predicted, len(self.groups))

    @cached_property
    def classes(self) -> tuple[tuple[tuple[str, ...], ...], IntArray]:
        """As `change_classes` numbers the pairs of groups."""
        return change_classes(self.groups)

    @cached_property
    def of_image(self) -> IntArray:
        """Class per image; -1 where the prediction is right, shape (n,)."""
        return self.classes[1][self.true, self.predicted]

    @cached_property
    def expected(self) -> FloatArray:
        """Share of each class by chance, shape (n_classes,)."""
        names, pairs = self.classes
        return expected_shares(self.matrix, pairs, len(names))

    @cached_property
    def shown(self) -> Mask:
        """Annotated groups with images enough here, shape (n_groups,)."""
        n_groups = len(self.groups)
        counts = independent_images(self.true, self.clusters, n_groups)
        member = self.true[:, None] == np.arange(n_groups)
        return without_remainders(member, counts >= self.fewest, self.clusters, self.fewest)

    @property
    def is_enough(self) -> bool:
        """Whether wrong predictions are of people enough for shares of them to be shown."""
        people = np.unique(self.clusters[self.of_image >= 0])
        return len(people) >= max(1, self.fewest)

    def share(self, hits: Mask, among: Mask) -> Estimate:
        """Share of some images, at least one, that have a property; both of shape (n,)."""
        found = share_estimate(
            hits[among],
            self.clusters[among],
            level=self.level,
            widened=self.widened,
            choice=self.choice,
        )
        if found is None:
            raise ValueError("expected a share of at least one image, got none")
        return found

    def share_changing(self, chosen: IntArray) -> Estimate:
        """Share of all confusions that fall in the chosen classes."""
        return self.share(np.isin(self.of_image, chosen), self.of_image >= 0)


def confusion_block(
    predictions: Predictions, title: str, most_frequent: int
) -> tuple[Confusions, int]:
    """The block, and how many pairs left out are as frequent as the last one shown."""
    names, numbers = predictions.classes
    matrix = np.where(predictions.shown[:, None], predictions.matrix, 0)
    pairs, tied = most_frequent_pairs(matrix, most_frequent)
    frequent = []
    for true, predicted in pairs:
        annotated = predictions.true == true
        share = predictions.share(predictions.predicted == predicted, annotated)
        frequent.append(
            Confusion(
                true=predictions.groups[true],
                predicted=predictions.groups[predicted],
                count=int(matrix[true, predicted]),
                n_true=int(annotated.sum()),
                share=share,
                changed=names[numbers[true, predicted]],
            )
        )
    classes = [
        ConfusionClass(
            changed=changed,
            count=int((predictions.of_image == number).sum()),
            share=predictions.share_changing(np.array([number])),
            expected=float(predictions.expected[number]),
        )
        for number, changed in enumerate(names if predictions.is_enough else ())
    ]
    block = Confusions(
        title=title,
        layer=predictions.layer,
        n_images=images_among(predictions.true >= 0, predictions.pictures),
        n_confused=images_among(predictions.of_image >= 0, predictions.pictures),
        most_frequent=tuple(frequent),
        classes=tuple(classes),
    )
    return block, tied


def with_matrices(
    block: Confusions, parts: Mapping[str, Predictions]
) -> tuple[Confusions, Arrays]:
    """The block with confusion matrices of groups that have images enough in every part.

    `parts` are the predictions by what their images are called, such as "training images".
    """
    shown = np.all([part.shown for part in parts.values()], axis=0)
    if not shown.any():
        return block, {}
    matrices, arrays = [], {}
    for number, (title, part) in enumerate(parts.items()):
        shares = part.matrix / np.maximum(1, part.matrix.sum(axis=1, keepdims=True))
        key = f"confusions{number}"
        arrays[key] = np.where(shown[:, None], shares, np.nan).astype(np.float32)
        matrices.append(ConfusionMatrix(title=title, values=key))
    groups = next(iter(parts.values())).groups
    update = {"groups": groups, "matrices": tuple(matrices)}
    return block.model_copy(update=update), arrays
