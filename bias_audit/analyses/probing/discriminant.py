"""Linear probes of any number of labellings from one set of sums.

Regularised linear discriminant analysis: classes are normal with one covariance, that within
classes, W, shrunk towards the identity of standardised units, (1 - s) W + s I (Friedman 1989,
Journal of the American Statistical Association 84:165-175). It models the same log-odds, linear in
the units, as a logistic regression does (Efron 1975, same journal 70:892-898), but W follows from
sums of products that labels do not enter. These are summed once for each fold and factored once
for each set of folds that trains; a labelling then costs a product with its class means.

The covariance of many units from few images makes discriminants too sure. Each fold therefore
multiplies them by a slope that images of another fold choose together with s.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Final, Protocol

import numpy as np
import numpy.typing as npt

from bias_audit.arrays import FloatArray, IntArray
from bias_audit.deferred import torch
from bias_audit.parallel import on_one_core

if TYPE_CHECKING:
    from torch import Tensor


class Rows(Protocol):
    """Activations in memory, on disk, or computed as they are read."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(n_images, n_units)."""

    def __getitem__(self, images: IntArray, /) -> npt.NDArray[np.floating]:
        """Of some images, (n,), shape (n, n_units)."""


_BLOCK: Final = 4096
"""Images that are read at once."""
_HELD: Final = 2**26
"""Numbers that are kept in memory, so that they are read and standardised once."""
WIDE: Final = 1.5
"""Units per image above which a rotation takes less time than it saves."""
_RANK: Final = 1e-6
"""Share of the largest spread below which there is none: units, and axes of a rotation."""
DECIDING: Final = 2048
"""Held-out images that choose shrinkage and slope: more would hardly change the choice."""
_TRACED: Final = 64
"""Axes, or random signs, from which traces are taken."""
_COMPARED: Final = 2048
"""Images on which the probes of different folds are compared."""
_CHANCE: Final = 1.0
"""Nats that the best shrinkage gains over another one by chance, on all images that choose."""
_SMALL: Final = 1024
"""Axes below which one core computes probes."""
_STEPS, _CLOSE = 40, 1e-2
"""Of Newton's method for a slope: the most, and the relative change that ends it."""


