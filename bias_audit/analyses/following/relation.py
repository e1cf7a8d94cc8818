"""Activity and confidence, and how they go together by checkpoint and group."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from pydantic import Field, field_validator

from bias_audit.analyses.analysis import Head, Step, Subject
from bias_audit.analyses.probing.separability import Units, measured
from bias_audit.analyses.small_groups import Treatment, Treatments, independent_images, suppress
from bias_audit.analyses.targets import Target, accepted, attribute_targets
from bias_audit.analyses.wording import coverage, decided_at
from bias_audit.arrays import BoolArray, FloatArray, IntArray
from bias_audit.config.catalog import unknown_name
from bias_audit.config.schema import Strict
from bias_audit.data.faces import FaceTable
from bias_audit.data.sampling import stratified_folds
from bias_audit.errors import AnalysisError, some
from bias_audit.groups import Group
from bias_audit.results.finding import Finding
from bias_audit.shapes.group_table import GroupRow, GroupTable
from bias_audit.shapes.measures import Entry, Measure, Measures
from bias_audit.shapes.printed import interval
from bias_audit.statistics.calibration import CONFIDENCE, cross_fitted_temperatures
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


class Classes(Strict):
    """Which class of the network is the right one for a face."""

    attribute: str = Field(description="Whose annotated level is the right class.")
    outputs: tuple[str | None, ...] = Field(
        min_length=2,
        description="Level that each output of the network stands for, in the order of the "
        "outputs; null: none of them.",
    )

    @field_validator("outputs")
    @classmethod
    def _levels_once(cls, outputs: tuple[str | None, ...]) -> tuple[str | None, ...]:
        levels = [level for level in outputs if level is not None]
        if twice := sorted({level for level in levels if levels.count(level) > 1}):
            raise ValueError(f"expected each level once, got {some(twice)} more than once")
        return outputs


def class_problems(classes: Classes | None, faces: FaceTable) -> Iterator[str]:
    """What of the classes does not fit the attributes of the faces."""
    if classes is None:
        return
    levels = {attribute.name: attribute.levels for attribute in faces.attributes}
    if classes.attribute not in levels:
        wrong = unknown_name(classes.attribute, levels, noun="attribute")
        yield f"classes: attribute: {wrong}"
        return
    own = levels[classes.attribute]
    for level in classes.outputs:
        if level is not None and level not in own:
            wrong = unknown_name(level, own, noun=f"level of {classes.attribute}")
            yield f"classes: outputs: {wrong}"
    if missing := [level for level in own if level not in classes.outputs]:
        yield (
            f"classes: outputs: expected an output for each level of {classes.attribute}, got "
            f"none for {some(missing)}; a face of such a level would have no right class"
        )


@dataclass(frozen=True)
class Answers:
    """The answers of a checkpoint whose right classes are known."""

    codes: IntArray
    """The right output of each image, shape (n_images,)."""
    is_right: BoolArray
    """Whether the output with the highest score is the right one, shape (n_images,)."""
    temperatures: FloatArray
    """What the scores of an image are divided by, fitted to images of other folds, (n_images,)."""


@dataclass(frozen=True)
class Seen:
    """One checkpoint: activity, scores and answers of each image."""

    name: str
    activity: FloatArray
    """Mean over the units of the layer, shape (n_images,)."""
    head: str | None
    """Name of the classification layer; None without one."""
    logits: FloatArray | None
    """What that layer returns, shape (n_images, n_classes); None without one."""
    answers: Answers | None
    """None where the right classes or the scores are not known."""

    def confidence(self, measure: str) -> FloatArray | None:
        """How sure the checkpoint is by one of the measures `CONFIDENCE`, shape (n_images,)."""
        if self.logits is None:
            return None
        if measure != "calibrated":
            return CONFIDENCE[measure](self.logits)
        if self.answers is None:
            return None
        return CONFIDENCE[measure](self.logits / self.answers.temperatures[:, None])


def seen(
    subject: Subject, steps: Sequence[Step], layer: str, classes: Classes | None, folds: int
) -> tuple[Seen, ...]:
    """Look at the faces through every checkpoint.

    Raises:
        AnalysisError: `classes` has another number of outputs than a classification layer.
        DataError: There are fewer clusters of images than folds.
    """
    faces = subject.faces
    codes, parts = None, np.zeros(len(faces), dtype=np.int64)
    if classes is not None:
        (target,) = attribute_targets(faces.table, [classes.attribute])
        places = [classes.outputs.index(group.levels[0][1]) for group in target.groups]
        codes = np.array(places, dtype=np.int64)[target.codes]
        rng = subject.rng("folds", "temperature")
        parts = stratified_folds(faces.table.cells, faces.clusters, folds, rng)
    result = []
    for step in steps:
        scores = None if step.head is None else class_scores(step.head)
        answers = None
        if scores is not None and codes is not None and classes is not None:
            if scores.shape[1] != len(classes.outputs):
                raise AnalysisError(
                    f"classes: outputs: expected {scores.shape[1]} levels, one for each output of "
                    f"{step.name}, got {len(classes.outputs)}; write null for an output that "
                    "stands for no level"
                )
            temperatures = cross_fitted_temperatures(scores, codes, parts)
            named = accepted(scores.argmax(axis=1), codes, faces.table.pictures)
            answers = Answers(codes, named == codes, temperatures)
        activity = step.activations.units(layer).mean(axis=1, dtype=np.float64)
        head = None if step.head is None else step.head.name
        result.append(Seen(step.name, activity, head, scores, answers))
    return tuple(result)


def class_scores(head: Head) -> FloatArray:
    """What the classification layer returns, shape (n_images, n_classes)."""
    return np.asarray(head.inputs @ head.weight.T + head.bias, dtype=np.float64)


@dataclass(frozen=True)
class Divided:
    """The groups of an attribute, and which of them are large enough."""

    target: Target
    treatments: Treatments

    def __iter__(self) -> Iterator[tuple[Group, Treatment, IntArray]]:
        """Every group, what is done about its size, and the numbers of its images, shape (n,)."""
        by_group = zip(self.target.groups, self.treatments.by_group, strict=True)
        for index, (group, treatment) in enumerate(by_group):
            yield group, treatment, np.flatnonzero(self.target.codes == index)

    def measured(self) -> Iterator[tuple[Group, IntArray]]:
        """The groups that are large enough, with the numbers of their images."""
        return ((group, images) for group, treatment, images in self if treatment.is_measured)


def divided(subject: Subject) -> tuple[Divided, ...]:
    """The images by every attribute."""
    result = []
    for target in attribute_targets(subject.faces.table):
        counts = independent_images(target.codes, subject.faces.clusters, len(target.groups))
        title = f"Small groups: activity and confidence by {target.name}"
        treated = suppress(target.groups, counts, subject.small_groups, title=title)
        result.append(Divided(target, treated))
    return tuple(result)


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
