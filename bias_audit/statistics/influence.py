"""Statistics of out-of-fold predictions, each with what every image contributes to it.

The influence of an image is the derivative of the statistic with respect to the image's weight
(Hampel 1974; for an AUC the structural components of DeLong et al. 1988). Sums of squares of
influences are variances, sums over images of one person respect that these belong together, and
differences of influences compare two statistics of the same images as pairs.

Influences sum to 0, so a cluster that holds the share h of a class takes part in its own
expectation and shows too little spread, by the factor 1 - h: influences are divided by its root
(CR2; Bell & McCaffrey 2002, Survey Methodology 28:169-181). With single images this is the usual
n / (n - 1).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from bias_audit.arrays import FloatArray, IntArray
from bias_audit.statistics.clusters import effective_size

ScoreArray = npt.NDArray[np.floating]

_SPREAD_OF_PAIRS = 2 / 3
"""Largest value of (1 - a) / (2 - a) + a / (1 + a) over AUCs a, reached at one half: how much of
the variance of an AUC is shared by pairs that have an image in common (Hanley & McNeil 1982)."""


_NO_SPREAD = 1e-18
"""Variances below are rounding."""
_FEWEST = 3
_CONSTANT = 1e-7


@dataclass(frozen=True)
class Statistic:
    """A value and the influence of every image on it."""

    value: float
    influence: FloatArray
    """Shape (n_images,)."""
    weight: FloatArray
    """How far each image can move the value, by the sizes of classes alone: influences would be
    these times numbers of equal spread, shape (n_images,)."""
    trials: float = np.inf
    """Of a share: the independent observations it counts as where it shows no spread, as an AUC
    of 1 does; clusters count by their effective number."""
    hidden: float = 0.0
    """Of a mean: variance of parts that show no spread, such as a recall of 0, while others do."""


@dataclass(frozen=True)
class Stratum:
    """The images of one fold."""

    images: IntArray
    """Shape (n,)."""
    beside: FloatArray
    """Images of each one's cluster in the fold, itself included, shape (n,)."""

    def effective_sizes(
        self, is_member: npt.NDArray[np.bool_], clusters: IntArray
    ) -> tuple[float, float]:
        """`effective_size` of the members and of the others; clusters are the members'."""
        n_members = len(clusters)
        own = float((np.unique(clusters, return_counts=True)[1] ** 2).sum())
        # sum (c - m)^2 = sum c^2 - 2 sum c m + sum m^2 over clusters of c images and m members
        rest = float(self.beside.sum()) - 2 * float(self.beside[is_member].sum()) + own
        return n_members**2 / own, (len(self.images) - n_members) ** 2 / rest


def _strata(folds: IntArray, clusters: IntArray) -> list[Stratum]:
    found = []
    for fold in np.unique(folds):
        images = np.flatnonzero(folds == fold)
        _, place, counts = np.unique(clusters[images], return_inverse=True, return_counts=True)
        found.append(Stratum(images, counts[place].astype(np.float64)))
    return found


def auc(
    scores: ScoreArray,
    is_member: npt.NDArray[np.bool_],
    folds: IntArray,
    clusters: IntArray | None = None,
    pictures: IntArray | None = None,
    *,
    strata: Sequence[Stratum] | None = None,
) -> Statistic | None:
    """Share of pairs of a member and another image of the same fold that are ranked rightly.

    Scores of different folds come from different probes, so only images of one fold are compared:
    an AUC over all pairs falls below one half on null data, because a fold with more members was
    predicted by a probe that had seen fewer.

    Scores, larger for a member, whether an image is one, folds and clusters (default: each image
    its own) are by image, (n_images,); ties count one half. None where no fold has both members
    and others.

    Where images have several rows, for several answers, `pictures` are their numbers, (n_images,):
    a row that is none of a member is no other image where another row of its image is one.
    `strata` are those of the folds and clusters, where these are known.
    """
    n = len(scores)
    if pictures is not None:  # in a fold of their own these rows are compared with nothing
        folds = np.where(~is_member & np.isin(pictures, pictures[is_member]), -1, folds)
    clusters = np.arange(n) if clusters is None else clusters
    strata = _strata(folds, clusters) if strata is None else strata
    wins, pairs = np.zeros(n), np.zeros(n)
    compared, sizes = [], []
    for stratum in strata:
        here = is_member[stratum.images]
        members, others = stratum.images[here], stratum.images[~here]
        if not len(members) or not len(others):
            continue
        wins[members] = _below(scores[members], scores[others])
        pairs[members] = len(others)
        wins[others] = len(members) - _below(scores[others], scores[members])
        pairs[others] = len(members)
        m, k = stratum.effective_sizes(here, clusters[members])
        sizes.append((stratum.images, m, k))
        # variance of an AUC over a (1 - a), at its largest (Newcombe 2006, method 5, Statistics in
        # Medicine 25:559-573)
        variance = (1 + ((m + k) / 2 - 1) * _SPREAD_OF_PAIRS) / (m * k)
        compared.append((len(members) * len(others), variance))
    total = sum(count for count, _ in compared)
    if not total:
        return None
    # A = W / P, pairs won of all pairs; image i is in p_i of these and wins w_i:
    # dA = (dW - A dP) / P, so psi_i = (w_i - A p_i) / P
    value = float(wins[is_member].sum() / total)
    influence, weight = (wins - value * pairs) / total, np.zeros(n)
    for images, m, k in sizes:
        influence[images] *= _counted_once(value, m, k)
    for side in (is_member, ~is_member):
        used = side & (pairs > 0)
        influence[used] *= _leverage(clusters[used])
        weight[used] = 1 / used.sum()
    variance = sum((count / total) ** 2 * each for count, each in compared)
    return Statistic(value, influence, weight, 1 / variance)


