"""What the published probes showed: error by layer, predictions at the best, and in sentences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from bias_audit.analyses.analysis import Subject
from bias_audit.analyses.confusing.confusion_shares import Predictions
from bias_audit.analyses.confusing.published_protocol import (
    PublishedProbe,
    PublishedSettings,
    Split,
)
from bias_audit.analyses.probing.separability import Units
from bias_audit.analyses.targets import Target, finest_target
from bias_audit.analyses.wording import (
    SCORE_INTERVALS,
    coverage,
    percent,
    percent_interval,
    sample,
)
from bias_audit.data.faces import FaceTable
from bias_audit.results.blocks import Curve, CurvePoint, Finding, LayerCurve
from bias_audit.statistics.estimate import Estimate
from bias_audit.statistics.inference import share_estimate
from bias_audit.statistics.proportions import wilson_interval
from bias_audit.statistics.sureness import sureness_above


def too_few_to_hold_out(settings: PublishedSettings, faces: FaceTable) -> tuple[str, ...]:
    """A message if fewer than two groups have an image for every part of the split."""
    target, n_parts = finest_target(faces), settings.validation_parts
    counts = np.bincount(target.codes, minlength=len(target.groups))
    if np.count_nonzero(counts >= n_parts) >= 2:  # noqa: PLR2004
        return ()
    return (
        f"published.validation_parts: expected two groups of {target.described} with at least "
        f"{n_parts} images each, got {np.count_nonzero(counts >= n_parts)} (largest group: "
        f"{int(counts.max(initial=0))} images); add images or lower published.validation_parts",
    )


def accuracy_by_layer(
    subject: Subject,
    target: Target,
    split: Split,
    probes: Sequence[PublishedProbe],
    *,
    level: float,
) -> tuple[LayerCurve, PublishedProbe, Finding]:
    """Share of right validation images by layer; the probe with the most, the first of equals."""
    true = split.part.codes[split.validation]
    clusters = subject.faces.clusters[split.part.images[split.validation]]
    guess = 1 / len(split.part.levels)
    accuracies: list[Estimate | None] = []
    hits = [int((probe.predicted == true).sum()) for probe in probes]
    for probe in probes:
        accuracies.append(share_estimate(probe.predicted == true, clusters, level=level))
    best = int(np.argmax(hits))
    points = tuple(
        CurvePoint(layer=probe.layer, estimate=estimate)
        for probe, estimate in zip(probes, accuracies, strict=True)
    )
    curve = LayerCurve(
        title="Published protocol: validation accuracy by layer",
        quantity="validation_accuracy",
        metric="validation accuracy (1 - error)",
        chance={target.name: guess},
        curves=(Curve(target=target.name, points=points),),
    )
    return curve, probes[best], _finding(target, probes[best].layer, accuracies[best], guess)


def _finding(target: Target, layer: str, accuracy: Estimate | None, guess: float) -> Finding:
    if accuracy is None:
        raise AssertionError("every split holds images out")
    error = replace(
        accuracy,
        value=1 - accuracy.value,
        lower=1 - accuracy.upper,
        upper=1 - accuracy.lower,
    )
    text = (
        f"With the published protocol, the validation error of {target.described} is lowest at "
        f"{layer}: {percent_interval(error)} ({coverage(error.level)}, {sample(error)}); guessing "
        f"errs in {percent(1 - guess)}."
    )
    weight = sureness_above(accuracy.value, accuracy.lower, guess)
    return Finding(text=text, weight=weight, estimates={"validation_error": error})


def published_predictions(
    subject: Subject,
    target: Target,
    split: Split,
    probe: PublishedProbe,
    *,
    level: float,
) -> Predictions:
    """The validation images as one probe sees them."""
    return Predictions(
        layer=probe.layer,
        groups=tuple(target.groups[index] for index in split.part.levels),
        true=split.part.codes[split.validation],
        predicted=probe.predicted,
        units=Units.of(subject),
        images=split.part.images[split.validation],
        widened=1.0,
        level=level,
        fewest=subject.small_groups.suppress_below,
    )


def published_method(
    target: Target, settings: PublishedSettings, split: Split, probes: Sequence[PublishedProbe]
) -> tuple[str, ...]:
    """What ran, and how it differs from the default and from the publication."""
    n_training = int((~split.validation).sum())
    sizes = sorted({probe.n_features for probe in probes})
    features = f"{sizes[0]}" if len(sizes) == 1 else f"{sizes[0]} to {sizes[-1]}"
    return (
        "Protocol krug_stober_2025 (Krug & Stober 2025, arXiv:2506.03664): for each of "
        f"{len(probes)} layers, the feature maps at no more than 8 x 8 positions are flattened "
        f"({features} features) and one dense softmax layer over {len(split.part.levels)} groups "
        f"of {target.described} is trained with dropout {settings.dropout:g} on its inputs and an "
        f"L1 penalty on its weights, on {n_training} images; its error is that on "
        f"{int(split.validation.sum())} others, one part in {settings.validation_parts} of each "
        "group, clusters kept together. The confusions are those at the layer with the lowest "
        "validation error.",
        "It differs from the default protocol, which predicts every image out of fold from the "
        "mean of each unit with an L2 penalty and picks the layer by AUC. The publication does "
        f"not give everything: L1 strength {settings.l1:g}, Adam with learning rate "
        f"{settings.learning_rate:g}, {settings.epochs} epochs, batches of {settings.batch_size}, "
        "features standardised on the training images, average pooling to the positions and no "
        "early stopping are choices made here.",
        f"Intervals {SCORE_INTERVALS}, with the one split and the one fit held fixed.",
    )


def published_limits(target: Target, split: Split, *, level: float) -> tuple[str, ...]:
    """What so few validation images leave open."""
    counts = np.bincount(split.part.codes[split.validation])
    n = int(np.median(counts))
    hit = max(1, round(n / 3))
    lower, upper = wilson_interval(hit / n, n, level=level)
    return (
        f"A group of {target.described} has {n} validation images (median), which leave its "
        f"recall almost anywhere: {hit} of {n} right is compatible with anything from "
        f"{percent(lower)} to {percent(upper)} ({coverage(level)}).",
        "The layer is picked by the same validation images that its error and confusions are "
        "reported of, so its error is optimistic.",
        "The published protocol has no baseline: a low error may be due to what the images look "
        "like before any layer.",
    )
