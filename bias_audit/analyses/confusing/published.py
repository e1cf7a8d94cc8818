"""The published study's probe, trained and counted as it was published."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

import numpy as np
import numpy.typing as npt
from pydantic import Field

from bias_audit.analyses.analysis import Subject
from bias_audit.analyses.probing.probes import not_finite
from bias_audit.analyses.targets import Measurable, Target, finest_target, measurable
from bias_audit.arrays import IntArray
from bias_audit.cache import Arrays
from bias_audit.config.schema import Strict
from bias_audit.data.faces import FaceTable
from bias_audit.deferred import torch
from bias_audit.device import device_for
from bias_audit.errors import AnalysisError
from bias_audit.progress import Step
from bias_audit.shapes.layer_curve import Curve, CurvePoint, LayerCurve, RefitNoise
from bias_audit.statistics.estimate import Estimate, allowing_for_choice
from bias_audit.statistics.inference import share_estimate

_PIECE = 256
"""Images read at a time."""
_EPSILON = 1e-7
"""Of Adam, as Keras has it by default; torch adds it after the correction of the moments, Keras
before, which is seen only where gradients are about as small."""
TRAINING: Final = "training images"
OUT_OF_FOLD: Final = "default protocol"
"""What curves of accuracy are of, beside that of the validation images, which has the target's
name."""

Values = npt.NDArray[np.float32]


class PublishedSettings(Strict):
    """The published probe; defaults are those of its authors' code."""

    dropout: float = Field(default=0.25, ge=0, lt=1, description="Of the probe's inputs.")
    images_per_group: int = Field(
        default=128, ge=2, description="Drawn at random, where a group has more: one batch."
    )
    training_share: float = Field(
        default=0.9, gt=0, lt=1, description="Of the images of each group; the rest validate."
    )
    l1: float = Field(default=1e-5, ge=0, description="Times the sum of absolute weights.")
    l2: float = Field(default=1e-4, ge=0, description="Times the sum of squared weights.")
    epochs: int = Field(default=50, ge=1, le=10_000)
    batch_size: int = Field(default=32, ge=1)
    learning_rate: float = Field(default=1e-3, gt=0, description="Of Adam.")
    seeds: int = Field(
        default=1,
        ge=1,
        le=100,
        description="How often the images are split and the probe is trained. The first is "
        "reported, the others show how much it moves.",
    )


@dataclass(frozen=True)
class Split:
    """Groups that have images for training and for validation, and which image serves which."""

    seed: int
    """Number of the split, from 0."""
    part: Measurable
    validation: npt.NDArray[np.bool_]
    """By image of the part, shape (n,)."""


@dataclass(frozen=True)
class PublishedProbe:
    """The probe of one layer and one split."""

    layer: str
    split: Split
    n_features: int
    """Units x positions."""
    predicted: IntArray
    """Index into the kept groups, by image of the part, shape (n,)."""
    losses: npt.NDArray[np.float64]
    """Mean training loss of each epoch, with the penalties at its end."""

    def hits(self, *, of_validation: bool) -> tuple[npt.NDArray[np.bool_], IntArray]:
        """Which validation (or training) images are predicted rightly, and their places."""
        chosen = self.split.validation == of_validation
        part = self.split.part
        return (self.predicted == part.codes)[chosen], part.images[chosen]


def split_of(subject: Subject, target: Target, settings: PublishedSettings, seed: int) -> Split:
    """Draw a random order of the images of every group; floor(share x n) train, the rest validate.

    As published, images of one person can be in both parts.

    Raises:
        AnalysisError: Fewer than two groups have two images.
    """
    part = measurable(target, np.arange(len(subject.faces)), 2)
    if part.not_measured is not None:
        raise AnalysisError(f"{part.not_measured}; add images")
    rng = subject.rng("published split", str(seed))
    training, held_out = [], []
    for level in range(len(part.levels)):
        drawn = rng.permutation(np.flatnonzero(part.codes == level))[: settings.images_per_group]
        n_training = max(1, int(settings.training_share * len(drawn)))
        training.append(drawn[:n_training])
        held_out.append(drawn[n_training:])
    kept = np.sort(np.concatenate([*training, *held_out]))
    validates = np.isin(kept, np.concatenate(held_out))
    pictures = part.pictures
    if pictures is not None:  # an image with several answers trains, or validates
        trained = pictures[kept[~validates]]
        usable = ~validates | ~np.isin(pictures[kept], trained)
        kept, validates = kept[usable], validates[usable]
        pictures = pictures[kept]
    part = replace(
        part, images=part.images[kept], codes=part.codes[kept], pictures=pictures, label_sets=()
    )
    return Split(seed, part, validates)