def _counted_once(value: float, members: float, others: float) -> float:
    """Factor on the influences of a fold that takes out what they count twice.

    The variance of an AUC over m members and n others is s10 / m + s01 / n + s11 / (m n)
    (Hoeffding 1948), but the placements of both sides hold the chance of single pairs: their
    squares sum to more by (s10 + s01 + s11) / (m n) = a (1 - a) / (m n). That is much where a fold
    holds few of either. Components by the model of Hanley & McNeil 1982 (Radiology 143:29-36).
    """
    a = float(np.clip(value, 0.01, 0.99))
    of_members, of_others = a / (2 - a) - a**2, 2 * a**2 / (1 + a) - a**2
    every = a * (1 - a)
    both = every - of_members - of_others
    right = of_members * others + of_others * members + both
    return float(np.sqrt(right / (right + every)))


def macro_auc(
    scores: ScoreArray,
    codes: IntArray,
    folds: IntArray,
    clusters: IntArray | None = None,
    pictures: IntArray | None = None,
) -> Statistic | None:
    """Mean over classes of the AUC of that class against all others.

    Scores have one column per class, (n_images, n_classes); codes, folds, clusters (default: each
    image its own) and pictures (see `auc`) are by image, (n_images,).
    """
    if scores.shape[1] == 2:  # noqa: PLR2004  two classes mirror each other, if none is in both
        scores = scores - scores[:, ::-1]
        if pictures is None:
            return auc(scores[:, 1], codes == 1, folds, clusters)
    strata = None
    if pictures is None:
        strata = _strata(folds, np.arange(len(codes)) if clusters is None else clusters)
    parts = [
        auc(column, codes == label, folds, clusters, pictures, strata=strata)
        for label, column in enumerate(np.ascontiguousarray(scores.T))
    ]
    found, known = mean(parts), [1 / part.trials for part in parts if part is not None]
    if found is None:
        return None
    # members of classes are different images, the others they are compared with are shared
    everything = np.arange(len(codes)) if clusters is None else clusters
    variance = sum(known) / len(known) ** 2 + 1 / effective_size(everything)
    return replace(found, trials=max(found.trials, 1 / variance))


def class_recall(
    predicted: IntArray, codes: IntArray, label: int, clusters: IntArray | None = None
) -> Statistic | None:
    """Share of the images of a class that are predicted as that class; None without images."""
    members = codes == label
    if not members.any():
        return None
    found = average(predicted[members] == label, None if clusters is None else clusters[members])
    influence, weight = np.zeros(len(codes)), np.zeros(len(codes))
    influence[members], weight[members] = found.influence, found.weight
    return Statistic(found.value, influence, weight, found.trials)


def balanced_accuracy(
    predicted: IntArray, codes: IntArray, n_classes: int, clusters: IntArray | None = None
) -> Statistic | None:
    """Recall averaged over the classes that have images; None where none has."""
    recalls = [class_recall(predicted, codes, label, clusters) for label in range(n_classes)]
    known = [1 / recall.trials for recall in recalls if recall is not None]
    found = mean(recalls)
    # classes are of different images, so variances of their recalls add up
    return found and replace(found, trials=len(known) ** 2 / sum(known))


def class_f1(
    predicted: IntArray, codes: IntArray, label: int, clusters: IntArray | None = None
) -> Statistic | None:
    """Harmonic mean of a class' precision and recall: 2 hits / (predicted + annotated).

    Predicted and annotated classes, and clusters (default: each image its own), are by image,
    (n_images,). None where no image is annotated as the class.
    """
    members = codes == label
    if not members.any():
        return None
    named = predicted == label
    hits = members & named
    total = int(members.sum()) + int(named.sum())
    value = 2 * float(hits.sum()) / total
    # F = 2 H / (M + N) of hits, members and named: psi_i = (2 h_i - F (m_i + n_i)) / (M + N)
    involved = members.astype(np.float64) + named
    influence = (2.0 * hits - value * involved) / total
    clusters = np.arange(len(codes)) if clusters is None else clusters
    trials = effective_size(clusters[members])
    return Statistic(value, influence * _leverage(clusters), members / members.sum(), trials)


