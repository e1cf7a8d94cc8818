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

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol

import numpy as np
import numpy.typing as npt

from bias_audit.arrays import FloatArray, IntArray
from bias_audit.deferred import torch

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
_STEPS, _CLOSE = 20, 1e-2
"""Of Newton's method for a slope: the most, and the relative change that ends it."""


class Standardised:
    """Units divided by their standard deviation over all images, read in blocks; no label is used.

    Constant units are dropped. Where there are more units than images, they are rotated into the
    span of the images, which changes no prediction.
    """

    def __init__(
        self,
        units: Rows,
        images: IntArray | None = None,
        *,
        like: Standardised | None = None,
        device: torch.device | None = None,
    ) -> None:
        """Of some images, (n,), by default all.

        `like` has the standard deviations to divide by, where these are the same units before
        something was taken from them: what is left of one may be rounding errors.

        Raises:
            ValueError: A number is infinite or undefined.
        """
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
        if like is not None:
            self.kept, self.scale = like.kept, like.scale
        self.rotated = self.rotation = None
        if len(self.kept) > len(self.images):
            self._rotate()

    def __len__(self) -> int:
        return len(self.images)

    @property
    def n_axes(self) -> int:
        """Length of each of `rows`."""
        return len(self.kept) if self.rotated is None else self.rotated.shape[1]

    def rows(self, places: IntArray) -> Tensor:
        """Some images, as numbers among those of this, shape (n, n_axes), float32."""
        if self.rotated is not None:
            return self.rotated[torch.from_numpy(places).to(self.device)]
        read = self.units[self.images[places]] - self.mean
        scaled = (read[:, self.kept] * self.scale).astype(np.float32)
        return torch.from_numpy(scaled).to(self.device)

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

    def _rotate(self) -> None:
        rows = self.rows(np.arange(len(self))).double().cpu()
        squares, vectors = torch.linalg.eigh(rows @ rows.T)
        roots = squares.clamp(min=0).sqrt()
        axes = squares > squares[-1] * _RANK
        self.rotation = rows.T @ (vectors[:, axes] / roots[axes])
        self.rotated = (vectors[:, axes] * roots[axes]).float().to(self.device)


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
        for fold, (weights, bias) in enumerate(zip(self.weights, self.bias, strict=True)):
            there = np.flatnonzero(folds == fold)
            weight, constant = (torch.from_numpy(part).to(device) for part in (weights, bias))
            for places in blocks(there):
                rows = np.asarray(units[images[places]] - self.mean, dtype=np.float32)
                logits = torch.from_numpy(rows).to(device) @ weight + constant
                found[places] = torch.softmax(logits, dim=1).cpu().numpy()
        return found


def blocks(places: IntArray) -> Iterator[IntArray]:
    """As many images as are read at once."""
    for start in range(0, len(places), _BLOCK):
        yield places[start : start + _BLOCK]


