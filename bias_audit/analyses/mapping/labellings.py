"""Which images may exchange labels, and how two groups differ under each labelling.

A permutation of labels gives the distribution of a difference only if the groups are alike in all
else: where the smaller group varies more, a plain difference is found far too often. Divided by an
error that allows for unequal spread (Welch 1947, Biometrika 34:28-35), it has nearly one
distribution whatever the spreads, so that permuting remains valid with many images (Janssen 1997,
Statistics & Probability Letters 36:9-21; Chung & Romano 2013, Annals of Statistics 41:484-507).
With few images that distribution depends on its degrees of freedom, which annotated and permuted
labels do not share; it is therefore put on the scale of a normal variable by them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from bias_audit.arrays import BoolArray, Float32Array, FloatArray, IntArray

_PAIRS = 2**14
"""Pairs of pieces whose products are held at a time."""
_ROUNDING = 1e-5
"""Relative to the values, or to their spread within strata: float32 knows no less."""

Labels = npt.NDArray[np.bool_ | np.int64]
"""Whether an image is of the first of two groups, or the number of its group."""


Product = Callable[[Float32Array, Float32Array], Float32Array]


def product_on(device: str) -> Product:
    """The product of two matrices on a device that a config names; numpy's on processors.

    Raises:
        BackboneError: The device is not there.
    """
    import torch  # noqa: PLC0415  (it takes seconds: only those who test maps pay for it)

    from bias_audit.device import device_for  # noqa: PLC0415

    place = device_for(device)
    if place.type == "cpu":
        return np.matmul

    def product(one: Float32Array, other: Float32Array) -> Float32Array:
        left, right = (torch.from_numpy(each).to(place) for each in (one, other))
        found: Float32Array = (left @ right).cpu().numpy()
        return found

    return product


@dataclass(frozen=True)
class Exchangeable:
    """Clusters that may exchange their labels; all have their images in the same strata."""

    images: tuple[IntArray, ...]
    """Of each cluster, sorted by stratum."""
    is_pure: bool
    """Whether each cluster has one label and one stratum; such clusters may differ in size."""


@dataclass(frozen=True)
class Exchange:
    """Which images may receive which labels."""

    labels: Labels
    """As annotated, shape (n_images,)."""
    singles: tuple[IntArray, ...]
    """Images that are clusters of their own, by stratum."""
    classes: tuple[Exchangeable, ...]

    @property
    def n_fixed(self) -> int:
        """Images whose label no permutation can change."""
        own = self.labels
        fixed = sum(len(images) for images in self.singles if len(np.unique(own[images])) == 1)
        for each in self.classes:
            vectors = {tuple(own[images][: 1 if each.is_pure else None]) for images in each.images}
            if len(vectors) == 1:
                fixed += sum(map(len, each.images))
        return fixed


def exchange(labels: Labels, strata: IntArray, clusters: IntArray) -> Exchange:
    """Find the clusters that may exchange labels.

    Clusters of one label and one stratum exchange their label with the others of that stratum,
    whatever their sizes. A cluster with several labels, or in several strata (one person at two
    ages), exchanges its labels as a whole with clusters that have as many images in the same
    strata. A permutation changes neither kind into the other, so the permutations form a group.
    All arrays are by image, shape (n_images,).
    """
    order = np.lexsort((strata, clusters))
    starts = np.flatnonzero(np.diff(clusters[order], prepend=np.nan))
    groups = np.split(order, starts[1:])
    alone = np.array([members[0] for members in groups if len(members) == 1], dtype=np.int64)
    single = {int(s): alone[strata[alone] == s] for s in np.unique(strata)}
    found: dict[int | tuple[int, ...], list[IntArray]] = defaultdict(list)
    for members in groups:
        own = tuple(strata[members].tolist())
        is_pure = len(set(own)) == len(np.unique(labels[members])) == 1
        if len(members) > 1:
            found[own[0] if is_pure else own].append(members)
    classes = []
    for key, images in found.items():
        if isinstance(key, int):
            images += [np.array([i]) for i in single.pop(key, ())]
        classes.append(Exchangeable(tuple(images), isinstance(key, int)))
    return Exchange(
        labels, tuple(images for images in single.values() if len(images)), tuple(classes)
    )


def permuted(how: Exchange, n_draws: int, rng: np.random.Generator) -> Labels:
    """Draw labellings, (n_draws, n_images), as likely as the annotated one without an effect."""
    drawn = np.tile(how.labels, (n_draws, 1))
    for images in how.singles:
        drawn[:, images] = rng.permuted(drawn[:, images], axis=1)
    for each in how.classes:
        taken = rng.permuted(np.tile(np.arange(len(each.images)), (n_draws, 1)), axis=1)
        images = np.concatenate(each.images)
        if each.is_pure:  # clusters exchange their one label, which all of their images have
            own = how.labels[[members[0] for members in each.images]]
            place = np.repeat(np.arange(len(each.images)), [len(m) for m in each.images])
            drawn[:, images] = own[taken][:, place]
        else:  # clusters of as many images in the same strata exchange all of their labels
            vectors = how.labels[np.stack(each.images)]
            drawn[:, images] = vectors[taken].reshape(n_draws, -1)
    return drawn


@dataclass(frozen=True)
class Pieces:
    """Images, joined where every permutation gives them one label."""

    number: IntArray
    """Piece of each image, shape (n,)."""
    first: IntArray
    """An image of each piece, sorted by cluster and stratum, shape (n_pieces,)."""
    strata: IntArray
    """Stratum of each piece, shape (n_pieces,)."""
    clusters: IntArray
    """0 .. n_clusters - 1, ascending, shape (n_pieces,)."""
    stratum_sizes: FloatArray
    """Images of each stratum."""

    @cached_property
    def sizes(self) -> IntArray:
        """Images of each piece, shape (n_pieces,)."""
        return np.bincount(self.number).astype(np.int64)

    @cached_property
    def starts(self) -> IntArray:
        """The first piece of each cluster."""
        return _starts(self.clusters)

    @cached_property
    def within(self) -> IntArray:
        """The first piece of each stratum of each cluster."""
        return _starts(self.clusters * len(self.stratum_sizes) + self.strata)

    @cached_property
    def pairs(self) -> tuple[IntArray, IntArray]:
        """Every two pieces of one cluster, and each piece with itself: the earlier, the later."""
        end = np.append(self.starts, len(self.first))[self.clusters + 1]
        n_later = end - np.arange(len(end))
        one = np.repeat(np.arange(len(end)), n_later)
        ahead = np.arange(len(one)) - np.repeat(np.cumsum(n_later) - n_later, n_later)
        return one, one + ahead

    def sums(self, values: Float32Array) -> Float32Array:
        """Of the values of each piece, from shape (n, n_units) to (n_pieces, n_units)."""
        order = np.argsort(self.number, kind="stable")
        return np.add.reduceat(values[order], np.cumsum(self.sizes) - self.sizes, axis=0)


def _starts(ascending: IntArray) -> IntArray:
    return np.flatnonzero(np.diff(ascending, prepend=-1)).astype(np.int64)


@dataclass(frozen=True)
class Welch:
    """Differences of two groups with strata held constant, in arrays of one shape."""

    value: FloatArray
    """Coefficient of the label in a regression with a constant for each stratum."""
    error: FloatArray
    """It allows for unequal spread in the two groups and for clusters of images."""
    freedom: FloatArray
    """Degrees of freedom of the error (Satterthwaite)."""

    @property
    def t(self) -> FloatArray:
        """The value over its error; 0 without an error."""
        value, error = self.value, self.error
        return np.divide(value, error, out=np.zeros_like(value), where=error > 0)

    @property
    def z(self) -> FloatArray:
        """`t` on the scale of a standard normal variable.

        With v degrees of freedom, by Wallace 1959 (Annals of Mathematical Statistics
        30:1121-1130), (8v + 1) / (8v + 3) sqrt(v log(1 + t^2 / v)).
        """
        v, t = self.freedom, self.t
        size = (8 * v + 1) / (8 * v + 3) * np.sqrt(v * np.log1p(t**2 / v))
        return np.asarray(np.sign(t) * size, dtype=np.float64)


@dataclass(frozen=True)
class Labelled:
    """Images under one or more labellings, whose differences can be measured."""

    pieces: Pieces
    contrasts: Float32Array
    """Labels of pieces less their share in each stratum, shape (n_draws, n_pieces)."""
    is_first: BoolArray
    """Whether the first piece of a cluster is of the first group, shape (n_draws, n_clusters)."""
    product: Product = np.matmul
    """Of two matrices, wherever it is computed."""

    def differences(self, values: Float32Array) -> Welch:
        """Differences, their errors and degrees of freedom, of shape (n_draws, n_units).

        With one stratum and no clusters these are Welch's. With strata the error is HC2 of the
        regression; with clusters it is that of sums over clusters, each with one factor for its
        leverage (after Bell & McCaffrey 2002, Survey Methodology 28:169-181). A cluster counts to
        the group of its first image, and clusters of unlike weight for as many alike ones as
        Kish's effective number says. Values are units less their mean in each stratum, (n,
        n_units).
        """
        sums, parts = self.pieces.sums(values), self._by_group * self._squares
        value = self._values(sums)
        inflation = 1 / np.maximum(1 - self._leverage(), _ROUNDING)
        variances = self._variances(sums, value, self._by_group * inflation)
        alike = parts.sum(axis=2) ** 2 / np.maximum((parts**2).sum(axis=2), np.finfo(float).tiny)
        freedom = np.maximum(alike - 1, 1)[:, :, None]
        total, doubt = variances.sum(axis=0), (variances**2 / freedom).sum(axis=0)
        most = np.broadcast_to(freedom.sum(axis=0), total.shape).copy()
        least = _ROUNDING * value**2 * (inflation * self._squares**2).sum(axis=1, keepdims=True)
        return Welch(
            value,
            error=np.sqrt(np.maximum(total, least)) / self._weight,
            freedom=np.divide(total**2, doubt, out=most, where=doubt > 0),
        )

    def spreads(self, values: Float32Array) -> FloatArray:
        """Root mean square of residuals in each group, over clusters, (2, n_draws, n_units)."""
        sums = self.pieces.sums(values)
        squares = self._variances(sums, self._values(sums), self._by_group.astype(np.float64))
        weights = (self._by_group * self._squares).sum(axis=2, keepdims=True)
        return np.asarray(np.sqrt(squares / np.maximum(weights, np.finfo(float).tiny)))

    @cached_property
    def _squares(self) -> FloatArray:
        """Sums of squared contrasts by cluster, shape (n_draws, n_clusters)."""
        squares = self.contrasts.astype(np.float64) ** 2 * self.pieces.sizes
        return np.add.reduceat(squares, self.pieces.starts, axis=1)

    @cached_property
    def _weight(self) -> FloatArray:
        return np.asarray(self._squares.sum(axis=1, keepdims=True))

    @cached_property
    def _by_group(self) -> BoolArray:
        """Whether a cluster is of the first group, and of the second."""
        return np.stack([self.is_first, ~self.is_first])

    def _values(self, sums: Float32Array) -> FloatArray:
        return np.asarray(self.product(self.contrasts, sums) / self._weight, dtype=np.float64)

    def _leverage(self) -> FloatArray:
        """Share of the variance of a cluster's sum that fitting takes away, shape as `_squares`.

        The regression (a constant for each stratum, and the label) is drawn towards the values
        that it is fitted to: by 1 / G towards those of one of G equal clusters of a group.
        """
        pieces, squares = self.pieces, self._squares
        sums = np.add.reduceat(self.contrasts * pieces.sizes, pieces.within, axis=1) ** 2
        sums /= pieces.stratum_sizes[pieces.strata[pieces.within]]
        constants = np.add.reduceat(sums, _starts(pieces.clusters[pieces.within]), axis=1)
        # Strata of one group say nothing: their contrasts are 0.
        share = np.divide(constants, squares, out=np.zeros_like(squares), where=squares > 0)
        return share + squares / self._weight

    def _variances(self, sums: Float32Array, value: FloatArray, factors: FloatArray) -> FloatArray:
        """Of the sums of contrast x residual over clusters, shape (2, n_draws, n_units).

        With contrasts c, sums s of the values of pieces, and the difference d, the sum of a
        cluster is (sum of c s) - d q, where q is its sum of squared contrasts. The terms of its
        square are matrix products over all labellings. Sums have shape (n_pieces, n_units),
        differences (n_draws, n_units), the factors of each cluster's square, 0 outside a group,
        (2, n_draws, n_clusters).
        """
        clusters, contrasts = self.pieces.clusters, self.contrasts
        by_sum = ((factors * self._squares)[:, :, clusters] * contrasts).astype(np.float32)
        last = (factors * self._squares**2).sum(axis=2, keepdims=True)
        result = value**2 * last - 2 * value * self.product(by_sum, sums)
        for start in range(0, len(self.pieces.pairs[0]), _PAIRS):
            one, other = (pair[start : start + _PAIRS] for pair in self.pieces.pairs)
            twice = np.where(one == other, 1, 2) * contrasts[:, one] * contrasts[:, other]
            by_product = (factors[:, :, clusters[one]] * twice).astype(np.float32)
            result += self.product(by_product, sums[one] * sums[other])
        return np.asarray(np.maximum(result, 0), dtype=np.float64)


@dataclass(frozen=True)
class TwoGroups:
    """Images of two groups, in strata that have images of both."""

    units: Float32Array
    """Activations, shape (n_images, n_units); may be memory-mapped."""
    images: IntArray
    """Rows of `units` used, shape (n,)."""
    labels: Labels
    """Whether an image is of the first group, shape (n,)."""
    strata: IntArray
    """0 .. n_strata - 1, shape (n,)."""
    clusters: IntArray
    """Shape (n,)."""
    device: str = "cpu"
    """Where labellings and values are multiplied, as a config names it."""

    @property
    def sizes(self) -> tuple[int, int]:
        """Images of each group."""
        return int(self.labels.sum()), int((~self.labels).sum())

    @property
    def independent(self) -> tuple[int, int]:
        """Clusters of images of each group."""
        one, other = self.clusters[self.labels], self.clusters[~self.labels]
        return len(np.unique(one)), len(np.unique(other))

    @cached_property
    def _product(self) -> Product:
        return product_on(self.device)

    @cached_property
    def exchange(self) -> Exchange:
        """Which labels may be permuted."""
        return exchange(self.labels, self.strata, self.clusters)

    @cached_property
    def pieces(self) -> Pieces:
        """Images of each cluster that exchange labels as one, joined, or none at all."""
        own = np.arange(len(self.strata))
        for each in self.exchange.classes:
            if each.is_pure or len(each.images) == 1:
                images = np.concatenate(each.images)
                own[images] = -1 - self.labels[images].astype(np.int64)
        clusters = np.unique(self.clusters, return_inverse=True)[1]
        found, first, number = np.unique(
            np.stack([clusters, self.strata, own]), axis=1, return_index=True, return_inverse=True
        )
        sizes = np.bincount(self.strata).astype(np.float64)
        return Pieces(number.reshape(-1), first.astype(np.int64), found[1], found[0], sizes)

    def centred(self, columns: slice | IntArray) -> Float32Array:
        """Activations of some units less their mean in each stratum, shape (n, n_columns).

        Units that are constant within strata, up to rounding, become exactly 0.
        """
        values = self.units[:, columns][self.images].astype(np.float64)
        largest = np.abs(values).max(axis=0, initial=0)
        values = _less_means(values, self.strata)
        values[:, np.abs(values).max(axis=0, initial=0) <= _ROUNDING * largest] = 0
        return values.astype(np.float32)

    def contrasts(self, labels: Labels) -> Float32Array:
        """Labels less their share in each stratum, shape (n_draws, n)."""
        size = np.bincount(self.strata)
        share = np.zeros((len(labels), len(size)), dtype=np.float32)
        for stratum in range(len(size)):
            share[:, stratum] = labels[:, self.strata == stratum].mean(axis=1)
        return np.asarray(labels.astype(np.float32) - share[:, self.strata], dtype=np.float32)

    def labelled(self, labels: Labels) -> Labelled:
        """The images under labellings of shape (n_draws, n)."""
        first = self.pieces.first
        contrasts = self.contrasts(labels)[:, first]
        is_first = labels.astype(bool)[:, first[self.pieces.starts]]
        return Labelled(self.pieces, contrasts, is_first, self._product)

    def made_alike(self, centred: Float32Array) -> Float32Array:
        """Centred values, (n, n_units), without the groups' difference, with one spread in both.

        Permuted labels among them give the null of groups that vary unequally. These are
        residuals, each divided by the spread of its cluster's group, less their mean in each
        stratum; 0 in a group in which a unit does not vary.
        """
        pieces, made = self.pieces, self.labelled(self.labels[None])
        group = np.where(made.is_first[0], 0, 1)[pieces.clusters[pieces.number]]
        spread = made.spreads(centred)[group, 0]
        contrasts = self.contrasts(self.labels[None])[0][:, None]
        residuals = centred - contrasts * made.differences(centred).value
        least = _ROUNDING * np.sqrt((centred**2).mean(axis=0))
        scaled = np.divide(residuals, spread, out=np.zeros_like(residuals), where=spread > least)
        return _less_means(scaled, self.strata).astype(np.float32)


def _less_means(values: FloatArray, strata: IntArray) -> FloatArray:
    """Values less their mean in each stratum, of shape (n, n_units)."""
    size = np.bincount(strata)
    sums = np.zeros((len(size), values.shape[1]))
    np.add.at(sums, strata, values)
    return np.asarray(values - (sums / size[:, None])[strata], dtype=np.float64)