def published_probes(
    subject: Subject, splits: Sequence[Split], layers: Sequence[str], settings: PublishedSettings
) -> tuple[PublishedProbe, ...]:
    """Train one probe for each layer and split, the splits of the first layer first.

    Each is kept in the subject's cache when it is done. Memory is one batch, the weights and
    Adam's two moments of them: features x groups each.

    Raises:
        AnalysisError: Activations are not finite, or positions were not recorded.
    """
    title = f"Published probes on {subject.name}"
    total = len(layers) * len(splits) * settings.epochs
    of_one = settings.model_copy(update={"seeds": 1}).model_dump_json()
    probes = []
    with subject.progress.step(title, total=total, unit="epoch") as step:
        for layer, split in itertools.product(layers, splits):
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
                of_one,
                str(split.seed),
                np.stack([split.part.images, split.part.codes, split.validation]),
                compute=partial(
                    _train, subject, split, layer, values, settings=settings, step=step
                ),
            )
            if kept.is_there:
                step.advance(settings.epochs)
            stored = kept.arrays()
            n_features = int(np.prod(values.shape[1:]))
            predicted = split.part.accepted(stored["predicted"], split.part.codes)
            probes.append(PublishedProbe(layer, split, n_features, predicted, stored["losses"]))
    return tuple(probes)


def _rows(values: Values, images: IntArray, device: torch.device) -> torch.Tensor:
    """Rows of a memory-mapped file, flattened, shape (len(images), n_features)."""
    # In ascending order a file is read forwards; the order within a batch changes nothing.
    order = np.argsort(images)
    read = np.empty((len(images), *values.shape[1:]), dtype=np.float32)
    read[order] = values[images[order]]
    return torch.from_numpy(read.reshape(len(images), -1)).to(device)


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
    for batch in _batches(part.images, _PIECE):
        if not np.isfinite(values[batch]).all():
            raise not_finite(f"layer {layer}")
    device = device_for(subject.device)
    rng = subject.rng("published probe", layer, str(split.seed))
    drawn = torch.Generator()  # of the processor: the same draws on every device
    drawn.manual_seed(int(rng.integers(2**31)))
    sizes = int(np.prod(values.shape[1:])), len(part.levels)
    dense = torch.nn.Linear(*sizes, device="meta").to_empty(device="cpu")
    torch.nn.init.xavier_uniform_(dense.weight, generator=drawn)  # and zeros, as Keras begins
    torch.nn.init.zeros_(dense.bias)
    dense = dense.to(device)
    weight = dense.weight
    optimiser = torch.optim.Adam(
        dense.parameters(), lr=settings.learning_rate, eps=_EPSILON, fused=True
    )
    losses = []
    for _ in range(settings.epochs):
        total = 0.0
        for batch in _batches(rng.permutation(len(images)), settings.batch_size):
            inputs = _rows(values, images[batch], device)
            if settings.dropout:
                # Others are scaled up so that the mean stays.
                left = torch.rand(inputs.shape, generator=drawn) >= settings.dropout
                inputs = inputs * left.to(device) / (1 - settings.dropout)
            wanted = torch.from_numpy(codes[batch]).to(device)
            loss = torch.nn.functional.cross_entropy(dense(inputs), wanted)
            optimiser.zero_grad()
            torch.autograd.backward(loss)
            with torch.no_grad():  # of the penalties, without as many passes over all weights
                slope = torch.sign(weight).mul_(settings.l1).add_(weight, alpha=2 * settings.l2)
                weight.grad += slope  # type: ignore[operator]
            optimiser.step()
            total += float(loss.detach()) * len(batch)
        with torch.no_grad():
            penalty = settings.l1 * weight.abs().sum() + settings.l2 * weight.square().sum()
        losses.append(total / len(images) + float(penalty))
        step.advance()
    with torch.no_grad():
        predicted = [
            dense(_rows(values, batch, device)).argmax(dim=1).cpu().numpy()
            for batch in _batches(part.images, _PIECE)
        ]
    return {"predicted": np.concatenate(predicted).astype(np.int64), "losses": np.array(losses)}


