"""The probes of a publication, as near as its text allows.

Krug & Stober 2025 (arXiv:2506.03664): feature maps at no more than 8 x 8 positions, flattened; one
dense softmax layer over the groups, with dropout on its inputs and an L1 penalty; one probe a
layer, trained on 90 % of the images of each group and judged by its error on the others.
"""

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
from bias_audit.analyses.analysis import Arrays, Subject
from bias_audit.analyses.targets import Measurable, Target, measurable
from bias_audit.arrays import IntArray
from bias_audit.config.schema import Strict
from bias_audit.data.sampling import stratified_folds
from bias_audit.errors import AnalysisError
from bias_audit.progress import Step

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
            values = _positions(subject, layer)
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


def _positions(subject: Subject, layer: str) -> Values:
    try:
        return subject.activations.positions(layer)
    except KeyError as error:
        raise AnalysisError(
            f"layer {layer}: expected feature maps, which were not recorded; set "
            "activations.positions: 8"
        ) from error


@dataclass(frozen=True)
class _Features:
    """Rows of a memory-mapped file, flattened and standardised as they are read."""

    values: Values
    """Shape (n_images, n_units, n_positions)."""
    mean: Tensor
    scale: Tensor
    device: torch.device

    def rows(self, images: IntArray) -> Tensor:
        """Shape (len(images), n_features)."""
        # In ascending order a file is read forwards; the order within a batch changes nothing.
        order = np.argsort(images)
        read = np.empty((len(images), *self.values.shape[1:]), dtype=np.float32)
        read[order] = self.values[images[order]]
        flat = torch.from_numpy(read.reshape(len(images), -1)).to(self.device)
        return (flat - self.mean) / self.scale


def _features(values: Values, images: IntArray, layer: str) -> _Features:
    """With mean and standard deviation of the images given, streamed."""
    moments = Moments.empty(1, values.shape[1:])
    for first in range(0, len(images), _PIECE):
        piece = np.asarray(values[images[first : first + _PIECE]])
        moments.update(piece, np.zeros(len(piece), dtype=np.int64))
    mean = moments.mean[0].reshape(-1)
    scale = np.sqrt(moments.m2[0].reshape(-1) / len(images))
    if not (np.isfinite(mean).all() and np.isfinite(scale).all()):
        raise AnalysisError(
            f"layer {layer}: expected finite activations, got infinite or undefined ones; check "
            "the weights, and that the images are preprocessed as the backbone expects"
        )
    scale[scale == 0] = 1
    device = resolve_device("auto")
    mean_t, scale_t = (torch.from_numpy(x.astype(np.float32)).to(device) for x in (mean, scale))
    return _Features(values, mean_t, scale_t, device)


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
    features = _features(values, images, layer)
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
            inputs = _dropped(features.rows(images[batch]), settings.dropout, dropout)
            wanted = torch.from_numpy(codes[batch]).to(features.device)
            loss = cross_entropy(inputs @ weight + bias, wanted)
            loss = loss + settings.l1 * weight.abs().sum()
            optimiser.zero_grad()
            torch.autograd.backward(loss)
            optimiser.step()
            total += float(loss.detach()) * len(batch)
        losses.append(total / len(images))
        step.advance()
    return {
        "predicted": _predicted(features, part.images[split.validation], weight, bias),
        "losses": np.array(losses),
    }


def _batches(order: IntArray, size: int) -> Iterator[IntArray]:
    for first in range(0, len(order), size):
        yield order[first : first + size]


def _dropped(inputs: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """Set a share of the inputs to 0, and scale the others up so that the mean stays."""
    if share == 0:
        return inputs
    kept = torch.rand(inputs.shape, generator=generator, device=inputs.device) >= share
    return inputs * kept / (1 - share)


def _predicted(features: _Features, images: IntArray, weight: Tensor, bias: Tensor) -> IntArray:
    pieces = []
    with torch.no_grad():
        for batch in _batches(images, _PIECE):
            logits = features.rows(batch) @ weight + bias
            pieces.append(logits.argmax(dim=1).cpu().numpy())
    return np.concatenate(pieces).astype(np.int64)
