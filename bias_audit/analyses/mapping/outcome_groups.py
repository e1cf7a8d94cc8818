"""Groups by what a classifier made of their images: right, wrong, and taken for what.

Source: Krug, Ratul, Olson & Stober, arXiv:2204.03528, who draw maps of correct and wrong
predictions of every class and of the cells of the confusion matrix.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bias_audit.activations.moments import Moments
from bias_audit.analyses.mapping.profiles import Profiles
from bias_audit.analyses.probing.probes import Scores
from bias_audit.analyses.small_groups import independent_images
from bias_audit.analyses.targets import Target
from bias_audit.arrays import IntArray
from bias_audit.groups import Group

_OUTCOMES = ("correct", "wrong")
_STREAMED = 256


@dataclass(frozen=True)
class OutcomeGroups:
    """Groups that share no image; images of none of them have the code -1."""

    groups: tuple[Group, ...]
    codes: IntArray
    """Index into `groups` per image of the subject, shape (n_images,)."""
    independent: IntArray
    """Images of each group, those of one cluster counted once, shape (n_groups,)."""

    def of(self, places: list[int], name: str) -> Target:
        """Some of the groups as a target; images of the others have the code -1."""
        codes = np.full(len(self.codes), -1, dtype=np.int64)
        for new, old in enumerate(places):
            codes[self.codes == old] = new
        return Target(name, tuple(self.groups[i] for i in places), codes)


def by_outcome(target: Target, scores: Scores, clusters: IntArray) -> OutcomeGroups:
    """Correct and wrong out-of-fold predictions of each level that was probed.

    Args:
        target: What was told apart.
        scores: Of its probe.
        clusters: Cluster of each image of the subject, shape (n_images,).

    Returns:
        Two groups a level, the correct one first.
    """
    groups = [
        Group(((f"{target.name} {target.groups[level].label}", outcome),))
        for level in scores.part.levels
        for outcome in _OUTCOMES
    ]
    wrong = (scores.predicted != scores.part.codes).astype(np.int64)
    return _groups(groups, scores, 2 * scores.part.codes + wrong, clusters)


def by_confusion(target: Target, scores: Scores, clusters: IntArray) -> OutcomeGroups:
    """Cells of the confusion matrix, those of one annotated level after the other."""
    levels = scores.part.levels
    groups = [
        Group(
            (
                (
                    f"annotated {target.name} {target.groups[one].label}",
                    f"predicted {target.groups[other].label}",
                ),
            )
        )
        for one in levels
        for other in levels
    ]
    return _groups(groups, scores, len(levels) * scores.part.codes + scores.predicted, clusters)


def _groups(
    groups: list[Group], scores: Scores, codes: IntArray, clusters: IntArray
) -> OutcomeGroups:
    everywhere = np.full(len(clusters), -1, dtype=np.int64)
    everywhere[scores.part.images] = codes
    counted = independent_images(codes, clusters[scores.part.images], len(groups))
    return OutcomeGroups(tuple(groups), everywhere, counted)


def outcome_profiles(units: npt.NDArray[np.float32], target: Target) -> Profiles:
    """Profiles of groups that are no union of intersections, read a few rows at a time.

    Args:
        units: Activations, shape (n_images, n_units).
        target: Images with the code -1 are in no group.
    """
    moments = Moments.empty(len(target.groups), units.shape[1:])
    images = np.flatnonzero(target.codes >= 0)
    for first in range(0, len(images), _STREAMED):
        rows = images[first : first + _STREAMED]
        moments.update(units[rows], target.codes[rows])
    counts = moments.count.astype(np.float64)[:, None]
    means = np.where(counts > 0, moments.mean, np.nan)
    spread = np.sqrt(moments.m2 / np.maximum(counts - 1, 1))
    return Profiles(target, moments.count, means, np.where(counts > 1, spread, np.nan))
