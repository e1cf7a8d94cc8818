"""Out-of-fold predictions of many labellings of the same units, regularised from within.

For every outer fold the regularisation is chosen on the images that train: one of the other folds
is held out, a path from strong to weak regularisation is fitted to the rest, and the strength with
the lowest cross-entropy on the held-out fold is used to fit all training images.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from bias_audit.analyses.probing.logistic import Axes, Fits, Problems, fit
from bias_audit.arrays import IntArray
from bias_audit.deferred import torch

if TYPE_CHECKING:
    from torch import Tensor

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

    Labellings, (n_labellings, n_images), are classes 0 .. n_classes - 1, each of which is in every
    fold; folds are 0 .. n_folds - 1, (n_images,). Strengths are values of C to choose from; a
    single one is used as it is.
    """
    n_folds = int(folds.max()) + 1
    each = len(axes.spread) * n_classes * 4 * _COPIES + len(folds) * n_classes * 4 * 4
    together = max(1, int(_BYTES // (each * n_folds)))
    products = axes.images.numel() * n_classes * n_folds * min(together, len(labellings))
    outer = torch.from_numpy(folds)
    result = []
    with _few_threads_for(products):
        for start in range(0, len(labellings), together):
            chunk = torch.from_numpy(labellings[start : start + together])
            fits, used = _fitted(axes, chunk, outer, n_classes, strengths)
            for place, labels in enumerate(chunk):
                own = slice(place * n_folds, (place + 1) * n_folds)
                probabilities = torch.softmax(fits.chosen(own).logits(axes), dim=2)
                result.append(
                    CrossFit(
                        probabilities=probabilities[outer, torch.arange(len(folds))].numpy(),
                        strengths=used[own].numpy().astype(np.float64),
                        agreement=_agreement(probabilities, labels, outer),
                        not_converged=int((~fits.converged[own]).sum()),
                    )
                )
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

    Labels and folds are by image, (n_images,).
    """
    products = axes.images.numel() * n_classes * (int(folds.max()) + 1)
    labelling, outer = torch.from_numpy(labels[None]), torch.from_numpy(folds)
    with _few_threads_for(products):
        return _fitted(axes, labelling, outer, n_classes, strengths)[0]


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
        chooses = folds[None] == (outer[:, None] + 1) % n_folds
        trains = (folds[None] != outer[:, None]) & ~chooses
        best, start = _choose(axes, labels, trains, chooses, path, n_classes=n_classes)
    training = torch.where(folds[None] == outer[:, None], -1, labels)
    problems = Problems(training, n_classes, 1 / path[best])
    return fit(axes, problems, tolerance=TOLERANCE, start=start), path[best]


def _choose(
    axes: Axes, labels: Tensor, trains: Tensor, chooses: Tensor, path: Tensor, *, n_classes: int
) -> tuple[Tensor, Fits]:
    """The strength of each problem with the lowest held-out cross-entropy, and its fit.

    Along the path from strong to weak regularisation the cross-entropy falls and then rises, so a
    problem is left at the first strength that does not lower it.

    Labels, and the images that train and that decide, have shape (n_problems, n_images); the path
    is C in ascending order.
    """
    training = torch.where(trains, labels, -1)
    best = torch.zeros(len(labels), dtype=torch.int64)
    lowest = torch.full((len(labels),), torch.inf, dtype=torch.float64)
    kept: Fits | None = None
    going = torch.arange(len(labels))
    start = None
    for place, strength in enumerate(path):
        problems = Problems(training[going], n_classes, (1 / strength).expand(len(going)))
        fits = fit(axes, problems, tolerance=_CHOOSING, max_steps=_MOST_STEPS, start=start)
        log = torch.log_softmax(fits.logits(axes), dim=2)
        own = log.gather(2, labels[going][:, :, None])[:, :, 0]
        entropy = -(own * chooses[going]).sum(dim=1, dtype=torch.float64)
        better = entropy < lowest[going]
        start = fits.chosen(better)
        if kept is None:
            kept = fits
        else:
            kept.replace(going[better], start)
        lowest[going] = torch.minimum(entropy, lowest[going])
        going = going[better]
        best[going] = place
        if len(going) == 0:
            break
    if kept is None:
        raise ValueError("expected at least one strength of regularisation, got none")
    return best, kept


def _agreement(probabilities: Tensor, labels: Tensor, folds: Tensor) -> float:
    """Correlation of the scores of a fold's own probe with those of the others, within classes.

    Scores are centred within each class of each fold, so that they agree only as far as they order
    images of one class alike. Probabilities are by each fold's probe, (n_folds, n_images,
    n_classes), labels and folds by image, (n_images,).
    """
    n_folds, n_images, n_classes = probabilities.shape
    centred = torch.logit(probabilities.double(), eps=1e-12)
    place = folds * n_classes + labels
    counts = torch.bincount(place, minlength=n_folds * n_classes).double().clamp(min=1)
    for probe in range(n_folds):
        sums = torch.zeros(len(counts), n_classes, dtype=torch.float64)
        sums.index_add_(0, place, centred[probe])
        centred[probe] -= (sums / counts[:, None])[place]
    images = torch.arange(n_images)
    own = centred[folds, images]
    both, of_own, of_other = torch.zeros(3, n_classes, dtype=torch.float64)
    for shift in range(1, n_folds):
        other = centred[(folds + shift) % n_folds, images]
        both += (own * other).sum(dim=0)
        of_own += (own * own).sum(dim=0)
        of_other += (other * other).sum(dim=0)
    spread = torch.sqrt(of_own * of_other)
    defined = spread > 0
    return float((both[defined] / spread[defined]).mean()) if defined.any() else 0.0
