"""The pass over images: every method's maps and shares of regions, added up by group."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d

from bias_audit.analyses.analysis import Network, Subject
from bias_audit.analyses.attributing.decision import Decided, TargetsOf
from bias_audit.analyses.attributing.face_regions import Regions
from bias_audit.analyses.attributing.methods import Method, MethodSettings, attribute
from bias_audit.analyses.attributing.sums import Totals
from bias_audit.arrays import BoolArray, FloatArray, IntArray
from bias_audit.cache import Arrays, Input
from bias_audit.progress import Step

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

    def inputs(self, subject: Subject, network: Network, decided: Decided) -> tuple[Input, ...]:
        """What numbers about it depend on, for the cache."""
        return (
            subject.activations,
            network,
            decided,
            ",".join(method.name for method in self.methods),
            repr(self.settings),
            f"{self.side} {self.batch_size}",
            self.regions.member,
            ",".join(self.regions.names),
        )


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

    @classmethod
    def stored(cls, arrays: Arrays) -> MapSums:
        """As `summed` yielded it."""
        done = int(arrays["done"].item())
        return cls(arrays["maps"], Totals.stored(arrays), arrays["blank"], done)


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

    Memory does not depend on the number of images. What is yielded after each piece of the images
    is what `MapSums.stored` takes, and what `begun` continues from; the step is advanced by every
    image.
    """
    n_groups = sample.member.shape[1]
    sums = MapSums.empty(question, n_groups) if begun is None else MapSums.stored(begun)
    order = np.argsort(sample.clusters, kind="stable")
    step.advance(sums.done)
    # A piece is made of whole clusters, so that their sums can be squared at its end.
    ends = np.flatnonzero(np.diff(sample.clusters[order], append=-1)) + 1
    for end in ends.tolist():
        is_last = end == len(order) > sums.done
        if end - sums.done < _CHUNKS * question.batch_size and not is_last:
            continue
        places = order[sums.done : end]
        shares: list[FloatArray] = []
        begun_at = 0
        for batch in network.batches(sample.images[places], question.batch_size):
            own = places[begun_at : begun_at + len(batch)]
            begun_at += len(batch)
            targets = question.targets(batch, own)
            member = torch.from_numpy(sample.member[own]).to(batch.device)
            found = []
            for number, method in enumerate(question.methods):
                signed = attribute(method, question.decision, batch, targets, question.settings)
                density, is_blank = densities(signed)
                sums.blank[number] += int(is_blank.sum())
                cells = pooled(density, question.side)
                by_group = torch.tensordot(member.to(cells.dtype).T, cells, dims=1)
                sums.maps[number] += by_group.cpu().numpy()
                found.append(region_shares(density, question.regions))
            shares.append(np.concatenate(found, axis=1))
            step.advance(len(batch))
        sums.totals.add(np.concatenate(shares), sample.member[places], sample.clusters[places])
        sums.done = end
        done = np.array(sums.done)
        yield {"maps": sums.maps, "blank": sums.blank, "done": done, **vars(sums.totals)}


def densities(signed: Tensor) -> tuple[Tensor, Tensor]:
    """Absolute attribution of each pixel as a share of its image's.

    From attributions of shape (n, 3, height, width) to shares, (n, height, width), and which
    images had no attribution, (n,); theirs are spread evenly.
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


def region_shares(density: Tensor, regions: Regions) -> FloatArray:
    """Of each image's attribution, the share of every region, shape (n, n_regions)."""
    member = torch.from_numpy(regions.member.ravel()).to(density.device)
    sums = torch.zeros(
        len(density), len(regions.names), dtype=torch.float64, device=density.device
    )
    sums.index_add_(1, member, density.flatten(1).double())
    result: FloatArray = sums.cpu().numpy()
    return result


def map_sums(
    subject: Subject, network: Network, decided: Decided, question: Question, sample: Sample
) -> MapSums:
    """`summed`, kept in the subject's cache now and then, so that an interruption loses little."""
    title = f"Attribution of {decided.target} on {subject.name}"
    with subject.progress.step(title, total=len(sample.images), unit="image") as step:

        def compute(begun: Arrays | None) -> Iterator[Arrays]:
            return summed(question, sample, network, begun=begun, step=step)

        inputs = question.inputs(subject, network, decided)
        own = (sample.images, sample.clusters, sample.member)
        return MapSums.stored(subject.resumed("attribution", *inputs, *own, compute=compute))