def _batches(order: IntArray, size: int) -> Iterator[IntArray]:
    for first in range(0, len(order), size):
        yield order[first : first + size]


def too_few_to_hold_out(faces: FaceTable) -> tuple[str, ...]:
    """A message if fewer than two groups have an image for training and one for validation."""
    target = finest_target(faces)
    counts = np.bincount(target.codes, minlength=len(target.groups))
    if np.count_nonzero(counts >= 2) >= 2:  # noqa: PLR2004
        return ()
    return (
        f"protocol: expected two groups of {target.described} with at least 2 images each, got "
        f"{np.count_nonzero(counts >= 2)}; add images",  # noqa: PLR2004
    )


def accuracy_by_layer(
    subject: Subject,
    target: Target,
    probes: Sequence[PublishedProbe],
    own: tuple[Curve, float],
    *,
    level: float,
) -> tuple[LayerCurve, PublishedProbe, Estimate]:
    """Share of right images by layer: of validation, of training, and of the tool's own probe.

    With the block come the first probe with the most right validation images, of those of the
    first split, and its share, whose interval allows for the choice of the layer. The probes come
    as `published_probes` returns them, the tool's own curve with what guessing gives.
    """
    first = [probe for probe in probes if probe.split.seed == probes[0].split.seed]
    accuracy = {
        of_validation: [
            _accuracy(subject, probe, level=level, of_validation=of_validation) for probe in first
        ]
        for of_validation in (True, False)
    }
    best = int(np.argmax([estimate.value for estimate in accuracy[True]]))
    names = {True: target.name, False: TRAINING}
    curves = [
        Curve(
            target=names[of_validation],
            points=tuple(
                CurvePoint(layer=probe.layer, estimate=estimate)
                for probe, estimate in zip(first, estimates, strict=True)
            ),
            noise=_noise(probes, len(first), of_validation=of_validation),
        )
        for of_validation, estimates in accuracy.items()
    ]
    curves.append(own[0].model_copy(update={"target": OUT_OF_FOLD}))
    chance = dict.fromkeys((target.name, TRAINING), 1 / len(first[0].split.part.levels))
    block = LayerCurve(
        title="At which layers can groups be read under the published protocol?",
        quantity="validation_accuracy",
        metric="accuracy (1 - error)",
        chance=chance | {OUT_OF_FOLD: own[1]},
        curves=tuple(curves),
    )
    chosen = accuracy[True][best]
    if len(first) > 1:
        chosen = allowing_for_choice(chosen, 1 / len(first))
    return block, first[best], chosen


def _accuracy(
    subject: Subject, probe: PublishedProbe, *, level: float, of_validation: bool
) -> Estimate:
    hits, images = probe.hits(of_validation=of_validation)
    found = share_estimate(hits, subject.faces.clusters[images], level=level)
    if found is None:
        raise AssertionError("every split has validation images")
    return found


def _noise(
    probes: Sequence[PublishedProbe], n_layers: int, *, of_validation: bool
) -> RefitNoise | None:
    """How much the accuracy of a layer moves from split to split; None with one alone."""
    values = np.array([probe.hits(of_validation=of_validation)[0].mean() for probe in probes])
    by_layer = values.reshape(n_layers, -1)
    if by_layer.shape[1] == 1:
        return None
    sd = float(np.sqrt(by_layer.var(axis=1, ddof=1).mean()))
    return RefitNoise(sd=sd, refits=by_layer.shape[1] - 1, layers=n_layers)
