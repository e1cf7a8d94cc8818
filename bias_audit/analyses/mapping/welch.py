"""The difference of two groups over its error, for annotated and for permuted labels.

A permutation of labels gives the distribution of a difference only if the groups are alike in all
else: where the smaller group varies more, a plain difference is found far too often. Divided by an
error that allows for unequal spread (Welch 1947, Biometrika 34:28-35), it has nearly one
distribution whatever the spreads, so that permuting remains valid with many images (Janssen 1997;
Chung & Romano 2013, Annals of Statistics 41:484-507). With few images that distribution depends on
its degrees of freedom, which annotated and permuted labels do not share; it is therefore put on
the scale of a normal variable by them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array

from bias_audit.analyses.mapping.label_permutation import Exchange
from bias_audit.groups import IntArray

FloatArray = npt.NDArray[np.float64]
Float32Array = npt.NDArray[np.float32]

_PAIRS = 2**14
"""Pairs of pieces whose products are held at a time."""
_ROUNDING = 1e-5
"""Variance, relative to the squared difference, that float32 cannot tell from none."""


@dataclass(frozen=True)
class Pieces:
    """Images, joined where every permutation gives them one label."""

    first: IntArray
    """An image of each piece, sorted by cluster and stratum, shape (n_pieces,)."""
    members: csr_array
    """1 where an image is part of a piece, shape (n_pieces, n)."""
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
        n = len(strata)
        piece = np.arange(n)
        for each in how.classes:
            if each.is_pure or len(each.images) == 1:
                images = np.concatenate(each.images)
                piece[images] = -1 - how.labels[images].astype(np.int64)
        keys, first, number = np.unique(
            np.stack([np.unique(clusters, return_inverse=True)[1], strata, piece]),
            axis=1,
            return_index=True,
            return_inverse=True,
        )
        shape = (len(first), n)
        ones = np.ones(n, dtype=np.float32)
        members = csr_array((ones, (number.reshape(-1), np.arange(n))), shape=shape)
        sizes = np.bincount(strata).astype(np.float64)
        return cls(first.astype(np.int64), members, keys[1], keys[0], sizes)

    @cached_property
    def sizes(self) -> Float32Array:
        """Images of each piece, shape (n_pieces,)."""
        return np.asarray(self.members.sum(axis=1), dtype=np.float32)

    @cached_property
    def starts(self) -> IntArray:
        """The first piece of each cluster."""
        return _starts(self.clusters)

    @cached_property
    def pairs(self) -> tuple[IntArray, IntArray]:
        """Every two pieces of one cluster, and each piece with itself: the earlier, the later."""
        end = np.append(self.starts, len(self.first))[self.clusters + 1]
        n_later = end - np.arange(len(end))
        one = np.repeat(np.arange(len(end)), n_later)
        ahead = np.arange(len(one)) - np.repeat(np.cumsum(n_later) - n_later, n_later)
        return one, one + ahead

    def leverage(self, contrasts: Float32Array, squares: FloatArray) -> FloatArray:
        """Share of the variance of each cluster's sum that fitting takes away.

        The regression (a constant for each stratum, and the label) is drawn towards the values
        that it is fitted to: by 1 / G towards those of one of G equal clusters of a group.

        Args:
            contrasts: Of pieces, shape (n_draws, n_pieces).
            squares: Sums of squared contrasts by cluster, shape (n_draws, n_clusters).
        """
        within = _starts(self.clusters * len(self.stratum_sizes) + self.strata)
        sums = np.add.reduceat(contrasts * self.sizes, within, axis=1) ** 2
        sums /= self.stratum_sizes[self.strata[within]]
        constants = np.add.reduceat(sums, _starts(self.clusters[within]), axis=1)
        # Strata of one group say nothing: their contrasts are 0.
        share = np.divide(constants, squares, out=np.zeros_like(squares), where=squares > 0)
        return share + squares / squares.sum(axis=1, keepdims=True)


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
    def z(self) -> FloatArray:
        """The value over its error, on the scale of a standard normal variable.

        Student's t with v degrees of freedom becomes, by Wallace 1959 (Annals of Mathematical
        Statistics 30:1121-1130), (8v + 1) / (8v + 3) sqrt(v log(1 + t^2 / v)).
        """
        v = self.freedom
        t = np.divide(self.value, self.error, out=np.zeros_like(v), where=self.error > 0)
        size = (8 * v + 1) / (8 * v + 3) * np.sqrt(v * np.log1p(t**2 / v))
        return np.asarray(np.sign(t) * size, dtype=np.float64)


def welch(
    pieces: Pieces,
    values: Float32Array,
    contrasts: Float32Array,
    labels: npt.NDArray[np.bool_],
) -> Welch:
    """Differences, their errors and degrees of freedom, for one or more labellings.

    With one stratum and no clusters these are Welch's. With strata the error is HC2 of the
    regression; with clusters it is that of sums over clusters, each with one factor for its
    leverage (after Bell & McCaffrey 2002, Survey Methodology 28:169-181). A cluster counts to the
    group of its first image, and clusters of unlike weight for as many alike ones as Kish's
    effective number says.

    Args:
        pieces: Of the images.
        values: Units less their mean in each stratum, shape (n, n_units).
        contrasts: Labels less their share in each stratum, shape (n_draws, n).
        labels: Whether an image is of the first group, shape (n_draws, n).
    """
    sums = np.asarray(pieces.members @ values, dtype=np.float32)
    own = contrasts[:, pieces.first]
    squares = np.add.reduceat(own.astype(np.float64) ** 2 * pieces.sizes, pieces.starts, axis=1)
    weight = squares.sum(axis=1, keepdims=True)
    value = (own @ sums) / weight
    inflation = 1 / np.maximum(1 - pieces.leverage(own, squares), _ROUNDING)
    is_first = labels[:, pieces.first[pieces.starts]]
    by_group = np.stack([is_first, ~is_first])
    variances = _variances(
        pieces,
        sums=sums,
        contrasts=own,
        value=value,
        squares=squares,
        inflation=by_group * inflation,
    )
    parts = by_group * squares
    alike = parts.sum(axis=2) ** 2 / np.maximum((parts**2).sum(axis=2), np.finfo(float).tiny)
    freedom = np.maximum(alike - 1, 1)[:, :, None]
    total, doubt = variances.sum(axis=0), (variances**2 / freedom).sum(axis=0)
    most = np.broadcast_to(freedom.sum(axis=0), total.shape).copy()
    least = _ROUNDING * value**2 * (inflation * squares**2).sum(axis=1, keepdims=True)
    return Welch(
        value,
        error=np.sqrt(np.maximum(total, least)) / weight,
        freedom=np.divide(total**2, doubt, out=most, where=doubt > 0),
    )


def _variances(
    pieces: Pieces,
    *,
    sums: Float32Array,
    contrasts: Float32Array,
    value: FloatArray,
    squares: FloatArray,
    inflation: FloatArray,
) -> FloatArray:
    """Of the sums of contrast x residual over clusters, shape (2, n_draws, n_units).

    With contrasts c, sums s of the values of pieces, and the difference d, the sum of a cluster is
    (sum of c s) - d q, where q is its sum of squared contrasts. The terms of its square are matrix
    products over all labellings.

    Args:
        pieces: Of the images.
        sums: Of the values of each piece, shape (n_pieces, n_units).
        contrasts: Shape (n_draws, n_pieces).
        value: Differences, shape (n_draws, n_units).
        squares: Sums of squared contrasts by cluster, shape (n_draws, n_clusters).
        inflation: Of each cluster's square, 0 outside the group, shape (2, n_draws, n_clusters).
    """
    by_sum = ((inflation * squares)[:, :, pieces.clusters] * contrasts).astype(np.float32)
    last = (inflation * squares**2).sum(axis=2, keepdims=True)
    result = value**2 * last - 2 * value * (by_sum @ sums)
    for start in range(0, len(pieces.pairs[0]), _PAIRS):
        one, other = (pair[start : start + _PAIRS] for pair in pieces.pairs)
        twice = np.where(one == other, 1, 2) * contrasts[:, one] * contrasts[:, other]
        by_product = (inflation[:, :, pieces.clusters[one]] * twice).astype(np.float32)
        result += by_product @ (sums[one] * sums[other])
    return np.asarray(np.maximum(result, 0), dtype=np.float64)
