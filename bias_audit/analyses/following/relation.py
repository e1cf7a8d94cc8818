"""How activity and confidence go together, checkpoint by checkpoint and group by group."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from bias_audit.analyses.analysis import Subject
from bias_audit.analyses.following.checkpoints import Divided, Seen
from bias_audit.analyses.probing.separability import Units, measured
from bias_audit.analyses.wording import coverage, decided_at
from bias_audit.arrays import IntArray
from bias_audit.groups import Group
from bias_audit.results.finding import Finding
from bias_audit.shapes.group_table import GroupRow, GroupTable
from bias_audit.shapes.measures import Entry, Measure, Measures
from bias_audit.shapes.printed import interval
from bias_audit.statistics.comparison import clear_extremes
from bias_audit.statistics.estimate import Estimate
from bias_audit.statistics.inference import (
    Measured,
    correlation_estimate,
    difference,
    independent_difference,
)
from bias_audit.statistics.influence import pearson
from bias_audit.statistics.sureness import sureness, weight_of


@dataclass(frozen=True)
class Wording:
    """A measure of confidence in words."""

    name: str
    """For a sentence."""
    meaning: str


WORDS: Final = {
    "softmax": Wording("softmax confidence", "the largest softmax probability"),
    "margin": Wording(
        "softmax margin", "the largest softmax probability minus the second largest"
    ),
    "entropy": Wording(
        "confidence by entropy",
        "1 minus the entropy of the softmax probabilities as a share of the largest possible one",
    ),
    "energy": Wording(
        "confidence by energy",
        "the logarithm of the sum of the exponentials of the class scores (Liu et al. 2020)",
    ),
    "calibrated": Wording(
        "calibrated confidence",
        "the largest softmax probability after temperature scaling (Guo et al. 2017)",
    ),
}
"""By the names of `CONFIDENCE`."""
QUANTITY: Final = "activity_confidence"


@dataclass(frozen=True)
class Relation:
    """The relation at one layer, as a config wants it."""

    subject: Subject
    seen: tuple[Seen, ...]
    layer: str
    measures: tuple[str, ...]
    """Names of measures of confidence; the first one has the tables by group."""
    level: float

    @property
    def last(self) -> Seen | None:
        """The last checkpoint with a classification layer; None where none has one."""
        return next((one for one in reversed(self.seen) if one.logits is not None), None)

    def over(self, one: Seen, measure: str, images: IntArray) -> Measured | None:
        """The correlation over some of the images; None where it has no value."""
        confidence = one.confidence(measure)
        if confidence is None:
            return None
        found = pearson(one.activity[images], confidence[images])
        if found is None:
            return None
        return measured(Units.of(self.subject), images, found, is_share=False)

    def estimates(self, one: Seen, images: IntArray) -> tuple[Estimate | None, ...]:
        """The same by every measure, with intervals."""
        found = (self.over(one, measure, images) for measure in self.measures)
        return tuple(
            None if each is None else correlation_estimate(each, level=self.level)
            for each in found
        )


def at_checkpoint(group: Group, one: Seen) -> Group:
    """A group at one checkpoint."""
    return Group((*group.levels, ("checkpoint", one.name)))


def relation_table(relation: Relation, groups: Divided) -> GroupTable:
    """The correlation by the first measure, of every group at every checkpoint."""
    measure, target = relation.measures[0], groups.target
    rows = []
    for group, treatment, images in groups:
        for one in relation.seen:
            found = relation.over(one, measure, images) if treatment.is_measured else None
            reason = treatment.reason
            if found is None and reason is None:
                reason = (
                    "the checkpoint has no classification layer"
                    if one.logits is None
                    else "activity or confidence does not vary"
                )
            rows.append(
                GroupRow(
                    group=at_checkpoint(group, one),
                    n=len(images),
                    estimate=found and correlation_estimate(found, level=relation.level),
                    reason=reason,
                )
            )
    return GroupTable(
        detail=len(relation.measures) > 1,  # `comparison` has the last checkpoint
        title=f"How do activity and confidence correlate by {target.name} over checkpoints?",
        quantity=QUANTITY,
        metric=f"correlation of activity and {WORDS[measure].name}",
        layer=relation.layer,
        target=target.name,
        chance=0.0,
        rows=tuple(rows),
    )


def comparison(relation: Relation, parts: Sequence[Divided]) -> tuple[Measures, ...]:
    """The correlation by all measures of confidence; empty for a single one."""
    last = relation.last
    if len(relation.measures) < 2 or last is None:  # noqa: PLR2004
        return ()
    everything = np.arange(len(relation.subject.faces))
    entries = [
        Entry(name=one.name, values=relation.estimates(one, everything), is_drawn=False)
        for one in relation.seen
    ]
    for groups in parts:
        for group, images in groups.measured():
            entries += [
                Entry(
                    name=one.name,
                    group=group,
                    n=len(images),
                    values=relation.estimates(one, images),
                    is_drawn=one is last,
                )
                for one in relation.seen
            ]
    block = Measures(
        detail=False,
        title="Does the correlation depend on how confidence is measured?",
        noun="checkpoint",
        layer=relation.layer,
        measures=tuple(Measure(name=name, reference=0.0) for name in relation.measures),
        entries=tuple(entries),
        caption=(
            f"Each dot is the correlation of activity and confidence in one group at {last.name}, "
            "with its interval; each panel measures confidence in another way. Dotted: 0."
        ),
        notes=(
            *(f"{name.capitalize()}: {WORDS[name].meaning}." for name in relation.measures),
            *((_VARYING,) if "calibrated" in relation.measures else ()),
        ),
    )
    return (block,)


_VARYING: Final = (
    "Faces of different folds have different temperatures. Where class scores say little about "
    "the class these lie far apart, which lowers the correlation with calibrated confidence."
)


def relation_findings(relation: Relation, tables: Sequence[GroupTable]) -> Iterator[Finding]:
    """The correlation at the last checkpoint, its change, its groups, and other measures."""
    everything = np.arange(len(relation.subject.faces))
    first = relation.measures[0]
    related = [(one.name, relation.over(one, first, everything)) for one in relation.seen]
    known = [(name, found) for name, found in related if found is not None]
    if not known:
        return
    level = relation.level
    name, last = known[-1]
    estimate = correlation_estimate(last, level=level)
    text = (
        f"At {name}, the mean activity of {relation.layer} and the {WORDS[first].name} of the "
        f"classification layer have a correlation of {interval(estimate)} over all "
        f"{len(everything)} faces ({coverage(level)})"
    )
    estimates, deciding = {"last": estimate}, estimate
    if len(known) > 1:
        before, earlier = known[0]
        deciding = difference(last, earlier, level=level)
        text += (
            f". At {before} it was {interval(correlation_estimate(earlier, level=level))}, a "
            f"change of {interval(deciding)} over {len(relation.seen)} checkpoints"
        )
        estimates["change"] = deciding
    yield Finding(text=f"{text}.", weight=sureness(deciding), estimates=estimates)
    for table in tables:
        yield from _by_group(table, name, relation.subject.multiplicity.alpha)
    yield from _by_measure(relation)


def _by_group(table: GroupTable, name: str, alpha: float) -> Iterator[Finding]:
    """The extremes of an attribute at one checkpoint, where these differ."""
    rows = [
        (row.group.levels[0][1], row.estimate)
        for row in table.rows
        if row.estimate is not None and row.group.levels[-1][1] == name
    ]
    estimates = [estimate for _, estimate in rows]
    ends = clear_extremes(estimates, alpha=alpha) if rows else None
    if ends is None:
        return
    (lowest, low), (highest, high) = (rows[end] for end in ends)
    yield Finding(
        text=(
            f"At {name}, activity and confidence correlate least in {lowest} ({interval(low)}) "
            f"and most in {highest} ({interval(high)}) among the groups of {table.target} "
            f"({coverage(low.level)}s, not corrected for multiple comparisons). The two differ "
            "significantly after correction for all pairs of groups"
            f"{decided_at(alpha, low.level)}."
        ),
        weight=weight_of(sureness(independent_difference(high, low)), is_decided=True),
        estimates={"lowest": low, "highest": high},
    )


def _by_measure(relation: Relation) -> Iterator[Finding]:
    """Whether all measures of confidence give the correlation one direction."""
    last = relation.last
    if last is None:
        return
    found = relation.estimates(last, np.arange(len(relation.subject.faces)))
    known = [
        (WORDS[name].name, each)
        for name, each in zip(relation.measures, found, strict=True)
        if each is not None
    ]
    if len(known) < 2:  # noqa: PLR2004
        return
    (lowest, low), *_, (highest, high) = sorted(known, key=lambda pair: pair[1].value)
    is_positive = all(each.lower > 0 for _, each in known)
    if is_positive or all(each.upper < 0 for _, each in known):
        said = (
            f"By each of {len(known)} measures of confidence, faces with "
            f"{'more' if is_positive else 'less'} activity have more confidence at {last.name}"
        )
        weight = min(sureness(each) for _, each in known)
    else:
        said = (
            f"Whether activity and confidence go together at {last.name} depends on how "
            "confidence is measured, or is open"
        )
        weight = 0.0
    yield Finding(
        text=(
            f"{said}: the correlation is lowest with {lowest}, {interval(low)}, and highest with "
            f"{highest}, {interval(high)} ({coverage(relation.level)}s, not corrected for "
            "multiple comparisons)."
        ),
        weight=weight,
        estimates={"lowest": low, "highest": high},
    )
