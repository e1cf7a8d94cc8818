"""Which images may show one person, where who is shown is not recorded.

Images of one person are nearer to each other than the density of other people explains. The
activations of all layers are standardised, reduced and whitened together, so that what many images
share (pose, light, group) weighs no more than what is particular to a few. For every image, the
cosine similarities to its 11th to 40th neighbours, who are taken for other people, show how
quickly similarities thin out: their tail is exponential over so short a range (Pickands 1975, for
distributions in Gumbel's domain). Extrapolated to a pair, it gives the number of other people
expected to be at least as similar. A pair stands out where that number is small, seen from both.

Measured with EfficientNet-Lite0 and a limit of 0.02: 45 rendered faces in 4 renditions (crops to
80-95 %, turns, mirroring, colour, JPEG) fall into 52 sets, 45 photographs into 48; 1500 FairFace
photographs of nearly as many people into 1442, 720 renders of 720 people into 676. The
most striking pairs in UTKFace are the same photographs in other crops. People with more than ten
images are not found: their nearest neighbours are all themselves.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import numpy.typing as npt
from scipy.linalg import eigh

from bias_audit.arrays import FloatArray, IntArray
from bias_audit.data.duplicates import joined
from bias_audit.deferred import torch
from bias_audit.files import digest

_NEIGHBOURS = 40
_NEAREST = 10
"""Of them, neighbours that may show the same person."""
_KEPT = 64
"""Axes after whitening; a quarter of the images where these are fewer."""
_PROJECTED = 2048
"""Directions of all layers together before whitening."""
_PER_LAYER = 256
_ROWS = 512
"""Images compared with all others at once: 80 MB for 40,000 images."""

Vectors = npt.NDArray[np.float32]


class _Layers(Protocol):
    @property
    def layers(self) -> tuple[str, ...]: ...

    def units(self, layer: str) -> npt.NDArray[np.float32]: ...


@dataclass(frozen=True)
class Likeness:
    """Pairs of similar images, most striking first."""

    n_images: int
    pairs: IntArray
    """Image numbers, shape (n_pairs, 2); each pair once."""
    expected: FloatArray
    """Other people expected to be at least as similar, shape (n_pairs,), ascending."""

    @property
    def digest(self) -> str:
        """Changes with the pairs and their order."""
        return digest(self.pairs.tobytes(), self.expected.tobytes())

    def without_known(self, identities: tuple[str, ...] | None) -> Likeness:
        """The pairs in which the identity of at least one image is empty."""
        if identities is None:
            return self
        known = np.array([bool(identity) for identity in identities], dtype=bool)
        open_ = ~known[self.pairs].all(axis=1)
        return replace(self, pairs=self.pairs[open_], expected=self.expected[open_])

    def clusters(self, known: IntArray, limit: float) -> IntArray:
        """Join the pairs that stand out with the clusters there are.

        Args:
            known: Cluster of each image, shape (n_images,).
            limit: Largest expected number of other people as similar.

        Returns:
            Cluster of each image, shape (n_images,).
        """
        first = np.unique(known, return_index=True)[1][np.unique(known, return_inverse=True)[1]]
        given = np.stack([first, np.arange(self.n_images)], axis=1)
        return joined(np.concatenate([given, self.pairs[self.expected <= limit]]), self.n_images)

    def merged(self, clusters: IntArray, most: int) -> IntArray:
        """Merge the most similar clusters, at most `most` into one.

        Single linkage with a limit of size, which keeps it from chaining all images together.

        Args:
            clusters: Cluster of each image, shape (n_images,).
            most: At least 1.

        Returns:
            Merged cluster of each image, shape (n_images,).
        """
        numbers = np.unique(clusters, return_inverse=True)[1]
        parent = list(range(int(numbers.max(initial=-1)) + 1))
        size = [1] * len(parent)

        def root(number: int) -> int:
            while parent[number] != number:
                parent[number] = parent[parent[number]]
                number = parent[number]
            return number

        for one, other in numbers[self.pairs].tolist():
            a, b = root(one), root(other)
            if a != b and size[a] + size[b] <= most:
                parent[b] = a
                size[a] += size[b]
        return np.array([root(number) for number in numbers.tolist()], dtype=np.int64)


def activation_vectors(activations: _Layers) -> Vectors:
    """What is particular to each image, over all layers; each layer weighs the same.

    Reads the activations in pieces; layers with numbers that are not finite are left out.

    Returns:
        Shape (n_images, n_axes); no axes where no layer has numbers that vary.
    """
    standard = [found for layer in activations.layers for found in _standard(activations, layer)]
    if not standard:
        return np.zeros((len(activations.units(activations.layers[0])), 0), dtype=np.float32)
    n = len(standard[0].units)
    total = sum(each.projection.shape[1] for each in standard)
    scatter = np.zeros((total, total))
    for rows in _rows(n):
        piece = _piece(standard, rows).astype(np.float64)
        scatter += piece.T @ piece
    kept = min(_KEPT, total, max(1, n // 4))
    values, axes = eigh(scatter, subset_by_index=(total - kept, total - 1))
    used = values > 1e-9 * values[-1]  # less is rounding
    whitened = (axes[:, used] / np.sqrt(values[used])).astype(np.float32)
    return np.concatenate([_piece(standard, rows) @ whitened for rows in _rows(n)])


@dataclass(frozen=True)
class _Standard:
    units: npt.NDArray[np.float32]
    mean: npt.NDArray[np.float32]
    projection: npt.NDArray[np.float32]
    """Divides by the standard deviations, then mixes units at random; (n_units, n_directions)."""


def _standard(activations: _Layers, layer: str) -> Iterator[_Standard]:
    units = activations.units(layer)
    mean = np.asarray(np.mean(units, axis=0, dtype=np.float64))
    squares = np.zeros(units.shape[1])
    for rows in _rows(len(units)):
        squares += np.square(units[rows] - mean).sum(axis=0)
    scale = np.sqrt(squares / len(units))
    varies = np.isfinite(scale) & (scale > 0)
    if not np.isfinite(scale).all() or not varies.any():
        return
    n_directions = min(_PER_LAYER, max(1, _PROJECTED // len(activations.layers)))
    if len(scale) <= n_directions:
        mixing = np.eye(len(scale))
    else:  # lengths and angles are kept, up to noise (Johnson & Lindenstrauss 1984)
        rng = np.random.default_rng(0)
        mixing = rng.standard_normal((len(scale), n_directions)) / np.sqrt(n_directions)
    weight = np.divide(1, scale, out=np.zeros_like(scale), where=varies) / np.sqrt(varies.sum())
    projection = (weight[:, None] * mixing).astype(np.float32)
    yield _Standard(units, mean.astype(np.float32), projection)


def _rows(n: int) -> Iterator[slice]:
    for start in range(0, n, _ROWS):
        yield slice(start, start + _ROWS)


def _piece(standard: list[_Standard], rows: slice) -> Vectors:
    return np.concatenate(
        [(each.units[rows] - each.mean) @ each.projection for each in standard], axis=1
    )


def likeness(vectors: Vectors) -> Likeness:
    """Find the pairs of images that are similar, by the cosine of their vectors.

    Args:
        vectors: One per image, shape (n_images, n_axes).

    Returns:
        Every image with up to 40 neighbours; no pairs of fewer than 9 images.
    """
    n = len(vectors)
    n_neighbours = min(_NEIGHBOURS, (n - 1) // 2)
    nearest = n_neighbours * _NEAREST // _NEIGHBOURS
    if nearest < 1 or not vectors.shape[1]:
        return Likeness(n, np.empty((0, 2), dtype=np.int64), np.empty(0))
    neighbours, similar = _neighbours(vectors, n_neighbours)
    limit = similar[:, nearest - 1]
    # Mean excess over the farthest neighbour: the maximum likelihood of an exponential tail.
    spread = similar[:, nearest - 1 : -1].mean(axis=1) - similar[:, -1]
    spread = np.maximum(spread, np.finfo(np.float32).eps)
    i, j = np.repeat(np.arange(n), n_neighbours), neighbours.ravel()
    value = similar.ravel()
    excess = ((value - limit[i]) / spread[i] + (value - limit[j]) / spread[j]) / 2
    pairs, first = np.unique(np.sort(np.stack([i, j], axis=1), axis=1), axis=0, return_index=True)
    expected = nearest * np.exp(np.minimum(-excess[first], 700.0))  # beyond, it overflows
    order = np.argsort(expected, kind="stable")
    return Likeness(n, pairs[order].astype(np.int64), expected[order])


def _neighbours(vectors: Vectors, most: int) -> tuple[IntArray, FloatArray]:
    """Each image's nearest others and their cosine, nearest first, both (n_images, most)."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit = np.asarray(vectors / np.maximum(lengths, np.finfo(np.float32).tiny), dtype=np.float32)
    numbers: list[IntArray] = []
    cosines: list[FloatArray] = []
    for rows in _rows(len(unit)):
        similar = unit[rows] @ unit.T
        own = np.arange(rows.start, rows.start + len(similar))
        similar[np.arange(len(similar)), own] = -np.inf
        near = torch.from_numpy(similar).topk(most, dim=1)  # ten times as fast as argpartition
        numbers.append(near.indices.numpy())
        cosines.append(near.values.numpy().astype(np.float64))
    return np.concatenate(numbers), np.concatenate(cosines)