class Standardised:
    """Units divided by their standard deviation over all images, read in blocks; no label is used.

    Constant units are dropped. Where there are many more units than images, they are rotated into
    the span of the images (and of the columns of `beside`, of length n_units), which changes no
    prediction.
    """

    def __init__(
        self,
        units: Rows,
        images: IntArray | None = None,
        *,
        beside: Tensor | None = None,
        device: torch.device | None = None,
    ) -> None:
        """Of some images, (n,), by default all.

        With `beside`, which is to be taken from the units, they are in double precision: what is
        taken may be a small part of units that are much alike.

        Raises:
            ValueError: A number is infinite or undefined.
        """
        self.dtype = torch.float32 if beside is None else torch.float64
        # Apple's GPU has no double precision, which factors need
        self.device = torch.device("cpu") if device is None or device.type == "mps" else device
        self.units = units
        self.images = np.arange(units.shape[0]) if images is None else images
        n = max(len(self.images), 1)
        self.mean: FloatArray = np.zeros(units.shape[1])
        for rows in self._blocks():
            self.mean += rows.sum(axis=0) / n
        if not np.isfinite(self.mean).all():
            raise ValueError("expected finite numbers, got infinite or undefined ones")
        squares, largest = np.zeros(units.shape[1]), np.zeros(units.shape[1])
        for rows in self._blocks():
            centred = np.abs(rows - self.mean)
            squares += np.square(centred).sum(axis=0)
            largest = np.maximum(largest, centred.max(axis=0))
        deviation = np.sqrt(squares / n)
        single = np.finfo(np.float32)
        least = np.maximum(largest * _RANK, single.tiny + single.eps / 8 * np.abs(self.mean))
        self.kept: IntArray = np.flatnonzero(deviation > least)
        self.scale: FloatArray = 1 / deviation[self.kept]
        self.held = self.rotation = None
        if len(self.kept) > WIDE * len(self.images):
            self._rotate(beside)
        elif len(self.kept) * len(self.images) <= _HELD:
            self.held = self.rows(np.arange(len(self)))

    def __len__(self) -> int:
        return len(self.images)

    @property
    def n_axes(self) -> int:
        """Length of each of `rows`."""
        return len(self.kept) if self.held is None else self.held.shape[1]

    def rows(self, places: IntArray) -> Tensor:
        """Some images, as numbers among those of this, shape (n, n_axes), of `dtype`."""
        if self.held is not None:
            return self.held[torch.from_numpy(places).to(self.device)]
        found = torch.empty(len(places), len(self.kept), dtype=self.dtype, device=self.device)
        for start in range(0, len(places), _BLOCK):
            part = slice(start, start + _BLOCK)
            read = self.units[self.images[places[part]]] - self.mean
            scaled = torch.from_numpy(read[:, self.kept] * self.scale)
            found[part] = scaled.to(self.dtype).to(self.device)
        return found

    def taking(self, left: Tensor, right: Tensor, centre: Tensor) -> LowRank:
        """As a map of the axes: units x become x - (x - centre) right left'.

        `left` and `right` have shape (n_units, n_directions), the centre (n_units,), float64;
        where axes are rotated, `left` is in their span.
        """
        offset = (centre.cpu() - torch.from_numpy(self.mean)) @ right.cpu()
        scale = torch.from_numpy(self.scale)[:, None]
        left, right = left.cpu()[self.kept] * scale, right.cpu()[self.kept] / scale
        if self.rotation is not None:
            left, right = self.rotation.T @ left, self.rotation.T @ right
        return LowRank(left.to(self.device), right.to(self.device), offset.to(self.device))

    def linear_map(self, probes: Sequence[Probe]) -> LinearMap:
        """Probes of the axes as functions of the units."""
        weights = torch.stack([probe.weights for probe in probes]).double().cpu()
        if self.rotation is not None:
            weights = self.rotation @ weights
        found = np.zeros((len(probes), self.units.shape[1], weights.shape[2]), dtype=np.float32)
        found[:, self.kept] = self.scale[:, None] * weights.numpy()
        bias = torch.stack([probe.bias for probe in probes]).cpu().numpy()
        return LinearMap(self.mean, found, bias)

    def _blocks(self) -> Iterator[FloatArray]:
        for images in blocks(self.images):
            yield np.array(self.units[images], dtype=np.float64)

    def _rotate(self, beside: Tensor | None) -> None:
        rows = self.rows(np.arange(len(self))).double().cpu()
        if beside is not None:
            columns = beside.cpu()[self.kept].T * torch.from_numpy(self.scale)
            sizes = columns.norm(dim=1, keepdim=True).clamp(min=torch.finfo(rows.dtype).tiny)
            rows = torch.cat([rows, columns / sizes * rows.norm(dim=1).mean()])
        squares, vectors = torch.linalg.eigh(rows @ rows.T)
        roots = squares.clamp(min=0).sqrt()
        axes = squares > squares[-1] * _RANK
        self.rotation = rows.T @ (vectors[:, axes] / roots[axes])
        held = vectors[: len(self), axes] * roots[axes]
        self.held = held.to(self.dtype).to(self.device)


@dataclass(frozen=True)
class Labelling:
    """What a probe is to predict."""

    codes: IntArray
    """Class of each image, (n_images,); each is in every fold."""
    n_classes: int


