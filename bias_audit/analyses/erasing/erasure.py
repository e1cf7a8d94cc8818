"""Erasing a target from what the head receives, always from images the eraser never saw."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field

from bias_audit.analyses.analysis import Head, Subject
from bias_audit.analyses.erasing.leace import Eraser, Inputs, Split, fewest_in_a_fold, fitted
from bias_audit.analyses.probing.cross_fitting import TOLERANCE, cross_fit
from bias_audit.analyses.probing.logistic import Problems, fit, principal_axes
from bias_audit.analyses.probing.probes import shuffle_within_folds
from bias_audit.analyses.probing.separability import Units, measured
from bias_audit.analyses.targets import Measurable, Target
from bias_audit.arrays import FloatArray, IntArray
from bias_audit.cache import Arrays
from bias_audit.config.schema import Strict
from bias_audit.data.sampling import stratified_folds
from bias_audit.progress import Step
from bias_audit.statistics import influence
from bias_audit.statistics.estimate import Estimate
from bias_audit.statistics.inference import Measured, difference, estimate, widening
from bias_audit.statistics.influence import Statistic

_TOP = 5


class ErasureSettings(Strict):
    """How a target is erased and looked for."""

    folds: int = Field(default=5, ge=2, le=50, description="Parts of the cross-fitting.")
    regularisation: float = Field(
        default=0.01,
        gt=0,
        description="C of the logistic regression that looks for the target before and after.",
    )
    shuffles: int = Field(
        default=10, ge=2, le=1000, description="Erasers of shuffled labels to compare with."
    )

    @property
    def erasing(self) -> ErasureSettings:
        """These settings alone, without those of the analysis that extends them."""
        fields = ErasureSettings.model_fields
        return ErasureSettings.model_validate({name: getattr(self, name) for name in fields})


@dataclass(frozen=True)
class ErasedTarget:
    """One target, erased out of fold; rows of per-image arrays follow `part.images`.

    Where there is a first axis of 1 + shuffles, index 0 is the eraser of the annotated labels and
    the others are those of shuffled labels.
    """

    target: Target
    part: Measurable
    folds: IntArray
    """Fold of each image, shape (n,)."""
    before: FloatArray
    """Out-of-fold probabilities of a probe on the inputs as they are, (n, n_levels)."""
    erased: FloatArray
    """The same with both training and held-out images erased, (n, n_levels)."""
    new_before: FloatArray | None
    """Of probes that are fitted to and asked about held-out images only; None where too few."""
    new_erased: FloatArray | None
    """The same, held-out images erased: none of them was seen by the eraser."""
    new_folds: IntArray | None
    """Fold of each image among those of its fold, for the probes of `new_before`, shape (n,)."""
    kept: npt.NDArray[np.bool_]
    """Whether the most probable class stays, shape (1 + shuffles, n)."""
    overlap: FloatArray
    """Shared part of the five most probable classes, shape (1 + shuffles, n)."""
    reference_kept: npt.NDArray[np.bool_] | None
    """As `kept`, shape (1 + shuffles, n_reference), erasers fitted to all faces."""
    reference_overlap: FloatArray | None
    variance: FloatArray
    """Share of variance removed, mean over folds, shape (1 + shuffles,)."""
    rank: int
    """Directions removed; the most over folds."""
    not_converged: int
    """Probe fits that stopped early."""


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

    Args:
        subject: Whose images.
        head: Whose inputs.
        target: What is erased.
        part: Its levels and images that can be measured.
        split: Folds of these images.
        settings: How it is erased and looked for.
        step: Advanced by one a fold.
    """
    clusters = subject.faces.clusters[part.images]
    labels = np.stack([part.images, part.codes, clusters, split.folds])
    kept = subject.cached(
        "erasure",
        subject.activations,
        target.name,
        settings.erasing.model_dump_json(),
        labels,
        head.weight,
        head.bias,
        head.inputs,
        b"" if head.reference is None else head.reference,
        compute=lambda: _Work(
            subject, head, target.name, part, split=split, settings=settings
        ).done(step),
    )
    if kept.is_there:
        step.advance(settings.folds)
    stored = kept.arrays()
    return ErasedTarget(
        target,
        part,
        split.folds,
        stored["before"],
        stored["erased"],
        stored.get("new_before"),
        stored.get("new_erased"),
        stored.get("new_folds"),
        stored["kept"],
        stored["overlap"],
        stored.get("reference_kept"),
        stored.get("reference_overlap"),
        stored["variance"],
        int(stored["rank"].item()),
        int(stored["not_converged"].item()),
    )


