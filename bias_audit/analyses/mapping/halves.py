"""Two halves of the images: one places units, the other tests where groups differ."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bias_audit.activations.moments import Moments
from bias_audit.analyses.analysis import Subject
from bias_audit.arrays import IntArray
from bias_audit.data.sampling import stratified_folds

_STREAMED = 256


@dataclass(frozen=True)
class Halves:
    """Images by what they are used for; no cluster is in both.

    A layout made from group profiles puts units side by side that differ between groups by the
    same chance. Regions tested on the images that made the layout would be larger than those of
    permuted labels even where no group differs.
    """

    placing: IntArray
    """Images whose profiles place the units, shape (n,)."""
    testing: IntArray
    """The others."""


def halves(subject: Subject) -> Halves:
    """Split clusters of images at random, alike in every intersection."""
    table = subject.faces.table
    folds = stratified_folds(table.cells, subject.faces.clusters, 2, subject.rng("halves"))
    return Halves(np.flatnonzero(folds == 0), np.flatnonzero(folds == 1))


def moments_of(subject: Subject, layer: str, images: IntArray) -> Moments:
    """Moments of the intersections over some of the images, read a few rows at a time."""
    table, units = subject.faces.table, subject.activations.units(layer)
    moments = Moments.empty(table.n_cells, units.shape[1:])
    for first in range(0, len(images), _STREAMED):
        rows = images[first : first + _STREAMED]
        moments.update(units[rows], table.cells[rows])
    return moments