@dataclass(frozen=True)
class LinearMap:
    """Probes of all folds of one labelling, as functions of the units."""

    mean: npt.NDArray[np.float64]
    """Of the units, shape (n_units,)."""
    weights: npt.NDArray[np.float32]
    """Of centred units, shape (n_folds, n_units, n_classes)."""
    bias: npt.NDArray[np.float32]
    """Shape (n_folds, n_classes)."""

    def probabilities(
        self, units: Rows, images: IntArray, folds: IntArray, *, device: torch.device
    ) -> npt.NDArray[np.float32]:
        """Of each class, by the probe that did not see the image, shape (n, n_classes).

        Units are of all images, (n_all, n_units), `images` numbers among these, and folds are
        theirs, (n,).
        """
        found = np.empty((len(images), self.bias.shape[1]), dtype=np.float32)
        centre = self.mean.astype(units[images[:0]].dtype)
        for fold, (weights, bias) in enumerate(zip(self.weights, self.bias, strict=True)):
            there = np.flatnonzero(folds == fold)
            constant = torch.from_numpy(bias + ((centre - self.mean) @ weights).astype(np.float32))
            weight, constant = torch.from_numpy(weights).to(device), constant.to(device)
            for places in blocks(there):
                rows = np.asarray(units[images[places]] - centre, dtype=np.float32)
                logits = torch.from_numpy(rows).to(device) @ weight + constant
                found[places] = torch.softmax(logits, dim=1).cpu().numpy()
        return found


def blocks(places: IntArray) -> Iterator[IntArray]:
    """As many images as are read at once."""
    for start in range(0, len(places), _BLOCK):
        yield places[start : start + _BLOCK]


@dataclass(frozen=True)
class LowRank:
    """A map of the axes that takes few directions away: z becomes z - (z right - offset) left'."""

    left: Tensor
    """Shape (n_axes, n_directions), float64, as all of these."""
    right: Tensor
    """The same."""
    offset: Tensor
    """Shape (n_directions,)."""

    def __call__(self, rows: Tensor) -> Tensor:
        """Of rows, (n, n_axes), or of one, (n_axes,).

        In double precision: single would leave traces of what is taken.
        """
        precise = rows.double()
        shift = precise @ self.right - self.offset
        return (precise - shift @ self.left.T).to(rows.dtype)


@dataclass
class _Factors:
    """Of covariances that several labellings or maps need, until as much as allowed is kept."""

    found: dict[tuple[frozenset[int], float], Tensor] = field(default_factory=dict)

    def of(self, key: tuple[frozenset[int], float], factor: Callable[[], Tensor]) -> Tensor:
        found = self.found.get(key)
        if found is None:
            found = factor()
            if (len(self.found) + 1) * found.numel() <= _HELD:
                self.found[key] = found
        return found


def reading_bytes(n_units: int) -> int:
    """Of memory that takes the images which are read at once."""
    return 3 * 8 * _BLOCK * n_units


@dataclass(frozen=True)
class FoldSums:
    """Sums over the images of each fold, which every labelling of these shares.

    Where directions were taken away, counts, sums, products and factors are still those before.
    """

    units: Standardised
    places: tuple[IntArray, ...]
    """Of the images of each fold."""
    counts: Tensor
    """Shape (n_folds,), float64, as all of these."""
    sums: Tensor
    """Shape (n_folds, n_axes)."""
    products: Tensor
    """Shape (n_folds, n_axes, n_axes)."""
    clusters: IntArray
    """Images with the same number count as one where sizes of classes matter, (n_images,)."""
    taken: LowRank | None = None
    """What is taken from every image."""
    factors: _Factors | None = None
    """Kept where the same folds are used again."""

    @classmethod
    def of(
        cls,
        units: Standardised,
        folds: IntArray,
        clusters: IntArray | None = None,
        *,
        reused: bool = False,
    ) -> FoldSums:
        """Read all images once.

        Folds are 0 .. n_folds - 1, (n_images,), and never divide a cluster (default: each image
        its own), (n_images,). Where they are `reused`, for other labellings or with directions
        taken away, factors are kept.
        """
        places = tuple(np.flatnonzero(folds == fold) for fold in range(int(folds.max()) + 1))
        shape = (len(places), units.n_axes)
        sums = torch.zeros(shape, dtype=torch.float64, device=units.device)
        products = torch.zeros((*shape, units.n_axes), dtype=torch.float64, device=units.device)
        for fold, there in enumerate(places):
            for block in blocks(there):
                rows = units.rows(block)
                sums[fold] += rows.sum(dim=0)
                products[fold] += rows.T @ rows
        counts = torch.tensor([float(len(each)) for each in places], dtype=torch.float64)
        clusters = np.arange(len(folds)) if clusters is None else clusters
        factors = _Factors() if reused else None
        counts = counts.to(units.device)
        return cls(units, places, counts, sums, products, clusters, factors=factors)

    def rows(self, places: IntArray) -> Tensor:
        """Images as probes see them; places are numbers of images, (n,)."""
        rows = self.units.rows(places)
        return rows if self.taken is None else self.taken(rows)

    def cores(self) -> AbstractContextManager[None]:
        """On how many cores its tensors are computed."""
        return on_one_core() if self.units.n_axes < _SMALL else nullcontext()

    def less(self, left: Tensor, right: Tensor, centre: Tensor) -> FoldSums:
        """The same images after directions were taken away; no image is read for it.

        See `Standardised.taking`.
        """
        return replace(self, taken=self.units.taking(left, right, centre))


