"""Counting confusions, and what their classes would be by chance."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from bias_audit.arrays import FloatArray, IntArray
from bias_audit.groups import Group, changed_attributes


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
