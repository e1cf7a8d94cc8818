"""Checks of attribution maps: randomised weights, agreement, faithfulness to the decision."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Final

import torch
from captum.metrics import infidelity, sensitivity_max
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, avg_pool2d, interpolate

from bias_audit.analyses.attributing.methods import Method, MethodSettings, attribute, modules_run

STAGES: Final = ("probe", "upper half", "all")
"""What has lost its training; each holds the one before it."""


def randomised(
    decision: nn.Module, images: Tensor, *, seed: int
) -> Iterator[tuple[str, nn.Module]]:
    """Copies of a decision with more and more of its weights shuffled (Adebayo et al. 2018).

    The entries of every parameter are permuted, so that sizes stay as training made them and
    signals neither vanish nor explode. Modules are taken in the order in which they run, last
    first: the scores alone, the upper half of all, everything.

    Yields the name of each stage and the decision there; `images` are any preprocessed ones, to
    see which modules run. The decision given is not changed.
    """
    broken = copy.deepcopy(decision)
    ran = map(broken.get_submodule, dict.fromkeys(modules_run(decision, images[:1])))
    parts = [part for part in ran if [*part.parameters(recurse=False)]][::-1]
    generator = torch.Generator().manual_seed(seed)
    n_done = 0
    for stage, n_wanted in zip(STAGES, (1, len(parts) - len(parts) // 2, len(parts)), strict=True):
        for part in parts[n_done:n_wanted]:
            for parameter in part.parameters(recurse=False):
                order = torch.randperm(parameter.numel(), generator=generator)
                shuffled = parameter.flatten()[order.to(parameter.device)]
                with torch.no_grad():
                    parameter.copy_(shuffled.view(parameter.shape))
        n_done = max(n_done, n_wanted)
        yield stage, broken


def rank_correlation(one: Tensor, other: Tensor) -> Tensor:
    """Spearman's correlation over the cells of two maps; 0 where one of them is flat.

    From two maps of shape (n, side, side) each to (n,).
    """
    first, second = (_ranks(maps.flatten(1).double()) for maps in (one, other))
    spread = (first.square().sum(1) * second.square().sum(1)).sqrt()
    return torch.where(spread > 0, (first * second).sum(1) / spread.clamp(min=1e-300), 0.0)


def _ranks(values: Tensor) -> Tensor:
    """Centred ranks, ties at their mean, shape (n, n_cells)."""
    ordered = values.sort(dim=1).values.contiguous()
    low = torch.searchsorted(ordered, values.contiguous())
    high = torch.searchsorted(ordered, values.contiguous(), right=True)
    ranks = (low + high).double() / 2
    return ranks - ranks.mean(dim=1, keepdim=True)


def structural_similarity(one: Tensor, other: Tensor) -> Tensor:
    """SSIM of two maps, each scaled to [0, 1] (Wang et al. 2004), with a flat window of 7 cells.

    From two maps of shape (n, side, side) each to (n,).
    """
    window = 7

    def scaled(maps: Tensor) -> Tensor:
        least, most = maps.amin(dim=(1, 2), keepdim=True), maps.amax(dim=(1, 2), keepdim=True)
        return (maps - least) / (most - least).clamp(min=1e-300)

    def local_mean(maps: Tensor) -> Tensor:
        return avg_pool2d(maps[:, None], window, stride=1)[:, 0]

    # SSIM = (2 m_x m_y + c_1)(2 s_xy + c_2) / ((m_x^2 + m_y^2 + c_1)(s_x^2 + s_y^2 + c_2)), with
    # unbiased (co)variances s within the window and the constants c of the paper.
    x, y = scaled(one.double()), scaled(other.double())
    mean_x, mean_y = local_mean(x), local_mean(y)
    sample = window**2 / (window**2 - 1)
    var_x = sample * (local_mean(x * x) - mean_x**2)
    var_y = sample * (local_mean(y * y) - mean_y**2)
    joint = sample * (local_mean(x * y) - mean_x * mean_y)
    low, high = 0.01**2, 0.03**2
    top = (2 * mean_x * mean_y + low) * (2 * joint + high)
    bottom = (mean_x**2 + mean_y**2 + low) * (var_x + var_y + high)
    return (top / bottom).mean(dim=(1, 2))


_CELLS: Final = 14
"""Side of the grid whose cells are covered or shown one after the other."""
_STEPS: Final = 6
_PERTURBED: Final = 8
_RADIUS: Final = 0.05
"""Of the noise of sensitivity, in standard deviations of the preprocessing."""


def curve_areas(
    decision: nn.Module, images: Tensor, targets: Tensor, order: Tensor, n_levels: int
) -> tuple[Tensor, Tensor]:
    """Mean probability of the decision while cells are covered, and while they are shown.

    Deletion covers the cells with the mean colour, first the first of the order; insertion begins
    with all covered and shows them (Petsiuk, Das & Saenko 2018, arXiv:1806.07421). Images are
    preprocessed, (n, 3, height, width), targets are scores, (n,), `order` is that of the cells,
    (n, cells); of `n_levels` scores that belong together the probability is taken. The areas are
    in [0, 1], shape (n,) each.
    """
    n_cells = order.shape[1]
    rank = torch.empty_like(order)
    rank.scatter_(1, order, torch.arange(n_cells, device=order.device).expand_as(order))
    curves: tuple[list[Tensor], list[Tensor]] = ([], [])
    for step in range(_STEPS + 1):
        covered = (rank < round(n_cells * step / _STEPS)).view(len(images), 1, _CELLS, _CELLS)
        mask = interpolate(covered.float(), size=images.shape[2:], mode="nearest")
        for curve, changed in zip(curves, (images * (1 - mask), images * mask), strict=True):
            with torch.no_grad():
                scores = decision(changed).view(len(images), -1, n_levels)
            probabilities = scores.softmax(dim=2).flatten(1)
            curve.append(probabilities[torch.arange(len(images), device=images.device), targets])
    deleted, inserted = (torch.stack(curve) for curve in curves)
    # Trapezoids of equal width, over an axis of length 1.
    return tuple((c[:-1] + c[1:]).mean(dim=0) / 2 for c in (deleted, inserted))  # type: ignore[return-value]


def order_by(signed: Tensor) -> Tensor:
    """Cells of each image, those that speak most for the score first, shape (n, cells)."""
    cells = adaptive_avg_pool2d(signed.sum(dim=1, keepdim=True), (_CELLS, _CELLS))
    return cells.flatten(1).argsort(dim=1, descending=True, stable=True)


def random_order(n_images: int, generator: torch.Generator) -> Tensor:
    """Cells in an order drawn for each image, shape (n, cells)."""
    return torch.rand(n_images, _CELLS**2, generator=generator).argsort(dim=1)


def missed_changes(
    decision: nn.Module, images: Tensor, targets: Tensor, signed: Tensor, *, seed: int
) -> Tensor:
    """How far attributions miss what covering a square does to the score (Yeh et al. 2019).

    captum's infidelity, with the attributions scaled to fit best. Over its value for no
    attribution at all, 0 foretells every change and 1 none of them. Images are preprocessed, (n,
    3, height, width), attributions have their shape; targets, the scores, and the result (n,).
    """
    generator = torch.Generator().manual_seed(seed)

    def squares(inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Cover one square of a quarter of the side in every image."""
        height, width = inputs.shape[2:]
        tall, wide = height // 4, width // 4
        mask = torch.zeros(len(inputs), 1, height, width, device=inputs.device)
        tops = torch.randint(height - tall + 1, (len(inputs),), generator=generator).tolist()
        lefts = torch.randint(width - wide + 1, (len(inputs),), generator=generator).tolist()
        for image, (top, left) in enumerate(zip(tops, lefts, strict=True)):
            mask[image, :, top : top + tall, left : left + wide] = 1
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

    The largest of a few draws, shape (n,).
    """

    def explain(inputs: tuple[Tensor, ...], *, target: Tensor) -> tuple[Tensor, ...]:
        return (attribute(method, decision, inputs[0], target, settings),)

    def noisy(values: Tensor) -> tuple[Tensor, ...]:
        drawn = 2 * torch.rand(values.shape, generator=generator) - 1
        return (values + _RADIUS * drawn.to(values.device),)

    result: Tensor = sensitivity_max(
        explain,
        images,
        perturb_func=noisy,
        n_perturb_samples=1,
        max_examples_per_batch=len(images),
        target=targets,
    )
    return result
