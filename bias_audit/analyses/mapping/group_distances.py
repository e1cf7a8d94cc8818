"""Distances between group profiles, without the distance that sampling noise alone makes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata

from bias_audit.analyses.mapping.profiles import (
    Profiles,
    Sample,
    Squares,
    drawn_means,
    noise_of_means,
)
from bias_audit.arrays import Float32Array, FloatArray, IntArray
from bias_audit.groups import Group
from bias_audit.statistics.bootstrap import bootstrapped, percentile_interval
from bias_audit.statistics.estimate import Estimate

_LARGEST = 1 - 1e-9
"""Correlation: 1 itself is infinite on Fisher's scale."""


@dataclass(frozen=True)
class Shares:
    """Of the variance of the profiles of intersections, by attribute."""

    attributes: tuple[str, ...]
    estimates: tuple[Estimate, ...]
    draws: FloatArray
    """Bootstrap draws, shape (n_attributes, n_draws)."""

    def lead(self) -> tuple[int, int, Estimate] | None:
        """The attribute with the largest share, the next, and how much larger it is."""
        if len(self.estimates) < 2:  # noqa: PLR2004
            return None
        order = sorted(range(len(self.estimates)), key=lambda i: -self.estimates[i].value)
        first, second = order[:2]
        one, other = self.estimates[first], self.estimates[second]
        draws = self.draws[first] - self.draws[second]
        return first, second, _estimate(one.value - other.value, draws, one.n, one.level)


def main_effect_shares(cells: Profiles, sample: Sample, level: float) -> Shares | None:
    """Share of the variance between intersections that each attribute's main effect explains.

    Profiles are in standard deviations within intersections. Every intersection that has images
    counts once. An attribute's effect is what it explains beyond the other attributes' main
    effects; on a complete grid that is the variance of its levels' means. The variance that
    sampling noise alone is expected to add is subtracted above and below the fraction line, and
    bootstrap draws, which carry the noise twice, are centred on what remains. None where
    intersections do not differ by more than sampling noise.
    """
    present = np.flatnonzero(cells.counts > 0)
    used = sample.scale > 0
    if not used.any() or len(present) < 3:  # noqa: PLR2004
        return None
    effects, everything = _bases([cells.groups[i] for i in present])
    leverages = np.zeros((len(effects) + 1, len(cells.groups)))
    leverages[:, present] = [(basis**2).sum(axis=1) for basis in (*effects.values(), everything)]
    expected, _ = noise_of_means(cells, sample).of(np.sqrt(leverages))
    centre = cells.means[present].mean(axis=0)
    standardised = (cells.means[present] - centre)[:, used] / sample.scale[used]
    squares = [
        float(((basis.T @ standardised) ** 2).sum()) / used.sum()
        for basis in (*effects.values(), everything)
    ]
    observed = np.array(squares) - expected
    drawn = np.zeros((len(squares), len(sample.weights)))
    members = [np.flatnonzero(cells.target.codes == cell) for cell in present]
    for rows, means in drawn_means(sample, members, centre):
        flat = means.reshape(len(means), -1)
        for index, basis in enumerate(effects.values()):
            drawn[index, rows] += _by_draw(basis.T.astype(np.float32) @ flat, means.shape)
        drawn[-1, rows] += _by_draw(flat - flat.mean(axis=0), means.shape)
    drawn /= int(used.sum())
    drawn = drawn - drawn.mean(axis=1, keepdims=True) + observed[:, None]
    if not observed[-1] > 0 or np.quantile(drawn[-1], (1 - level) / 2) <= 0:
        return None
    values = np.clip(observed[:-1] / observed[-1], 0, 1)
    draws = np.clip(drawn[:-1] / np.maximum(drawn[-1], np.finfo(float).tiny), 0, 1)
    n = len(np.unique(sample.clusters))
    estimates = tuple(
        _estimate(value, own, n, level) for value, own in zip(values, draws, strict=True)
    )
    return Shares(tuple(effects), estimates, draws)


