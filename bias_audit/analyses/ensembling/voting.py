"""What several probes decide together: by their mean probability, or by majority."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from bias_audit.arrays import IntArray

ScoreArray = npt.NDArray[np.floating]

SOFT: Final = "soft vote"
MAJORITY: Final = "majority vote"


@dataclass(frozen=True)
class Majority:
    """The level that most members predict."""

    predicted: IntArray
    """Shape (n_images,)."""
    is_tied: npt.NDArray[np.bool_]
    """Where several levels had the most votes, shape (n_images,)."""


def soft_vote(probabilities: ScoreArray) -> IntArray:
    """The level with the highest mean probability; the first of equals.

    Args:
        probabilities: Of every member, shape (n_members, n_images, n_levels).

    Returns:
        Shape (n_images,).
    """
    return np.asarray(probabilities.mean(axis=0).argmax(axis=1), dtype=np.int64)


def majority_vote(probabilities: ScoreArray) -> Majority:
    """The level that most members hold most probable.

    Of levels with as many votes the one with the highest mean probability is taken.

    Args:
        probabilities: Of every member, shape (n_members, n_images, n_levels).
    """
    n_members, n_images, n_levels = probabilities.shape
    own = probabilities.argmax(axis=2)
    votes = np.zeros((n_images, n_levels), dtype=np.int64)
    for member in range(n_members):
        votes[np.arange(n_images), own[member]] += 1
    leading = votes == votes.max(axis=1, keepdims=True)
    mean = np.where(leading, probabilities.mean(axis=0, dtype=np.float64), -1.0)
    return Majority(np.asarray(mean.argmax(axis=1), dtype=np.int64), leading.sum(axis=1) > 1)
