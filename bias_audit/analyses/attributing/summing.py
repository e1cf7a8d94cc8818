"""The pass over images: every method's maps and shares of regions, added up by group.

Sums have a size that does not grow with the images; means of groups, and their errors, follow.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d

from bias_audit.analyses.analysis import Network, Subject
from bias_audit.analyses.attributing.decision import Decided, TargetsOf
from bias_audit.analyses.attributing.face_regions import Regions
from bias_audit.analyses.attributing.methods import Method, MethodSettings, attribute
from bias_audit.arrays import BoolArray, FloatArray, IntArray
from bias_audit.cache import Arrays, Input
from bias_audit.progress import Step
from bias_audit.statistics.inference import Measured

ALL: int = 0
"""Place of the group of all images."""
Groups = Mapping[int, int]


@dataclass
class Totals:
    """Of values per image, by group: their sums, numbers, and second moments over clusters.

    Columns are groups x (1 + n_values): the number of images, then the sum of each value. An image
    belongs to as many groups as there are attributes.
    """

    first: FloatArray
    """Shape (n_groups * n_columns,)."""
    second: FloatArray
    """Sum over clusters of the outer product of their sums, shape (columns, columns)."""
    clusters: FloatArray
    """Clusters that have an image in the group, shape (n_groups,)."""
    fourth: FloatArray
    """Sum over clusters of the fourth power of their images in the group, shape (n_groups,)."""

    @classmethod
    def empty(cls, n_groups: int, n_values: int) -> Totals:
        """Before any image."""
        size = n_groups * (1 + n_values)
        first, second = np.zeros(size), np.zeros((size, size))
        return cls(first, second, np.zeros(n_groups), np.zeros(n_groups))

    @classmethod
    def stored(cls, arrays: Mapping[str, FloatArray]) -> Totals:
        """From `vars` of another, which may stand among other arrays."""
        return cls(*(arrays[field.name] for field in fields(cls)))

    @property
    def n_groups(self) -> int:
        """Groups that images are counted in."""
        return len(self.clusters)

    @property
    def n_values(self) -> int:
        """Values of each image."""
        return len(self.first) // self.n_groups - 1

    def add(self, values: FloatArray, member: npt.NDArray[np.bool_], clusters: IntArray) -> None:
        """Count images, whole clusters at a time.

        Values have shape (n, n_values), `member`, whether an image is in a group, (n, n_groups),
        clusters (n,); no cluster comes in another call.
        """
        one = np.concatenate([np.ones((len(values), 1)), values], axis=1)
        rows = (member[:, :, None] * one[:, None, :]).reshape(len(values), -1)
        _, place = np.unique(clusters, return_inverse=True)
        sums = np.zeros((int(place.max(initial=-1)) + 1, rows.shape[1]))
        np.add.at(sums, place, rows)
        self.first += sums.sum(axis=0)
        self.second += sums.T @ sums
        sizes = sums.reshape(len(sums), self.n_groups, -1)[:, :, 0]
        self.clusters += (sizes > 0).sum(axis=0)
        self.fourth += (sizes**4).sum(axis=0)

    @property
    def counts(self) -> IntArray:
        """Images of every group, shape (n_groups,)."""
        return np.rint(self.first.reshape(self.n_groups, -1)[:, 0]).astype(np.int64)


class Means:
    """Means of combinations of values over groups, ready to be compared.

    The second moments are written as a product, M = L L'. The influences `L' a` of a mean with
    gradient a then have the sums of squares and products that those of the clusters have. `unit`
    is what a cluster is, for the reader: "images", or "clusters of images".
    """

    def __init__(self, totals: Totals, *, unit: str) -> None:
        self.totals, self.unit = totals, unit
        values, vectors = np.linalg.eigh(totals.second)
        self._root = vectors * np.sqrt(np.clip(values, 0, None))

    def mean(
        self, groups: Groups, weights: Sequence[float] | FloatArray, *, is_share: bool = True
    ) -> Measured | None:
        """The mean over some images of a weighted sum of their values; None without images.

        Groups are joined (1) and taken away (-1), such as `{0: 1, 3: -1}` for all images but those
        of group 3; weights are of the values, shape (n_values,).
        """
        totals, width = self.totals, 1 + self.totals.n_values
        wanted = np.zeros(totals.n_groups)
        wanted[list(groups)] = list(groups.values())
        sums = wanted @ totals.first.reshape(totals.n_groups, width)
        n = round(float(wanted @ totals.clusters))
        if sums[0] <= 0 or n <= 0:
            return None
        weights = np.asarray(weights, dtype=np.float64)
        value = float(sums[1:] @ weights / sums[0])
        gradient = np.concatenate([[-value], weights]) / sums[0]
        # Delta method: a mean is a ratio of sums, S / N, with the gradient (-S / N, 1) / N.
        influence = self._root.T @ np.outer(wanted, gradient).ravel()
        if n > 1:  # the mean is estimated from the same clusters
            influence = influence * np.sqrt(n / (n - 1))
        # As many equal clusters as these are worth, see `clusters.effective_clusters`.
        images = totals.second[::width, ::width]
        second, fourth = float(wanted @ images @ wanted), float(wanted @ totals.fourth)
        most = max(1, int(totals.clusters.max()))
        worth = max(1, int(min(second**2 / fourth if fourth > 0 else 1.0, most)))
        weight = np.where(np.arange(most) < worth, 1 / worth, 0.0)
        return Measured(value, influence, n, weight, self.unit, is_share=is_share)


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
