"""Linear probes: scores for every image from a probe that never saw it.

L2-regularised multinomial logistic regression on standardised unit activations, as in Alain &
Bengio 2016 (arXiv:1610.01644), against the same procedure on shuffled labels (Hewitt & Liang
2019, arXiv:1909.03368).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Annotated

import numpy as np
import numpy.typing as npt
from pydantic import Field

from bias_audit.analyses.analysis import Control, Subject, Workload
from bias_audit.analyses.probing.cross_fitting import CrossFit, cross_fit
from bias_audit.analyses.probing.logistic import Axes, principal_axes
from bias_audit.analyses.targets import Measurable, Target, level_counts, measurable
from bias_audit.arrays import IntArray
from bias_audit.cache import Arrays, Cached, Input
from bias_audit.config.schema import Strict
from bias_audit.data.faces import FaceTable
from bias_audit.data.sampling import stratified_folds
from bias_audit.errors import AnalysisError

ProbabilityArray = npt.NDArray[np.float32]
Strength = Annotated[float, Field(gt=0)]


class ProbeSettings(Strict):
    """How probes are fitted; analyses with the same settings share their probes."""

    folds: int = Field(default=5, ge=3, le=50, description="Parts of the cross-validation.")
    regularisation: Strength | Annotated[tuple[Strength, ...], Field(min_length=1)] = Field(
        default=(1e-4, 1e-3, 1e-2, 1e-1),
        description="C of the logistic regression, smaller is more regularised: one value, or "
        "several from which each fold chooses on its training images.",
    )

    @property
    def probes(self) -> ProbeSettings:
        """These settings alone, without those of the analysis that extends them."""
        return ProbeSettings(folds=self.folds, regularisation=self.regularisation)

    @property
    def strengths(self) -> tuple[float, ...]:
        """The values of C to choose from."""
        given = self.regularisation
        return given if isinstance(given, tuple) else (given,)


def too_few_images(settings: ProbeSettings, faces: FaceTable) -> tuple[str, ...]:
    """A message if no attribute has two levels with an image for every fold."""
    n_out = sum(exclusion.effect == "left out" for exclusion in faces.exclusions)
    left_out = f" ({n_out} more were left out: `bias-audit data check` shows why)" if n_out else ""
    if len(faces) < settings.folds:
        return (
            f"folds: expected at most as many folds as images, got {settings.folds} folds and "
            f"{len(faces)} images{left_out}; add images or lower the number of folds",
        )
    enough = [np.count_nonzero(np.bincount(codes) >= settings.folds) for codes in faces.codes.T]
    if max(enough) >= 2:  # noqa: PLR2004
        return ()
    names = ", ".join(attribute.name for attribute in faces.attributes)
    return (
        f"folds: expected an attribute with two levels of at least {settings.folds} images each, "
        f"as many as folds, got none among {names}, so a probe has nothing to predict{left_out}; "
        "add images or lower the number of folds",
    )


@dataclass(frozen=True)
class ProbeSpec:
    """One probe: what it predicts, where, and how."""

    target: Target
    layer: str
    settings: ProbeSettings
    control: Control | None = None
    """Other numbers to fit it to, instead of the layer's activations."""


@dataclass(frozen=True)
class Scores:
    """Out-of-fold probabilities of one probe; rows of the arrays correspond."""

    part: Measurable
    """The images and levels that could be measured."""
    codes: IntArray
    """The labels the probe was to predict: annotated ones, or the shuffled, shape (n,)."""
    folds: IntArray
    """Fold of each image, shape (n,)."""
    probabilities: ProbabilityArray
    """Of each kept level, shape (n, n_levels)."""
    dependence: float
    """Share of the scores' spread that depends on which images trained the probe, in [0, 1]."""

    @property
    def predicted(self) -> IntArray:
        """The most probable level per image, as an index into the kept levels.

        Where it is another answer of the same face, it counts as the row's own.
        """
        best = np.asarray(self.probabilities.argmax(axis=1), dtype=np.int64)
        return self.part.accepted(best, self.codes)


@dataclass(frozen=True)
class Probe:
    """A probe and its refits to shuffled labels."""

    scores: Scores
    shuffled: tuple[Scores, ...]
    strengths: npt.NDArray[np.float64]
    """C that each fold chose, shape (n_folds,)."""
    not_converged: int
    """Fits, of the probe and the shuffled ones, that stopped early."""


def not_finite(where: str) -> AnalysisError:
    """What is raised where activations cannot be used."""
    return AnalysisError(
        f"{where}: expected finite activations, got infinite or undefined ones; check the "
        "weights, and that the images are preprocessed as the backbone expects"
    )