class _Work:
    """The folds of one target."""

    def __init__(
        self,
        subject: Subject,
        head: Head,
        name: str,
        part: Measurable,
        *,
        split: Split,
        settings: ErasureSettings,
    ) -> None:
        self.subject, self.head, self.name = subject, head, name
        self.part, self.split, self.settings = part, split, settings
        self.inputs, self.folds = split.inputs, split.folds
        self.clusters = subject.faces.clusters[part.images]
        rng = subject.rng("shuffled erasure", name)
        # One shuffle serves all folds, so that its erasers agree over folds as much as those of
        # annotated labels that mean nothing would.
        self.labels = [
            part.codes,
            *(
                shuffle_within_folds(part.codes, self.folds, self.clusters, rng)
                for _ in range(settings.shuffles)
            ),
        ]
        self.decided = top_of(logits_of(head, self.inputs))
        self.not_converged = 0
        n, n_levels = len(part.codes), len(part.levels)
        self.out = {
            name: np.zeros((n, n_levels))
            for name in ("before", "erased", "new_before", "new_erased")
        }
        self.new_folds = np.zeros(n, dtype=np.int64)
        self.kept = np.zeros((1 + settings.shuffles, n), dtype=bool)
        self.overlap = np.zeros((1 + settings.shuffles, n))

    def done(self, step: Step) -> Arrays:
        """Everything to keep, as arrays."""
        n_new = self._new_folds()
        everything = np.ones(len(self.folds), dtype=bool)
        self.out["before"] = self._cross_predicted(self.inputs, everything, self.folds)
        variances, ranks = [], []
        for fold in range(self.settings.folds):
            held = self.folds == fold
            erasers = self._erasers(fold)
            self._probe(held, erasers[0], n_new)
            logits = logits_of(self.head, self.inputs[held])
            for number, eraser in enumerate(erasers):
                after = top_of(logits - eraser.shift(self.inputs[held], self.head.weight))
                agreed = agreement(self.decided[held], after)
                self.kept[number, held], self.overlap[number, held] = agreed
            variances.append([eraser.variance for eraser in erasers])
            ranks.append(erasers[0].rank)
            step.advance()
        out = {**self.out, "new_folds": self.new_folds}
        scores = {k: v for k, v in out.items() if n_new or not k.startswith("new_")}
        return {
            **scores,
            **self._reference(),
            "kept": self.kept,
            "overlap": self.overlap,
            "variance": np.mean(variances, axis=0),
            "rank": np.array(max(ranks)),
            "not_converged": np.array(self.not_converged),
        }

    def _erasers(self, fold: int | None) -> list[Eraser]:
        """Fitted to all but a fold, or to all: to their labels, then to each shuffle of these."""
        chosen = self.split.training(fold)
        labels = [codes[chosen] for codes in self.labels]
        whitening = self.split.whitening(fold)
        return fitted(whitening, self.inputs[chosen], labels, len(self.part.levels))

    def _new_folds(self) -> int:
        """Folds within each held-out fold; 0 where a level has too few images for two."""
        fewest = fewest_in_a_fold(self.part.codes, self.clusters, self.folds)
        return min(self.settings.folds, fewest) if fewest > 1 else 0

    def _probe(self, held: npt.NDArray[np.bool_], eraser: Eraser, n_new: int) -> None:
        erased = eraser(self.inputs)
        self.out["erased"][held] = self._predicted(erased, held)
        if n_new == 0:
            return
        rng = self.subject.rng("new folds", self.name, str(int(self.folds[held][0])))
        inner = stratified_folds(self.part.codes[held], self.clusters[held], n_new, rng)
        self.new_folds[held] = inner
        for name, values in (("new_before", self.inputs), ("new_erased", erased)):
            self.out[name][held] = self._cross_predicted(values, held, inner)

    def _predicted(self, values: Inputs, held: npt.NDArray[np.bool_]) -> FloatArray:
        """Probabilities of the held-out images by a probe fitted to all others."""
        everything = np.ones(len(held), dtype=bool)
        axes = principal_axes(values, deviation=self._deviation(everything))
        labels = torch.from_numpy(np.where(held, -1, self.part.codes))[None]
        penalty = torch.tensor([1 / self.settings.regularisation])
        fits = fit(axes, Problems(labels, len(self.part.levels), penalty), tolerance=TOLERANCE)
        self.not_converged += int((~fits.converged).sum())
        probabilities = torch.softmax(fits.logits(axes)[0], dim=1).numpy()
        return np.asarray(probabilities[held], dtype=np.float64)

    def _deviation(self, chosen: npt.NDArray[np.bool_]) -> FloatArray:
        """Units are standardised as they were before erasure.

        So rounding errors in a unit that was erased altogether are not blown up.
        """
        return np.asarray(self.inputs[chosen].std(axis=0), dtype=np.float64)

    def _cross_predicted(
        self, values: Inputs, chosen: npt.NDArray[np.bool_], folds: IntArray
    ) -> FloatArray:
        """Probabilities of the chosen images, each by a probe fitted to the others' folds."""
        (found,) = cross_fit(
            principal_axes(values[chosen], deviation=self._deviation(chosen)),
            self.part.codes[chosen][None],
            folds,
            n_classes=len(self.part.levels),
            strengths=(self.settings.regularisation,),
        )
        self.not_converged += found.not_converged
        return found.probabilities.astype(np.float64)

    def _reference(self) -> dict[str, npt.NDArray[Any]]:
        reference = self.head.reference
        if reference is None:
            return {}
        logits = logits_of(self.head, reference)
        decided = top_of(logits)
        erasers = self._erasers(None)
        agreed = [
            agreement(decided, top_of(logits - eraser.shift(reference, self.head.weight)))
            for eraser in erasers
        ]
        return {
            "reference_kept": np.array([kept for kept, _ in agreed]),
            "reference_overlap": np.array([overlap for _, overlap in agreed]),
        }