@dataclass(frozen=True)
class _Classes:
    """Sums over the images of each class in each fold."""

    labelling: Labelling
    counts: Tensor
    """Shape (n_folds, n_classes)."""
    sums: Tensor
    """Shape (n_folds, n_classes, n_axes)."""
    squares: Tensor
    """Of the counts of each cluster, summed over these, shape (n_folds, n_classes)."""


def _class_sums(folds: FoldSums, labellings: Sequence[Labelling]) -> list[_Classes]:
    """Of every labelling, from one reading of the images."""
    n_folds, n_axes = folds.sums.shape
    found = [
        _Classes(
            each,
            folds.sums.new_zeros(n_folds, each.n_classes),
            folds.sums.new_zeros(n_folds, each.n_classes, n_axes),
            folds.sums.new_zeros(n_folds, each.n_classes),
        )
        for each in labellings
    ]
    for fold, there in enumerate(folds.places):
        for each in found:
            of_class = np.stack([each.labelling.codes[there], folds.clusters[there]])
            (codes, _), sizes = np.unique(of_class, axis=1, return_counts=True)
            squares = np.bincount(codes, weights=sizes**2, minlength=each.labelling.n_classes)
            each.squares[fold] = torch.from_numpy(squares).to(each.squares)
        for places in blocks(there):
            rows = folds.rows(places)
            for each in found:
                codes = torch.from_numpy(each.labelling.codes[places]).to(rows.device)
                member = torch.nn.functional.one_hot(codes, each.labelling.n_classes)
                each.sums[fold] += member.T.to(rows.dtype) @ rows
                each.counts[fold] += member.sum(dim=0)
    return found


@dataclass(frozen=True)
class _Discriminant:
    """Log-odds linear in the axes, from some of the folds."""

    weights: Tensor
    """Shape (n_axes, n_classes), float64, as all of these."""
    bias: Tensor
    """Shape (n_classes,)."""
    prior: Tensor
    """Log of the share of each class, shape (n_classes,)."""

    def logits(self, rows: Tensor) -> Tensor:
        """Without the prior, shape (n, n_classes), float32."""
        return rows @ self.weights.to(rows.dtype) + self.bias.to(rows.dtype)


