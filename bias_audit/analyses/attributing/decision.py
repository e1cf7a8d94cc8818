"""What is attributed: a backbone up to a layer, and a probe's scores, as one function."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d

from bias_audit.analyses.analysis import Network, Subject
from bias_audit.analyses.attributing.face_regions import Regions
from bias_audit.analyses.attributing.maps import Totals
from bias_audit.analyses.attributing.methods import Method, MethodSettings, attribute, rewired
from bias_audit.analyses.attributing.sentences import Decided
from bias_audit.analyses.attributing.trust import TrustSample, checked
from bias_audit.arrays import BoolArray, FloatArray, IntArray
from bias_audit.backbones.pooling import OutputShape, units
from bias_audit.cache import Arrays, Input
from bias_audit.progress import Step

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True)
class LinearMap:
    """Scores as a linear function of the spatial means of a layer's units."""

    weight: npt.NDArray[np.float32]
    """Shape (n_scores, n_units); the standardisation of the units is part of it."""
    bias: npt.NDArray[np.float32]
    """Shape (n_scores,)."""

    def scores(self, values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Of activations of shape (n, n_units): shape (n, n_scores)."""
        result: npt.NDArray[np.float32] = values @ self.weight.T + self.bias
        return result


class _ReachedError(Exception):
    """The layer has run; nothing behind it is needed."""


class ProbeDecision(nn.Module):
    """A backbone up to a layer, its spatial mean, and a linear map of that.

    What lies behind the layer does not run. The backbone is used as it is and not changed.
    """

    def __init__(
        self, module: nn.Module, layer: str, shapes: Mapping[str, OutputShape], scores: LinearMap
    ) -> None:
        super().__init__()
        self.backbone = module
        self.layer = layer
        self.shape = shapes[layer]
        like = next(module.parameters())
        self.linear = nn.Linear(scores.weight.shape[1], len(scores.weight)).to(like.device)
        with torch.no_grad():
            self.linear.weight.copy_(torch.from_numpy(scores.weight))
            self.linear.bias.copy_(torch.from_numpy(scores.bias))
        self.requires_grad_(requires_grad=False).eval()

    def forward(self, images: Tensor) -> Tensor:
        """Scores of preprocessed images, shape (n, n_scores)."""
        layer = self.backbone.get_submodule(self.layer)
        with _stopping_after(layer) as reached, suppress(_ReachedError):
            self.backbone(images)
        return cast("Tensor", self.linear(units(reached[-1], self.shape)))


@contextmanager
def _stopping_after(layer: nn.Module) -> Iterator[list[Tensor]]:
    outputs: list[Tensor] = []

    def stop(_module: nn.Module, _inputs: object, output: Tensor) -> None:
        outputs.append(output)
        raise _ReachedError

    handle = layer.register_forward_hook(stop)
    try:
        yield outputs
    finally:
        handle.remove()


class OwnDecision(nn.Module):
    """A backbone with its own class scores."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.backbone = module
        self.requires_grad_(requires_grad=False).eval()

    def forward(self, images: Tensor) -> Tensor:
        """Scores of preprocessed images, shape (n, n_classes)."""
        return cast("Tensor", self.backbone(images))


TargetsOf = Callable[[Tensor, IntArray], Tensor]
"""Which score is attributed, from a batch and the places of its images."""
_CHUNKS = 4
"""Batches in a piece of work that is never interrupted."""


@dataclass(frozen=True)
class Question:
    """What is attributed, how, and to what."""

    decision: nn.Module
    targets: TargetsOf
    methods: tuple[Method, ...]
    settings: MethodSettings
    regions: Regions
    side: int
    """Of the maps that are summed, in cells."""
    batch_size: int


@dataclass
class MapSums:
    """Over the images of every group."""

    maps: FloatArray
    """Absolute attribution of each cell as a share of the image's, shape (n_methods, n_groups,
    side, side)."""
    totals: Totals
    """Shares of the regions, method by method."""
    blank: IntArray
    """Images that a method gives no attribution at all, shape (n_methods,); they count as spread
    evenly."""
    done: int = 0
    """Images."""

    @classmethod
    def empty(cls, question: Question, n_groups: int) -> MapSums:
        """Before any image."""
        n = len(question.methods)
        return cls(
            np.zeros((n, n_groups, question.side, question.side)),
            Totals.empty(n_groups, n * len(question.regions.names)),
            np.zeros(n, dtype=np.int64),
        )

    def arrays(self) -> Arrays:
        """To be stored."""
        return {
            "maps": self.maps,
            "blank": self.blank,
            "done": np.array(self.done),
            **self.totals.arrays(),
        }

    @classmethod
    def stored(cls, arrays: Arrays) -> MapSums:
        """As `arrays` gave it."""
        maps = arrays["maps"]
        totals = Totals.stored(maps.shape[1], arrays)
        return cls(maps, totals, arrays["blank"], int(arrays["done"].item()))


@dataclass(frozen=True)
class Sample:
    """The images that are attributed."""

    images: IntArray
    """Numbers among the subject's, shape (n,)."""
    clusters: IntArray
    """Shape (n,)."""
    member: BoolArray
    """Whether an image is in a group, shape (n, n_groups)."""


def summed(
    question: Question,
    sample: Sample,
    network: Network,
    *,
    begun: Arrays | None = None,
    step: Step,
) -> Iterator[Arrays]:
    """Attribute every image by every method and add up by group.

    Memory does not depend on the number of images.

    Args:
        question: What is attributed.
        sample: Of which images.
        network: Gives them.
        begun: What an earlier call yielded last, to continue from there.
        step: Told of every image.

    Yields:
        `MapSums.arrays` after each piece of the images, until all are added.
    """
    n_groups = sample.member.shape[1]
    sums = MapSums.empty(question, n_groups) if begun is None else MapSums.stored(begun)
    order = np.argsort(sample.clusters, kind="stable")
    step.advance(sums.done)
    for rows in _chunks(sample.clusters[order], sums.done, _CHUNKS * question.batch_size):
        places = order[rows]
        _add(question, sample, places, network, sums=sums, step=step)
        sums.done = int(rows.stop)
        yield sums.arrays()


def _chunks(clusters: IntArray, start: int, size: int) -> Iterator[slice]:
    """Whole clusters, at least `size` images at a time."""
    ends = np.flatnonzero(np.diff(clusters)) + 1
    for end in (*ends.tolist(), len(clusters)):
        if end - start >= size or (end == len(clusters) and end > start):
            yield slice(start, end)
            start = end


def _add(
    question: Question,
    sample: Sample,
    places: IntArray,
    network: Network,
    *,
    sums: MapSums,
    step: Step,
) -> None:
    shares: list[FloatArray] = []
    begun = 0
    for batch in network.batches(sample.images[places], question.batch_size):
        own = places[begun : begun + len(batch)]
        begun += len(batch)
        targets = question.targets(batch, own)
        member = torch.from_numpy(sample.member[own]).to(batch.device)
        found = []
        for number, method in enumerate(question.methods):
            signed = attribute(method, question.decision, batch, targets, question.settings)
            density, is_blank = densities(signed)
            sums.blank[number] += int(is_blank.sum())
            sums.maps[number] += _by_group(density, member, question.side)
            found.append(region_shares(density, question.regions))
        shares.append(np.concatenate(found, axis=1))
        step.advance(len(batch))
    sums.totals.add(np.concatenate(shares), sample.member[places], sample.clusters[places])


def densities(signed: Tensor) -> tuple[Tensor, Tensor]:
    """Absolute attribution of each pixel as a share of its image's.

    Args:
        signed: Shape (n, 3, height, width).

    Returns:
        Shares, shape (n, height, width), and which images had no attribution, shape (n,); theirs
        are spread evenly.
    """
    size = signed.abs().sum(dim=1)
    whole = size.sum(dim=(1, 2), keepdim=True)
    blank = whole[:, 0, 0] <= 0
    even = torch.full_like(size, 1 / size[0].numel())
    return torch.where(blank[:, None, None], even, size / whole.clamp(min=1e-30)), blank


def pooled(density: Tensor, side: int) -> Tensor:
    """The shares of cells, shape (n, side, side)."""
    mean = adaptive_avg_pool2d(density[:, None], (side, side))[:, 0]
    return mean / mean.sum(dim=(1, 2), keepdim=True)


def _by_group(density: Tensor, member: Tensor, side: int) -> FloatArray:
    cells = pooled(density, side).flatten(1)
    sums = member.to(cells.dtype).T @ cells
    result: FloatArray = sums.view(-1, side, side).cpu().numpy().astype(np.float64)
    return result


def region_shares(density: Tensor, regions: Regions) -> FloatArray:
    """Of each image's attribution, the share of every region, shape (n, n_regions)."""
    member = torch.from_numpy(regions.member.ravel()).to(density.device)
    sums = torch.zeros(
        len(density), len(regions.names), dtype=torch.float64, device=density.device
    )
    sums.index_add_(1, member, density.flatten(1).double())
    result: FloatArray = sums.cpu().numpy()
    return result


def attributable(network: Network) -> nn.Module:
    """A copy of the backbone, whose decisions can be attributed; see `rewired`."""
    seen = network.preprocessing
    return rewired(network.module, (seen.height, seen.width))


def map_sums(
    subject: Subject, network: Network, decided: Decided, question: Question, sample: Sample
) -> MapSums:
    """Attribute every image by every method and add up by group.

    Args:
        subject: The subject.
        network: Its backbone.
        decided: The decision.
        question: What of it is attributed, how, and to what.
        sample: On which images.
    """
    title = f"Attribution of {decided.target} on {subject.name}"
    with subject.progress.step(title, total=len(sample.images), unit="image") as step:

        def compute(begun: Arrays | None) -> Iterator[Arrays]:
            return summed(question, sample, network, begun=begun, step=step)

        inputs = (sample.images, sample.clusters, sample.member)
        asked = _inputs(subject, network, decided, question)
        return MapSums.stored(subject.resumed("attribution", *asked, *inputs, compute=compute))


def trust_totals(
    subject: Subject,
    network: Network,
    decided: Decided,
    question: Question,
    sample: TrustSample,
    *,
    seed: int,
) -> Totals:
    """Check every method on some images.

    Args:
        subject: The subject.
        network: Its backbone.
        decided: The decision.
        question: What of it is attributed, how, and to what.
        sample: On which images.
        seed: Of shuffled weights, covered squares and noise.
    """
    n_images = len(sample.images)
    title = f"Checks of the maps of {decided.target} on {subject.name}"
    with subject.progress.step(title, total=n_images, unit="image") as step:

        def compute() -> Arrays:
            found = checked(
                question, sample, network, n_levels=decided.n_levels, seed=seed, step=step
            )
            return found.arrays()

        kept = subject.cached(
            "trust",
            *_inputs(subject, network, decided, question),
            sample.images,
            sample.places,
            str(decided.n_levels),
            str(seed),
            compute=compute,
        )
        if kept.is_there:
            step.advance(n_images)
        return Totals.stored(1, kept.arrays())


def _inputs(
    subject: Subject, network: Network, decided: Decided, question: Question
) -> tuple[Input, ...]:
    return (
        subject.activations,
        network,
        decided,
        ",".join(method.name for method in question.methods),
        repr(question.settings),
        f"{question.side} {question.batch_size}",
        question.regions.member,
        ",".join(question.regions.names),
    )