def logits_of(head: Head, inputs: Inputs) -> FloatArray:
    """What the head returns, shape (n, n_classes)."""
    values = np.asarray(inputs, dtype=np.float64)
    return np.asarray(values @ head.weight.T.astype(np.float64) + head.bias)


def top_of(logits: FloatArray) -> IntArray:
    """The five most probable classes, or all where there are fewer, best first, (n, 5)."""
    top = min(_TOP, logits.shape[1])
    found = torch.topk(torch.from_numpy(logits), top, dim=1, sorted=True)
    return found.indices.numpy().astype(np.int64)


def agreement(one: IntArray, other: IntArray) -> tuple[npt.NDArray[np.bool_], FloatArray]:
    """Whether the first class is the same, and the share of classes in both rows, each (n,)."""
    shared = (one[:, :, None] == other[:, None, :]).any(axis=2).mean(axis=1)
    return one[:, 0] == other[:, 0], np.asarray(shared, dtype=np.float64)


@dataclass(frozen=True)
class Sampling:
    """What measures of the same images share."""

    units: Units
    """Clusters of images, then one unit for the shuffles: which orders of labels were drawn."""
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

        Args:
            clusters: Of all of the subject's images.
            images: Those asked, as numbers among all.
            n_folds: Of the cross-fitting; None where the images were in no fold.
            level: Coverage of intervals.
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


def agreements(agreement: npt.NDArray[np.bool_ | np.floating], sampling: Sampling) -> Agreements:
    """Mean agreement under the eraser of the annotated labels, and under those of shuffled ones.

    Labels that mean nothing would be one more shuffle: the interval of the excess also holds how
    much single shuffles differ, by Student's t with a variance of (1 + 1 / shuffles) times theirs.

    Args:
        agreement: Per image, in [0, 1], shape (1 + shuffles, n).
        sampling: Of the images.
    """
    n_shuffles, level = len(agreement) - 1, sampling.level
    spread = float(agreement[1:].mean(axis=1).std(ddof=1))
    annotated, shuffled = (
        sampling.of_statistic(influence.average(each, sampling.clusters))
        for each in (agreement[0], agreement[1:].mean(axis=0))
    )
    shuffled = replace(shuffled, seed_freedom=float(n_shuffles - 1))
    of_mean = _spread(shuffled, spread / np.sqrt(n_shuffles))
    of_single = _spread(shuffled, spread * np.sqrt(1 + 1 / n_shuffles))
    return Agreements(
        estimate(annotated, level=level),
        _with_shuffles(estimate(of_mean, level=level)),
        _with_shuffles(difference(of_single, annotated, level=level)),
    )


