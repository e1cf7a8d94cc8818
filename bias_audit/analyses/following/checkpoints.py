"""What each checkpoint of a training does with the faces: activity, scores and right classes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from pydantic import Field, field_validator

from bias_audit.analyses.analysis import Head, Step, Subject
from bias_audit.analyses.small_groups import Treatment, Treatments, independent_images, suppress
from bias_audit.analyses.targets import Target, accepted, attribute_targets
from bias_audit.arrays import BoolArray, FloatArray, IntArray
from bias_audit.config.catalog import unknown_name
from bias_audit.config.schema import Strict
from bias_audit.data.faces import FaceTable
from bias_audit.data.sampling import stratified_folds
from bias_audit.errors import AnalysisError, some
from bias_audit.groups import Group
from bias_audit.statistics.confidence import CONFIDENCE, cross_fitted_temperatures


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
