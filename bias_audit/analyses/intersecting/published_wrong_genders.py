"""Whether confusions of intersections change gender, against chance."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from bias_audit.analyses.analysis import Subject
from bias_audit.analyses.confusing.confusion_counts import (
    change_classes,
    confusion_matrix,
    expected_shares,
    most_frequent_pairs,
)
from bias_audit.analyses.intersecting.intersection_measures import Probed
from bias_audit.analyses.probing.separability import Units, measured, widening_of
from bias_audit.analyses.targets import INTERSECTION
from bias_audit.groups import Group
from bias_audit.statistics.inference import Measured
from bias_audit.statistics.influence import average


@dataclass(frozen=True)
class WrongGenders:
    """Confusions that change gender."""

    share: float
    """Of all confusions."""
    expected: float
    """If wrong predictions fell on groups as often as these are predicted."""
    below: Measured
    """Expected minus observed share; the expected one is taken as fixed."""
    n_confused: int
    n_shown: int
    """Most frequent pairs looked at."""
    n_changing: int
    """Of these, pairs of different gender."""


def wrong_genders(
    subject: Subject, probes: Probed, gender: str, most_frequent: int
) -> WrongGenders | None:
    """Count the confusions of the intersection probe that change gender.

    Returns:
        None where the intersection cannot be measured or too few people are confused.
    """
    scores = probes.scored[INTERSECTION].scores
    if scores is None:
        return None
    confused = scores.part.images[scores.predicted != scores.codes]
    people = len(np.unique(subject.faces.clusters[confused]))
    if people < max(1, subject.small_groups.suppress_below):
        return None
    (target,) = (t for t in probes.targets if t.name == INTERSECTION)
    groups = [target.groups[index] for index in scores.part.levels]
    matrix = confusion_matrix(scores.codes, scores.predicted, len(groups))
    classes, pairs = change_classes(groups)
    shares = expected_shares(matrix, pairs, len(classes))
    changes = np.array([gender in changed for changed in classes])
    expected = float(shares[changes].sum())
    wrong = scores.predicted != scores.codes
    changing = changes[pairs[scores.codes[wrong], scores.predicted[wrong]]]
    units, images = Units.of(subject), scores.part.images[wrong]
    own = measured(
        units,
        images,
        average(changing, units.clusters[images]),
        widened=widening_of(scores),
    )
    shown, _ = most_frequent_pairs(matrix, most_frequent)
    return WrongGenders(
        share=own.value,
        expected=expected,
        below=replace(
            own,
            value=expected - own.value,
            influence=-own.influence,
            is_share=False,
            choice=probes.choice,
        ),
        n_confused=int(wrong.sum()),
        n_shown=len(shown),
        n_changing=sum(_level(groups[i], gender) != _level(groups[j], gender) for i, j in shown),
    )


def _level(group: Group, name: str) -> str:
    return dict(group.levels)[name]