class _Training:
    """The folds that train where some do not."""

    def __init__(self, folds: FoldSums, without: Collection[int]) -> None:
        self.without = frozenset(without)
        numbers = [fold for fold in range(len(folds.places)) if fold not in self.without]
        self.folds, self.numbers = folds, torch.tensor(numbers, device=folds.units.device)
        self.n = folds.counts[self.numbers].sum()
        self.before = folds.sums[self.numbers].sum(dim=0) / self.n
        """Mean of the axes before anything is taken."""
        self.mean = self.before if folds.taken is None else folds.taken(self.before)

    @cached_property
    def total(self) -> Tensor:
        """Covariance of the axes before anything is taken."""
        total = self.folds.products[self.numbers].sum(dim=0) / self.n
        total -= torch.outer(self.before, self.before)
        return total

    @cached_property
    def change(self) -> tuple[Tensor, Tensor] | None:
        """What was taken from that covariance T: Q and D of T + Q D Q'; None where nothing was."""
        taken = self.folds.taken
        if taken is None or not taken.left.shape[1]:
            return None
        moved = torch.outer(self.before, -(self.before @ taken.right))
        for fold in self.numbers.tolist():
            moved += self.folds.products[fold] @ taken.right / self.n
        # (I - L R') T (I - R L') = T + [L, TR] D [L, TR]', D = [[R'TR, -I], [-I, 0]]
        unit = torch.eye(moved.shape[1], dtype=moved.dtype, device=moved.device)
        upper = torch.cat([taken.right.T @ moved, -unit], dim=1)
        lower = torch.cat([-unit, torch.zeros_like(unit)], dim=1)
        return torch.cat([taken.left, moved], dim=1), torch.cat([upper, lower])

    @property
    def trace(self) -> float:
        """Of the covariance that is left."""
        squares = self.folds.products[self.numbers].diagonal(dim1=1, dim2=2).sum()
        trace = float(squares / self.n - self.before.square().sum())
        if self.change is not None:
            columns, core = self.change
            trace += float(((columns @ core) * columns).sum())
        return trace

    def factor(self, shrinkage: float) -> Tensor:
        """Of the shrunk covariance before anything is taken."""

        def factor() -> Tensor:
            shrunk = self.total * (1 - shrinkage)
            shrunk.diagonal().add_(shrinkage)
            found: Tensor = torch.linalg.cholesky(shrunk)
            return found

        factors = self.folds.factors
        return factor() if factors is None else factors.of((self.without, shrinkage), factor)


class _Factored:
    """The shrunk total covariance of the folds that train, factored."""

    def __init__(self, training: _Training, shrinkage: float) -> None:
        self.training, self.shrinkage = training, shrinkage
        self.n, self.mean = training.n, training.mean
        self.factor = training.factor(shrinkage)
        self.change: tuple[Tensor, Tensor, Tensor] | None = None
        if training.change is not None and shrinkage < 1:
            columns, core = training.change
            solved = torch.cholesky_solve(columns, self.factor)
            inner = torch.linalg.inv(core) / (1 - shrinkage) + columns.T @ solved
            self.change = columns, solved, inner

    def solve(self, columns: Tensor) -> Tensor:
        """The inverse times columns of length n_axes (Woodbury, for what was taken)."""
        found = torch.cholesky_solve(columns, self.factor)
        if self.change is not None:
            own, solved, inner = self.change
            found -= solved @ torch.linalg.solve(inner, own.T @ found)
        return found

    def discriminants(self, classes: Sequence[_Classes]) -> list[_Discriminant]:
        """Of every labelling.

        With T the total covariance and M the class means, weighted by the shares P of the classes,
        W = T - M'PM, so that inv((1-s) W + s I) M' = Y inv(I - (1-s) P M Y) with Y =
        inv((1-s) T + s I) M' (Woodbury). The square of an estimated mean is too large by
        tr(inv((1-s) T + s I) T) / n, n the effective number of clusters that it is the mean of,
        which would make rare classes rarer.
        """
        folds = self.training.numbers
        counts = [each.counts[folds].sum(dim=0) for each in classes]
        means = [
            each.sums[folds].sum(dim=0) / count[:, None] - self.mean
            for each, count in zip(classes, counts, strict=True)
        ]
        signs = self._signs()
        solved = self.solve(torch.cat([*means, signs]).T)
        found = []
        *parts, last = torch.split(solved, [*map(len, means), len(signs)], dim=1)
        size = max(1.0, float(signs.square().sum()))  # no axes where no unit varies
        inverse = float((signs.T * last).sum()) * signs.shape[1] / size
        noise = self._noise(inverse)
        for each, mean, count, y in zip(classes, means, counts, parts, strict=True):
            effective = count**2 / each.squares[folds].sum(dim=0)
            share = count / self.n
            within = torch.eye(len(count), dtype=y.dtype, device=y.device)
            within -= (1 - self.shrinkage) * share[:, None] * (mean @ y)
            weights = torch.linalg.solve(within, y, left=False)
            # of a centred image x: x w - m w / 2, m the mean of the class
            bias = -self.mean @ weights - (mean.T * weights).sum(dim=0) / 2
            bias += noise / (2 * effective)
            found.append(_Discriminant(weights, bias, share.log()))
        return found

    def _signs(self) -> Tensor:
        """Rows whose quadratic forms add up to a trace: of few axes each one, else random signs.

        Hutchinson 1990, Communications in Statistics - Simulation and Computation 19:433-450.
        """
        n_axes = len(self.factor)
        if n_axes <= _TRACED:
            return torch.eye(n_axes, dtype=self.factor.dtype, device=self.factor.device)
        drawn = np.random.default_rng(0).integers(2, size=(_TRACED, n_axes)) * 2.0 - 1
        return torch.from_numpy(drawn).to(self.factor)

    def _noise(self, inverse: float) -> float:
        """tr(inv((1-s) T + s I) T), from the trace of that inverse."""
        if self.shrinkage == 1:
            return self.training.trace
        return (len(self.factor) - self.shrinkage * inverse) / (1 - self.shrinkage)


