"""What a probe predicts: the levels of an attribute, or all intersections."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from bias_audit.analyses.wording import listed
from bias_audit.arrays import FloatArray, IntArray
from bias_audit.config.catalog import unknown_name
from bias_audit.data.faces import FaceTable, images_among
from bias_audit.errors import AnalysisError
from bias_audit.groups import INTERSECTION, Attribute, Group, intersection_codes, intersections
from bias_audit.statistics.clusters import FEWEST_CLUSTERS, effective_clusters


@dataclass(frozen=True)
class Target:
    """Groups to predict, one of which every row of the faces belongs to.

    A face with several answers has several rows, and so belongs to several groups.
    """

    name: str
    """An attribute's name, or "intersection"."""
    groups: tuple[Group, ...]
    """All declared levels, empty ones included."""
    codes: IntArray
    """Index into `groups` per row, shape (n_images,)."""
    pictures: IntArray | None = None
    """Image of each row, where some have several rows; see `FaceTable.pictures`."""
    label_sets: tuple[IntArray, ...] = ()
    """The codes by one annotator of each face, drawn several times, shape (n_images,) each; none
    where the annotators of no face disagree."""

    def n_images(self, places: Sequence[int]) -> int:
        """Images in some of the groups, each counted once."""
        return images_among(np.isin(self.codes, places), self.pictures)

    @property
    def described(self) -> str:
        """For a sentence: "age", "the intersection of age and gender"."""
        names = [name for name, _ in self.groups[0].levels]
        if len(names) == 1:
            return f"{self.name}"
        return f"the intersection of {', '.join(names[:-1])} and {names[-1]}"


@dataclass(frozen=True)
class Measurable:
    """The part of a target that can be measured, and why the rest cannot."""

    images: IntArray
    """Images of the levels kept, ascending, shape (n,)."""
    levels: IntArray
    """Kept levels as indices into `Target.groups`, shape (n_levels,)."""
    codes: IntArray
    """Index into `levels` per image kept, shape (n,)."""
    reasons: dict[int, str]
    """Why a level was left out, by its index into `Target.groups`."""
    not_measured: str | None
    """Why nothing can be measured; None when something can."""
    pictures: IntArray | None = None
    """Image of each row kept, shape (n,), where some have several rows."""
    label_sets: tuple[IntArray, ...] = ()
    """The codes by one annotator of each face, shape (n,) each; see `Target`. Where that is no
    level kept, it is the label that most annotators gave."""

    def recall_by_chance(self, named: FloatArray) -> FloatArray:
        """Recall of each level where predictions ignore the image, shape (n_levels,).

        `named` has the share of predictions of each level. Any answer of a face with several is
        right.
        """
        if self.pictures is None:
            return named
        numbers = np.unique(self.pictures, return_inverse=True)[1]
        answers = np.zeros((int(numbers.max()) + 1, len(self.levels)))
        answers[numbers, self.codes] = 1
        right = (answers @ named)[numbers]
        counts = np.bincount(self.codes, minlength=len(self.levels))
        return np.bincount(self.codes, weights=right, minlength=len(self.levels)) / counts

    def accepted(self, predicted: IntArray, codes: IntArray) -> IntArray:
        """What counts as predicted: any answer of a face is right in all of its rows.

        Predicted levels and labels are indices into `levels`, shape (n,).
        """
        return accepted(predicted, codes, self.pictures)


def accepted(predicted: IntArray, codes: IntArray, pictures: IntArray | None) -> IntArray:
    """Predictions, those that are another answer of the same image put as the row's own label.

    All arrays are by row, (n,); None for `pictures` where every row is an image of its own.
    """
    if pictures is None:
        return predicted
    n_levels = int(max(predicted.max(initial=0), codes.max(initial=0))) + 1
    has = np.isin(pictures * n_levels + predicted, pictures * n_levels + codes)
    return np.where(has, codes, predicted)


def targets_of(faces: FaceTable, names: Sequence[str] | None = None) -> tuple[Target, ...]:
    """The targets of a table, each once, in the order named; None for all of them.

    With a single attribute the intersection is that attribute, and is not repeated.

    Raises:
        AnalysisError: A name is neither an attribute nor "intersection".
    """
    for message in unknown_targets(faces, names or ()):
        raise AnalysisError(message)
    places = {attribute.name: i for i, attribute in enumerate(faces.attributes)}
    sets = () if faces.label_sets is None else tuple(faces.label_sets)

    def target(name: str) -> Target:
        if name not in places:
            groups, of = intersections(faces.attributes), faces.attributes
            codes, *drawn = (intersection_codes(each, of) for each in (faces.codes, *sets))
        else:
            groups, place = intersections([faces.attributes[places[name]]]), places[name]
            codes, *drawn = (each[:, place] for each in (faces.codes, *sets))
        differs = any(not np.array_equal(codes, each) for each in drawn)
        return Target(name, groups, codes, faces.pictures, tuple(drawn) if differs else ())

    return tuple(target(name) for name in target_names(faces.attributes, names))


def attribute_targets(faces: FaceTable, names: Sequence[str] | None = None) -> tuple[Target, ...]:
    """The targets named; by default every attribute, without the intersection.

    Raises:
        AnalysisError: A name is neither an attribute nor "intersection".
    """
    return targets_of(faces, names or [attribute.name for attribute in faces.attributes])


