"""A target's probes as one linear map of a layer's activations, all folds side by side."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt

from bias_audit.analyses.analysis import Arrays, Subject
from bias_audit.analyses.attributing.decision import LinearMap
from bias_audit.analyses.probing.cross_fitting import fold_fits
from bias_audit.analyses.probing.logistic import Axes, principal_axes
from bias_audit.analyses.probing.probes import ProbeSpec, Scores, out_of_fold_scores
from bias_audit.arrays import FloatArray, IntArray

_RANK = 1e-6
"""As `principal_axes` has it: units with less spread, relative to their size, are constant."""


@dataclass(frozen=True)
class ProbeMap:
    """The probes of one target at one layer."""

    scores: Scores
    """Out-of-fold probabilities, and the fold of each image."""
    linear: LinearMap
    """Score `fold * n_levels + level`: of a level, by the probe that did not see the fold."""
    n_levels: int

    def outputs(self, levels: IntArray) -> IntArray:
        """Which score is that of a level for each image of the probe, by its own fold's probe.

        Args:
            levels: Index into the kept levels, per image of `scores`, shape (n,).
        """
        return self.scores.folds * self.n_levels + levels


def probe_map(subject: Subject, spec: ProbeSpec) -> ProbeMap:
    """Fit the probes of a target again and write them as a map of the activations as stored.

    Raises:
        AnalysisError: The target is not measurable, or the activations are not finite.
    """
    scores = out_of_fold_scores(subject, spec)
    units = np.asarray(subject.activations.units(spec.layer)[scores.part.images], np.float32)
    n_levels = len(scores.part.levels)
    stored = subject.cached(
        "probe map",
        subject.activations,
        spec.layer,
        spec.settings.probes.model_dump_json(),
        np.stack([scores.part.images, scores.codes, scores.folds]),
        compute=partial(_fitted, units, scores, n_levels, spec.settings.strengths),
    ).arrays()
    return ProbeMap(scores, LinearMap(stored["weight"], stored["bias"]), n_levels)


def _fitted(
    units: npt.NDArray[np.float32], scores: Scores, n_levels: int, strengths: tuple[float, ...]
) -> Arrays:
    axes = principal_axes(units)
    fits = fold_fits(axes, scores.codes, scores.folds, n_classes=n_levels, strengths=strengths)
    to_axes, offset = _onto(units, axes)
    by_axis = fits.weights.double().permute(0, 2, 1).reshape(-1, len(axes.spread)).numpy()
    weight = by_axis @ to_axes
    bias = fits.intercepts.double().reshape(-1).numpy() - by_axis @ offset
    return {"weight": weight.astype(np.float32), "bias": bias.astype(np.float32)}


def _onto(units: npt.NDArray[np.float32], axes: Axes) -> tuple[FloatArray, FloatArray]:
    """The rotation of `principal_axes`: axes are `units @ to_axes.T - offset`.

    Axes are X V for standardised units X with X'X V = V diag(spread), so V = X' axes / spread.
    """
    mean, deviation = units.mean(axis=0), units.std(axis=0)
    kept = deviation > np.abs(units - mean).max(axis=0) * _RANK
    scale = np.where(kept, 1 / np.where(kept, deviation, 1), 0).astype(np.float64)
    if not kept.any():
        return np.zeros((len(axes.spread), units.shape[1])), np.zeros(len(axes.spread))
    standardised = (units.astype(np.float64) - mean) * scale
    rotation = standardised.T @ axes.images.double().numpy() / axes.spread.double().numpy()
    to_axes = (rotation * scale[:, None]).T
    return to_axes, to_axes @ mean.astype(np.float64)