def part_of(subject: Subject, target: Target, settings: ProbeSettings) -> Measurable:
    """The levels and images of a target that a probe can predict."""
    return measurable(target, subject.faces.clusters, settings.folds)


def out_of_fold_scores(subject: Subject, spec: ProbeSpec) -> Scores:
    """Predict every image by a probe fitted without its fold; see `probe`.

    Raises:
        AnalysisError: The target is not measurable, or the activations are not finite.
    """
    return probe(subject, spec).scores


def probe(subject: Subject, spec: ProbeSpec) -> Probe:
    """Fit a probe and its shuffled refits, all out of fold; kept in the subject's cache.

    All layers and controls of a target share their folds and shuffles. Labels are shuffled within
    folds, so that the folds stay as balanced as the original ones. Controls are refitted to one
    shuffle only, to learn how much their scores depend on the training images.

    Raises:
        AnalysisError: The target is not measurable, or the activations are not finite.
    """
    return _Problem.of(subject, spec).probe()


def probe_and_refits(subject: Subject, spec: ProbeSpec) -> tuple[Probe, tuple[Scores, ...]]:
    """The same, and the labels as annotated once more, with other folds for each refit.

    How much a number moves between these is what an audit of the same images and weights with
    another seed would show. Refits of one layer share no folds with those of another. Controls are
    not refitted.

    Raises:
        AnalysisError: The target is not measurable, or the activations are not finite.
    """
    problem = _Problem.of(subject, spec)
    found = problem.probe()
    if not problem.has_refits:
        return found, ()
    stored = problem.refitted.arrays()
    return found, tuple(
        replace(found.scores, folds=folds, probabilities=probabilities)
        for folds, probabilities in zip(stored["folds"], stored["probabilities"], strict=True)
    )


def is_scored(subject: Subject, spec: ProbeSpec, *, with_refits: bool = False) -> bool:
    """Whether a probe is in the subject's cache already; with those refits that it is to have."""
    problem = _Problem.of(subject, spec)
    needs_refits = with_refits and problem.has_refits
    return problem.fitted.is_there and (not needs_refits or problem.refitted.is_there)


@dataclass(frozen=True)
class _Problem:
    """What one probe is fitted to."""

    subject: Subject
    spec: ProbeSpec
    part: Measurable
    clusters: IntArray

    @classmethod
    def of(cls, subject: Subject, spec: ProbeSpec) -> _Problem:
        part = part_of(subject, spec.target, spec.settings)
        if part.not_measured is not None:
            raise AnalysisError(part.not_measured)
        return cls(subject, spec, part, subject.faces.clusters[part.images])

    @property
    def n_shuffles(self) -> int:
        return self.subject.shuffles if self.spec.control is None else 1

    @property
    def has_refits(self) -> bool:
        return self.spec.control is None and self.subject.refits > 0

    @property
    def fitted(self) -> Cached:
        return self.subject.cached("probe", *self._inputs, compute=partial(_fit, self))

    @property
    def refitted(self) -> Cached:
        inputs = (str(self.subject.refits), *self._inputs)
        return self.subject.cached("refits", *inputs, compute=partial(_refit, self))

    def probe(self) -> Probe:
        stored = self.fitted.arrays()
        rows = zip(stored["codes"], stored["probabilities"], stored["dependence"], strict=True)
        scores, *shuffled = (
            Scores(self.part, codes, stored["folds"], probabilities, float(dependence))
            for codes, probabilities, dependence in rows
        )
        not_converged = int(stored["not_converged"].item())
        return Probe(scores, tuple(shuffled), stored["strengths"], not_converged)

    @property
    def _inputs(self) -> tuple[Input, ...]:
        spec, control = self.spec, self.spec.control
        return (
            control or self.subject.activations,
            spec.target.name,
            spec.layer if control is None or control.by_layer else "",
            spec.settings.probes.model_dump_json(),
            str(self.n_shuffles),
            np.stack([self.part.images, self.part.codes, self.clusters]),
        )

    def folds(self, *purpose: str) -> IntArray:
        rng = self.subject.rng(*purpose)
        return stratified_folds(self.part.codes, self.clusters, self.spec.settings.folds, rng)

    def cross_fit(self, labellings: IntArray, folds: IntArray) -> tuple[CrossFit, ...]:
        return cross_fit(
            self.axes,
            labellings,
            folds,
            n_classes=len(self.part.levels),
            strengths=self.spec.settings.strengths,
        )

    @cached_property
    def axes(self) -> Axes:
        spec, control = self.spec, self.spec.control
        source = self.subject.activations if control is None else control
        units = np.asarray(source.units(spec.layer)[self.part.images], dtype=np.float32)
        if not np.isfinite(units).all():
            raise not_finite(f"layer {spec.layer}" if control is None else control.name)
        return principal_axes(units)


