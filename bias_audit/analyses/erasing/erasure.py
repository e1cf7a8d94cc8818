"""Erasing a target from what the head receives, always from images the eraser never saw."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import Field
from scipy.special import logit

from bias_audit.analyses.analysis import Head, Subject
from bias_audit.analyses.erasing.leace import Eraser, Inputs, Split, random_erasers
from bias_audit.analyses.probing.discriminant import (
    FoldSums,
    Labelling,
    Standardised,
    blocks,
    cross_fit,
)
from bias_audit.analyses.probing.probes import ProbeSettings, counts_in_folds, is_balanced
from bias_audit.analyses.probing.separability import Units, measured
from bias_audit.analyses.targets import Measurable, Target
from bias_audit.arrays import BoolArray, FloatArray, IntArray
from bias_audit.cache import Arrays, Cached
from bias_audit.config.schema import Strict
from bias_audit.data.sampling import stratified_folds
from bias_audit.deferred import torch
from bias_audit.progress import Step
from bias_audit.statistics import influence
from bias_audit.statistics.estimate import Estimate
from bias_audit.statistics.inference import Measured, difference, estimate, widening
from bias_audit.statistics.influence import Statistic

_TOP = 5
_DECIMALS = 5
"""Of log-odds; what differs by less is rounding, as where nothing is left to read."""
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
    targets: Sequence[tuple[Target, Measurable]],
    *,
    split: Split,
    settings: ErasureSettings,
    step: Step,
) -> list[ErasedTarget]:
    """Erase measurable targets from the inputs of the head; kept in the subject's cache.

    The parts have the levels and images that can be measured, the split their folds; the step is
    advanced by one a fold and target.
    """
    problems = [_Problem(subject, head, each, part, split, settings) for each, part in targets]
    new = _New(problems, step)
    kept = [each.cached(partial(new.arrays_of, each)) for each in problems]
    new.problems = [own for own, each in zip(problems, kept, strict=True) if not each.is_there]
    step.advance(settings.folds * (len(problems) - len(new.problems)))
    return [
        ErasedTarget(own.target, own.part, split.folds, **each.arrays())
        for own, each in zip(problems, kept, strict=True)
    ]


@dataclass(frozen=True)
class _Problem:
    """One target that is erased."""

    subject: Subject
    head: Head
    target: Target
    part: Measurable
    split: Split
    settings: ErasureSettings

    def cached(self, compute: Callable[[], Arrays]) -> Cached:
        head, part = self.head, self.part
        return self.subject.cached(
            "erasure",
            self.subject.activations,
            self.target.name,
            self.settings.erasing.model_dump_json(),
            np.stack([part.images, part.codes, self.clusters, self.cells, self.split.folds]),
            head.weight,
            head.bias,
            head.inputs,
            b"" if head.reference is None else head.reference,
            compute=compute,
        )

    @property
    def clusters(self) -> IntArray:
        return self.subject.faces.clusters[self.part.images]

    @property
    def cells(self) -> IntArray:
        return self.subject.faces.table.cells[self.part.images]

    @property
    def labelling(self) -> Labelling:
        return Labelling(self.part.codes, len(self.part.levels))

    @cached_property
    def seeds(self) -> list[int]:
        """Of random directions. They serve all folds, which agree where covariances do."""
        rng = self.subject.rng("random directions", self.target.name)
        return [int(seed) for seed in rng.integers(2**32, size=self.settings.draws)]

    def eraser(self, fold: int | None) -> Eraser:
        """That of the attribute, fitted to all images but a fold, or to all."""
        return self.split.eraser(fold, self.part.codes, len(self.part.levels))

    def with_random(self, eraser: Eraser, fold: int | None) -> list[Eraser]:
        """That eraser, then those of random directions."""
        return [eraser, *random_erasers(self.split.whitening(fold), eraser, self.seeds)]

    @cached_property
    def new_folds(self) -> list[IntArray] | None:
        """Folds within each held-out fold, (n_held,); None where a level has too few images."""
        fewest = counts_in_folds(self.part.codes, self.clusters, self.split.folds).min()
        n_folds = int(min(self.settings.folds, fewest))
        if n_folds < _FEWEST_FOLDS:
            return None
        found = []
        for fold in range(self.settings.folds):
            held = self.split.folds == fold
            codes, clusters = self.part.codes[held], self.clusters[held]
            dealt = self._dealt(fold, codes, clusters, n_folds)
            # a choice leaves two folds out, and what trains then needs every level
            if (counts_in_folds(codes, clusters, dealt) > 0).sum(axis=0).min() < _FEWEST_FOLDS:
                return None
            found.append(dealt)
        return found

    def _dealt(self, fold: int, codes: IntArray, clusters: IntArray, n_folds: int) -> IntArray:
        cells = self.cells[self.split.folds == fold]
        rng = self.subject.rng("new folds", str(fold))
        shared = stratified_folds(cells, clusters, n_folds, rng)
        if is_balanced(codes, clusters, shared):
            return shared
        rng = self.subject.rng("new folds", self.target.name, str(fold))
        return stratified_folds(codes, clusters, n_folds, rng)


@dataclass
class _New:
    """Problems that are not in the cache, which share sums: all are solved with the first."""

    problems: Sequence[_Problem]
    step: Step

    def arrays_of(self, problem: _Problem) -> Arrays:
        for place, own in enumerate(self.problems):
            if own is problem:
                return self._all[place]
        (found,) = _erased([problem])  # its file is damaged
        return found

    @cached_property
    def _all(self) -> list[Arrays]:
        return _erased(self.problems, self.step)


def _erased(problems: Sequence[_Problem], step: Step | None = None) -> list[Arrays]:
    """The arrays of an `ErasedTarget`, by name, of every problem of one split."""
    first = problems[0]
    split, head, clusters = first.split, first.head, first.clusters
    n, folds = len(split.images), range(first.settings.folds)
    own = [[each.eraser(fold) for fold in folds] for each in problems]
    every = [eraser for erasers in own for eraser in erasers]
    sums = _sums(split, np.arange(n), split.folds, clusters, every)
    before = _predicted(sums, [each.labelling for each in problems])
    found: list[dict[str, npt.NDArray[Any]]] = [{"before": scores} for scores in before]
    for each, arrays in zip(problems, found, strict=True):
        shape = (1 + each.settings.draws, n)
        arrays["erased"] = np.zeros_like(arrays["before"])
        arrays |= {"kept": np.zeros(shape, dtype=bool), "overlap": np.zeros(shape)}
        arrays["variance"] = np.zeros(shape[0])
    for fold in folds:
        held = np.flatnonzero(split.folds == fold)
        _of_new_probes(problems, fold, [erasers[fold] for erasers in own], found)
        for each, arrays, erasers in zip(problems, found, own, strict=True):
            less = sums.less(*erasers[fold].parts)
            (scores,) = _predicted(less, [each.labelling], outer=[fold])
            arrays["erased"][held] = scores[held]
            all_erasers = each.with_random(erasers[fold], fold)
            agreed = _agreed(head, head.inputs[split.images[held]], all_erasers)
            arrays["kept"][:, held], arrays["overlap"][:, held] = agreed
            arrays["variance"] += np.array([one.variance for one in all_erasers]) / len(folds)
            if step is not None:
                step.advance()
    if head.reference is not None:
        for each, arrays in zip(problems, found, strict=True):
            all_erasers = each.with_random(each.eraser(None), None)
            agreed = _agreed(head, head.reference, all_erasers)
            arrays["reference_kept"], arrays["reference_overlap"] = agreed
    return list(found)


def _of_new_probes(
    problems: Sequence[_Problem],
    fold: int,
    erasers: Sequence[Eraser],
    found: Sequence[dict[str, npt.NDArray[Any]]],
) -> None:
    """Probes of a held-out fold's own images, as they are and erased: problems share sums."""
    first = problems[0]
    split, n = first.split, len(first.split.images)
    held = np.flatnonzero(split.folds == fold)
    alike: dict[bytes, list[int]] = {}
    dealt = {
        place: each.new_folds[fold]
        for place, each in enumerate(problems)
        if each.new_folds is not None
    }
    for place, new_folds in dealt.items():
        alike.setdefault(new_folds.tobytes(), []).append(place)
    for places in alike.values():
        new_folds = dealt[places[0]]
        own = [erasers[place] for place in places]
        sums = _sums(split, held, new_folds, first.clusters[held], own)
        labellings = [
            Labelling(problems[place].part.codes[held], problems[place].labelling.n_classes)
            for place in places
        ]
        before = _predicted(sums, labellings)
        for place, labelling, scores in zip(places, labellings, before, strict=True):
            less = sums.less(*erasers[place].parts)
            (without,) = _predicted(less, [labelling])
            arrays, shape = found[place], (n, labelling.n_classes)
            arrays.setdefault("new_before", np.zeros(shape))[held] = scores
            arrays.setdefault("new_erased", np.zeros(shape))[held] = without
            arrays.setdefault("new_folds", np.zeros(n, dtype=np.int64))[held] = new_folds


