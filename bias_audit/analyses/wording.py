"""How numbers are put into a finding's sentence."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from bias_audit.statistics.clusters import is_worth_less
from bias_audit.statistics.estimate import Estimate

SCORE_INTERVALS: Final = (
    "are score intervals (Wilson 1927) of the effective number of observations, which follows "
    "from the influence of every image, with Student's t where clusters are few"
)
"""How intervals of shares are made."""

LABEL_ERRORS: Final = (
    "Where a share of a group's labels is wrong, up to the same share of right predictions "
    "counts as wrong there: a difference between groups that is smaller than the disagreement of "
    "annotators may come from the labels alone."
)
"""Limit of shares of right predictions by group."""

ONE_ANNOTATOR: Final = (
    "Where annotators disagree, AUC, balanced accuracy, bits, recall and lifts are about the "
    "label that one annotator, drawn at random for each face, gave. Several sets of such labels "
    "are drawn from the votes. To each of them a probe is fitted and compared, and values and the "
    "influences of images are averaged over the sets, so that intervals include how annotators of "
    "different faces vary. They do not include habits of an annotator that many faces share. "
    "Images are in the group that most annotators gave."
)
"""How several labels of a face are used."""


def coverage(level: float) -> str:
    """Such as "95 % interval"."""
    return f"{100 * level:g} % interval"


def decided_at(alpha: float, level: float) -> str:
    """The error rate of a claim, such as " (decided at an error rate of 0.36 %)".

    Empty where the interval printed beside it, which holds at `level`, has that rate.
    """
    if math.isclose(1 - alpha, level):
        return ""
    return f" (decided at an error rate of {100 * alpha:.2g} %)"


def sample(estimate: Estimate) -> str:
    """Such as "n = 720", or "n = 96, worth 7.4 clusters of equal size"."""
    text = f"n = {estimate.n}"
    if not is_worth_less(estimate.n, estimate.clusters):
        return text
    return f"{text}, worth {estimate.clusters:.1f} clusters of equal size"


def listed(names: Sequence[str], *, most: int = 5) -> str:
    """Names joined for a sentence, the first few where they are many."""
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"
