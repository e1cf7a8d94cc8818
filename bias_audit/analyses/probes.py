"""Linear probes: scores for every image from a probe that never saw it.

L2-regularised multinomial logistic regression on standardised unit activations, as in Alain &
Bengio 2016 (arXiv:1610.01644), against the same procedure on shuffled labels (Hewitt & Liang
2019, arXiv:1909.03368).
"""

from __future__ import annotations

import os
import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import Field
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from bias_audit.analyses.analysis import Subject
from bias_audit.analyses.targets import Measurable, Target, measurable
from bias_audit.config.schema import Strict
from bias_audit.data.faces import FaceTable
from bias_audit.data.sampling import stratified_folds
from bias_audit.errors import AnalysisError
from bias_audit.files import digest
from bias_audit.groups import IntArray

_TOLERANCE = 1e-3
"""The AUC agrees with that of a fully converged fit to about 0.001, at half the time."""
_MAX_ITERATIONS = 1000
_VERSION = "1"
"""Part of the cache key: change it with the procedure."""

ProbabilityArray = npt.NDArray[np.float32]


class ProbeSettings(Strict):
    """How probes are fitted; analyses with the same settings share their probes."""

    folds: int = Field(default=5, ge=2, le=50, description="Parts of the cross-validation.")
    regularisation: float = Field(
        default=0.01,
        gt=0,
        description="C of the logistic regression: smaller is more regularised.",
    )

    @property
    def probes(self) -> ProbeSettings:
        """These settings alone, without those of the analysis that extends them."""
        return ProbeSettings(folds=self.folds, regularisation=self.regularisation)


def too_few_images(settings: ProbeSettings, faces: FaceTable) -> tuple[str, ...]:
    """A message if no attribute has two levels with an image for every fold."""
    if len(faces) < settings.folds:
        return (
            f"folds: expected at most as many folds as images, got {settings.folds} folds and "
            f"{len(faces)} images; add images or lower the number of folds",
        )
    enough = [np.count_nonzero(np.bincount(codes) >= settings.folds) for codes in faces.codes.T]
    if max(enough) >= 2:  # noqa: PLR2004
        return ()
    names = ", ".join(attribute.name for attribute in faces.attributes)
    return (
        f"folds: expected an attribute with two levels of at least {settings.folds} images each, "
        f"as many as folds, got none among {names}, so there is nothing to tell apart; add "
        "images or lower the number of folds",
    )


@dataclass(frozen=True)
class ProbeSpec:
    """One probe: what is told apart, where, and how."""

    target: Target
    layer: str
    settings: ProbeSettings
    shuffled: bool = False
    """Whether labels are shuffled among the images: the control."""


@dataclass(frozen=True)
class Scores:
    """Out-of-fold probabilities of one probe; rows of `codes` and `probabilities` correspond."""

    part: Measurable
    """The images and levels that could be measured."""
    codes: IntArray
    """The labels the probe was to predict: annotated ones, or the shuffled, shape (n,)."""
    probabilities: ProbabilityArray
    """Of each kept level, shape (n, n_levels)."""
    not_converged: int
    """Folds whose fit stopped before it converged."""

    @property
    def predicted(self) -> IntArray:
        """The most probable level per image, as an index into the kept levels."""
        return np.asarray(self.probabilities.argmax(axis=1), dtype=np.int64)


def part_of(subject: Subject, target: Target, settings: ProbeSettings) -> Measurable:
    """The levels and images of a target that a probe can be asked about."""
    return measurable(target, subject.faces.clusters, settings.folds)


def out_of_fold_scores(subject: Subject, spec: ProbeSpec) -> Scores:
    """Predict every image by a probe fitted without its fold; kept in the subject's cache.

    All layers of a target, and its control, share their folds. The control shuffles labels within
    folds, so that its folds stay as balanced as the original ones.

    Raises:
        AnalysisError: The target is not measurable, or the activations are not finite.
    """
    part = part_of(subject, spec.target, spec.settings)
    if part.not_measured is not None:
        raise AnalysisError(part.not_measured)
    clusters = subject.faces.clusters[part.images]
    key = _cache_key(subject, spec, part, clusters)
    stored = subject.cache.get(key)
    if stored is None:
        stored = _fit(subject, spec, part, clusters)
        subject.cache.put(key, stored)
    return Scores(
        part, stored["codes"], stored["probabilities"], int(stored["not_converged"].item())
    )


