"""Distances between group profiles, without the distance that sampling noise alone makes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata

from bias_audit.analyses.mapping.mean_draws import MeanDraws, noise_of_means
from bias_audit.analyses.mapping.profiles import Profiles
from bias_audit.analyses.mapping.squares import Squares
from bias_audit.arrays import Float32Array, FloatArray, IntArray
from bias_audit.statistics.bootstrap import percentile_interval
from bias_audit.statistics.estimate import Estimate

_LARGEST = 1 - 1e-9
"""Correlation: 1 itself is infinite on Fisher's scale."""


@dataclass(frozen=True)
class Distances:
    """Between the groups of one target at one layer."""

    groups: IntArray
    """Those measured, as indices into the target's groups, shape (n,)."""
    squares: Squares
    """Mean over units of the squared difference of standardised profiles, of every pair as
    `numpy.triu_indices` orders them."""
    draws: Float32Array
    """Bootstrap draws of the squares, centred on their values, shape (n_draws, n_pairs)."""

    @property
    def values(self) -> FloatArray:
        """Root of the squared distances, 0 where noise explains them, shape (n, n)."""
        rows, columns = self.pairs
        found = np.zeros((len(self.groups), len(self.groups)))
        found[rows, columns] = found[columns, rows] = np.sqrt(np.maximum(self.squares.values, 0))
        return found

    @property
    def pairs(self) -> tuple[IntArray, IntArray]:
        """Rows and columns of the upper triangle."""
        rows, columns = np.triu_indices(len(self.groups), 1)
        return rows.astype(np.int64), columns.astype(np.int64)


def distances(
    profiles: Profiles,
    scale: FloatArray,
    units: npt.NDArray[np.float32],
    *,
    clusters: IntArray,
    scale_freedom: float,
    kept: IntArray,
    weights: Float32Array,
) -> Distances:
    """Distances of every two group profiles in standard deviations within intersections.

    The means of two groups of few images lie apart by chance alone: the expected square of that,
    the sum of the variances of both means, is subtracted. What remains is unbiased, so that small
    groups are not far for being small; it may be negative (as the cross-validated distances of
    Walther et al. 2016, NeuroImage 137:188).

    Args:
        profiles: Of the groups, no image in two of them.
        scale: Standard deviation within intersections, shape (n_units,); units with 0 are ignored.
        units: Activations, shape (n_images, n_units); may be memory-mapped.
        clusters: Cluster of each image, shape (n_images,).
        scale_freedom: Degrees of freedom of the scale.
        kept: Groups to measure, ascending, each with images.
        weights: Of a Bayesian bootstrap, shape (n_draws, n_images).
    """
    used = scale > 0
    n_units = max(1, int(used.sum()))
    rows, columns = np.triu_indices(len(kept), 1)
    contrasts = np.zeros((len(rows), len(profiles.groups)))
    contrasts[np.arange(len(rows)), kept[rows]] = 1
    contrasts[np.arange(len(rows)), kept[columns]] = -1
    noise, freedom = noise_of_means(profiles, scale, units, clusters, scale_freedom).of(contrasts)
    means = profiles.means[kept]
    standardised = (means - means.mean(axis=0))[:, used] / scale[used]
    observed = _squared(standardised @ standardised.T)[rows, columns] / n_units
    members = tuple(np.flatnonzero(profiles.target.codes == group) for group in kept)
    blocks = MeanDraws(units, members, weights, clusters, means.mean(axis=0), scale).blocks()
    drawn = np.zeros((len(weights), len(rows)), dtype=np.float32)
    for some, block in blocks:
        by_draw = np.ascontiguousarray(block.transpose(1, 0, 2))
        gram = by_draw @ by_draw.transpose(0, 2, 1)
        drawn[some] += _squared(gram)[:, rows, columns] / n_units
    variance = drawn.var(axis=0, dtype=np.float64)
    squares = Squares(observed, noise, freedom, variance, len(weights), n_units, scale_freedom)
    drawn += (squares.values - drawn.mean(axis=0)).astype(np.float32)
    return Distances(kept, squares, drawn)


def _squared(gram: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
    """Squared distances from inner products, shape (..., n, n)."""
    own = np.diagonal(gram, axis1=-2, axis2=-1)
    return np.asarray(own[..., :, None] + own[..., None, :] - 2 * gram)


@dataclass(frozen=True)
class Arrangement:
    """Ranks of the distances of all pairs of groups at one layer, ready to be correlated."""

    ranks: FloatArray
    """Centred and of length 1, shape (n_pairs,); 0 where all distances are alike."""
    drawn: Float32Array
    """The same of every bootstrap draw, shape (n_draws, n_pairs)."""


def arrangement(found: Distances) -> Arrangement:
    """What representational similarity compares of a layer."""
    return Arrangement(
        _ranks(found.squares.values[None])[0], _ranks(found.draws).astype(np.float32)
    )


def likeness(one: Arrangement, other: Arrangement, *, level: float, n: int) -> Estimate | None:
    """Spearman correlation of the distances of the same groups at two layers.

    Representational similarity analysis (Kriegeskorte, Mur & Bandettini 2008). Noise in distances
    pulls the value towards 0. Layers share their bootstrap draws, which carry the noise twice and
    are centred on the value, on Fisher's scale.

    Returns:
        None for fewer than three pairs, or where a layer's distances are all alike.
    """
    if len(one.ranks) < 3 or not (one.ranks.any() and other.ranks.any()):  # noqa: PLR2004
        return None
    value, drawn = float(one.ranks @ other.ranks), np.einsum("dp,dp->d", one.drawn, other.drawn)
    z, draws = (np.arctanh(np.clip(x, -_LARGEST, _LARGEST)) for x in (value, drawn))
    interval = percentile_interval(draws - draws.mean() + z, level=level)
    if interval is None:
        return None
    lower, upper = np.tanh(interval)
    return Estimate(
        value,
        float(min(lower, value)),
        float(max(upper, value)),
        level=level,
        n=n,
        method=f"Bayesian bootstrap over clusters of images, {len(drawn)} draws shared by the "
        "layers",
    )


def _ranks(values: npt.NDArray[np.floating]) -> FloatArray:
    """Ranks of each row, centred and of length 1."""
    ranks = rankdata(values, axis=1)
    ranks -= ranks.mean(axis=1, keepdims=True)
    length = np.linalg.norm(ranks, axis=1, keepdims=True)
    unit = np.divide(ranks, length, out=np.zeros_like(ranks), where=length > 0)
    return np.asarray(unit, dtype=np.float64)