def target_names(
    attributes: Sequence[Attribute], names: Sequence[str] | None = None
) -> tuple[str, ...]:
    """Names of the targets, as `targets_of` gives them."""
    every = [attribute.name for attribute in attributes]
    if len(every) == 1:
        return tuple(every)
    return tuple(dict.fromkeys([*every, INTERSECTION] if names is None else names))


def level_counts(attributes: Sequence[Attribute]) -> dict[str, int]:
    """Declared levels of every target by its name, the intersection last."""
    sizes = {attribute.name: len(attribute.levels) for attribute in attributes}
    return {**sizes, INTERSECTION: math.prod(sizes.values())}


def unknown_targets(faces: FaceTable, names: Sequence[str]) -> tuple[str, ...]:
    """A message for every name that is neither an attribute nor "intersection"."""
    known = [*(attribute.name for attribute in faces.attributes), INTERSECTION]
    return tuple(unknown_name(name, known, noun="target") for name in names if name not in known)


def unknown_groups(faces: FaceTable, names: Sequence[str] | None) -> tuple[str, ...]:
    """A message for every name, given as `groups`, that is not an attribute."""
    known = [attribute.name for attribute in faces.attributes]
    return tuple(
        f"groups: {unknown_name(name, known, noun='attribute')}"
        for name in names or ()
        if name not in known
    )


def finest_target(faces: FaceTable) -> Target:
    """All intersections; with a single attribute, that attribute."""
    return targets_of(faces, [INTERSECTION])[0]


def measurable(target: Target, clusters: IntArray, n_folds: int) -> Measurable:
    """Leave out the levels with fewer clusters of images, (n_images,), than folds.

    Nothing is left where fewer than two levels are.
    """
    reasons: dict[int, str] = {}
    for level in range(len(target.groups)):
        own = clusters[target.codes == level]
        n_images, n_clusters = target.n_images([level]), len(np.unique(own))
        if n_clusters < n_folds:
            few = f"{n_images} image{'s' if n_images != 1 else ''}"
            if n_clusters < n_images:
                few += f" in {n_clusters} clusters"
            reasons[level] = f"{few}, fewer than the {n_folds} folds" if n_images else "no images"
    levels = np.array([i for i in range(len(target.groups)) if i not in reasons], dtype=np.int64)
    kept = np.isin(target.codes, levels)
    if target.pictures is not None:  # a face counts once in a level, whatever else it answered
        pairs = np.stack([target.pictures, target.codes])
        first = np.zeros(len(kept), dtype=bool)
        first[np.unique(pairs, axis=1, return_index=True)[1]] = True
        kept &= first
    images = np.flatnonzero(kept)
    pictures = None if target.pictures is None else target.pictures[images]
    codes = np.searchsorted(levels, target.codes[images])
    sets = tuple(
        np.searchsorted(levels, np.where(np.isin(each, levels), each, target.codes)[images])
        for each in target.label_sets
    )
    part = Measurable(images, levels, codes, reasons, None, pictures, sets)
    if len(levels) < 2:  # noqa: PLR2004
        not_measured = (
            f"{len(levels)} of {len(target.groups)} groups of {target.name} "
            f"{'has' if len(levels) == 1 else 'have'} images in each of {n_folds} folds; a probe "
            "needs two such groups"
        )
        return replace(part, not_measured=not_measured)
    worth = worth_of(part, clusters)
    if worth >= FEWEST_CLUSTERS:
        return part
    not_measured = (
        f"its images come from {len(np.unique(clusters[images]))} people or sets of near "
        f"duplicates, worth {worth:.1f} sets of equal size; an interval needs "
        f"{FEWEST_CLUSTERS:g}: add people, or limit the images of each"
    )
    return replace(part, not_measured=not_measured)


def unmeasured(target: Target, part: Measurable, of: str) -> tuple[str, ...]:
    """Sentences on what of a target was not measured; `of` is what levels were left out of."""
    if part.not_measured is not None:
        return (f"Not measured: {target.described} ({part.not_measured}).",)
    if not part.reasons:
        return ()
    out = [f"{target.groups[i].label} ({why})" for i, why in part.reasons.items()]
    return (
        f"{len(out)} of {len(target.groups)} groups of {target.described} were left out of {of}: "
        f"{listed(out)}.",
    )


def worth_of(part: Measurable, clusters: IntArray) -> float:
    """Effective number of the clusters, of shape (n_images,), that a macro AUC rests on."""
    return effective_clusters(cluster_weights(part.codes, clusters[part.images]))


def cluster_weights(codes: IntArray, clusters: IntArray) -> npt.NDArray[np.float64]:
    """How far each cluster can move the macro AUC of some classes, by sizes alone, (n_clusters,).

    A class' AUC is a mean over its images and over all others; see `influence.Statistic.weight`.
    Classes of images are numbered from 0 without gaps, shape (n_images,).
    """
    sizes = np.bincount(codes).astype(np.float64)
    as_other = 1 / (len(codes) - sizes)
    by_class = 1 / sizes + (as_other.sum() - as_other) * (len(sizes) > 2)  # noqa: PLR2004
    inverse = np.unique(clusters, return_inverse=True)[1]
    weights = np.bincount(inverse, weights=by_class[codes] / len(sizes))
    return np.asarray(weights, dtype=np.float64)
