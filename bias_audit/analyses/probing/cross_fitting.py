"""Out-of-fold predictions of many labellings of the same units, regularised from within.

For every outer fold the regularisation is chosen on the images that train: one of the other folds
is held out, a path from strong to weak regularisation is fitted to the rest, and the strength with
the lowest cross-entropy on the held-out fold is used to fit all training images.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from bias_audit.analyses.probing.logistic import Axes, Fits, Problems, fit
from bias_audit.arrays import IntArray
from bias_audit.results.blocks import RefitNoise
from bias_audit.statistics.inference import Measured


class Refitted(Protocol):
    """One number, and what it is with other folds."""

    @property
    def probe(self) -> Measured:
        """As reported."""

    @property
    def refits(self) -> tuple[float, ...]:
        """With other folds."""


def refit_noise(found: Sequence[Refitted | None]) -> RefitNoise | None:
    """The standard deviation between fits with different folds, pooled over layers.

    The fits of one layer, the reported one among them, have the same images, labels, activations
    and procedure; folds are drawn anew, and with them the images that choose the regularisation.

    Args:
        found: One number per layer; None where a layer has none.

    Returns:
        None where no layer was fitted more than once.
    """
    rows = [(each.probe, each.refits) for each in found if each is not None and each.refits]
    if not rows:
        return None
    variances = [float(np.var([m.value, *refits], ddof=1)) for m, refits in rows]
    errors = [measured.standard_error for measured, _ in rows]
    pooled, sampling = float(np.mean(variances)), float(np.mean(np.square(errors)))
    return RefitNoise(
        sd=float(np.sqrt(pooled)),
        relative=float(np.sqrt(pooled / sampling)) if sampling > 0 else 0.0,
        refits=max(len(refits) for _, refits in rows),
        layers=len(rows),
    )


TOLERANCE = 1e-3
"""The AUC agrees with that of a fully converged fit to about 0.001, at half the time."""
_CHOOSING = 1e-2
"""Enough to rank strengths of regularisation that are a factor of ten apart."""
_MOST_STEPS = 20
"""While choosing: fits that need more are those of a regularisation too weak to be chosen."""
_BYTES = 400 * 2**20
"""What the fits made at once may take."""
_WORTH_THREADS = 2 * 10**7
"""Products of one evaluation of all fits from which several threads help."""
_COPIES = 24
"""Tensors of the size of the weights that a fit holds: its memory of steps, and temporaries."""


@dataclass(frozen=True)
class CrossFit:
    """Out-of-fold predictions of one labelling."""

    probabilities: npt.NDArray[np.float32]
    """Of each class, by a probe that did not see the image, shape (n_images, n_classes)."""
    strengths: npt.NDArray[np.float64]
    """C of each outer fold's probe, shape (n_folds,)."""
    agreement: float
    """Correlation, within classes, of the scores that the probes of two outer folds give the same
    images: low where the scores depend on which images trained."""
    not_converged: int
    """Outer folds whose fit stopped early."""


