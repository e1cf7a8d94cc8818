"""Folds of the inputs of a head, and the whitenings of what trains in them."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from bias_audit.analyses.analysis import Head, Subject
from bias_audit.analyses.erasing.leace import Whitening, whitened
from bias_audit.analyses.targets import Measurable, Target
from bias_audit.arrays import IntArray
from bias_audit.data.sampling import stratified_folds
from bias_audit.errors import AnalysisError

Inputs = npt.NDArray[np.floating[Any]]


class Split:
    """Images dealt into folds; targets that share it share its whitenings, which cost most.

    Args:
        head: What the inputs belong to.
        images: Numbers of the images, shape (n,).
        folds: Fold of each image, shape (n,).

    Raises:
        AnalysisError: What the head receives is not finite.
    """

    def __init__(self, head: Head, images: IntArray, folds: IntArray) -> None:
        self.images, self.folds = images, folds
        self.inputs: Inputs = np.asarray(head.inputs[images])
        if not np.isfinite(self.inputs).all():
            raise AnalysisError(
                f"inputs of {head.name}: expected finite numbers, got infinite or undefined ones; "
                "check the weights, and that images are preprocessed as the backbone expects"
            )
        self._whitenings: dict[int | None, Whitening] = {}

    def training(self, fold: int | None) -> npt.NDArray[np.bool_]:
        """The images outside a fold, or all of them, shape (n,)."""
        if fold is None:
            return np.ones(len(self.folds), dtype=bool)
        return np.asarray(self.folds != fold)

    def whitening(self, fold: int | None) -> Whitening:
        """Of the images outside a fold, or of all of them; computed once."""
        if fold not in self._whitenings:
            self._whitenings[fold] = whitened(self.inputs[self.training(fold)])
        return self._whitenings[fold]


def split_by_intersection(subject: Subject, head: Head, n_folds: int) -> Split:
    """All images, alike in every intersection in each fold.

    Raises:
        AnalysisError: What the head receives is not finite.
        DataError: There are fewer clusters of images than folds.
    """
    faces = subject.faces
    folds = stratified_folds(
        faces.table.cells, faces.clusters, n_folds, subject.rng("folds", "erasure")
    )
    return Split(head, np.arange(len(faces)), folds)


def split_for(
    subject: Subject, head: Head, target: Target, part: Measurable, shared: Split
) -> Split:
    """The shared split where it suits a target as well as one of its own, else its own.

    It does if all images are measured, and every level has as many of them in every fold, up to
    one for each inner fold, as in a split stratified by the target.
    """
    clusters, n_folds = subject.faces.clusters[part.images], int(shared.folds.max()) + 1
    folds = stratified_folds(part.codes, clusters, n_folds, subject.rng("folds", target.name))
    if len(part.images) == len(shared.images):
        needed = min(n_folds, fewest_in_a_fold(part.codes, clusters, folds))
        if fewest_in_a_fold(part.codes, clusters, shared.folds) >= needed:
            return shared
    return Split(head, part.images, folds)


def fewest_in_a_fold(codes: IntArray, clusters: IntArray, folds: IntArray) -> int:
    """Clusters of images of the rarest level in the fold with the fewest of it."""
    seen = np.unique(np.stack([folds, codes, clusters]), axis=1)
    counts = np.zeros((int(folds.max()) + 1, int(codes.max()) + 1), dtype=np.int64)
    np.add.at(counts, (seen[0], seen[1]), 1)
    return int(counts.min())
