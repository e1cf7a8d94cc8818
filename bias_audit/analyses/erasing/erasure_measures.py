"""What erasing a target changed: numbers with intervals, compared image by image."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from bias_audit.analyses.erasing.erasure import ErasedTarget
from bias_audit.analyses.probing.separability import Units, measured
from bias_audit.arrays import FloatArray, IntArray
from bias_audit.statistics import influence
from bias_audit.statistics.estimate import Estimate
from bias_audit.statistics.inference import Measured, difference, estimate, widening
from bias_audit.statistics.influence import Statistic


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