@dataclass(frozen=True)
class FoldSums:
    """Sums over the images of each fold, which every labelling of these shares."""

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

    @classmethod
    def of(
        cls, units: Standardised, folds: IntArray, clusters: IntArray | None = None
    ) -> FoldSums:
        """Read all images once.

        Folds are 0 .. n_folds - 1, (n_images,), and never divide a cluster (default: each image
        its own), (n_images,).
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
        return cls(units, places, counts.to(units.device), sums, products, clusters)

    def rows(self, places: IntArray) -> Tensor:
        """Images as probes see them; places are numbers of images, (n,)."""
        return self.units.rows(places)

    def training(self, without: Collection[int]) -> Tensor:
        """The folds that train where some do not."""
        numbers = [fold for fold in range(len(self.places)) if fold not in without]
        return torch.tensor(numbers, device=self.units.device)


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


class _Factored:
    """The shrunk total covariance of the folds that train, factored."""

    def __init__(self, folds: FoldSums, without: Collection[int], shrinkage: float) -> None:
        self.training = folds.training(without)
        self.shrinkage = shrinkage
        self.n = folds.counts[self.training].sum()
        self.mean = folds.sums[self.training].sum(dim=0) / self.n
        total = folds.products[self.training].sum(dim=0) / self.n
        total -= torch.outer(self.mean, self.mean)
        self.trace = float(total.trace())
        total *= 1 - shrinkage
        total.diagonal().add_(shrinkage)
        self.factor = torch.linalg.cholesky(total)

    def discriminants(self, classes: Sequence[_Classes]) -> list[_Discriminant]:
        """Of every labelling.

        With T the total covariance and M the class means, weighted by the shares P of the classes,
        W = T - M'PM, so that inv((1-s) W + s I) M' = Y inv(I - (1-s) P M Y) with Y =
        inv((1-s) T + s I) M' (Woodbury). The square of an estimated mean is too large by
        tr(inv((1-s) T + s I) T) / n, n the effective number of clusters that it is the mean of,
        which would make rare classes rarer.
        """
        counts = [each.counts[self.training].sum(dim=0) for each in classes]
        means = [
            each.sums[self.training].sum(dim=0) / count[:, None] - self.mean
            for each, count in zip(classes, counts, strict=True)
        ]
        signs = self._signs()
        solved = torch.cholesky_solve(torch.cat([*means, signs]).T, self.factor)
        found = []
        *parts, last = torch.split(solved, [*map(len, means), len(signs)], dim=1)
        size = max(1.0, float(signs.square().sum()))  # no axes where no unit varies
        inverse = float((signs.T * last).sum()) * signs.shape[1] / size
        noise = self._noise(inverse)
        for each, mean, count, y in zip(classes, means, counts, parts, strict=True):
            effective = count**2 / each.squares[self.training].sum(dim=0)
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
            return self.trace
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
        return rows @ self.weights + self.bias

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

    def try_(self, shrinkage: float, found: _Discriminant, rows: Tensor, codes: Tensor) -> None:
        """See how a shrinkage predicts the images, (n, n_axes), of classes (n,)."""
        logits = found.logits(rows)
        start = self.tried[-1][2] if self.tried else 1.0
        slope, entropy = _slope(logits, found.prior, codes.to(logits.device), start)
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
    for shrinkage in sorted(shrinkages, reverse=True):
        still = [
            place
            for place in range(len(classes))
            if any(choices[place].is_open for _, choices in turns)
        ]
        if not still:
            return
        factored = _Factored(folds, without, shrinkage)
        found = factored.discriminants([classes[place] for place in still])
        for (_, choices), places, values in zip(turns, held, rows, strict=True):
            for place, discriminant in zip(still, found, strict=True):
                choice, codes = choices[place], classes[place].labelling.codes[places]
                if choice.is_open:
                    choice.try_(shrinkage, discriminant, values, torch.from_numpy(codes))


def _slope(logits: Tensor, prior: Tensor, codes: Tensor, start: float) -> tuple[float, float]:
    """The factor on the logits with the lowest cross-entropy, and that, summed over the images.

    Cox 1958, Biometrika 45:562-565. Its logarithm has a standard normal distribution beforehand,
    which a dozen images outweigh, so that it stays finite where all are predicted rightly. Logits
    have shape (n, n_classes), the prior (n_classes,), codes (n,).
    """
    logits, prior = logits.double(), prior.double()
    own = logits.gather(1, codes[:, None])[:, 0]

    def entropy(theta: float) -> float:
        log = torch.log_softmax(prior + float(np.exp(theta)) * logits, dim=1)
        return float(-log.gather(1, codes[:, None]).sum()) + theta**2 / 2

    theta, lowest = float(np.log(start)), entropy(float(np.log(start)))
    for _ in range(_STEPS):
        slope = float(np.exp(theta))
        shares = torch.softmax(prior + slope * logits, dim=1)
        mean = (shares * logits).sum(dim=1)
        spread = float(shares.mul_((logits - mean[:, None]).square_()).sum())
        gradient = slope * float((mean - own).sum()) + theta
        change = float(np.clip(gradient / (slope**2 * spread + 1), -1, 1))
        while abs(change) >= _CLOSE and (found := entropy(theta - change)) > lowest:
            change /= 2
        if abs(change) < _CLOSE:
            break
        theta, lowest = theta - change, found
    return float(np.exp(theta)), lowest


def _fitted(
    folds: FoldSums, classes: Sequence[_Classes], fold: int, choices: Sequence[_Choice]
) -> list[Probe]:
    """The probe of every labelling, from all folds but one, as chosen."""
    found: dict[int, Probe] = {}
    best = [choice.best for choice in choices]
    for shrinkage in {each for each, _ in best}:
        places = [i for i, (own, _) in enumerate(best) if own == shrinkage]
        factored = _Factored(folds, {fold}, shrinkage)
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
    centred = torch.stack([_log_odds(probe.logits(rows).double().cpu()) for probe in probes])
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
