"""Least-squares concept erasure (LEACE), with one whitening for many attributes.

Belrose et al. 2023 (arXiv:2306.03819): of all affine maps after which no linear probe can predict
the labels better than a constant, the one that moves the activations least. Shrinkage and the
eraser are those of the authors' package; the whitening, which costs most and does not depend on
the labels, is computed once and shared, which gives the same erasers as `LeaceFitter`.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq

from bias_audit.analyses.analysis import Head, Subject
from bias_audit.analyses.probing.discriminant import blocks
from bias_audit.analyses.probing.probes import folds_for
from bias_audit.analyses.targets import Measurable, Target
from bias_audit.arrays import BoolArray, FloatArray, IntArray
from bias_audit.data.sampling import stratified_folds
from bias_audit.deferred import torch
from bias_audit.device import device_for
from bias_audit.errors import AnalysisError

if TYPE_CHECKING:
    from concept_erasure import LeaceEraser
    from torch import Tensor


Inputs = npt.NDArray[np.floating[Any]]

SHRINK_BELOW = 10
"""Images per unit below which the covariance is shrunk."""
_FILL = 1e-2
"""Weight of directions that only fill up a frame."""
_NO_DIRECTION = 1e-9
"""Singular values below this share of the largest are rounding errors, not directions."""


@dataclass(frozen=True)
class Whitening:
    """The mean of activations and the roots of their covariance, in double precision."""

    mean: Tensor
    """Shape (n_units,)."""
    vectors: Tensor
    """Eigenvectors of the covariance, as columns, shape (n_units, n_units)."""
    roots: Tensor
    """Roots of their eigenvalues, 0 where these are rounding errors, shape (n_units,)."""
    total: float
    """Variance of all units together."""
    shrunk: bool
    """Whether the covariance was."""

    @property
    def inverse(self) -> Tensor:
        """Of the roots, 0 where these are, shape (n_units,)."""
        return torch.where(self.roots > 0, 1 / self.roots, 0.0)


@dataclass(frozen=True)
class Eraser:
    """An affine map that removes some directions."""

    eraser: LeaceEraser
    frame: Tensor
    """The directions removed in the whitened space, orthonormal, in the basis of the eigenvectors
    of the covariance, shape (n_units, rank)."""
    variance: float
    """Share of the variance of the activations that goes with them, in [0, 1]."""

    @property
    def rank(self) -> int:
        """Directions removed: levels - 1, or fewer where levels have the same mean."""
        return int(self.frame.shape[1])

    @property
    def parts(self) -> tuple[Tensor, Tensor, Tensor]:
        """L, R and m: activations x become x - (x - m) R L'.

        L and R have shape (n_units, rank), m has (n_units,), all in double precision.
        """
        return self.eraser.proj_left, self.eraser.proj_right.mT, self.eraser.bias

    def shift(
        self, inputs: npt.NDArray[np.floating], weight: npt.NDArray[np.floating]
    ) -> FloatArray:
        """What erasing takes from the outputs of a linear layer, shape (n, n_classes).

        Few directions are erased, so this is much less work than erasing from the inputs and
        applying the layer. Inputs have shape (n, n_units), the weight of the layer (n_classes,
        n_units).
        """
        left, right, mean = (np.asarray(part.cpu(), dtype=np.float64) for part in self.parts)
        found = (np.asarray(inputs, dtype=np.float64) - mean) @ right
        return np.asarray(found @ (weight.astype(np.float64) @ left).T)


def _leace() -> tuple[Any, Any]:
    """Eraser and shrinkage by the method's authors."""
    with warnings.catch_warnings():
        # On import the package compiles a function as newer versions of torch advise against.
        warnings.simplefilter("ignore", FutureWarning)
        from concept_erasure import LeaceEraser  # noqa: PLC0415  loads torch
        from concept_erasure.shrinkage import optimal_linear_shrinkage  # noqa: PLC0415
    return LeaceEraser, optimal_linear_shrinkage


@dataclass(frozen=True)
class Moments:
    """Of some images, about a centre that all have in common."""

    n: int
    centre: Tensor
    """Shape (n_units,), float64, as all of these."""
    sums: Tensor
    """Shape (n_units,)."""
    products: Tensor
    """Shape (n_units, n_units)."""

    @classmethod
    def of(cls, inputs: Inputs, images: IntArray, centre: Tensor) -> Moments:
        """Of some images, (n,), of finite activations, (n_images, n_units), read in blocks."""
        sums = torch.zeros_like(centre)
        products = torch.zeros(len(centre), len(centre), dtype=centre.dtype, device=centre.device)
        for block in blocks(images):
            values = _doubles(inputs[block], centre.device) - centre
            sums += values.sum(dim=0)
            products += values.mT @ values
        return cls(len(images), centre, sums, products)

    def __add__(self, other: Moments) -> Moments:
        """Of the images of both."""
        sums, products = self.sums + other.sums, self.products + other.products
        return Moments(self.n + other.n, self.centre, sums, products)


