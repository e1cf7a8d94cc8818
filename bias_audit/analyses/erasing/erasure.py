"""Erasing a target from what the head receives, always from images the eraser never saw."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import Field

from bias_audit.analyses.analysis import Head, Subject
from bias_audit.analyses.erasing.leace import Eraser, Inputs, Split, random_erasers
from bias_audit.analyses.probing.discriminant import (
    FoldSums,
    Labelling,
    Standardised,
    blocks,
    cross_fit,
)
from bias_audit.analyses.probing.probes import ProbeSettings, counts_in_folds
from bias_audit.analyses.probing.separability import Units, measured
from bias_audit.analyses.targets import Measurable, Target
from bias_audit.arrays import BoolArray, FloatArray, IntArray
from bias_audit.cache import Arrays
from bias_audit.config.schema import Strict
from bias_audit.data.sampling import stratified_folds
from bias_audit.deferred import torch
from bias_audit.progress import Step
from bias_audit.statistics import influence
from bias_audit.statistics.estimate import Estimate
from bias_audit.statistics.inference import Measured, difference, estimate, widening
from bias_audit.statistics.influence import Statistic

_TOP = 5
_FEWEST_FOLDS = 3
"""With fewer, a probe has no images left to choose its shrinkage on."""


class ErasureSettings(Strict):
    """How a target is erased and looked for."""

    folds: int = Field(default=5, ge=3, le=50, description="Parts of the cross-fitting.")
    draws: int = Field(
        default=10,
        ge=2,
        le=1000,
        description="Sets of random directions to compare with, which remove as much variance.",
    )

    @property
    def erasing(self) -> ErasureSettings:
        """These settings alone, without those of the analysis that extends them."""
        fields = ErasureSettings.model_fields
        return ErasureSettings.model_validate({name: getattr(self, name) for name in fields})


@dataclass(frozen=True)
class ErasedTarget:
    """One target, erased out of fold; rows of per-image arrays follow `part.images`.

    Where there is a first axis of 1 + draws, index 0 is the eraser of the attribute and the
    others are those of random directions.
    """

    target: Target
    part: Measurable
    folds: IntArray
    """Fold of each image, shape (n,)."""
    before: FloatArray
    """Out-of-fold probabilities of a probe on the inputs as they are, (n, n_levels)."""
    erased: FloatArray
    """The same with both training and held-out images erased, (n, n_levels)."""
    kept: BoolArray
    """Whether the most probable class stays, shape (1 + draws, n)."""
    overlap: FloatArray
    """Shared part of the five most probable classes, shape (1 + draws, n)."""
    variance: FloatArray
    """Share of variance removed, mean over folds, shape (1 + draws,)."""
    new_before: FloatArray | None = None
    """Of probes that are fitted to and tested on held-out images only; None where too few."""
    new_erased: FloatArray | None = None
    """The same, held-out images erased: none of them was seen by the eraser."""
    new_folds: IntArray | None = None
    """Fold of each image among those of its fold, for the probes of `new_before`, shape (n,)."""
    reference_kept: BoolArray | None = None
    """As `kept`, shape (1 + draws, n_reference), erasers fitted to all faces."""
    reference_overlap: FloatArray | None = None


def erase(
    subject: Subject,
    head: Head,
    target: Target,
    part: Measurable,
    *,
    split: Split,
    settings: ErasureSettings,
    step: Step,
) -> ErasedTarget:
    """Erase one measurable target from the inputs of the head; kept in the subject's cache.

    The part has the levels and images that can be measured, the split their folds; the step is
    advanced by one a fold.
    """
    clusters = subject.faces.clusters[part.images]
    kept = subject.cached(
        "erasure",
        subject.activations,
        target.name,
        settings.erasing.model_dump_json(),
        np.stack([part.images, part.codes, clusters, split.folds]),
        head.weight,
        head.bias,
        head.inputs,
        b"" if head.reference is None else head.reference,
        compute=lambda: _erased(
            subject, head, target.name, part, split=split, settings=settings, step=step
        ),
    )
    if kept.is_there:
        step.advance(settings.folds)
    return ErasedTarget(target, part, split.folds, **kept.arrays())


def _erased(
    subject: Subject,
    head: Head,
    name: str,
    part: Measurable,
    *,
    split: Split,
    settings: ErasureSettings,
    step: Step,
) -> Arrays:
    """The arrays of an `ErasedTarget`, by name."""
    images, folds, codes, device = split.images, split.folds, part.codes, split.device
    clusters = subject.faces.clusters[images]
    labelling = Labelling(codes, len(part.levels))
    # One seed serves all folds, so that its directions agree over folds where covariances do.
    seeds = subject.rng("random directions", name).integers(2**32, size=settings.draws).tolist()
    # Folds within each held-out fold; none where a level has too few images for them.
    fewest = int(counts_in_folds(codes, clusters, folds).min())
    n_new = min(settings.folds, fewest) if fewest >= _FEWEST_FOLDS else 0
    scores = {
        key: np.zeros((len(codes), labelling.n_classes))
        for key in ("erased", "new_before", "new_erased")
    }
    before = Standardised(head.inputs, images, device=device)
    scores["before"] = _predicted(FoldSums.of(before, folds, clusters), labelling)
    new_folds = np.zeros(len(codes), dtype=np.int64)
    kept = np.zeros((1 + len(seeds), len(codes)), dtype=bool)
    overlap = np.zeros((1 + len(seeds), len(codes)))
    variances = []
    for fold in range(settings.folds):
        held = np.flatnonzero(folds == fold)
        erasers = _erasers(split, labelling, fold, seeds)
        erased = _Erased(head.inputs, erasers[0])
        less = Standardised(erased, images, like=before, device=device)
        sums = FoldSums.of(less, folds, clusters)
        scores["erased"][held] = _predicted(sums, labelling, outer=[fold])[held]
        if n_new:
            fold_rng = subject.rng("new folds", name, str(fold))
            inner = stratified_folds(codes[held], clusters[held], n_new, fold_rng)
            new_folds[held] = inner
            there = Labelling(codes[held], labelling.n_classes)
            new = Standardised(head.inputs, images[held], device=device)
            without = Standardised(erased, images[held], like=new, device=device)
            scores["new_before"][held] = _predicted(FoldSums.of(new, inner, clusters[held]), there)
            scores["new_erased"][held] = _predicted(
                FoldSums.of(without, inner, clusters[held]), there
            )
        kept[:, held], overlap[:, held] = _agreed(head, head.inputs[images[held]], erasers)
        variances.append([eraser.variance for eraser in erasers])
        step.advance()
    arrays: dict[str, npt.NDArray[Any]] = {
        **{key: values for key, values in scores.items() if n_new or not key.startswith("new_")},
        "kept": kept,
        "overlap": overlap,
        "variance": np.mean(variances, axis=0),
    }
    if n_new:
        arrays["new_folds"] = new_folds
    if head.reference is not None:
        agreed = _agreed(head, head.reference, _erasers(split, labelling, None, seeds))
        arrays["reference_kept"], arrays["reference_overlap"] = agreed
    return arrays


def _erasers(
    split: Split, labelling: Labelling, fold: int | None, seeds: Sequence[int]
) -> list[Eraser]:
    """Fitted to all but a fold, or to all: the attribute's, then those of random directions."""
    eraser = split.eraser(fold, labelling.codes, labelling.n_classes)
    return [eraser, *random_erasers(split.whitening(fold), eraser, seeds)]


