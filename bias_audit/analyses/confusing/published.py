"""The published study's probe, trained and counted as it was published."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import cross_entropy

from bias_audit.activations.extract import resolve_device
from bias_audit.activations.moments import Moments
from bias_audit.analyses.analysis import Subject
from bias_audit.analyses.probing.probes import not_finite
from bias_audit.analyses.targets import Measurable, Target, finest_target, measurable
from bias_audit.arrays import IntArray
from bias_audit.cache import Arrays
from bias_audit.config.schema import Strict
from bias_audit.data.faces import FaceTable
from bias_audit.data.sampling import stratified_folds
from bias_audit.errors import AnalysisError
from bias_audit.progress import Step
from bias_audit.shapes.layer_curve import Curve, CurvePoint, LayerCurve
from bias_audit.statistics.estimate import Estimate, allowing_for_choice
from bias_audit.statistics.inference import share_estimate

_PIECE = 256
"""Images read at a time."""

Values = npt.NDArray[np.float32]


class PublishedSettings(Strict):
    """The published probe; what the publication leaves open has a default of ours."""

    dropout: float = Field(default=0.25, ge=0, lt=1, description="Of the probe's inputs.")
    validation_parts: int = Field(
        default=10, ge=2, le=50, description="One part in so many is held out, 10 in print."
    )
    l1: float = Field(
        default=1e-4,
        ge=0,
        description="Strength of the L1 penalty: times the sum of absolute weights. Not in print.",
    )
    epochs: int = Field(default=50, ge=1, le=10_000, description="Not in print.")
    batch_size: int = Field(default=128, ge=1, description="Not in print.")
    learning_rate: float = Field(default=1e-3, gt=0, description="Of Adam. Not in print.")


@dataclass(frozen=True)
class Split:
    """Groups that have images for training and for validation, and which image serves which."""

    part: Measurable
    validation: npt.NDArray[np.bool_]
    """By image of the part, shape (n,)."""


@dataclass(frozen=True)
class PublishedProbe:
    """The probe of one layer, on the validation images."""

    layer: str
    n_features: int
    """Units x positions."""
    predicted: IntArray
    """Index into the kept groups, shape (n_validation,)."""
    losses: npt.NDArray[np.float64]
    """Mean training loss with the penalty, by epoch."""


def split_of(subject: Subject, target: Target, settings: PublishedSettings) -> Split:
    """Hold out one part of every group, whole clusters at a time.

    Raises:
        AnalysisError: Fewer than two groups have an image for every part.
    """
    n_parts = settings.validation_parts
    part = measurable(target, subject.faces.clusters, n_parts)
    if part.not_measured is not None:
        raise AnalysisError(
            f"{part.not_measured}; add images, or lower published.validation_parts"
        )
    clusters = subject.faces.clusters[part.images]
    folds = stratified_folds(part.codes, clusters, n_parts, subject.rng("published split"))
    return Split(part, folds == 0)


def published_probes(
    subject: Subject, split: Split, layers: Sequence[str], settings: PublishedSettings
) -> tuple[PublishedProbe, ...]:
    """Train one probe a layer; each is kept in the subject's cache when it is done.

    Memory is one batch, the weights and Adam's two moments of them: features x groups each.

    Raises:
        AnalysisError: Activations are not finite, or positions were not recorded.
    """
    title = f"Published probes on {subject.name}"
    total = len(layers) * settings.epochs
    probes = []
    with subject.progress.step(title, total=total, unit="epoch") as step:
        for layer in layers:
            try:
                values = subject.activations.positions(layer)
            except KeyError as error:
                raise AnalysisError(
                    f"layer {layer}: expected feature maps, which were not recorded; set "
                    "activations.positions: 8"
                ) from error
            kept = subject.cached(
                "published",
                subject.activations,
                layer,
                str(values.shape),
                settings.model_dump_json(),
                np.stack([split.part.images, split.part.codes, split.validation]),
                compute=partial(
                    _train, subject, split, layer, values, settings=settings, step=step
                ),
            )
            if kept.is_there:
                step.advance(settings.epochs)
            stored = kept.arrays()
            n_features = int(np.prod(values.shape[1:]))
            probes.append(PublishedProbe(layer, n_features, stored["predicted"], stored["losses"]))
    return tuple(probes)


@dataclass(frozen=True)
class _Features:
    """Rows of a memory-mapped file, flattened and standardised as they are read."""

    values: Values
    """Shape (n_images, n_units, n_positions)."""
    mean: Tensor
    scale: Tensor
    device: torch.device

    @classmethod
    def of(cls, values: Values, images: IntArray, layer: str) -> _Features:
        """With mean and standard deviation of the images given, streamed."""
        moments = Moments.empty(1, values.shape[1:])
        for batch in _batches(images, _PIECE):
            piece = np.asarray(values[batch])
            moments.update(piece, np.zeros(len(piece), dtype=np.int64))
        mean = moments.mean[0].reshape(-1)
        scale = np.sqrt(moments.m2[0].reshape(-1) / len(images))
        if not (np.isfinite(mean).all() and np.isfinite(scale).all()):
            raise not_finite(f"layer {layer}")
        scale[scale == 0] = 1
        device = resolve_device("auto")
        mean_t, scale_t = (
            torch.from_numpy(x.astype(np.float32)).to(device) for x in (mean, scale)
        )
        return cls(values, mean_t, scale_t, device)

    def rows(self, images: IntArray) -> Tensor:
        """Shape (len(images), n_features)."""
        # In ascending order a file is read forwards; the order within a batch changes nothing.
        order = np.argsort(images)
        read = np.empty((len(images), *self.values.shape[1:]), dtype=np.float32)
        read[order] = self.values[images[order]]
        flat = torch.from_numpy(read.reshape(len(images), -1)).to(self.device)
        return (flat - self.mean) / self.scale


def _train(
    subject: Subject,
    split: Split,
    layer: str,
    values: Values,
    *,
    settings: PublishedSettings,
    step: Step,
) -> Arrays:
    part, training = split.part, ~split.validation
    images, codes = part.images[training], part.codes[training]
    features = _Features.of(values, images, layer)
    # The problem is convex, so the start does not matter; from 0, nothing is drawn for it.
    n_features, n_levels = int(features.mean.numel()), len(part.levels)
    weight = torch.zeros((n_features, n_levels), device=features.device, requires_grad=True)
    bias = torch.zeros(n_levels, device=features.device, requires_grad=True)
    optimiser = torch.optim.Adam([weight, bias], lr=settings.learning_rate)
    rng = subject.rng("published probe", layer)
    dropout = torch.Generator(features.device)
    dropout.manual_seed(int(rng.integers(2**31)))
    losses = []
    for _ in range(settings.epochs):
        total = 0.0
        for batch in _batches(rng.permutation(len(images)), settings.batch_size):
            inputs = features.rows(images[batch])
            if settings.dropout:
                # Others are scaled up so that the mean stays.
                drawn = torch.rand(inputs.shape, generator=dropout, device=inputs.device)
                inputs = inputs * (drawn >= settings.dropout) / (1 - settings.dropout)
            wanted = torch.from_numpy(codes[batch]).to(features.device)
            loss = cross_entropy(inputs @ weight + bias, wanted)
            loss = loss + settings.l1 * weight.abs().sum()
            optimiser.zero_grad()
            torch.autograd.backward(loss)
            optimiser.step()
            total += float(loss.detach()) * len(batch)
        losses.append(total / len(images))
        step.advance()
    with torch.no_grad():
        predicted = [
            (features.rows(batch) @ weight + bias).argmax(dim=1).cpu().numpy()
            for batch in _batches(part.images[split.validation], _PIECE)
        ]
    return {"predicted": np.concatenate(predicted).astype(np.int64), "losses": np.array(losses)}


def _batches(order: IntArray, size: int) -> Iterator[IntArray]:
    for first in range(0, len(order), size):
        yield order[first : first + size]


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
) -> tuple[LayerCurve, PublishedProbe, Estimate]:
    """Share of right validation images by layer; the first probe with the most, and its share.

    The interval of that share allows for the choice of the layer.
    """
    true = split.part.codes[split.validation]
    clusters = subject.faces.clusters[split.part.images[split.validation]]
    accuracies = []
    for probe in probes:
        accuracy = share_estimate(probe.predicted == true, clusters, level=level)
        if accuracy is None:
            raise AssertionError("every split has validation images")
        accuracies.append(accuracy)
    best = int(np.argmax([(probe.predicted == true).sum() for probe in probes]))
    points = tuple(
        CurvePoint(layer=probe.layer, estimate=accuracy)
        for probe, accuracy in zip(probes, accuracies, strict=True)
    )
    curve = LayerCurve(
        title=(
            "At which layers can groups be read under the published protocol? Validation accuracy"
        ),
        quantity="validation_accuracy",
        metric="validation accuracy (1 - error)",
        chance={target.name: 1 / len(split.part.levels)},
        curves=(Curve(target=target.name, points=points),),
    )
    accuracy = accuracies[best]
    if len(probes) > 1:
        accuracy = allowing_for_choice(accuracy, 1 / len(probes))
    return curve, probes[best], accuracy