def whitened(moments: Moments) -> Whitening:
    """The mean of activations and the roots of their covariance, of at least two images.

    The covariance is shrunk towards a multiple of the identity (Bodnar et al. 2014,
    arXiv:1308.2608) where there are fewer than `SHRINK_BELOW` images per unit.
    """
    n, n_units = moments.n, len(moments.centre)
    mean = moments.sums / n
    products = moments.products - n * torch.outer(mean, mean)
    shrunk = n < SHRINK_BELOW * n_units
    _, shrink = _leace()
    covariance = shrink(products / n, n) if shrunk else products / (n - 1)
    eigenvalues, vectors = torch.linalg.eigh(covariance)
    kept = eigenvalues > eigenvalues[-1] * n_units * torch.finfo(eigenvalues.dtype).eps
    return Whitening(
        mean=moments.centre + mean,
        vectors=vectors,
        roots=torch.where(kept, eigenvalues.clamp_min(0).sqrt(), 0.0),
        total=float(torch.trace(covariance)),
        shrunk=shrunk,
    )


def fitted(
    whitening: Whitening, inputs: Inputs, images: IntArray, codes: IntArray, n_levels: int
) -> Eraser:
    """The LEACE eraser of a labelling of the whitened images.

    Args:
        whitening: Of the activations of the images.
        inputs: The activations, shape (n_images, n_units).
        images: Which are meant, shape (n,).
        codes: Level of each of these, shape (n,).
        n_levels: Number of levels.
    """
    means = torch.from_numpy(np.bincount(codes, minlength=n_levels) / len(codes))
    cross = torch.zeros_like(whitening.mean[:, None].expand(-1, n_levels)).contiguous()
    for block in blocks(np.arange(len(images))):
        centred = _doubles(inputs[images[block]], cross.device) - whitening.mean
        labels = _doubles(np.eye(n_levels)[codes[block]], cross.device) - means.to(cross.device)
        cross += centred.mT @ labels / (len(images) - 1)
    cross = whitening.inverse[:, None] * (whitening.vectors.mT @ cross)
    left, sizes, _ = torch.linalg.svd(cross, full_matrices=False)
    kept = sizes > _NO_DIRECTION * max(float(sizes[0]), _NO_DIRECTION)
    return _eraser(whitening, left[:, kept])


def _eraser(whitening: Whitening, frame: Tensor) -> Eraser:
    """The least change after which nothing of the directions of `Eraser.frame` is left."""
    scaled = [scale[:, None] * frame for scale in (whitening.roots, whitening.inverse)]
    restored, right = torch.chunk(whitening.vectors @ torch.cat(scaled, dim=1), 2, dim=1)
    eraser = _leace()[0](restored, right.mT, bias=whitening.mean)
    share = float((restored**2).sum()) / whitening.total if whitening.total > 0 else 0.0
    return Eraser(eraser, frame, variance=share)