def _sums(
    split: Split, places: IntArray, folds: IntArray, clusters: IntArray, erasers: Sequence[Eraser]
) -> FoldSums:
    """Of some images of a split, from which each of the erasers will take directions.

    Places, folds and clusters have shape (n,).
    """
    beside = torch.cat([eraser.parts[0] for eraser in erasers], dim=1)
    images = split.images[places]
    units = Standardised(split.inputs, images, beside=beside, device=split.device)
    return FoldSums.of(units, folds, clusters, reused=True)


def _predicted(
    folds: FoldSums, labellings: Sequence[Labelling], outer: Sequence[int] | None = None
) -> list[FloatArray]:
    """Probabilities by a probe fitted without the image's fold, of each labelling, (n, n_levels).

    Those of folds that are not in `outer`, by default all, are 0.
    """
    outer = range(len(folds.places)) if outer is None else outer
    found = [np.zeros((len(each.codes), each.n_classes)) for each in labellings]
    fits = cross_fit(folds, labellings, ProbeSettings().shrinkages, outer=outer)
    for place, fold in enumerate(outer):
        for places in blocks(folds.places[fold]):
            rows = folds.rows(places)
            for scores, probes in zip(found, fits, strict=True):
                scores[places] = probes[place].probabilities(rows).cpu().numpy()
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
    return [
        influence.macro_auc(
            logit(p).round(_DECIMALS), part.codes, probes, sampling.clusters, part.pictures
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