@dataclass(frozen=True)
class Probe:
    """A probe of one labelling, which has not seen one of the folds."""

    weights: Tensor
    """Of the axes, shape (n_axes, n_classes), float32."""
    bias: Tensor
    """Shape (n_classes,)."""
    shrinkage: float

    def logits(self, rows: Tensor) -> Tensor:
        """Of images as `FoldSums.rows` has them, shape (n, n_classes)."""
        return rows.to(self.weights.dtype) @ self.weights + self.bias

    def probabilities(self, rows: Tensor) -> Tensor:
        """Of each class, shape (n, n_classes)."""
        return torch.softmax(self.logits(rows), dim=1)


@dataclass
class _Choice:
    """The shrinkages tried for one labelling without one fold, from strong to weak."""

    tried: list[tuple[float, float, float]] = field(default_factory=list)
    """Cross-entropy in nats, shrinkage and slope."""
    is_open: bool = True
    """Whether a weaker shrinkage may still be better."""

    @property
    def best(self) -> tuple[float, float]:
        """The strongest shrinkage that no other one beats by more than chance, and its slope."""
        lowest = min(self.tried)[0]
        _, *best = next(each for each in self.tried if each[0] <= lowest + _CHANCE)
        return best[0], best[1]

    @property
    def slope(self) -> float:
        """Of the shrinkage tried last."""
        return self.tried[-1][2] if self.tried else 1.0

    def add(self, shrinkage: float, slope: float, entropy: float) -> None:
        """A shrinkage was tried."""
        self.is_open = not self.tried or entropy < min(self.tried)[0]
        self.tried.append((entropy, shrinkage, slope))


def cross_fit(
    folds: FoldSums,
    labellings: Sequence[Labelling],
    shrinkages: Sequence[float],
    *,
    outer: Sequence[int] | None = None,
) -> list[list[Probe]]:
    """The probes of every labelling, each without one of the folds `outer`, by default of all.

    Shrinkages, each in (0, 1], are tried from strong to weak until one does not lower the
    cross-entropy of a fold that is held out from training; then all other folds train with the
    best. Folds are three or more.
    """
    n_folds = len(folds.places)
    outer = range(n_folds) if outer is None else outer
    with folds.cores():
        classes = _class_sums(folds, labellings)
        chosen = {fold: [_Choice() for _ in labellings] for fold in outer}
        sets = {fold: frozenset((fold, _partner(fold, n_folds))) for fold in outer}
        for both in dict.fromkeys(sets.values()):
            turns = [(fold, chosen[fold]) for fold in outer if sets[fold] == both]
            _choose(folds, classes, shrinkages, both, turns)
        fits = [_fitted(folds, classes, fold, chosen[fold]) for fold in outer]
    return [list(probes) for probes in zip(*fits, strict=True)]