def _refit(problem: _Problem) -> Arrays:
    spec, codes = problem.spec, problem.part.codes
    all_folds, probabilities = [], []
    for number in range(problem.subject.refits):
        folds = problem.folds("refit", spec.target.name, spec.layer, str(number))
        (fitted,) = problem.cross_fit(codes[None], folds)
        all_folds.append(folds)
        probabilities.append(fitted.probabilities)
    return {"folds": np.stack(all_folds), "probabilities": np.stack(probabilities)}


def _fit(problem: _Problem) -> Arrays:
    name, codes = problem.spec.target.name, problem.part.codes
    folds, rng = problem.folds("folds", name), problem.subject.rng("shuffle", name)
    labellings = np.stack(
        [codes]
        + [
            shuffle_within_folds(codes, folds, problem.clusters, rng)
            for _ in range(problem.n_shuffles)
        ]
    )
    fits = problem.cross_fit(labellings, folds)
    # Scores of probes fitted to shuffled labels depend on the training images wholly; how far the
    # probes of two folds agree then is due to the images that both trained on.
    agreements = np.array([fitted.agreement for fitted in fits])
    by_overlap, dependence = agreements[1:].mean(), np.ones(len(agreements))
    if by_overlap < 1:
        dependence = np.clip((1 - agreements) / (1 - by_overlap), 0, 1)
    return {
        "folds": folds,
        "codes": labellings,
        "probabilities": np.stack([fitted.probabilities for fitted in fits]),
        "dependence": dependence,
        "strengths": fits[0].strengths,
        "not_converged": np.array(sum(fitted.not_converged for fitted in fits)),
    }


def shuffle_within_folds(
    codes: IntArray, folds: IntArray, clusters: IntArray, rng: np.random.Generator
) -> IntArray:
    """Give the labels of each fold to its images in a random order.

    Clusters are laid end to end in one random order and read off in another, so that images of one
    cluster mostly receive labels that came from one cluster; with single images this is a plain
    permutation. All arrays are by image, (n_images,); counts of labels stay the same in every
    fold.
    """
    shuffled = codes.copy()
    _, cluster = np.unique(clusters, return_inverse=True)
    n_clusters = int(cluster.max(initial=-1)) + 1
    for fold in np.unique(folds):
        members = np.flatnonzero(folds == fold)
        given, taken = (
            members[np.argsort(rng.permutation(n_clusters)[cluster[members]], kind="stable")]
            for _ in range(2)
        )
        shuffled[taken] = codes[given]
    return shuffled


_MORE_AXES, _MORE_LEVELS = 100, 16
"""Steps of narrow fits take as long as if they had these many more; measured."""
_PER_STRENGTH = 0.25
"""Time of a strength that is tried, relative to the last fit, with the one that was chosen."""
_CONTROL_LABELLINGS = 2
"""Controls are fitted to the labels and to one shuffle."""


def probe_work(
    settings: ProbeSettings, *, n_images: int, n_units: int, n_levels: int, labellings: int
) -> float:
    """Work of one call of `cross_fit`, in images x axes x levels of one fit.

    There are as many axes as units, but no more than images; `labellings` counts the labels and
    how often they are shuffled.
    """
    axes = min(n_units, n_images) + _MORE_AXES
    n_strengths = len(settings.strengths)
    path = 1 + _PER_STRENGTH * n_strengths if n_strengths > 1 else 1.0
    return labellings * settings.folds * path * n_images * axes * (n_levels + _MORE_LEVELS)


def controlled_work(
    settings: ProbeSettings, workload: Workload, targets: Iterable[str] | None
) -> float:
    """Work of probing targets at every layer, and on every control.

    Targets are names of attributes, or "intersection"; None for all of these.
    """
    sizes = level_counts(workload.attributes)
    at_layers = (
        1 + workload.shuffles + workload.refits + _CONTROL_LABELLINGS * workload.layer_controls
    )
    probed = [(units, at_layers) for units in workload.n_units.values()]
    probed += [(units, _CONTROL_LABELLINGS) for units in workload.other_controls]
    return sum(
        probe_work(
            settings,
            n_images=workload.n_images,
            n_units=units,
            n_levels=sizes[name],
            labellings=labellings,
        )
        for name in (sizes if targets is None else targets)
        for units, labellings in probed
    )


def widest(workload: Workload, layers: Iterable[str] | None) -> tuple[int, ...]:
    """Units of the layers that are named, or of the one that takes longest if none is."""
    if layers is None:
        return (max(workload.n_units.values()),)
    return tuple(workload.n_units[layer] for layer in layers if layer in workload.n_units)