def _spread(shuffled: Measured, error: float) -> Measured:
    """With the error of the shuffles as that of the last unit."""
    return replace(shuffled, influence=np.append(shuffled.influence[:-1], error))


def _with_shuffles(made: Estimate) -> Estimate:
    return replace(made, method=f"{made.method}, with the spread of the shuffles")


@dataclass(frozen=True)
class Agreements:
    """One measure of agreement, overall."""

    annotated: Estimate
    shuffled: Estimate
    excess: Estimate
    """How much more the annotated eraser changes: shuffled minus annotated agreement."""


@dataclass(frozen=True)
class Measures:
    """Everything measured of one target."""

    erased: ErasedTarget
    values: dict[str, Estimate]
    """By quantity: "head_auc", "erased_auc", "erased_auc_drop", ..."""
    top1: Agreements
    top5: Agreements
    reference: Agreements | None
    """Of the most probable class of the reference images."""
    reference_top5: Agreements | None


def measures_of(erased: ErasedTarget, clusters: IntArray, *, level: float) -> Measures:
    """Measure one erased target, on its images and, where there are some, the reference images.

    Args:
        erased: The target.
        clusters: Of all of the subject's images.
        level: Coverage of intervals.
    """
    part, folds = erased.part, erased.folds
    n_folds = int(folds.max()) + 1
    sampling = Sampling.of(clusters, part.images, n_folds, level)
    scores = (erased.before, erased.erased)
    aucs = [_auc(p, part.codes, folds, sampling.clusters) for p in scores]
    accuracies = [_balanced(p, part.codes, sampling.clusters) for p in scores]
    values = {
        **_compared("auc", aucs, sampling),
        **_compared("balanced_accuracy", accuracies, sampling),
        **_refitted(erased, clusters, level),
    }
    return Measures(
        erased,
        values,
        agreements(erased.kept, sampling),
        agreements(erased.overlap, sampling),
        _of_reference(erased.reference_kept, level),
        _of_reference(erased.reference_overlap, level),
    )


def _refitted(erased: ErasedTarget, clusters: IntArray, level: float) -> dict[str, Estimate]:
    """Of the probes within held-out folds, each of which has scored one fold in one fold."""
    if erased.new_before is None or erased.new_erased is None or erased.new_folds is None:
        return {}
    part, n_new = erased.part, int(erased.new_folds.max()) + 1
    probes = erased.folds * n_new + erased.new_folds
    scores = (erased.new_before, erased.new_erased)
    sampling = Sampling.of(clusters, part.images, n_new, level)
    found = _compared(
        "auc", [_auc(p, part.codes, probes, sampling.clusters) for p in scores], sampling
    )
    return {f"refitted_{name}": value for name, value in found.items()}


def _auc(
    probabilities: FloatArray, codes: IntArray, probes: IntArray, clusters: IntArray
) -> Statistic | None:
    """Macro AUC of the images that one probe has scored."""
    # Differences below single precision are rounding.
    return influence.macro_auc(probabilities.astype(np.float32), codes, probes, clusters)


def _balanced(probabilities: FloatArray, codes: IntArray, clusters: IntArray) -> Statistic | None:
    predicted = np.asarray(probabilities.argmax(axis=1), dtype=np.int64)
    return influence.balanced_accuracy(predicted, codes, probabilities.shape[1], clusters)


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


def _of_reference(
    agreement: npt.NDArray[np.bool_ | np.floating] | None, level: float
) -> Agreements | None:
    if agreement is None:
        return None
    alone = np.arange(agreement.shape[1])
    return agreements(agreement, Sampling.of(alone, alone, None, level))