def _estimate(value: float, draws: FloatArray, n: int, level: float) -> Estimate:
    method = f"Bayesian bootstrap over clusters of images, {draws.size} draws, "
    method += "sampling noise subtracted"
    return bootstrapped(value, draws, level=level, n=n, method=method)


def _bases(groups: list[Group]) -> tuple[dict[str, FloatArray], FloatArray]:
    """Orthonormal columns of each attribute's effect beyond the others, and of all variance."""
    names = [name for name, _ in groups[0].levels]
    columns = {}
    for name in names:
        levels = [dict(group.levels)[name] for group in groups]
        columns[name] = np.array([[a == b for b in dict.fromkeys(levels)] for a in levels], float)
    constant = np.ones((len(groups), 1))
    effects = {}
    for name in names:
        # What the attribute's columns have beyond the span of the others (Frisch-Waugh).
        others = _span(np.hstack([constant, *(c for n, c in columns.items() if n != name)]))
        effects[name] = _span(columns[name] - others @ (others.T @ columns[name]))
    return effects, _span(np.eye(len(groups)) - 1 / len(groups))


def _span(columns: FloatArray) -> FloatArray:
    left, sizes, _ = np.linalg.svd(columns, full_matrices=False)
    return np.asarray(left[:, sizes > 1e-9 * max(1.0, sizes.max(initial=0))])


def _by_draw(values: Float32Array, shape: tuple[int, ...]) -> FloatArray:
    """Sum of squares over groups or effects, and over units, shape (n_draws,)."""
    cubes = values.reshape(-1, *shape[1:])
    return np.asarray(np.einsum("gdu,gdu->d", cubes, cubes, dtype=np.float64))


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


def distances(profiles: Profiles, sample: Sample, kept: IntArray) -> Distances:
    """Distances of every two group profiles in standard deviations within intersections.

    The means of two groups of few images lie apart by chance alone: the expected square of that,
    the sum of the variances of both means, is subtracted. What remains is unbiased, so that small
    groups are not far for being small; it may be negative (as the cross-validated distances of
    Walther et al. 2016, NeuroImage 137:188).
    """
    used = sample.scale > 0
    n_units, n_draws = max(1, int(used.sum())), len(sample.weights)
    rows, columns = np.triu_indices(len(kept), 1)
    contrasts = np.zeros((len(rows), len(profiles.groups)))
    contrasts[np.arange(len(rows)), kept[rows]] = 1
    contrasts[np.arange(len(rows)), kept[columns]] = -1
    noise, freedom = noise_of_means(profiles, sample).of(contrasts)
    means = profiles.means[kept]
    centre = means.mean(axis=0)
    standardised = (means - centre)[:, used] / sample.scale[used]
    observed = _squared(standardised @ standardised.T)[rows, columns] / n_units
    members = [np.flatnonzero(profiles.target.codes == group) for group in kept]
    drawn = np.zeros((n_draws, len(rows)), dtype=np.float32)
    for some, block in drawn_means(sample, members, centre):
        by_draw = np.ascontiguousarray(block.transpose(1, 0, 2))
        gram = by_draw @ by_draw.transpose(0, 2, 1)
        drawn[some] += _squared(gram)[:, rows, columns] / n_units
    variance = drawn.var(axis=0, dtype=np.float64)
    squares = Squares(observed, noise, freedom, variance, n_draws, n_units, sample.scale_freedom)
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
    values = _ranks(found.squares.values[None])[0]
    return Arrangement(values, _ranks(found.draws).astype(np.float32))


def likeness(one: Arrangement, other: Arrangement, *, level: float, n: int) -> Estimate | None:
    """Spearman correlation of the distances of the same groups at two layers.

    Representational similarity analysis (Kriegeskorte, Mur & Bandettini 2008). Noise in distances
    pulls the value towards 0. Layers share their bootstrap draws, which carry the noise twice and
    are centred on the value, on Fisher's scale. None for fewer than three pairs, or where a
    layer's distances are all alike.
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
