"""How well a probe tells its levels apart, and where it does best."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bias_audit.analyses.analysis import Subject
from bias_audit.analyses.probes import (
    ProbeSettings,
    ProbeSpec,
    Scores,
    is_scored,
    out_of_fold_scores,
    part_of,
)
from bias_audit.analyses.targets import Target, finest_target, targets_of
from bias_audit.config.catalog import unknown_name
from bias_audit.errors import AnalysisError
from bias_audit.groups import IntArray
from bias_audit.progress import Silent
from bias_audit.statistics import auc_interval, proportions
from bias_audit.statistics.auc import macro_auc, weighted_macro_auc
from bias_audit.statistics.balanced_accuracy import (
    balanced_accuracy,
    weighted_balanced_accuracy,
)
from bias_audit.statistics.bootstrap import (
    Weights,
    bootstrap_method,
    overlap_factor,
    percentile_interval,
)
from bias_audit.statistics.estimate import Estimate

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Metric:
    """A measure of separability, over all images and over bootstrap draws."""

    name: str
    """For an axis."""
    short: str
    """For a sentence."""
    value: Callable[[Scores], float | None]
    draws: Callable[[Scores, Weights], FloatArray]
    """Of each draw, NaN where it has none; weights are of the scored images."""
    without_spread: Callable[[float, int, int, float], tuple[float, float]]
    """The interval where the bootstrap has no spread: of value, smallest class, others, level."""
    without_spread_method: str
    chance: Callable[[int], float]
    """What guessing gives, by the number of levels."""


AUC = Metric(
    name="macro one-vs-rest AUC",
    short="macro AUC",
    value=lambda scores: macro_auc(scores.probabilities, scores.codes),
    draws=lambda scores, weights: weighted_macro_auc(scores.probabilities, scores.codes, weights),
    without_spread=lambda value, m, n, level: auc_interval.auc_score_interval(
        value, m, n, level=level
    ),
    without_spread_method=auc_interval.METHOD,
    chance=lambda n_levels: 0.5,  # noqa: ARG005
)
BALANCED_ACCURACY = Metric(
    name="balanced accuracy",
    short="balanced accuracy",
    value=lambda scores: balanced_accuracy(
        scores.predicted, scores.codes, len(scores.part.levels)
    ),
    draws=lambda scores, weights: weighted_balanced_accuracy(
        scores.predicted, scores.codes, len(scores.part.levels), weights
    ),
    without_spread=lambda value, m, n, level: proportions.wilson_interval(  # noqa: ARG005
        value, m, level=level
    ),
    without_spread_method=f"{proportions.METHOD}, smallest class",
    chance=lambda n_levels: 1 / n_levels,
)


@dataclass(frozen=True)
class Measured:
    """One metric of one probe, with the draws it shares with all others."""

    estimate: Estimate
    draws: FloatArray
    """Shape (n_draws,), spread for the overlap of the training folds."""
    degenerate: bool
    """Whether the bootstrap had no spread, so that the interval is a score interval."""


def measure(
    metric: Metric,
    scores: Scores,
    *,
    weights: Weights,
    clusters: IntArray,
    n_folds: int,
    level: float,
) -> Measured | None:
    """Estimate a metric of one probe; None where it has no value.

    Args:
        metric: What to measure.
        scores: Of the probe.
        weights: Bootstrap weights of all the subject's images, shape (n_draws, n_images).
        clusters: Cluster of all the subject's images, shape (n_images,).
        n_folds: Of the cross-validation, whose training folds overlap.
        level: Coverage of the interval.
    """
    value = metric.value(scores)
    if value is None:
        return None
    images = scores.part.images
    draws = metric.draws(scores, weights[:, images])
    draws = value + overlap_factor(n_folds) * (draws - value)
    n_clusters = len(np.unique(clusters[images]))
    interval = percentile_interval(draws, level=level) if 0 < value < 1 else None
    degenerate = interval is None
    if interval is None:
        sizes = [len(np.unique(clusters[images][scores.codes == c])) for c in set(scores.codes)]
        m = min(sizes)
        interval = metric.without_spread(value, m, max(1, n_clusters - m), level)
        method = metric.without_spread_method
    else:
        unit = "images" if n_clusters == len(images) else "clusters of images"
        method = f"{bootstrap_method(unit, len(draws))}, widened for overlapping folds"
    lower, upper = max(0.0, min(interval[0], value)), min(1.0, max(interval[1], value))
    estimate = Estimate(value, lower, upper, level=level, n=n_clusters, method=method)
    return Measured(estimate, draws, degenerate)


def check_layers(subject: Subject, layers: Iterable[str]) -> tuple[str, ...]:
    """The layers, if the subject has all of them.

    Raises:
        AnalysisError: One is not among the layers of the activations.
    """
    layers = tuple(layers)
    for message in unknown_layers(layers, subject.activations.layers):
        raise AnalysisError(message)
    return layers


def unknown_layers(layers: Iterable[str] | None, known: Iterable[str] | None) -> tuple[str, ...]:
    """A message for every layer that is not among the known ones; nothing while none is known."""
    if layers is None or known is None:
        return ()
    known = tuple(known)
    return tuple(unknown_name(name, known, noun="layer") for name in layers if name not in known)


def probed_layers(
    subject: Subject, target: Target, settings: ProbeSettings
) -> tuple[tuple[str, float], ...]:
    """Every layer with the macro AUC of a target there; empty where it cannot be measured."""
    if part_of(subject, target, settings).not_measured is not None:
        return ()
    result = []
    title = f"Probes of {target.name} on {subject.name}"
    specs = [ProbeSpec(target, layer, settings) for layer in subject.activations.layers]
    kept = all(is_scored(subject, spec) for spec in specs)
    progress = Silent() if kept else subject.progress
    with progress.step(title, total=len(specs), unit="probe") as step:
        for spec in specs:
            layer, scores = spec.layer, out_of_fold_scores(subject, spec)
            value = AUC.value(scores)
            if value is not None:
                result.append((layer, value))
            step.advance()
    return tuple(result)


def most_separable_layer(subject: Subject, settings: ProbeSettings) -> tuple[str, str]:
    """The layer at which groups are easiest to tell apart, and a sentence that says how.

    It has the highest macro AUC of the intersections or, where these cannot be measured, the
    highest mean over the measured attributes; the first of equals.

    Raises:
        AnalysisError: No target can be measured.
    """
    finest = finest_target(subject.faces.table)
    curves = [probed_layers(subject, finest, settings)]
    said = f"highest macro AUC of {finest.described} among the layers audited"
    if not curves[0]:
        attributes = targets_of(
            subject.faces.table, [a.name for a in subject.faces.table.attributes]
        )
        curves = [probed_layers(subject, target, settings) for target in attributes]
        said = "highest macro AUC among the layers audited, as the mean over the attributes"
    curves = [curve for curve in curves if curve]
    if not curves:
        raise AnalysisError(
            f"no layer can be chosen: no attribute has two levels with images in each of "
            f"{settings.folds} folds; add images, lower the number of folds, or name the layers"
        )
    means = {
        layer: float(np.mean([dict(curve)[layer] for curve in curves]))
        for layer in subject.activations.layers
        if all(layer in dict(curve) for curve in curves)
    }
    best = max(means, key=lambda layer: means[layer])
    return best, said
