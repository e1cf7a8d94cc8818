"""Erasing a target from what the head receives, always from images the eraser never saw."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import Field
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from bias_audit.analyses.analysis import Head, Subject
from bias_audit.analyses.leace import Eraser, fitted, whitened
from bias_audit.analyses.targets import Measurable, Target
from bias_audit.config.schema import Strict
from bias_audit.data.sampling import stratified_folds
from bias_audit.errors import AnalysisError
from bias_audit.files import digest
from bias_audit.groups import IntArray
from bias_audit.progress import Step

_VERSION = "1"
"""Part of the cache key: change it with the procedure."""
_TOLERANCE = 1e-3
_MAX_ITERATIONS = 1000
_TOP = 5

FloatArray = npt.NDArray[np.float64]
Inputs = npt.NDArray[np.floating[Any]]


class ErasureSettings(Strict):
    """How a target is erased and looked for."""

    folds: int = Field(default=5, ge=2, le=50, description="Parts of the cross-fitting.")
    regularisation: float = Field(
        default=0.01,
        gt=0,
        description="C of the logistic regression that looks for the target before and after.",
    )
    shuffles: int = Field(
        default=20, ge=2, le=1000, description="Erasers of shuffled labels to compare with."
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
    before: FloatArray
    """Out-of-fold probabilities of a probe on the inputs as they are, (n, n_levels)."""
    erased: FloatArray
    """The same with both training and held-out images erased, (n, n_levels)."""
    new_before: FloatArray | None
    """Of probes that are fitted to and asked about held-out images only; None where too few."""
    new_erased: FloatArray | None
    """The same, held-out images erased: none of them was seen by the eraser."""
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
    settings: ErasureSettings,
    step: Step,
) -> ErasedTarget:
    """Erase one measurable target from the inputs of the head; kept in the subject's cache.

    Raises:
        AnalysisError: What the head receives is not finite.
    """
    clusters = subject.faces.clusters[part.images]
    key = _key(subject, head, target.name, settings, np.stack([part.images, part.codes, clusters]))
    stored = subject.cache.get(key)
    if stored is None:
        work = _Work(subject, head, target.name, part, settings)
        stored = work.done(step)
        subject.cache.put(key, stored)
    else:
        step.advance(settings.folds)
    return ErasedTarget(
        target,
        part,
        stored["before"],
        stored["erased"],
        stored.get("new_before"),
        stored.get("new_erased"),
        stored["kept"],
        stored["overlap"],
        stored.get("reference_kept"),
        stored.get("reference_overlap"),
        stored["variance"],
        int(stored["rank"].item()),
        int(stored["not_converged"].item()),
    )


def _key(
    subject: Subject, head: Head, name: str, settings: ErasureSettings, labels: IntArray
) -> str:
    arrays = (head.weight, head.bias, head.inputs, head.reference)
    return "erasure-" + digest(
        _VERSION,
        subject.activations.fingerprint,
        str(subject.seed),
        name,
        settings.erasing.model_dump_json(),
        labels.tobytes(),
        *(b"" if array is None else np.ascontiguousarray(array).tobytes() for array in arrays),
    )


class _Work:
    """The folds of one target."""

    def __init__(
        self, subject: Subject, head: Head, name: str, part: Measurable, settings: ErasureSettings
    ) -> None:
        self.subject, self.head, self.name = subject, head, name
        self.part, self.settings = part, settings
        self.inputs = np.asarray(head.inputs[part.images])
        if not np.isfinite(self.inputs).all():
            raise AnalysisError(
                f"inputs of {head.name}: expected finite numbers, got infinite or undefined ones; "
                "check the weights, and that images are preprocessed as the backbone expects"
            )
        self.clusters = subject.faces.clusters[part.images]
        self.folds = stratified_folds(
            part.codes, self.clusters, settings.folds, subject.rng("folds", name)
        )
        rng = subject.rng("shuffled erasure", name)
        self.labels = [part.codes, *(self._shuffled(rng) for _ in range(settings.shuffles))]
        self.decided = decisions(head, self.inputs)
        self.not_converged = 0
        n, n_levels = len(part.codes), len(part.levels)
        self.out = {
            name: np.zeros((n, n_levels))
            for name in ("before", "erased", "new_before", "new_erased")
        }
        self.kept = np.zeros((1 + settings.shuffles, n), dtype=bool)
        self.overlap = np.zeros((1 + settings.shuffles, n))

    def done(self, step: Step) -> dict[str, npt.NDArray[Any]]:
        """Everything to keep, as arrays."""
        n_new = self._new_folds()
        variances, ranks = [], []
        for fold in range(self.settings.folds):
            held = self.folds == fold
            erasers = self._erasers(~held)
            self._probe(held, erasers[0], n_new)
            for number, eraser in enumerate(erasers):
                after = decisions(self.head, eraser(self.inputs[held]))
                agreed = agreement(self.decided[held], after)
                self.kept[number, held], self.overlap[number, held] = agreed
            variances.append([eraser.variance for eraser in erasers])
            ranks.append(erasers[0].rank)
            step.advance()
        scores = {k: v for k, v in self.out.items() if n_new or not k.startswith("new_")}
        return {
            **scores,
            **self._reference(),
            "kept": self.kept,
            "overlap": self.overlap,
            "variance": np.mean(variances, axis=0),
            "rank": np.array(max(ranks)),
            "not_converged": np.array(self.not_converged),
        }

    def _erasers(self, chosen: npt.NDArray[np.bool_]) -> list[Eraser]:
        """Fitted to the chosen images: to their labels, then to each shuffle of all labels."""
        whitening = whitened(self.inputs[chosen])
        return [fitted(whitening, labels[chosen], len(self.part.levels)) for labels in self.labels]

    def _shuffled(self, rng: np.random.Generator) -> IntArray:
        """Labels in a random order within each fold.

        One shuffle serves all folds, so that its erasers agree over folds as much as those of
        annotated labels that mean nothing would.
        """
        codes = self.part.codes.copy()
        for fold in range(self.settings.folds):
            codes[self.folds == fold] = rng.permutation(codes[self.folds == fold])
        return codes

    def _new_folds(self) -> int:
        """Folds within each held-out fold; 0 where a level has too few images for two."""
        fewest = min(
            len(np.unique(self.clusters[(self.folds == fold) & (self.part.codes == level)]))
            for fold in range(self.settings.folds)
            for level in range(len(self.part.levels))
        )
        return min(self.settings.folds, fewest) if fewest > 1 else 0

    def _probe(self, held: npt.NDArray[np.bool_], eraser: Eraser, n_new: int) -> None:
        erased = eraser(self.inputs)
        for name, values in (("before", self.inputs), ("erased", erased)):
            self.out[name][held] = self._predicted(values, ~held, held)
        if n_new == 0:
            return
        places = np.flatnonzero(held)
        rng = self.subject.rng("new folds", self.name, str(int(self.folds[places[0]])))
        inner = stratified_folds(self.part.codes[held], self.clusters[held], n_new, rng)
        for number in range(n_new):
            train, test = places[inner != number], places[inner == number]
            for name, values in (("new_before", self.inputs), ("new_erased", erased)):
                self.out[name][test] = self._predicted(values, train, test)

    def _predicted(
        self, values: Inputs, train: npt.NDArray[Any], test: npt.NDArray[Any]
    ) -> FloatArray:
        """Probabilities of the test images by a probe fitted to the training images.

        Units are standardised as they were before erasure, so that rounding errors in a unit that
        was erased altogether are not blown up.
        """
        mean = self.inputs[train].mean(axis=0)
        spread = self.inputs[train].std(axis=0)
        spread[spread == 0] = 1
        model = LogisticRegression(
            C=self.settings.regularisation, tol=_TOLERANCE, max_iter=_MAX_ITERATIONS
        )
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            model.fit((values[train] - mean) / spread, self.part.codes[train])
        for warning in caught:
            if issubclass(warning.category, ConvergenceWarning):
                self.not_converged += 1
            else:
                warnings.warn(warning.message, stacklevel=2)
        probabilities = np.zeros((len(values[test]), len(self.part.levels)))
        probabilities[:, model.classes_] = model.predict_proba((values[test] - mean) / spread)
        return probabilities

    def _reference(self) -> dict[str, npt.NDArray[Any]]:
        reference = self.head.reference
        if reference is None:
            return {}
        decided = decisions(self.head, reference)
        erasers = self._erasers(np.ones(len(self.inputs), dtype=bool))
        agreed = [agreement(decided, decisions(self.head, e(reference))) for e in erasers]
        return {
            "reference_kept": np.array([kept for kept, _ in agreed]),
            "reference_overlap": np.array([overlap for _, overlap in agreed]),
        }


def decisions(head: Head, inputs: Inputs) -> IntArray:
    """The five most probable classes, or all where there are fewer, best first, (n, 5)."""
    logits = np.asarray(inputs, dtype=np.float64) @ head.weight.T.astype(np.float64) + head.bias
    top = min(_TOP, logits.shape[1])
    return np.asarray(np.argsort(-logits, axis=1, kind="stable")[:, :top], dtype=np.int64)


def agreement(one: IntArray, other: IntArray) -> tuple[npt.NDArray[np.bool_], FloatArray]:
    """Whether the first class is the same, and the share of classes in both rows, each (n,)."""
    shared = (one[:, :, None] == other[:, None, :]).any(axis=2).mean(axis=1)
    return one[:, 0] == other[:, 0], np.asarray(shared, dtype=np.float64)