def is_scored(subject: Subject, spec: ProbeSpec) -> bool:
    """Whether the scores of a probe are in the subject's cache already."""
    part = part_of(subject, spec.target, spec.settings)
    key = _cache_key(subject, spec, part, subject.faces.clusters[part.images])
    return subject.cache.get(key) is not None


def _cache_key(subject: Subject, spec: ProbeSpec, part: Measurable, clusters: IntArray) -> str:
    labels = np.stack([part.images, part.codes, clusters]).astype(np.int64)
    return "probe-" + digest(
        _VERSION,
        subject.activations.fingerprint,
        str(subject.seed),
        spec.target.name,
        spec.layer,
        spec.settings.probes.model_dump_json(),
        str(spec.shuffled),
        labels.tobytes(),
    )


def _fit(
    subject: Subject, spec: ProbeSpec, part: Measurable, clusters: IntArray
) -> dict[str, npt.NDArray[Any]]:
    name, n_folds = spec.target.name, spec.settings.folds
    folds = stratified_folds(part.codes, clusters, n_folds, subject.rng("folds", name))
    codes = part.codes
    if spec.shuffled:
        codes = shuffle_within_folds(codes, folds, clusters, subject.rng("shuffle", name))
    units = np.asarray(subject.activations.units(spec.layer)[part.images], dtype=np.float32)
    if not np.isfinite(units).all():
        raise AnalysisError(
            f"layer {spec.layer}: expected finite activations, got infinite or undefined ones; "
            "check the weights, and that the images are preprocessed as the backbone expects"
        )
    probabilities, not_converged = _cross_predict(
        units, codes, folds, n_levels=len(part.levels), c=spec.settings.regularisation
    )
    return {
        "codes": codes,
        "probabilities": probabilities,
        "not_converged": np.array(not_converged),
    }


def shuffle_within_folds(
    codes: IntArray, folds: IntArray, clusters: IntArray, rng: np.random.Generator
) -> IntArray:
    """Give the labels of each fold to its images in a random order.

    Clusters are laid end to end in one random order and read off in another, so that images of
    one cluster mostly receive labels that came from one cluster; with single images this is a
    plain permutation.

    Returns:
        Labels per image with the same counts in every fold, shape (n_images,).
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


def _cross_predict(
    units: ProbabilityArray, codes: IntArray, folds: IntArray, *, n_levels: int, c: float
) -> tuple[ProbabilityArray, int]:
    """Fit and predict the folds side by side, each on one thread so that results repeat."""
    probabilities = np.zeros((len(codes), n_levels), dtype=np.float32)

    def predict(fold: int) -> None:
        test = folds == fold
        scaler = StandardScaler().fit(units[~test])
        model = LogisticRegression(C=c, tol=_TOLERANCE, max_iter=_MAX_ITERATIONS)
        model.fit(scaler.transform(units[~test]), codes[~test])
        # A level may be missing from the training folds: its probability stays zero.
        probabilities[np.ix_(test, model.classes_)] = model.predict_proba(
            scaler.transform(units[test])
        )

    numbers = np.unique(folds).tolist()
    with (
        threadpool_limits(limits=1),
        warnings.catch_warnings(record=True) as caught,
        ThreadPoolExecutor(max_workers=min(len(numbers), os.cpu_count() or 1)) as pool,
    ):
        warnings.simplefilter("always", ConvergenceWarning)
        list(pool.map(predict, numbers))
    for warning in caught:
        if not issubclass(warning.category, ConvergenceWarning):
            warnings.warn(warning.message, stacklevel=2)
    return probabilities, sum(issubclass(w.category, ConvergenceWarning) for w in caught)
