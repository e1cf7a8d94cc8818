"""Whether maps can be relied on: checks of every method on a few images."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Final

import numpy as np
import torch
from torch import Tensor

from bias_audit.analyses.analysis import Network, Subject
from bias_audit.analyses.attributing import checks
from bias_audit.analyses.attributing.decision import Decided
from bias_audit.analyses.attributing.methods import attribute
from bias_audit.analyses.attributing.names import DOES_NOT_APPLY, PASSES
from bias_audit.analyses.attributing.summing import Means, Question, Totals, densities, pooled
from bias_audit.arrays import IntArray
from bias_audit.cache import Arrays
from bias_audit.progress import Step
from bias_audit.shapes.measures import Entry, Measure, Measures, Pair
from bias_audit.statistics.estimate import Estimate
from bias_audit.statistics.inference import Measured, estimate

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
    for stage, broken in checks.randomised(decision, images, seed=seed):
        alike[stage] = []
        for method, before in zip(question.methods, maps, strict=True):
            broken_values = attribute(method, broken, images, targets, settings)
            after = pooled(densities(broken_values)[0], side)
            likeness = (
                checks.rank_correlation(before, after),
                checks.structural_similarity(before, after),
            )
            alike[stage].append(likeness)
    generator = torch.Generator().manual_seed(seed)
    order = checks.random_order(len(images), generator).to(images.device)
    by_chance = checks.curve_areas(decision, images, targets, order, n_levels)
    nothing = checks.missed_changes(decision, images, targets, torch.zeros_like(images), seed=seed)
    columns = []
    for number, (method, values) in enumerate(zip(question.methods, signed, strict=True)):
        found = checks.curve_areas(decision, images, targets, checks.order_by(values), n_levels)
        missed = checks.missed_changes(decision, images, targets, values, seed=seed)
        noise = torch.Generator().manual_seed(seed + 1000 * (number + 1))
        columns += [alike[stage][number][0] for stage in reversed(checks.STAGES)]
        columns += [
            alike[checks.STAGES[-1]][number][1],
            by_chance[0] - found[0],
            found[1] - by_chance[1],
            torch.where(nothing > 0, missed / nothing.clamp(min=1e-30), 1.0),
            checks.largest_change(
                method, decision, images, targets, settings=settings, generator=noise
            ),
        ]
    columns += [checks.rank_correlation(one, other) for one, other in combinations(maps, 2)]
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