def _partner(fold: int, n_folds: int) -> int:
    """The fold on which another one chooses: one another's, as far as that goes."""
    return fold ^ 1 if fold ^ 1 < n_folds else 0


def _some(places: IntArray, most: int) -> IntArray:
    """As many of the places, drawn without regard to their order."""
    drawn = np.random.default_rng(0).permutation(len(places))[:most]
    return places[np.sort(drawn)]


def _choose(
    folds: FoldSums,
    classes: Sequence[_Classes],
    shrinkages: Sequence[float],
    without: frozenset[int],
    turns: Sequence[tuple[int, list[_Choice]]],
) -> None:
    """Settle the choices of folds that are both left out, from strong to weak shrinkage.

    Turns are folds and their choices for every labelling; each chooses on the other one.
    """
    held = [_some(folds.places[other], DECIDING) for f, _ in turns for other in without - {f}]
    rows = [folds.rows(places) for places in held]
    training = _Training(folds, without)
    for shrinkage in sorted(shrinkages, reverse=True):
        still = [
            place
            for place in range(len(classes))
            if any(choices[place].is_open for _, choices in turns)
        ]
        if not still:
            return
        factored = _Factored(training, shrinkage)
        found = factored.discriminants([classes[place] for place in still])
        for (_, choices), places, values in zip(turns, held, rows, strict=True):
            alike: dict[int, list[tuple[_Choice, _Discriminant, IntArray]]] = {}
            for place, discriminant in zip(still, found, strict=True):
                labelling = classes[place].labelling
                if choices[place].is_open:
                    tried = choices[place], discriminant, labelling.codes[places]
                    alike.setdefault(labelling.n_classes, []).append(tried)
            for together in alike.values():
                opened, discriminants, codes = zip(*together, strict=True)
                slopes, entropies = _slopes(
                    torch.stack([each.logits(values) for each in discriminants]),
                    torch.stack([each.prior for each in discriminants]),
                    torch.from_numpy(np.stack(codes)).to(values.device),
                    torch.tensor([choice.slope for choice in opened], device=values.device),
                )
                for choice, slope, entropy in zip(opened, slopes, entropies, strict=True):
                    choice.add(shrinkage, slope, entropy)


def _slopes(
    logits: Tensor, prior: Tensor, codes: Tensor, start: Tensor
) -> tuple[list[float], list[float]]:
    """The factors on the logits with the lowest cross-entropy, and that, summed over the images.

    Cox 1958, Biometrika 45:562-565. The logarithm of a factor has a standard normal distribution
    beforehand, which a dozen images outweigh, so that it stays finite where all are predicted
    rightly. By labelling: logits have shape (n_labellings, n, n_classes), priors (n_labellings,
    n_classes), codes (n_labellings, n), and where to start (n_labellings,).
    """
    prior = prior[:, None].to(logits.dtype)
    own = logits.gather(2, codes[:, :, None])[:, :, 0].double().sum(dim=1)

    def seen(theta: Tensor) -> tuple[Tensor, Tensor]:
        """The entropy, and how far Newton's method goes from here."""
        slope = theta.exp()
        log = torch.log_softmax(prior + slope[:, None, None].to(logits.dtype) * logits, dim=2)
        entropy = -log.gather(2, codes[:, :, None]).double().sum(dim=(1, 2)) + theta**2 / 2
        shares = log.exp_()
        mean = (shares * logits).sum(dim=2)
        spread = shares.mul_((logits - mean[:, :, None]).square_()).double().sum(dim=(1, 2))
        gradient = slope * (mean.double().sum(dim=1) - own) + theta
        return entropy, (gradient / (slope**2 * spread + 1)).clamp(-1, 1)

    theta = start.double().log()
    lowest, change = seen(theta)
    for _ in range(_STEPS):
        if bool((change.abs() < _CLOSE).all()):
            break
        tried = theta - change
        entropy, further = seen(tried)
        better = (entropy <= lowest) & (change.abs() >= _CLOSE)
        theta, lowest = torch.where(better, tried, theta), torch.where(better, entropy, lowest)
        change = torch.where(better, further, change / 2)
    return theta.exp().tolist(), lowest.tolist()


