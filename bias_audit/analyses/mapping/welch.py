"""The difference of two groups over its error, for annotated and for permuted labels.

A permutation of labels gives the distribution of a difference only if the groups are alike in all
else: where the smaller group varies more, a plain difference is found far too often. Divided by an
error that allows for unequal spread (Welch 1947, Biometrika 34:28-35), it has nearly one
distribution whatever the spreads, so that permuting remains valid with many images (Janssen 1997,
Statistics & Probability Letters 36:9-21; Chung & Romano 2013, Annals of Statistics 41:484-507).
With few images that distribution depends on its degrees of freedom, which annotated and permuted
labels do not share; it is therefore put on the scale of a normal variable by them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from bias_audit.analyses.mapping.permutation import Exchange
from bias_audit.arrays import BoolArray, Float32Array, FloatArray, IntArray

_PAIRS = 2**14
"""Pairs of pieces whose products are held at a time."""
_ROUNDING = 1e-5
"""Relative to the values: float32 knows no less."""


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

    @classmethod
    def of(cls, how: Exchange, strata: IntArray, clusters: IntArray) -> Pieces:
        """Join the images of each cluster that exchange labels as one, or none at all.

        Args:
            how: Which labels may be permuted.
            strata: 0 .. n_strata - 1, shape (n,).
            clusters: Shape (n,).
        """
        own = np.arange(len(strata))
        for each in how.classes:
            if each.is_pure or len(each.images) == 1:
                images = np.concatenate(each.images)
                own[images] = -1 - how.labels[images].astype(np.int64)
        keys = np.stack([np.unique(clusters, return_inverse=True)[1], strata, own])
        found, first, number = np.unique(keys, axis=1, return_index=True, return_inverse=True)
        sizes = np.bincount(strata).astype(np.float64)
        return cls(number.reshape(-1), first.astype(np.int64), found[1], found[0], sizes)

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

    @classmethod
    def of(cls, pieces: Pieces, contrasts: Float32Array, labels: BoolArray) -> Labelled:
        """From labels of images, and their contrasts, both of shape (n_draws, n)."""
        return cls(pieces, contrasts[:, pieces.first], labels[:, pieces.first[pieces.starts]])

    def differences(self, values: Float32Array) -> Welch:
        """Differences, their errors and degrees of freedom.

        With one stratum and no clusters these are Welch's. With strata the error is HC2 of the
        regression; with clusters it is that of sums over clusters, each with one factor for its
        leverage (after Bell & McCaffrey 2002, Survey Methodology 28:169-181). A cluster counts to
        the group of its first image, and clusters of unlike weight for as many alike ones as
        Kish's effective number says.

        Args:
            values: Units less their mean in each stratum, shape (n, n_units).

        Returns:
            Of shape (n_draws, n_units).
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
        return np.asarray((self.contrasts @ sums) / self._weight, dtype=np.float64)

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
        square are matrix products over all labellings.

        Args:
            sums: Of the values of pieces, shape (n_pieces, n_units).
            value: Differences, shape (n_draws, n_units).
            factors: Of each cluster's square, 0 outside a group, shape (2, n_draws, n_clusters).
        """
        clusters, contrasts = self.pieces.clusters, self.contrasts
        by_sum = ((factors * self._squares)[:, :, clusters] * contrasts).astype(np.float32)
        last = (factors * self._squares**2).sum(axis=2, keepdims=True)
        result = value**2 * last - 2 * value * (by_sum @ sums)
        for start in range(0, len(self.pieces.pairs[0]), _PAIRS):
            one, other = (pair[start : start + _PAIRS] for pair in self.pieces.pairs)
            twice = np.where(one == other, 1, 2) * contrasts[:, one] * contrasts[:, other]
            by_product = (factors[:, :, clusters[one]] * twice).astype(np.float32)
            result += by_product @ (sums[one] * sums[other])
        return np.asarray(np.maximum(result, 0), dtype=np.float64)


def made_alike(
    pieces: Pieces, values: Float32Array, contrasts: Float32Array, labels: BoolArray
) -> Float32Array:
    """Values without the difference of the groups, and with one spread in both.

    Permuted labels among them give the null of groups that vary unequally. These are residuals,
    each divided by the spread of its cluster's group, less their mean in each stratum.

    Args:
        pieces: Of the images.
        values: Units less their mean in each stratum, shape (n, n_units).
        contrasts: Of the annotated labels, shape (1, n).
        labels: As annotated, shape (1, n).

    Returns:
        Shape (n, n_units); 0 in a group in which a unit does not vary.
    """
    made = Labelled.of(pieces, contrasts, labels)
    group = np.where(made.is_first[0], 0, 1)[pieces.clusters[pieces.number]]
    spread = made.spreads(values)[group, 0]
    residuals = values - contrasts[0][:, None] * made.differences(values).value
    least = _ROUNDING * np.sqrt((values**2).mean(axis=0))
    result = np.divide(residuals, spread, out=np.zeros_like(residuals), where=spread > least)
    return less_means(result, pieces.strata[pieces.number]).astype(np.float32)


def less_means(values: FloatArray, strata: IntArray) -> FloatArray:
    """Values less their mean in each stratum, of shape (n, n_units)."""
    size = np.bincount(strata)
    sums = np.zeros((len(size), values.shape[1]))
    np.add.at(sums, strata, values)
    return np.asarray(values - (sums / size[:, None])[strata], dtype=np.float64)