def average(
    values: npt.NDArray[np.bool_ | np.floating], clusters: IntArray | None = None
) -> Statistic:
    """Mean of a number in [0, 1] per image, such as whether an image has some property.

    Values and clusters (default: each image its own) are by image, (n_images,), of at least one
    image.
    """
    numbers = np.asarray(values, dtype=np.float64)
    n, value = len(numbers), float(numbers.mean())
    clusters = np.arange(n) if clusters is None else clusters
    influence = (numbers - value) / n * _leverage(clusters)
    # only numbers that are 0 or 1 vary as counts do
    is_count = bool(np.isin(numbers, (0, 1)).all())
    trials = effective_size(clusters) if is_count else np.inf
    return Statistic(value, influence, np.full(n, 1 / n), trials)


def bits(
    probabilities: ScoreArray, codes: IntArray, folds: IntArray, clusters: IntArray | None = None
) -> Statistic | None:
    """Information about the class, in bits per image, beyond the base rates.

    Cross-entropy of predicting the classes' shares in the training folds, minus that of the
    probabilities; negative where these do worse than the base rates. Probabilities have shape
    (n_images, n_classes); codes, folds and clusters (default: each image its own) are by image,
    (n_images,).
    """
    n = len(codes)
    if n < 2:  # noqa: PLR2004
        return None
    own = probabilities[np.arange(n), codes].astype(np.float64)
    base = np.empty(n)
    for fold in np.unique(folds):
        outside, inside = folds != fold, folds == fold
        shares = np.bincount(codes[outside], minlength=probabilities.shape[1]) / outside.sum()
        base[inside] = shares[codes[inside]]
    smallest = np.finfo(np.float32).tiny
    gains = np.log2(np.maximum(own, smallest)) - np.log2(np.maximum(base, smallest))
    return replace(average(gains, clusters), trials=np.inf)


def mean(parts: Sequence[Statistic | None]) -> Statistic | None:
    """Unweighted mean of the statistics that have a value; None where none has.

    Where it shows no spread it counts as if its parts varied as one: AUCs of several classes are
    about the same images. A part without spread among others with some varies as its own count of
    observations says, with half a success and half a failure added.
    """
    known = [part for part in parts if part is not None]
    if not known:
        return None
    spread = [bool((part.influence**2).sum() > _NO_SPREAD) for part in known]
    hidden = 0.0
    for part, has in zip(known, spread, strict=True):
        if any(spread) and not has and np.isfinite(part.trials):
            share = (part.value * part.trials + 0.5) / (part.trials + 1)
            hidden += share * (1 - share) / part.trials / len(known) ** 2
    return Statistic(
        float(np.mean([part.value for part in known])),
        np.asarray(np.mean([part.influence for part in known], axis=0)),
        np.asarray(np.mean([part.weight for part in known], axis=0)),
        1 / float(np.mean([1 / part.trials for part in known])),
        hidden,
    )


def _below(scores: ScoreArray, others: ScoreArray) -> FloatArray:
    """For each score how many of the others lie below it, ties counted one half."""
    ordered = np.sort(others)
    left = np.searchsorted(ordered, scores, side="left")
    return np.asarray((left + np.searchsorted(ordered, scores, side="right")) / 2, np.float64)


def _leverage(clusters: IntArray) -> FloatArray:
    """1 / sqrt(1 - h) for each image, h the share of its cluster; 1 where there is only one."""
    rest = 1 - np.bincount(clusters)[clusters] / len(clusters)
    return np.asarray(1 / np.sqrt(np.where(rest > 0, rest, 1.0)))


def pearson(one: FloatArray, other: FloatArray) -> Statistic | None:
    """Pearson's correlation; influences after Devlin, Gnanadesikan & Kettenring 1975.

    Source of the influences: Biometrika 62:531-545.

    Both have shape (n_images,). None for fewer than three images, or where either is constant up
    to rounding.
    """
    n = len(one)
    still = (values.std() <= _CONSTANT * np.abs(values).max() for values in (one, other))
    if n < _FEWEST or any(still):
        return None
    x, y = ((values - values.mean()) / values.std() for values in (one, other))
    value = float(np.clip((x * y).mean(), -1, 1))
    # psi = x y - r (x^2 + y^2) / 2 of standardised values
    influence = (x * y - value * (x**2 + y**2) / 2) / n * np.sqrt(n / (n - 1))
    return Statistic(value, np.asarray(influence, np.float64), np.full(n, 1 / n))