@dataclass(frozen=True)
class _Erased:
    """What the head receives, erased as it is read."""

    inputs: Inputs
    eraser: Eraser

    @property
    def shape(self) -> tuple[int, ...]:
        return self.inputs.shape

    def __getitem__(self, images: IntArray) -> FloatArray:
        return self.eraser(self.inputs[images])


def _predicted(
    folds: FoldSums, labelling: Labelling, outer: Sequence[int] | None = None
) -> FloatArray:
    """Probabilities of images by a probe fitted without their fold, shape (n, n_levels).

    Those of folds that are not in `outer`, by default all, are 0.
    """
    outer = range(len(folds.places)) if outer is None else outer
    found = np.zeros((len(labelling.codes), labelling.n_classes))
    (probes,) = cross_fit(folds, [labelling], ProbeSettings().shrinkages, outer=outer)
    for fold, probe in zip(outer, probes, strict=True):
        for places in blocks(folds.places[fold]):
            found[places] = probe.probabilities(folds.rows(places)).cpu().numpy()
    return found


def _agreed(head: Head, inputs: Inputs, erasers: Sequence[Eraser]) -> tuple[BoolArray, FloatArray]:
    """`agreement` of decisions without and with each eraser, shape (n_erasers, n) each."""
    logits = logits_of(head, inputs)
    decided = top_of(logits)
    shifts = (eraser.shift(inputs, head.weight) for eraser in erasers)
    found = [agreement(decided, top_of(logits - shift)) for shift in shifts]
    return np.array([kept for kept, _ in found]), np.array([overlap for _, overlap in found])


