"""Does covering what a map points at change the decision? Deletion, insertion, infidelity."""

from __future__ import annotations

from typing import Final

import torch
from captum.metrics import infidelity, sensitivity_max
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, interpolate

from bias_audit.analyses.attributing.methods import Method, MethodSettings, attribute

OneOrTuple = Tensor | tuple[Tensor, ...]
_CELLS: Final = 14
"""Side of the grid whose cells are covered or shown one after the other."""
_STEPS: Final = 6
_PERTURBED: Final = 8
_NOISY: Final = 1
_RADIUS: Final = 0.05
"""Of the noise of sensitivity, in standard deviations of the preprocessing."""


def probability(decision: nn.Module, images: Tensor, targets: Tensor, n_levels: int) -> Tensor:
    """Of the attributed level among the scores that belong together, shape (n,)."""
    with torch.no_grad():
        scores = decision(images)
    together = scores.view(len(images), -1, n_levels).softmax(dim=2).flatten(1)
    result: Tensor = together[torch.arange(len(images)), targets]
    return result


def curve_areas(
    decision: nn.Module,
    images: Tensor,
    targets: Tensor,
    order: Tensor,
    n_levels: int,
) -> tuple[Tensor, Tensor]:
    """Mean probability of the decision while cells are covered, and while they are shown.

    Deletion covers the cells with the mean colour, first the first of the order; insertion begins
    with all covered and shows them (Petsiuk, Das & Saenko 2018, arXiv:1806.07421).

    Args:
        decision: From images to scores.
        images: Preprocessed, shape (n, 3, height, width).
        targets: The scores, shape (n,).
        order: Of the cells of each image, shape (n, cells).
        n_levels: Scores that belong together.

    Returns:
        Areas under both curves, in [0, 1], shape (n,) each.
    """
    n_cells = order.shape[1]
    rank = torch.empty_like(order)
    rank.scatter_(1, order, torch.arange(n_cells, device=order.device).expand_as(order))
    deleted, inserted = [], []
    for step in range(_STEPS + 1):
        covered = (rank < round(n_cells * step / _STEPS)).view(len(images), 1, _CELLS, _CELLS)
        mask = interpolate(covered.float(), size=images.shape[2:], mode="nearest")
        deleted.append(probability(decision, images * (1 - mask), targets, n_levels))
        inserted.append(probability(decision, images * mask, targets, n_levels))
    return tuple(_area(torch.stack(curve)) for curve in (deleted, inserted))  # type: ignore[return-value]


def _area(curve: Tensor) -> Tensor:
    return (curve[:-1] + curve[1:]).mean(dim=0) / 2


def order_by(signed: Tensor) -> Tensor:
    """Cells of each image, those that speak most for the score first, shape (n, cells)."""
    cells = adaptive_avg_pool2d(signed.sum(dim=1, keepdim=True), (_CELLS, _CELLS))
    return cells.flatten(1).argsort(dim=1, descending=True, stable=True)


def random_order(n_images: int, generator: torch.Generator) -> Tensor:
    """Cells in an order drawn for each image, shape (n, cells)."""
    drawn = torch.rand(n_images, _CELLS**2, generator=generator)
    return drawn.argsort(dim=1)


def missed_changes(
    decision: nn.Module, images: Tensor, targets: Tensor, signed: Tensor, *, seed: int
) -> Tensor:
    """How far attributions miss what covering a square does to the score (Yeh et al. 2019).

    captum's infidelity, with the attributions scaled to fit best. Over its value for no
    attribution at all, 0 foretells every change and 1 none of them.

    Args:
        decision: From images to scores.
        images: Preprocessed, shape (n, 3, height, width).
        targets: The scores, shape (n,).
        signed: Attributions, of the shape of the images.
        seed: Of the squares.

    Returns:
        Shape (n,).
    """
    generator = torch.Generator().manual_seed(seed)

    def squares(inputs: Tensor) -> tuple[Tensor, Tensor]:
        mask = _squares(inputs, generator)
        return inputs * mask, inputs * (1 - mask)

    with torch.no_grad():
        result: Tensor = infidelity(
            decision,
            squares,
            images,
            signed,
            target=targets,
            n_perturb_samples=_PERTURBED,
            max_examples_per_batch=2 * len(images),
            normalize=True,
        )
    return result


def _squares(inputs: Tensor, generator: torch.Generator) -> Tensor:
    """One square of a quarter of the side in every image, shape (n, 1, height, width)."""
    height, width = inputs.shape[2:]
    tall, wide = height // 4, width // 4
    mask = torch.zeros(len(inputs), 1, height, width, device=inputs.device)
    tops = torch.randint(height - tall + 1, (len(inputs),), generator=generator).tolist()
    lefts = torch.randint(width - wide + 1, (len(inputs),), generator=generator).tolist()
    for image, (top, left) in enumerate(zip(tops, lefts, strict=True)):
        mask[image, :, top : top + tall, left : left + wide] = 1
    return mask


def _alone(inputs: OneOrTuple) -> Tensor:
    """The images, which captum hands over in either form."""
    return inputs if isinstance(inputs, Tensor) else inputs[0]


def largest_change(
    method: Method,
    decision: nn.Module,
    images: Tensor,
    targets: Tensor,
    *,
    settings: MethodSettings,
    generator: torch.Generator,
) -> Tensor:
    """How much a little noise changes the attributions, relative to them (Yeh et al. 2019).

    Returns:
        The largest of a few draws, shape (n,).
    """

    def explain(inputs: OneOrTuple, *, target: Tensor) -> tuple[Tensor, ...]:
        return (attribute(method, decision, _alone(inputs), target, settings),)

    def noisy(inputs: OneOrTuple) -> tuple[Tensor, ...]:
        values = _alone(inputs)
        drawn = 2 * torch.rand(values.shape, generator=generator) - 1
        return (values + _RADIUS * drawn.to(values.device),)

    result: Tensor = sensitivity_max(
        explain,
        images,
        perturb_func=noisy,
        n_perturb_samples=_NOISY,
        max_examples_per_batch=len(images),
        target=targets,
    )
    return result