def cross_fit(
    axes: Axes,
    labellings: IntArray,
    folds: IntArray,
    *,
    n_classes: int,
    strengths: tuple[float, ...],
) -> tuple[CrossFit, ...]:
    """Predict every image once by a probe fitted without its fold, for every labelling.

    Args:
        axes: The units.
        labellings: Class of each image, shape (n_labellings, n_images).
        folds: Fold of each image, 0 .. n_folds - 1, shape (n_images,).
        n_classes: Number of classes; each is in every fold.
        strengths: Values of C to choose from; a single one is used as it is.
    """
    n_folds = int(folds.max()) + 1
    each = len(axes.spread) * n_classes * 4 * _COPIES + len(folds) * n_classes * 4 * 4
    together = max(1, int(_BYTES // (each * n_folds)))
    result: list[CrossFit] = []
    products = axes.images.numel() * n_classes * n_folds * min(together, len(labellings))
    with _few_threads_for(products):
        for start in range(0, len(labellings), together):
            chunk = torch.from_numpy(labellings[start : start + together])
            result += _cross_fit(axes, chunk, torch.from_numpy(folds), n_classes, strengths)
    return tuple(result)


@contextmanager
def _few_threads_for(products: int) -> Iterator[None]:
    """Small fits on one thread: waiting for others takes longer than the work."""
    threads = torch.get_num_threads()
    try:
        if products < _WORTH_THREADS:
            torch.set_num_threads(1)
        yield
    finally:
        torch.set_num_threads(threads)


def fold_fits(
    axes: Axes, labels: IntArray, folds: IntArray, *, n_classes: int, strengths: tuple[float, ...]
) -> Fits:
    """The probes behind `cross_fit` of one labelling, one for each fold.

    Args:
        axes: The units.
        labels: Class of each image, shape (n_images,).
        folds: As `cross_fit` has them.
        n_classes: Number of classes.
        strengths: Values of C to choose from.
    """
    products = axes.images.numel() * n_classes * (int(folds.max()) + 1)
    with _few_threads_for(products):
        fits, _ = _fitted(
            axes, torch.from_numpy(labels[None]), torch.from_numpy(folds), n_classes, strengths
        )
    return fits


def _cross_fit(
    axes: Axes, labellings: Tensor, folds: Tensor, n_classes: int, strengths: tuple[float, ...]
) -> list[CrossFit]:
    n_folds = int(folds.max()) + 1
    fits, used = _fitted(axes, labellings, folds, n_classes, strengths)
    chosen = used.view(-1, n_folds).numpy().astype(np.float64)
    return [
        _predictions(axes, _part_of(fits, outer_of), labelling, folds, strengths)
        for outer_of, labelling, strengths in zip(
            (slice(at, at + n_folds) for at in range(0, fits.weights.shape[0], n_folds)),
            labellings,
            chosen,
            strict=True,
        )
    ]


def _fitted(
    axes: Axes, labellings: Tensor, folds: Tensor, n_classes: int, strengths: tuple[float, ...]
) -> tuple[Fits, Tensor]:
    """The outer probes of all labellings, fold by fold, and the C that each uses."""
    n_folds = int(folds.max()) + 1
    outer = torch.arange(n_folds).repeat(len(labellings))
    labels = labellings.repeat_interleave(n_folds, dim=0)
    path = torch.tensor(sorted(strengths), dtype=torch.float32)
    best = torch.zeros(len(labels), dtype=torch.int64)
    start = None
    if len(path) > 1:
        held_out = 2 * (folds[None] == outer[:, None]).int()
        held_out += folds[None] == (outer[:, None] + 1) % n_folds
        best, start = _choose(axes, labels, held_out, path, n_classes=n_classes)
    training = torch.where(folds[None] == outer[:, None], -1, labels)
    problems = Problems(training, n_classes, 1 / path[best])
    return fit(axes, problems, tolerance=TOLERANCE, start=start), path[best]


def _choose(
    axes: Axes, labels: Tensor, held_out: Tensor, path: Tensor, *, n_classes: int
) -> tuple[Tensor, Fits]:
    """The strength of each problem with the lowest held-out cross-entropy, and its fit.

    `held_out` is 0 for images that train, 1 for those that choose, 2 for the outer fold.
    """
    tests = held_out == 1
    training = torch.where(held_out > 0, -1, labels)
    best = torch.zeros(len(labels), dtype=torch.int64)
    lowest = torch.full((len(labels),), torch.inf, dtype=torch.float64)
    kept: Fits | None = None
    going = torch.arange(len(labels))
    start = None
    for place, strength in enumerate(path):
        problems = Problems(training[going], n_classes, (1 / strength).expand(len(going)))
        fits = fit(axes, problems, tolerance=_CHOOSING, max_steps=_MOST_STEPS, start=start)
        entropy = _cross_entropy(axes, fits, labels[going], tests[going])
        better = entropy < lowest[going]
        kept = fits if kept is None else _replaced(kept, fits, going, better)
        lowest[going] = torch.minimum(entropy, lowest[going])
        best[going[better]] = place
        going, start = going[better], _part_of(fits, better)
        if len(going) == 0:  # cross-entropy falls and then rises along the path
            break
    if kept is None:
        raise ValueError("expected at least one strength of regularisation, got none")
    return best, kept


def _cross_entropy(axes: Axes, fits: Fits, labels: Tensor, tests: Tensor) -> Tensor:
    log = torch.log_softmax(fits.logits(axes), dim=2)
    own = log.gather(2, labels[:, :, None])[:, :, 0]
    return -(own * tests).sum(dim=1, dtype=torch.float64)


def _replaced(kept: Fits, fits: Fits, going: Tensor, better: Tensor) -> Fits:
    for old, new in (
        (kept.weights, fits.weights),
        (kept.intercepts, fits.intercepts),
        (kept.converged, fits.converged),
    ):
        old[going[better]] = new[better]
    return kept


def _part_of(fits: Fits, which: Tensor | slice) -> Fits:
    return Fits(fits.weights[which], fits.intercepts[which], fits.converged[which])


def _predictions(
    axes: Axes, fits: Fits, labels: Tensor, folds: Tensor, strengths: npt.NDArray[np.float64]
) -> CrossFit:
    probabilities = torch.softmax(fits.logits(axes), dim=2)
    own = probabilities[folds, torch.arange(len(folds))]
    return CrossFit(
        probabilities=own.numpy(),
        strengths=strengths,
        agreement=_agreement(probabilities, labels, folds),
        not_converged=int((~fits.converged).sum()),
    )


def _agreement(probabilities: Tensor, labels: Tensor, folds: Tensor) -> float:
    """Correlation of the scores of a fold's own probe with those of the others, within classes."""
    n_folds, n_images, n_classes = probabilities.shape
    scores = torch.logit(probabilities.double(), eps=1e-12)
    place = folds * n_classes + labels
    counts = torch.zeros(n_folds * n_classes, dtype=torch.float64)
    counts = counts.index_add_(0, place, torch.ones(n_images, dtype=torch.float64))
    total: dict[str, Any] = {"both": 0.0, "own": 0.0, "other": 0.0}
    centred = torch.empty_like(scores)
    for probe in range(n_folds):
        sums = torch.zeros(n_folds * n_classes, n_classes, dtype=torch.float64)
        sums.index_add_(0, place, scores[probe])
        centred[probe] = scores[probe] - (sums / counts.clamp(min=1)[:, None])[place]
    images = torch.arange(n_images)
    own = centred[folds, images]
    for shift in range(1, n_folds):
        other = centred[(folds + shift) % n_folds, images]
        total["both"] += (own * other).sum(dim=0)
        total["own"] += (own * own).sum(dim=0)
        total["other"] += (other * other).sum(dim=0)
    spread = torch.sqrt(total["own"] * total["other"])
    defined = spread > 0
    if not defined.any():
        return 0.0
    return float((total["both"][defined] / spread[defined]).mean())
