"""How much of the differences between the profiles of intersections goes with each attribute."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bias_audit.analyses.mapping.mean_draws import MeanDraws, noise_of_means
from bias_audit.analyses.mapping.profiles import Profiles
from bias_audit.arrays import Float32Array, FloatArray, IntArray
from bias_audit.groups import Group
from bias_audit.statistics.bootstrap import percentile_interval
from bias_audit.statistics.estimate import Estimate


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


def main_effect_shares(
    cells: Profiles,
    scale: FloatArray,
    units: Float32Array,
    clusters: IntArray,
    *,
    weights: Float32Array,
    level: float,
) -> Shares | None:
    """Share of the variance between intersections that each attribute's main effect explains.

    Profiles are in standard deviations within intersections. Every intersection that has images
    counts once. An attribute's effect is what it explains beyond the other attributes' main
    effects; on a complete grid that is the variance of its levels' means. The variance that
    sampling noise alone is expected to add is subtracted above and below the fraction line, and
    bootstrap draws, which carry the noise twice, are centred on what remains.

    Args:
        cells: Profiles of all intersections.
        scale: Standard deviation within intersections, shape (n_units,); units with 0 are ignored.
        units: Activations, shape (n_images, n_units); may be memory-mapped.
        clusters: Cluster of each image, shape (n_images,).
        weights: Of a Bayesian bootstrap over clusters, shape (n_draws, n_images).
        level: Coverage of the intervals.

    Returns:
        None where intersections do not differ by more than sampling noise.
    """
    present = np.flatnonzero(cells.counts > 0)
    if not (scale > 0).any() or len(present) < 3:  # noqa: PLR2004
        return None
    bases = _bases([cells.groups[i] for i in present])
    codes = cells.target.codes
    n = len(np.unique(clusters))
    noise = noise_of_means(cells, scale, units, clusters, max(3.0, n - len(present)))
    leverages = np.zeros((len(bases), len(cells.groups)))
    leverages[:, present] = [(basis**2).sum(axis=1) for basis in bases.values()]
    expected, _ = noise.of(np.sqrt(leverages))
    draws = MeanDraws(
        units,
        tuple(np.flatnonzero(codes == cell) for cell in present),
        weights,
        clusters,
        cells.means[present].mean(axis=0),
        scale,
    )
    observed = _squares(draws, bases, (cells.means[present] - draws.centre), scale) - expected
    drawn = _drawn(draws, bases)
    drawn = drawn - drawn.mean(axis=1, keepdims=True) + observed[:, None]
    if not observed[-1] > 0 or np.quantile(drawn[-1], (1 - level) / 2) <= 0:
        return None
    values = np.clip(observed[:-1] / observed[-1], 0, 1)
    shares = np.clip(drawn[:-1] / np.maximum(drawn[-1], np.finfo(float).tiny), 0, 1)
    names = tuple(bases)[:-1]
    estimates = tuple(
        _estimate(value, own, n, level) for value, own in zip(values, shares, strict=True)
    )
    return Shares(names, estimates, shares)


def _estimate(value: float, draws: FloatArray, n: int, level: float) -> Estimate:
    lower, upper = percentile_interval(draws, level=level) or (value, value)
    return Estimate(
        float(value),
        float(min(lower, value)),
        float(max(upper, value)),
        level=level,
        n=n,
        method=f"Bayesian bootstrap over clusters of images, {draws.size} draws, "
        "sampling noise subtracted",
    )


def _bases(groups: list[Group]) -> dict[str, FloatArray]:
    """Orthonormal columns of each attribute's effect beyond the others, then of all variance."""
    names = [name for name, _ in groups[0].levels]
    columns = {name: _indicators([dict(group.levels)[name] for group in groups]) for name in names}
    constant = np.ones((len(groups), 1))
    bases = {}
    for name in names:
        others = _span(np.hstack([constant, *(c for n, c in columns.items() if n != name)]))
        own = columns[name] - others @ (others.T @ columns[name])
        bases[name] = _span(own)
    bases[""] = _span(np.eye(len(groups)) - 1 / len(groups))
    return bases


def _indicators(levels: list[str]) -> FloatArray:
    return np.array(
        [[level == other for other in dict.fromkeys(levels)] for level in levels], float
    )


def _span(columns: FloatArray) -> FloatArray:
    left, sizes, _ = np.linalg.svd(columns, full_matrices=False)
    return np.asarray(left[:, sizes > 1e-9 * max(1.0, sizes.max(initial=0))])


def _squares(
    draws: MeanDraws, bases: dict[str, FloatArray], means: FloatArray, scale: FloatArray
) -> FloatArray:
    """Mean over units of the squared effect of every basis, shape (n_bases,)."""
    used = draws.scale > 0
    standardised = means[:, used] / scale[used]
    return np.array(
        [float(((basis.T @ standardised) ** 2).sum()) / used.sum() for basis in bases.values()]
    )


def _drawn(draws: MeanDraws, bases: dict[str, FloatArray]) -> FloatArray:
    """The same for every draw, shape (n_bases, n_draws)."""
    total = np.zeros((len(bases), len(draws.weights)))
    *effects, _ = bases.values()
    for rows, means in draws.blocks():
        flat = means.reshape(len(means), -1)
        for index, basis in enumerate(effects):
            total[index, rows] += _by_draw(basis.T.astype(np.float32) @ flat, means.shape)
        total[-1, rows] += _by_draw(flat - flat.mean(axis=0), means.shape)
    return total / int((draws.scale > 0).sum())


def _by_draw(values: npt.NDArray[np.float32], shape: tuple[int, ...]) -> FloatArray:
    """Sum of squares over groups or effects, and over units, shape (n_draws,)."""
    cubes = values.reshape(-1, *shape[1:])
    return np.asarray(np.einsum("gdu,gdu->d", cubes, cubes, dtype=np.float64))
