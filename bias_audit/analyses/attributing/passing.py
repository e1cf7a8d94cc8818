"""Images through the attribution methods, summed as they go; no map of an image is kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d

from bias_audit.analyses.analysis import Arrays, Network
from bias_audit.analyses.attributing.face_template import Regions
from bias_audit.analyses.attributing.methods import Method, MethodSettings, attribute
from bias_audit.analyses.attributing.totals import Totals
from bias_audit.arrays import BoolArray, FloatArray, IntArray
from bias_audit.progress import Step

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