def logits_of(head: Head, inputs: Inputs) -> FloatArray:
    """What the head returns, shape (n, n_classes)."""
    values = np.asarray(inputs, dtype=np.float64)
    return np.asarray(values @ head.weight.T.astype(np.float64) + head.bias)


def top_of(logits: FloatArray) -> IntArray:
    """The five most probable classes, or all where there are fewer, best first, (n, 5)."""
    top = min(_TOP, logits.shape[1])
    found = torch.topk(torch.from_numpy(logits), top, dim=1, sorted=True)
    return found.indices.numpy().astype(np.int64)


def agreement(one: IntArray, other: IntArray) -> tuple[BoolArray, FloatArray]:
    """Whether the first class is the same, and the share of classes in both rows, each (n,)."""
    shared = (one[:, :, None] == other[:, None, :]).any(axis=2).mean(axis=1)
    return one[:, 0] == other[:, 0], np.asarray(shared, dtype=np.float64)


@dataclass(frozen=True)
class Sampling:
    """What measures of the same images share."""

    units: Units
    """Clusters of images, then one unit for the random directions: which were drawn."""
    images: IntArray
    """Numbers among those of `units`, shape (n,)."""
    widened: float
    """Factor on errors of cross-fitted images; 1 where no image also trained."""
    level: float

    @classmethod
    def of(
        cls, clusters: IntArray, images: IntArray, n_folds: int | None, level: float
    ) -> Sampling:
        """Of some images.

        Clusters are of all of the subject's images, `images` are numbers among these; `n_folds` is
        None where the images were in no fold of a cross-fitting.
        """
        numbers, renumbered = np.unique(clusters, return_inverse=True)
        units = Units(renumbered.astype(np.int64), len(numbers), n_seeds=1)
        # How much the probes depend on their training images is unknown, so: wholly.
        return cls(units, images, 1.0 if n_folds is None else widening(n_folds, 1.0), level)

    def of_statistic(self, statistic: Statistic) -> Measured:
        """A statistic of the images."""
        return measured(self.units, self.images, statistic, widened=self.widened)

    @property
    def clusters(self) -> IntArray:
        """Of the images."""
        return self.units.clusters[self.images]


@dataclass(frozen=True)
class Agreements:
    """One measure of agreement, overall."""

    attribute: Estimate
    """When the attribute is erased."""
    random: Estimate
    """When random directions are."""
    excess: Estimate
    """How much more erasing the attribute changes."""