def random_erasers(whitening: Whitening, eraser: Eraser, seeds: Sequence[int]) -> list[Eraser]:
    """Erasers of random directions, with each of which as much variance goes as with an attribute.

    Let Q, of shape (n_units, rank), be the directions of `eraser` in the whitened space, and L the
    diagonal matrix of the eigenvalues of the covariance, in the basis of its eigenvectors. The
    variance that goes with a frame F of n orthonormal directions is the trace of F'LF; let v be
    that of Q. F spans the part outside Q, so that the attribute itself stays, of cos(t) A +
    sin(t) B. A is a random frame of eigenvectors with an eigenvalue of at least v / n, filled up
    with others where these are fewer than n; B is one of the others; t gives F the variance v. n
    is that of Q, or a number above it with which A has that variance. Where an attribute has most
    of the variance, less than that goes with F.

    Args:
        whitening: That of `eraser`.
        eraser: What the directions are compared with.
        seeds: One for each; the same one gives like directions for a like covariance.
    """
    own = eraser.frame.numpy(force=True)
    values = (whitening.roots**2).numpy(force=True)
    wanted = float((own**2 * values[:, None]).sum())
    most = max(int((values > 0).sum()) - eraser.rank, 0)
    n, found = min(eraser.rank, most), []
    for seed in seeds:
        mix = _Mix(whitening, own, wanted, n=n, seed=seed)
        while n < most and n > 0 and mix.surplus(0.0) < 0:
            n = min(n + 1 + n // 4, most)
            mix = _Mix(whitening, own, wanted, n=n, seed=seed)
        found.append(_eraser(whitening, _doubles(mix.frame(), whitening.vectors.device)))
    return found


class _Mix:
    """cos(t) A + sin(t) B of `random_erasers`, each of shape (n_units, n)."""

    def __init__(
        self, whitening: Whitening, own: FloatArray, wanted: float, *, n: int, seed: int
    ) -> None:
        values = (whitening.roots**2).numpy(force=True)
        there = values > 0
        large = there & (values >= wanted / max(n, 1))
        small = there & ~large
        small[np.argsort(np.where(there, values, np.inf), kind="stable")[:n]] = True
        # drawn for units, whose order does not depend on the covariance
        noise = np.random.default_rng(seed).standard_normal((len(values), 2 * n))
        noise = whitening.vectors.numpy(force=True).T @ noise

        def outside(columns: FloatArray) -> FloatArray:
            left = columns - own @ (own.T @ columns)
            return np.asarray(left / max(float(np.linalg.norm(left)), _FILL))

        self.wanted = wanted
        self.above = one = outside(np.where(large, 1.0, _FILL * there)[:, None] * noise[:, :n])
        self.below = other = outside(small[:, None] * noise[:, n:])
        # The variance of the span of C is the trace of (C'C)^-1 C'LC: quadratic in both parts.
        self.grams, self.variances = (
            (one.T @ (w * one), one.T @ (w * other) + other.T @ (w * one), other.T @ (w * other))
            for w in (np.ones((len(values), 1)), values[:, None])
        )

    def surplus(self, angle: float) -> float:
        """How much more variance than wanted goes with the span."""
        c, s = np.cos(angle), np.sin(angle)
        gram, variance = (
            c * c * one + c * s * mixed + s * s * other
            for one, mixed, other in (self.grams, self.variances)
        )
        return float(np.trace(np.linalg.solve(gram, variance))) - self.wanted

    def frame(self) -> FloatArray:
        """An orthonormal basis of the span with the variance, or the nearest to it."""
        ends = 0.0, np.pi / 2
        if not self.grams[0].size:
            return self.above
        if self.surplus(ends[0]) > 0 > self.surplus(ends[1]):
            angle = float(brentq(self.surplus, *ends))
        else:
            angle = min(ends, key=lambda each: abs(self.surplus(each)))
        found, _ = np.linalg.qr(np.cos(angle) * self.above + np.sin(angle) * self.below)
        return np.asarray(found)


def _doubles(values: npt.NDArray[np.floating], device: torch.device) -> Tensor:
    return torch.from_numpy(np.array(values, dtype=np.float64)).to(device)


class Split:
    """Images dealt into folds; targets that share it share its whitenings, which cost most.

    Images, as numbers of the subject's, and the fold of each have shape (n,).

    Raises:
        AnalysisError: What the head receives is not finite.
    """

    def __init__(
        self, head: Head, images: IntArray, folds: IntArray, device: torch.device
    ) -> None:
        self.images, self.folds, self.inputs, self.device = images, folds, head.inputs, device
        centre = torch.zeros(head.inputs.shape[1], dtype=torch.float64, device=device)
        for block in blocks(images):
            centre += _doubles(self.inputs[block], device).sum(dim=0) / len(images)
        if not torch.isfinite(centre).all():
            raise AnalysisError(
                f"inputs of {head.name}: expected finite numbers, got infinite or undefined ones; "
                "check the weights, and that images are preprocessed as the backbone expects"
            )
        self._centre = centre
        self._whitenings: dict[int | None, Whitening] = {}

    def training(self, fold: int | None) -> BoolArray:
        """The images outside a fold, or all of them, shape (n,)."""
        if fold is None:
            return np.ones(len(self.folds), dtype=bool)
        return np.asarray(self.folds != fold)

    @cached_property
    def _moments(self) -> list[Moments]:
        places = [self.images[self.folds == fold] for fold in range(int(self.folds.max()) + 1)]
        return [Moments.of(self.inputs, each, self._centre) for each in places]

    def whitening(self, fold: int | None) -> Whitening:
        """Of the images outside a fold, or of all of them; computed once."""
        if fold not in self._whitenings:
            training = [m for number, m in enumerate(self._moments) if number != fold]
            total = training[0]
            for moments in training[1:]:
                total += moments
            self._whitenings[fold] = whitened(total)
        return self._whitenings[fold]

    def eraser(self, fold: int | None, codes: IntArray, n_levels: int) -> Eraser:
        """Of a labelling of the images, (n,), from those outside a fold, or from all."""
        chosen = self.training(fold)
        images = self.images[chosen]
        return fitted(self.whitening(fold), self.inputs, images, codes[chosen], n_levels)


def split_by_intersection(subject: Subject, head: Head, n_folds: int) -> Split:
    """All images, alike in every intersection in each fold.

    Raises:
        AnalysisError: What the head receives is not finite.
        DataError: There are fewer clusters of images than folds.
    """
    faces = subject.faces
    folds = stratified_folds(
        faces.table.cells, faces.clusters, n_folds, subject.rng("folds", "erasure")
    )
    return Split(head, np.arange(len(faces)), folds, device_for(subject.device))


def split_for(
    subject: Subject, head: Head, target: Target, part: Measurable, shared: Split
) -> Split:
    """The shared split where all images are measured and it suits the target, else its own."""
    clusters, rng = subject.faces.clusters[part.images], subject.rng("folds", target.name)
    folds = folds_for(target, part, clusters, shared.folds, rng)
    return shared if folds is shared.folds else Split(head, part.images, folds, shared.device)
