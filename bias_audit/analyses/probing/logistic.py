"""Many multinomial logistic regressions on the same units, fitted at once.

Folds, controls and strengths of regularisation differ in labels and in which images train, not in
the units. So the units are rotated once to their principal axes, where the curvature of every
problem is nearly diagonal, and all problems take their steps together: a few large matrix
products instead of many small ones.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from bias_audit.deferred import torch

if TYPE_CHECKING:
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
    """Half of this times the squared weights is added to the summed loss, shape (n_problems,)."""


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
    images, which is exact too. Units, (n_images, n_units), are finite. They are divided by the
    deviation, (n_units,), by default their own standard deviation; 0 drops a unit.
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
    also for two classes, where scikit-learn penalises one vector of weights, not two. A problem
    has converged when a further step is expected to lower its loss by less than the share
    `tolerance` of what has been gained over the base rates; a share of the loss itself would stop
    at once where there is little to learn. It stops after `max_steps` in any case. `start` are
    weights to begin with, such as those of a stronger penalty.
    """
    return _Descent(axes, problems, start).run(tolerance, max_steps)


def _logits(axes: Axes, weights: Tensor, intercepts: Tensor) -> Tensor:
    n_problems, n_axes, n_classes = weights.shape
    flat = weights.permute(1, 0, 2).reshape(n_axes, n_problems * n_classes)
    return (axes.images @ flat).view(-1, n_problems, n_classes) + intercepts


class _Vector(NamedTuple):
    """A number for every weight and every intercept of some problems."""

    weights: Tensor
    intercepts: Tensor

    def chosen(self, mask: Tensor) -> _Vector:
        return _Vector(self.weights[mask], self.intercepts[mask])

    def plus(self, factor: Tensor, other: _Vector) -> _Vector:
        """This and `factor` times the other, factors of shape (n_problems,)."""
        return _Vector(
            self.weights + factor[:, None, None] * other.weights,
            self.intercepts + factor[:, None] * other.intercepts,
        )

    def minus(self, other: _Vector) -> _Vector:
        return _Vector(self.weights - other.weights, self.intercepts - other.intercepts)

    def times(self, other: _Vector) -> _Vector:
        return _Vector(self.weights * other.weights, self.intercepts * other.intercepts)

    def dot(self, other: _Vector) -> Tensor:
        product = self.times(other)
        return product.weights.sum(dim=(1, 2)) + product.intercepts.sum(dim=1)


class _State(NamedTuple):
    """Where the problems that have not converged are."""

    place: Tensor
    """Of each among all problems."""
    at: _Vector
    loss: Tensor
    slope: _Vector


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
        # The curvature at the base rates p: sum of squares of an axis x share that trains x p.
        curvature = axes.spread[None, :, None] * (size / n_images)[:, :, None] * share[:, None, :]
        self.inverse = _Vector(1 / (curvature + self.penalty[:, None, None]), 1 / (size * share))
        if start is None:
            weights = torch.zeros(n_problems, len(axes.spread), problems.n_classes)
            log = share.log()
            first = _Vector(weights, log - log.mean(dim=1, keepdim=True))
        else:
            first = _Vector(start.weights, start.intercepts)
        self.state = self._at(torch.arange(n_problems), first)
        not_yet = torch.zeros(n_problems, dtype=torch.bool)
        self.result = Fits(first.weights.clone(), first.intercepts.clone(), not_yet)
        self.history: deque[tuple[_Vector, _Vector, Tensor]] = deque(maxlen=_MEMORY)

    def run(self, tolerance: float, max_steps: int) -> Fits:
        for _ in range(max_steps):
            direction = self._direction()
            expected = self.state.slope.dot(direction)
            gained = self.base[self.state.place] - self.state.loss
            least = torch.maximum(
                tolerance * (gained + expected.double()), _NOTHING * self.state.loss
            )
            done = expected.double() <= least
            if done.any():
                self._keep(done, converged=True)
                direction, expected = direction.chosen(~done), expected[~done]
            if len(self.state.place) == 0:
                return self.result
            self._step(direction, expected)
        self._keep(torch.ones(len(self.state.place), dtype=torch.bool), converged=False)
        return self.result

    def _at(self, place: Tensor, at: _Vector) -> _State:
        """Loss and slope of the problems at `place`."""
        n_images, n_classes = len(self.axes.images), self.problems.n_classes
        classes, trains = self.classes[place].T, self.trains[place].T
        log = torch.log_softmax(_logits(self.axes, *at), dim=2)
        own = log.gather(2, classes[:, :, None])[:, :, 0]
        loss = -(own * trains).sum(dim=0, dtype=torch.float64)
        penalty, squares = self.penalty[place], at.weights * at.weights
        loss += penalty.double() / 2 * squares.sum(dim=(1, 2), dtype=torch.float64)
        # The slope of the loss by a logit is the predicted probability minus 1 for the own class.
        residual = log.exp_()
        residual.scatter_add_(2, classes[:, :, None], -torch.ones(n_images, len(place), 1))
        residual *= trains[:, :, None]
        flat = self.axes.images.T @ residual.view(n_images, len(place) * n_classes)
        slope = flat.view(-1, len(place), n_classes).permute(1, 0, 2)
        slope = slope + penalty[:, None, None] * at.weights
        return _State(place, at, loss, _Vector(slope, residual.sum(dim=0)))

    def _direction(self) -> _Vector:
        """What to subtract: the two-loop recursion (Nocedal & Wright 2006, algorithm 7.4)."""
        found, factors = self.state.slope, []
        for step, change, scale in reversed(self.history):
            factors.append(scale * step.dot(found))
            found = found.plus(-factors[-1], change)
        found = found.times(self.inverse.chosen(self.state.place))
        for (step, change, scale), factor in zip(self.history, reversed(factors), strict=True):
            found = found.plus(factor - scale * change.dot(found), step)
        return found

    def _step(self, direction: _Vector, expected: Tensor) -> None:
        """Go along the direction, half as far for the problems that would not gain."""
        before = self.state
        length = torch.ones(len(before.place))
        for _ in range(_HALVINGS):
            after = self._at(before.place, before.at.plus(-length, direction))
            allowed = before.loss - 1e-4 * (length * expected).double()
            worse = after.loss > allowed + _ROUNDING * before.loss.abs()
            if not worse.any():
                break
            length = torch.where(worse, length / 2, length)
        step, change = after.at.minus(before.at), after.slope.minus(before.slope)
        product, tiny = step.dot(change), torch.finfo(torch.float32).tiny
        scale = torch.where(product > tiny, 1 / product.clamp(min=tiny), 0)
        self.history.append((step, change, scale))
        self.state = after

    def _keep(self, done: Tensor, *, converged: bool) -> None:
        """Move finished problems to the result."""
        place, left, state = self.state.place[done], ~done, self.state
        self.result.weights[place] = state.at.weights[done]
        self.result.intercepts[place] = state.at.intercepts[done]
        self.result.converged[place] = converged
        self.state = _State(
            state.place[left], state.at.chosen(left), state.loss[left], state.slope.chosen(left)
        )
        self.history = deque(
            ((s.chosen(left), c.chosen(left), scale[left]) for s, c, scale in self.history),
            maxlen=_MEMORY,
        )
