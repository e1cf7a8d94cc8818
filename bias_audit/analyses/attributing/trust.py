"""Whether maps can be relied on: checks of every method on a few images."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import Final

import numpy as np
import torch
from captum.metrics import infidelity, sensitivity_max
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, avg_pool2d, interpolate

from bias_audit.analyses.analysis import Network, Subject
from bias_audit.analyses.attributing.decision import Decided
from bias_audit.analyses.attributing.methods import Method, MethodSettings, attribute, modules_run
from bias_audit.analyses.attributing.names import DOES_NOT_APPLY, PASSES
from bias_audit.analyses.attributing.summing import Means, Question, Totals, densities, pooled
from bias_audit.arrays import IntArray
from bias_audit.cache import Arrays
from bias_audit.progress import Step
from bias_audit.shapes.measures import Entry, Measure, Measures, Pair
from bias_audit.statistics.estimate import Estimate
from bias_audit.statistics.inference import Measured, estimate

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


LIMIT: Final = 0.5
"""Rank correlation of a map with that of the same image after all training is lost."""

MEASURES: Final = (
    Measure(
        name="without training",
        better="lower",
        meaning="rank correlation of the map with the map of the same decision after all weights "
        "were shuffled; a map that hardly changes does not show what was learned",
        reference=LIMIT,
    ),
    Measure(
        name="without upper half",
        better="lower",
        meaning="the same with the upper half of the layers and the probe shuffled",
        reference=LIMIT,
    ),
    Measure(
        name="without probe",
        better="lower",
        meaning="the same with the probe's weights alone shuffled",
        reference=LIMIT,
    ),
    Measure(
        name="structural similarity",
        better="lower",
        meaning="SSIM of the map with that of the decision with all weights shuffled",
    ),
    Measure(
        name="deletion",
        better="higher",
        meaning="how much faster the decision's probability falls when cells are covered in the "
        "order of the map than in a random order (difference of areas; 0: no faster)",
        reference=0.0,
    ),
    Measure(
        name="insertion",
        better="higher",
        meaning="how much faster it rises when cells are shown in the order of the map than in a "
        "random order",
        reference=0.0,
    ),
    Measure(
        name="infidelity",
        better="lower",
        meaning="how far attributions miss what covering a square does to the score: 0 predicts "
        "every change, 1 predicts none",
        reference=1.0,
    ),
    Measure(
        name="sensitivity",
        better="lower",
        meaning="largest relative change of the attributions under noise too small to see",
    ),
)
_N: Final = len(MEASURES)


def checked(
    question: Question,
    images: IntArray,
    places: IntArray,
    network: Network,
    *,
    n_levels: int,
    seed: int,
    step: Step,
) -> Totals:
    """Check every method on some images.

    Images are numbers among the subject's, one of each cluster, `places` their numbers among the
    images that are attributed, both (n,). `n_levels` scores of the decision belong together; the
    seed is that of shuffled weights, covered squares and noise.
    """
    n_pairs = len([*combinations(question.methods, 2)])
    totals = Totals.empty(1, _N * len(question.methods) + n_pairs)
    begun = 0
    for batch in network.batches(images, question.batch_size):
        targets = question.targets(batch, places[begun : begun + len(batch)])
        values = _values(question, batch, targets, n_levels=n_levels, seed=seed + begun)
        member = np.ones((len(batch), 1), dtype=np.bool_)
        totals.add(values.double().numpy(), member, begun + np.arange(len(batch)))
        begun += len(batch)
        step.advance(len(batch))
    return totals


def _values(
    question: Question, images: Tensor, targets: Tensor, *, n_levels: int, seed: int
) -> Tensor:
    """Every measure of every method, then every agreement, shape (n, n_values)."""
    decision, settings, side = question.decision, question.settings, question.side
    signed = [attribute(m, decision, images, targets, settings) for m in question.methods]
    maps = [pooled(densities(values)[0], side) for values in signed]
    # Likeness of every method's map with that after each loss of training, by stage and method.
    alike: dict[str, list[tuple[Tensor, Tensor]]] = {}
    for stage, broken in randomised(decision, images, seed=seed):
        alike[stage] = []
        for method, before in zip(question.methods, maps, strict=True):
            broken_values = attribute(method, broken, images, targets, settings)
            after = pooled(densities(broken_values)[0], side)
            likeness = (rank_correlation(before, after), structural_similarity(before, after))
            alike[stage].append(likeness)
    generator = torch.Generator().manual_seed(seed)
    order = random_order(len(images), generator).to(images.device)
    by_chance = curve_areas(decision, images, targets, order, n_levels)
    nothing = missed_changes(decision, images, targets, torch.zeros_like(images), seed=seed)
    columns = []
    for number, (method, values) in enumerate(zip(question.methods, signed, strict=True)):
        found = curve_areas(decision, images, targets, order_by(values), n_levels)
        missed = missed_changes(decision, images, targets, values, seed=seed)
        noise = torch.Generator().manual_seed(seed + 1000 * (number + 1))
        columns += [alike[stage][number][0] for stage in reversed(STAGES)]
        columns += [
            alike[STAGES[-1]][number][1],
            by_chance[0] - found[0],
            found[1] - by_chance[1],
            torch.where(nothing > 0, missed / nothing.clamp(min=1e-30), 1.0),
            largest_change(method, decision, images, targets, settings=settings, generator=noise),
        ]
    columns += [rank_correlation(one, other) for one, other in combinations(maps, 2)]
    return torch.stack([column.double().cpu() for column in columns], dim=1)


def trust_totals(
    subject: Subject,
    network: Network,
    decided: Decided,
    question: Question,
    images: IntArray,
    *,
    n_checked: int,
) -> Totals:
    """`checked` on some of the images, one of a cluster, kept in the subject's cache.

    Images are numbers of those that are attributed, shape (n,); at most `n_checked` of them are
    checked.
    """
    rng = subject.rng("attribution trust", decided.target)
    _, first = np.unique(subject.faces.clusters[images], return_index=True)
    places = np.sort(rng.permutation(first)[:n_checked])
    chosen, seed, n_levels = images[places], int(rng.integers(2**31)), decided.n_levels
    title = f"Checks of the maps of {decided.target} on {subject.name}"
    with subject.progress.step(title, total=len(chosen), unit="image") as step:

        def compute() -> Arrays:
            return vars(
                checked(question, chosen, places, network, n_levels=n_levels, seed=seed, step=step)
            )

        inputs = question.inputs(subject, network, decided)
        own = (chosen, places, str(n_levels), str(seed))
        kept = subject.cached("trust", *inputs, *own, compute=compute)
        if kept.is_there:
            step.advance(len(chosen))
        return Totals.stored(kept.arrays())


def trust_block(
    totals: Totals,
    methods: Sequence[str],
    absent: Sequence[tuple[str, str]],
    *,
    layer: str,
    target: str,
    level: float,
) -> Measures:
    """The sums as a block: the methods that were checked, then those that do not apply.

    Methods are the titles of those that were checked, `absent` titles of those that do not apply,
    and why.
    """
    means = Means(totals, unit="images")

    def measured(column: int) -> Measured | None:
        weights = np.zeros(totals.n_values)
        weights[column] = 1
        return means.mean({0: 1}, weights, is_share=False)

    def of(column: int) -> Estimate | None:
        found = measured(column)
        return None if found is None else estimate(found, level=level)

    def covariances(columns: Sequence[int]) -> tuple[tuple[float, ...], ...]:
        known = [found for column in columns if (found := measured(column)) is not None]
        if not known:
            return ()
        influence = np.stack([found.influence for found in known])
        return tuple(map(tuple, (influence @ influence.T).tolist()))

    rows = []
    for number, name in enumerate(methods):
        estimates = tuple(of(_N * number + place) for place in range(_N))
        alike, standing = estimates[0], "undecided"
        if alike is not None and not alike.lower <= LIMIT <= alike.upper:
            standing = PASSES if alike.upper < LIMIT else "fails"
        is_faint = standing != PASSES
        rows.append(Entry(name=name, standing=standing, values=estimates, is_faint=is_faint))
    rows += [
        Entry(
            name=name,
            standing=DOES_NOT_APPLY,
            values=(None,) * _N,
            reasons=(reason,) * _N,
            is_drawn=False,
        )
        for name, reason in absent
    ]
    n_columns = _N * len(methods)
    pairs = list(enumerate(combinations(methods, 2), start=n_columns))
    return Measures(
        detail=False,
        title=f"Can the maps of the decision about {target} be relied on?",
        noun="method",
        layer=layer,
        target=target,
        measures=MEASURES,
        entries=tuple(rows),
        standing_is="sanity check",
        covariances=(
            *(covariances(range(place, n_columns, _N)) for place in range(_N)),
            covariances([column for column, _ in pairs]),
        ),
        pairs=tuple(
            Pair(measure=AGREED, one=one, other=other, estimate=value)
            for column, (one, other) in pairs
            if (value := of(column)) is not None
        ),
        pairs_are="agreement",
        caption=(
            f"Each dot is one check of one method at {layer}, on {totals.clusters[0]:.0f} images "
            "drawn for the checks, with its interval. Hollow: the method does not pass the "
            "sanity check. Dotted: the limit of the check, or what a map without meaning gives. "
            "Arrows: the better direction."
        ),
        notes=(RULE,),
        reading=(_READING,),
    )


AGREED: Final = "rank correlation of their maps"
_READING: Final = (
    "Maps are pictures that are easy to believe. These checks test whether the maps of a method "
    "would look the same for a network that has learned nothing, whether covering what a map "
    "points at changes the decision more than covering any other place, and whether the maps "
    "stay the same under noise too small to see."
)
RULE: Final = (
    "A method passes the sanity check where the interval of the mean rank correlation of its "
    f"maps with those of the same decision without training lies wholly below {LIMIT:g}, and "
    "fails where it lies wholly above; otherwise the check is inconclusive."
)