def _fitted(
    folds: FoldSums, classes: Sequence[_Classes], fold: int, choices: Sequence[_Choice]
) -> list[Probe]:
    """The probe of every labelling, from all folds but one, as chosen."""
    found: dict[int, Probe] = {}
    training = _Training(folds, {fold})
    best = [choice.best for choice in choices]
    for shrinkage in {each for each, _ in best}:
        places = [i for i, (own, _) in enumerate(best) if own == shrinkage]
        factored = _Factored(training, shrinkage)
        fits = factored.discriminants([classes[place] for place in places])
        for place, fit in zip(places, fits, strict=True):
            slope = best[place][1]
            bias = fit.prior + slope * fit.bias
            found[place] = Probe((slope * fit.weights).float(), bias.float(), shrinkage)
    return [found[place] for place in range(len(choices))]


def agreement(folds: FoldSums, labelling: Labelling, probes: Sequence[Probe]) -> float:
    """Correlation of the scores of a fold's own probe with those of the others, within classes.

    Low where the scores depend on which images trained. Scores, the log-odds of each class, are
    centred within each class of each fold, so that they agree only as far as they order images of
    one class alike; some images are enough.
    """
    n_folds, n_classes = len(probes), labelling.n_classes
    fold_of = np.empty(len(labelling.codes), dtype=np.int64)
    for fold, there in enumerate(folds.places):
        fold_of[there] = fold
    some = _some(np.arange(len(fold_of)), _COMPARED)
    rows, own_fold = folds.rows(some), torch.from_numpy(fold_of[some])
    cell = own_fold * n_classes + torch.from_numpy(labelling.codes[some])
    counts = torch.bincount(cell, minlength=n_folds * n_classes).double().clamp(min=1)
    centred = torch.stack([_log_odds(probe.logits(rows)).double().cpu() for probe in probes])
    for place, scores in enumerate(centred.clone()):
        sums = torch.zeros(len(counts), n_classes, dtype=torch.float64)
        centred[place] -= (sums.index_add_(0, cell, scores) / counts[:, None])[cell]
    # how sure each probe is does not matter
    centred /= centred.std(dim=1, keepdim=True).clamp(min=torch.finfo(centred.dtype).tiny)
    images = torch.arange(len(some))
    own = centred[own_fold, images]
    both, of_own, of_other = torch.zeros(3, n_classes, dtype=torch.float64)
    for shift in range(1, n_folds):
        other = centred[(own_fold + shift) % n_folds, images]
        both += (own * other).sum(dim=0)
        of_own += (own * own).sum(dim=0)
        of_other += (other * other).sum(dim=0)
    spread = torch.sqrt(of_own * of_other)
    defined = spread > 0
    return float((both[defined] / spread[defined]).mean()) if defined.any() else 0.0


def _log_odds(logits: Tensor) -> Tensor:
    """Of each class against all others together, which never saturate, (n, n_classes)."""
    highest = logits.argmax(dim=1, keepdim=True)
    others = torch.log1p(-torch.softmax(logits, dim=1).scatter(1, highest, 0))
    found = torch.log_softmax(logits, dim=1) - others
    without = torch.logsumexp(logits.scatter(1, highest, -torch.inf), dim=1, keepdim=True)
    return found.scatter(1, highest, logits.gather(1, highest) - without)