def agreements(agreement: npt.NDArray[np.bool_ | np.floating], sampling: Sampling) -> Agreements:
    """Mean agreement when the attribute is erased, and when random directions are.

    Labels that mean nothing would be one more set of random directions: the interval of the
    excess also contains how much single sets differ, by Student's t with a variance of
    (1 + 1 / draws) times theirs. Agreement is per image, in [0, 1], shape (1 + draws, n).
    """
    n_draws, level = len(agreement) - 1, sampling.level
    spread = float(agreement[1:].mean(axis=1).std(ddof=1))
    attribute, random = (
        sampling.of_statistic(influence.average(each, sampling.clusters))
        for each in (agreement[0], agreement[1:].mean(axis=0))
    )

    def with_error(error: float) -> Measured:
        """Put the error of the draws into the last unit."""
        own = np.append(random.influence[:-1], error)
        return replace(random, influence=own, seed_freedom=float(n_draws - 1))

    of_mean = estimate(with_error(spread / np.sqrt(n_draws)), level=level)
    of_single = with_error(spread * np.sqrt(1 + 1 / n_draws))
    of_random, excess = (
        replace(found, method=f"{found.method}, with the spread of the random directions")
        for found in (of_mean, difference(of_single, attribute, level=level))
    )
    return Agreements(estimate(attribute, level=level), of_random, excess)


@dataclass(frozen=True)
class Measures:
    """Everything measured of one target."""

    erased: ErasedTarget
    values: dict[str, Estimate]
    """By quantity: "head_auc", "erased_auc", "erased_auc_drop", ..."""
    agreed: dict[str, Agreements]
    """By quantity: "top1_agreement", "top5_agreement", and those of the reference images."""


def measures_of(erased: ErasedTarget, clusters: IntArray, *, level: float) -> Measures:
    """Measure one erased target, on its images and, where there are some, the reference images.

    Clusters are of all of the subject's images, shape (n_images,).
    """
    part, folds = erased.part, erased.folds
    sampling = Sampling.of(clusters, part.images, int(folds.max()) + 1, level)
    scores = (erased.before, erased.erased)
    accuracies = [
        influence.balanced_accuracy(
            part.accepted(p.argmax(axis=1).astype(np.int64), part.codes),
            part.codes,
            p.shape[1],
            sampling.clusters,
        )
        for p in scores
    ]
    values = {
        **_compared("auc", _aucs(scores, part, folds, sampling), sampling),
        **_compared("balanced_accuracy", accuracies, sampling),
    }
    new_before, new_erased, new_folds = erased.new_before, erased.new_erased, erased.new_folds
    if new_before is not None and new_erased is not None and new_folds is not None:
        # Of the probes within held-out folds, each of which has scored one fold in one fold.
        n_new = int(new_folds.max()) + 1
        probes = folds * n_new + new_folds
        within = Sampling.of(clusters, part.images, n_new, level)
        new_scores = (new_before, new_erased)
        found = _compared("auc", _aucs(new_scores, part, probes, within), within)
        values |= {f"refitted_{name}": value for name, value in found.items()}
    agreed = {
        "top1_agreement": agreements(erased.kept, sampling),
        "top5_agreement": agreements(erased.overlap, sampling),
    }
    if erased.reference_kept is not None and erased.reference_overlap is not None:
        alone = np.arange(erased.reference_kept.shape[1])
        reference = Sampling.of(alone, alone, None, level)
        agreed["reference_top1_agreement"] = agreements(erased.reference_kept, reference)
        agreed["reference_top5_agreement"] = agreements(erased.reference_overlap, reference)
    return Measures(erased, values, agreed)


def _aucs(
    scores: Sequence[FloatArray], part: Measurable, probes: IntArray, sampling: Sampling
) -> list[Statistic | None]:
    """Macro AUCs of the images that one probe has scored."""
    # Differences below single precision are rounding.
    return [
        influence.macro_auc(
            p.astype(np.float32), part.codes, probes, sampling.clusters, part.pictures
        )
        for p in scores
    ]


def _compared(
    name: str, statistics: list[Statistic | None], sampling: Sampling
) -> dict[str, Estimate]:
    """A measure before and after erasure and the drop; nothing where it has no value."""
    before, after = (None if s is None else sampling.of_statistic(s) for s in statistics)
    if before is None or after is None:
        return {}
    return {
        f"head_{name}": estimate(before, level=sampling.level),
        f"erased_{name}": estimate(after, level=sampling.level),
        f"erased_{name}_drop": difference(before, after, level=sampling.level),
    }
