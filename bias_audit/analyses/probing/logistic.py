"""Many multinomial logistic regressions on the same units, fitted at once.

Folds, controls and strengths of regularisation differ in labels and in which images train, not in
the units. So the units are rotated once to their principal axes, where the curvature of every
problem is nearly diagonal, and all problems take their steps together: a few large matrix
products instead of many small ones.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

_MEMORY = 6
"""Steps that L-BFGS remembers."""
_HALVINGS = 20
_RANK = 1e-6
"""Axes with less than this share of the largest variance are rounding errors."""
_NOTHING = 1e-6
"""Share of the loss below which an expected gain is a rounding error."""
_ROUNDING = 1e-7
"""Relative rounding error of a loss in single precision, which a step may not be refused for."""


@dataclass(frozen=True)
class Axes:
    """Standardised units rotated to their principal axes."""

    images: Tensor
    """Shape (n_images, n_axes), float32."""
    spread: Tensor
    """Sum of squares along each axis, shape (n_axes,)."""


@dataclass(frozen=True)
class Problems:
    """Fits that differ in labels, training images or regularisation."""

    labels: Tensor
    """Class of each image, -1 where it does not train, shape (n_problems, n_images), int64."""
    n_classes: int
    penalty: Tensor
    """Half of it times the squared weights is added to the summed loss, shape (n_problems,)."""


@dataclass(frozen=True)
class Fits:
    """Weights and intercepts of the problems."""

    weights: Tensor
    """Shape (n_problems, n_axes, n_classes)."""
    intercepts: Tensor
    """Shape (n_problems, n_classes)."""
    converged: Tensor
    """Shape (n_problems,), bool."""

    def logits(self, axes: Axes) -> Tensor:
        """Of all images, shape (n_problems, n_images, n_classes)."""
        return _logits(axes, self.weights, self.intercepts).permute(1, 0, 2)

    def chosen(self, which: Tensor | slice) -> Fits:
        """Some of the fits, by a mask or by numbers."""
        return Fits(self.weights[which], self.intercepts[which], self.converged[which])

    def replace(self, which: Tensor, others: Fits) -> None:
        """Write other fits in the place of these."""
        self.weights[which] = others.weights
        self.intercepts[which] = others.intercepts
        self.converged[which] = others.converged


def principal_axes(
    units: npt.NDArray[np.floating], *, deviation: npt.NDArray[np.floating] | None = None
) -> Axes:
    """Standardise every unit over all images and rotate; no label is used.

    A rotation changes neither the predictions nor the penalty of ridge-type regressions. Constant
    units and axes without variance are dropped. With more units than images the axes span the
    images, which is exact too.

    Args:
        units: Shape (n_images, n_units), finite.
        deviation: What to divide each unit by, shape (n_units,); its own standard deviation if
            not given. 0 drops the unit.
    """
    x = torch.from_numpy(np.array(units - units.mean(axis=0), dtype=np.float32))
    if deviation is None:
        spread = x.std(dim=0, correction=0)
        kept = spread > x.abs().amax(dim=0) * _RANK
    else:
        spread = torch.from_numpy(np.array(deviation, dtype=np.float32))
        kept = spread > 0
    x = x[:, kept] / spread[kept]
    n_images, n_units = x.shape
    if n_units == 0:
        return Axes(torch.zeros(n_images, 1), torch.zeros(1))
    if n_units <= n_images:
        spread, rotation = torch.linalg.eigh(x.T @ x)
        axes = spread > spread[-1] * _RANK
        return Axes((x @ rotation[:, axes]).contiguous(), spread[axes])
    spread, rotation = torch.linalg.eigh(x @ x.T)
    axes = spread > spread[-1] * _RANK
    return Axes((rotation[:, axes] * spread[axes].sqrt()).contiguous(), spread[axes])


def fit(
    axes: Axes,
    problems: Problems,
    *,
    tolerance: float,
    max_steps: int = 200,
    start: Fits | None = None,
) -> Fits:
    """Fit all problems by L-BFGS, preconditioned with the curvature at the base rates.

    The minimised function is that of scikit-learn's `LogisticRegression` with C = 1 / penalty,
    also for two classes, where scikit-learn penalises one vector of weights, not two.

    Args:
        axes: The units.
        problems: What to fit.
        tolerance: A problem has converged when a further step is expected to lower its loss by
            less than this share of what has been gained over the base rates. A share of the loss
            itself would stop at once where there is little to learn.
        max_steps: After which a problem stops, converged or not.
        start: Weights to go on from, such as those of a stronger penalty.
    """
    return _Descent(axes, problems, start).run(tolerance, max_steps)


def _logits(axes: Axes, weights: Tensor, intercepts: Tensor) -> Tensor:
    n_problems, n_axes, n_classes = weights.shape
    flat = weights.permute(1, 0, 2).reshape(n_axes, n_problems * n_classes)
    return (axes.images @ flat).view(-1, n_problems, n_classes) + intercepts


@dataclass
class _State:
    """Where the problems that have not converged are; index `place` into all problems."""

    place: Tensor
    weights: Tensor
    intercepts: Tensor
    loss: Tensor
    slope: tuple[Tensor, Tensor]

    def kept(self, mask: Tensor) -> _State:
        slope = (self.slope[0][mask], self.slope[1][mask])
        return _State(
            self.place[mask], self.weights[mask], self.intercepts[mask], self.loss[mask], slope
        )


Pair = tuple[Tensor, Tensor]


def _dot(one: Pair, other: Pair) -> Tensor:
    return (one[0] * other[0]).sum(dim=(1, 2)) + (one[1] * other[1]).sum(dim=1)


class _Descent:
    def __init__(self, axes: Axes, problems: Problems, start: Fits | None) -> None:
        self.axes, self.problems = axes, problems
        self.trains = problems.labels >= 0
        self.classes = problems.labels.clamp(min=0)
        n_problems, n_images = problems.labels.shape
        counts = torch.zeros(n_problems, problems.n_classes)
        counts.scatter_add_(1, self.classes, self.trains.float())
        size = counts.sum(dim=1, keepdim=True)
        share = (counts / size).clamp(min=1 / (size + 1))
        self.base = -(counts * share.log()).sum(dim=1).double()
        two = problems.n_classes == 2  # noqa: PLR2004
        self.penalty = problems.penalty * (2 if two else 1)
        curvature = axes.spread[None, :, None] * (size / n_images)[:, :, None] * share[:, None, :]
        self.inverse: Pair = (1 / (curvature + self.penalty[:, None, None]), 1 / (size * share))
        if start is None:
            weights = torch.zeros(n_problems, len(axes.spread), problems.n_classes)
            log = share.log()
            intercepts = log - log.mean(dim=1, keepdim=True)
        else:
            weights, intercepts = start.weights, start.intercepts
        everything = torch.arange(n_problems)
        self.state = self._at(everything, weights, intercepts)
        self.result = Fits(
            weights.clone(), intercepts.clone(), torch.zeros(n_problems, dtype=torch.bool)
        )
        self.history: deque[tuple[Pair, Pair, Tensor]] = deque(maxlen=_MEMORY)

    def run(self, tolerance: float, max_steps: int) -> Fits:
        for _ in range(max_steps):
            direction = self._direction()
            expected = _dot(self.state.slope, direction)
            gained = self.base[self.state.place] - self.state.loss
            least = torch.maximum(
                tolerance * (gained + expected.double()), _NOTHING * self.state.loss
            )
            done = expected.double() <= least
            if done.any():
                self._keep(done, converged=True)
                direction = (direction[0][~done], direction[1][~done])
                expected = expected[~done]
            if len(self.state.place) == 0:
                return self.result
            self._step(direction, expected)
        everything = torch.ones(len(self.state.place), dtype=torch.bool)
        self._keep(everything, converged=False)
        return self.result

    def _at(self, place: Tensor, weights: Tensor, intercepts: Tensor) -> _State:
        """Loss and slope of the problems at `place`."""
        n_images, n_classes = len(self.axes.images), self.problems.n_classes
        classes, trains = self.classes[place].T, self.trains[place].T
        log = torch.log_softmax(_logits(self.axes, weights, intercepts), dim=2)
        own = log.gather(2, classes[:, :, None])[:, :, 0]
        loss = -(own * trains).sum(dim=0, dtype=torch.float64)
        penalty = self.penalty[place]
        loss += penalty.double() / 2 * (weights * weights).sum(dim=(1, 2), dtype=torch.float64)
        residual = log.exp_()
        residual.scatter_add_(2, classes[:, :, None], -torch.ones(n_images, len(place), 1))
        residual *= trains[:, :, None]
        flat = self.axes.images.T @ residual.view(n_images, len(place) * n_classes)
        slope = flat.view(-1, len(place), n_classes).permute(1, 0, 2)
        slope = slope + penalty[:, None, None] * weights
        return _State(place, weights, intercepts, loss, (slope, residual.sum(dim=0)))

    def _direction(self) -> Pair:
        """What to subtract: the two-loop recursion (Nocedal & Wright 2006, algorithm 7.4)."""
        weights, intercepts = (part.clone() for part in self.state.slope)
        factors = []
        for step, change, scale in reversed(self.history):
            factor = scale * _dot(step, (weights, intercepts))
            weights -= factor[:, None, None] * change[0]
            intercepts -= factor[:, None] * change[1]
            factors.append(factor)
        weights *= self.inverse[0][self.state.place]
        intercepts *= self.inverse[1][self.state.place]
        for (step, change, scale), factor in zip(self.history, reversed(factors), strict=True):
            rest = factor - scale * _dot(change, (weights, intercepts))
            weights += rest[:, None, None] * step[0]
            intercepts += rest[:, None] * step[1]
        return weights, intercepts

    def _step(self, direction: Pair, expected: Tensor) -> None:
        """Go along the direction, half as far for the problems that would not gain."""
        before = self.state
        length = torch.ones(len(before.place))
        for _ in range(_HALVINGS):
            after = self._at(
                before.place,
                before.weights - length[:, None, None] * direction[0],
                before.intercepts - length[:, None] * direction[1],
            )
            allowed = before.loss - 1e-4 * (length * expected).double()
            worse = after.loss > allowed + _ROUNDING * before.loss.abs()
            if not worse.any():
                break
            length = torch.where(worse, length / 2, length)
        step = (after.weights - before.weights, after.intercepts - before.intercepts)
        change = (after.slope[0] - before.slope[0], after.slope[1] - before.slope[1])
        product = _dot(step, change)
        usable = product > torch.finfo(product.dtype).tiny
        scale = torch.where(usable, 1 / product.clamp(min=torch.finfo(product.dtype).tiny), 0)
        self.history.append((step, change, scale))
        self.state = after

    def _keep(self, done: Tensor, *, converged: bool) -> None:
        """Move finished problems to the result."""
        place = self.state.place[done]
        self.result.weights[place] = self.state.weights[done]
        self.result.intercepts[place] = self.state.intercepts[done]
        self.result.converged[place] = converged
        left = ~done
        self.state = self.state.kept(left)
        self.history = deque(
            (
                ((s[0][left], s[1][left]), (c[0][left], c[1][left]), scale[left])
                for s, c, scale in self.history
            ),
            maxlen=_MEMORY,
        )
