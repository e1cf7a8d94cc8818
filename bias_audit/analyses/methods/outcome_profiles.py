"""Maps of groups by outcome: rightly and wrongly classified images, and confusions.

Source: Krug, Ratul, Olson & Stober, arXiv:2204.03528. Backbones have no classes for annotated
attributes; the classifier is the out-of-fold linear probe of an attribute at the layer drawn.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import Field

from bias_audit.activations.moments import Moments
from bias_audit.analyses.analysis import (
    Analysis,
    BootstrapDraws,
    Coverage,
    OneLayer,
    Outcome,
    Subject,
)
from bias_audit.analyses.mapping.alignment import LayoutSettings, placed
from bias_audit.analyses.mapping.group_distances import halves, moments_of
from bias_audit.analyses.mapping.group_maps import Plane, colour_limit, map_block
from bias_audit.analyses.mapping.profiles import (
    Profiles,
    Sample,
    bayesian_weights,
    deviations,
    pooled_deviation,
    pooled_freedom,
)
from bias_audit.analyses.probing.probes import (
    ProbeSpec,
    Scores,
    out_of_fold_scores,
    part_of,
    too_few_images,
)
from bias_audit.analyses.probing.separability import chosen_layer, unknown_layers
from bias_audit.analyses.small_groups import (
    REMAINDER,
    Mask,
    Treatments,
    independent_images,
    treat,
    without_remainders,
)
from bias_audit.analyses.targets import Measurable, Target, targets_of, unknown_targets
from bias_audit.analyses.wording import coverage, interval, listed
from bias_audit.arrays import FloatArray, IntArray
from bias_audit.data.faces import FaceTable
from bias_audit.errors import AnalysisError
from bias_audit.groups import Group
from bias_audit.results.blocks import Block, Finding, GroupRow, GroupTable, UnitMap
from bias_audit.statistics.estimate import Estimate

_OUTCOMES = ("correct", "wrong")
_STREAMED = 256


@dataclass(frozen=True)
class OutcomeGroups:
    """Groups that share no image; images of none of them have the code -1."""

    groups: tuple[Group, ...]
    codes: IntArray
    """Index into `groups` per image of the subject, shape (n_images,)."""
    independent: IntArray
    """Images of each group, those of one cluster counted once, shape (n_groups,)."""

    def of(self, places: list[int], name: str) -> Target:
        """Some of the groups as a target; images of the others have the code -1."""
        codes = np.full(len(self.codes), -1, dtype=np.int64)
        for new, old in enumerate(places):
            codes[self.codes == old] = new
        return Target(name, tuple(self.groups[i] for i in places), codes)


def by_outcome(target: Target, scores: Scores, clusters: IntArray) -> OutcomeGroups:
    """Correct and wrong out-of-fold predictions of each level that was probed.

    Args:
        target: What was told apart.
        scores: Of its probe.
        clusters: Cluster of each image of the subject, shape (n_images,).

    Returns:
        Two groups a level, the correct one first.
    """
    groups = [
        Group(((f"{target.name} {target.groups[level].label}", outcome),))
        for level in scores.part.levels
        for outcome in _OUTCOMES
    ]
    wrong = (scores.predicted != scores.part.codes).astype(np.int64)
    return _groups(groups, scores, 2 * scores.part.codes + wrong, clusters)


def by_confusion(target: Target, scores: Scores, clusters: IntArray) -> OutcomeGroups:
    """Cells of the confusion matrix, those of one annotated level after the other."""
    levels = scores.part.levels
    groups = [
        Group(
            (
                (
                    f"annotated {target.name} {target.groups[one].label}",
                    f"predicted {target.groups[other].label}",
                ),
            )
        )
        for one in levels
        for other in levels
    ]
    return _groups(groups, scores, len(levels) * scores.part.codes + scores.predicted, clusters)


def _groups(
    groups: list[Group], scores: Scores, codes: IntArray, clusters: IntArray
) -> OutcomeGroups:
    everywhere = np.full(len(clusters), -1, dtype=np.int64)
    everywhere[scores.part.images] = codes
    counted = independent_images(codes, clusters[scores.part.images], len(groups))
    return OutcomeGroups(tuple(groups), everywhere, counted)


def outcome_profiles(units: npt.NDArray[np.float32], target: Target) -> Profiles:
    """Profiles of groups that are no union of intersections, read a few rows at a time.

    Args:
        units: Activations, shape (n_images, n_units).
        target: Images with the code -1 are in no group.
    """
    moments = Moments.empty(len(target.groups), units.shape[1:])
    images = np.flatnonzero(target.codes >= 0)
    for first in range(0, len(images), _STREAMED):
        rows = images[first : first + _STREAMED]
        moments.update(units[rows], target.codes[rows])
    counts = moments.count.astype(np.float64)[:, None]
    means = np.where(counts > 0, moments.mean, np.nan)
    spread = np.sqrt(moments.m2 / np.maximum(counts - 1, 1))
    return Profiles(target, moments.count, means, np.where(counts > 1, spread, np.nan))


Arrays = dict[str, npt.NDArray[Any]]

METRIC = "distance of correct from wrong (within-group standard deviations)"


class Params(LayoutSettings):
    """Whose outcomes are drawn, and where."""

    targets: tuple[str, ...] | None = Field(
        default=None,
        min_length=1,
        description='Attributes, or "intersection", that are predicted; default: all attributes.',
    )
    layer: OneLayer = None
    bootstrap_draws: BootstrapDraws = 1000
    level: Coverage = 0.95


@dataclass(frozen=True)
class _Work:
    """What all targets share."""

    subject: Subject
    params: Params
    plane: Plane
    scale: FloatArray
    """Standard deviation within intersections, shape (n_units,)."""
    sample: Sample


@dataclass(frozen=True)
class _Predicted:
    """What a target's probe made of every image."""

    target: Target
    part: Measurable
    outcomes: OutcomeGroups
    cells: OutcomeGroups
    """Of the confusion matrix."""
    shown_outcomes: Mask
    shown_cells: Mask


@dataclass(frozen=True)
class _Told:
    """What came of one target."""

    target: Target
    blocks: tuple[Block, ...]
    arrays: Arrays
    findings: tuple[Finding, ...]
    limits: tuple[str, ...]


def outcome_maps(subject: Subject, params: Params) -> Outcome:
    """Draw what an attribute's probe got right and wrong, class by class, on a layer's layout.

    Raises:
        AnalysisError: A target or layer is unknown, none can be chosen, or it cannot be drawn.
    """
    table = subject.faces.table
    names = params.targets or [attribute.name for attribute in table.attributes]
    targets = targets_of(table, names)
    layer, chosen = chosen_layer(subject, params.layer, params.probes)
    work = _work(subject, layer, params)
    measured = [
        target
        for target in targets
        if part_of(subject, target, params.probes).not_measured is None
    ]
    if not measured:
        raise AnalysisError(
            f"none of {', '.join(target.name for target in targets)} has two levels with images "
            f"in each of {params.folds} folds, so nothing can be predicted; add images or lower "
            "the number of folds"
        )
    told = [_of_target(work, number, one) for number, one in enumerate(_predicted(work, measured))]
    return Outcome(
        blocks=tuple(block for one in told for block in one.blocks),
        arrays={
            work.plane.key: work.plane.positions.astype(np.float32),
            **{key: array for one in told for key, array in one.arrays.items()},
        },
        findings=tuple(finding for one in told for finding in one.findings),
        method=_method(work, chosen),
        limits=(
            *_LIMITS,
            *(sentence for one in told for sentence in one.limits),
            *(
                f"Not measured: {target.described} (too few levels with images for every fold)."
                for target in targets
                if target not in measured
            ),
        ),
    )


def _work(subject: Subject, layer: str, params: Params) -> _Work:
    placing = moments_of(subject, layer, halves(subject).placing)
    moments, clusters = subject.activations.moments(layer), subject.faces.clusters
    weights = bayesian_weights(clusters, params.bootstrap_draws, subject.rng("bootstrap"))
    freedom = pooled_freedom(moments, clusters)
    return _Work(
        subject,
        params,
        placed(subject, layer, 0, placing, params),
        pooled_deviation(moments),
        Sample(subject.activations.units(layer), clusters, weights, freedom, params.level),
    )


def _predicted(work: _Work, targets: Sequence[Target]) -> list[_Predicted]:
    """Outcomes of all targets, without those from which few images follow.

    A class less what was predicted rightly are the wrong ones, so that outcomes of one target, of
    another and the intersections, which are drawn elsewhere, are looked at together.
    """
    subject, layer = work.subject, work.plane.layer
    faces, policy = subject.faces, subject.small_groups
    found: list[tuple[Target, Measurable, OutcomeGroups, OutcomeGroups]] = []
    for target in targets:
        scores = out_of_fold_scores(subject, ProbeSpec(target, layer, work.params.probes))
        outcomes = by_outcome(target, scores, faces.clusters)
        cells = by_confusion(target, scores, faces.clusters)
        found.append((target, scores.part, outcomes, cells))
    groups = [each for _, _, *both in found for each in both]
    shown = without_remainders(
        np.hstack([each.codes[:, None] == np.arange(len(each.groups)) for each in groups]),
        np.concatenate([each.independent >= policy.minimum for each in groups]),
        faces.clusters,
        policy.suppress_below,
        known=faces.table.cells[:, None] == np.unique(faces.table.cells),
    )
    parts = iter(np.split(shown, np.cumsum([len(each.groups) for each in groups])[:-1]))
    return [_Predicted(*one, shown_outcomes=next(parts), shown_cells=next(parts)) for one in found]


def _of_target(work: _Work, number: int, predicted: _Predicted) -> _Told:
    target, outcomes, cells = predicted.target, predicted.outcomes, predicted.cells
    by_class, out = _classes(work, predicted), _treated(work, outcomes, target)
    kept = np.flatnonzero(predicted.shown_cells).tolist()
    parts: list[tuple[str, str, list[Profiles]]] = []
    if by_class:
        title = f"Correct and wrong predictions of {target.name}, less the mean of both,"
        parts.append((f"target{number}-outcomes", title, by_class))
    if len(kept) > 1:
        title = f"Confusions of {target.name}, less the mean over these,"
        drawn = outcome_profiles(work.sample.units, cells.of(kept, target.name))
        parts.append((f"target{number}-confusions", title, [drawn]))
    blocks: list[UnitMap] = []
    arrays: Arrays = {}
    for key, title, profiles in parts:
        block, values = map_block(work.plane, key, title, profiles, colour_limit(profiles))
        blocks.append(block)
        arrays |= values
    table = _table(work, predicted, out)
    return _Told(
        target,
        (table, *blocks, out.ledger),
        arrays,
        tuple(_finding(table, target)),
        tuple(_suppressed(cells, kept, target)),
    )


def _treated(work: _Work, groups: OutcomeGroups, target: Target) -> Treatments:
    policy = work.subject.small_groups.model_copy(update={"policy": "suppress"})
    title = f"Small groups: outcomes of {target.name}"
    return treat(groups.groups, groups.independent, policy, title=title)


def _classes(work: _Work, predicted: _Predicted) -> list[Profiles]:
    """Correct and wrong images of every class that has enough of both."""
    outcomes = predicted.outcomes
    return [
        outcome_profiles(work.sample.units, outcomes.of([place, place + 1], "outcome"))
        for place in range(0, len(outcomes.groups), 2)
        if predicted.shown_outcomes[place : place + 2].all()
    ]


def _table(work: _Work, predicted: _Predicted, treated: Treatments) -> GroupTable:
    target, part = predicted.target, predicted.part
    places = {int(level): 2 * i for i, level in enumerate(part.levels)}
    rows = []
    for level, group in enumerate(target.groups):
        n = int((target.codes == level).sum())
        estimate, reason = (
            _distance(work, predicted, treated, places[level])
            if level in places
            else (None, part.reasons[level])
        )
        rows.append(GroupRow(group=group, n=n, estimate=estimate, reason=reason))
    return GroupTable(
        title=f"How far correct and wrong predictions of {target.name} lie apart",
        quantity="outcome_distance",
        metric=METRIC,
        layer=work.plane.layer,
        target=target.name,
        chance=None,
        rows=tuple(rows),
    )


def _distance(
    work: _Work, predicted: _Predicted, treated: Treatments, place: int
) -> tuple[Estimate | None, str | None]:
    """Of two profiles: twice the deviation of either from the mean of both."""
    for treatment, name in zip(
        treated.by_group[place : place + 2], ("correct", "wrong"), strict=True
    ):
        if not treatment.is_measured:
            return None, f"{name}: {treatment.reason}"
    if not predicted.shown_outcomes[place : place + 2].all():
        return None, REMAINDER
    outcomes = predicted.outcomes
    profiles = outcome_profiles(work.sample.units, outcomes.of([place, place + 1], "outcome"))
    found = deviations(profiles, work.scale, work.sample)[0]
    if found is None:
        return None, "its images do not vary"
    return (
        replace(
            found,
            value=2 * found.value,
            lower=2 * found.lower,
            upper=2 * found.upper,
            n=int(outcomes.independent[place : place + 2].sum()),
        ),
        None,
    )


def _finding(table: GroupTable, target: Target) -> Iterator[Finding]:
    known = [(row, row.estimate) for row in table.rows if row.estimate is not None]
    if not known:
        return
    row, distance = max(known, key=lambda entry: entry[1].value)
    yield Finding(
        text=(
            f"At {table.layer}, of {len(known)} levels of {target.described} with enough images "
            f"predicted rightly and wrongly, these lie farthest apart in {row.group.label}: "
            f"{interval(distance)} within-group standard deviations, root mean square over units "
            f"({coverage(distance.level)}, n = {distance.n})."
        ),
        weight=0.0,  # they differ even for labels that mean nothing
        estimates={"outcome_distance": distance},
    )


def _suppressed(cells: OutcomeGroups, kept: Sequence[int], target: Target) -> Iterator[str]:
    """Names the cells with images that are not drawn."""
    left = [i for i in np.flatnonzero(cells.independent) if i not in kept]
    if left:
        names = [
            f"{name.removeprefix(f'annotated {target.name} ')} as "
            f"{level.removeprefix('predicted ')} ({cells.independent[i]})"
            for i in left
            for name, level in cells.groups[i].levels
        ]
        yield (
            f"Confusions of {target.name} with too few independent images for a map, or from "
            "which a few images would follow: "
            f"{listed(names, most=12)}."
        )


def _method(work: _Work, chosen: str) -> tuple[str, ...]:
    return (
        f"The classifier is the linear probe of an attribute at {work.plane.layer} ({chosen}); "
        "every image is predicted out of fold. Groups are the images of a level that were "
        "predicted rightly and wrongly, and the cells of the confusion matrix (annotated and "
        "predicted level). Their profiles are drawn over the layout of the layer "
        f"({work.plane.layout}), which was made from annotated intersections, on half of the "
        "images, as that of the topographic maps is.",
        "The distance of correct from wrong is the root mean square over units of the difference "
        "of their mean activations, in standard deviations within intersections, with the part "
        "expected from sampling noise subtracted. Intervals hold "
        "every distance that the observed one does not contradict (score "
        "intervals): how precise it is follows from the clusters of images in each group, and how "
        f"many units vary independently from {work.params.bootstrap_draws} draws of a Bayesian "
        "bootstrap over these clusters (Rubin 1981). The probe is not refitted.",
    )


_LIMITS = (
    "Outcomes follow from the activations, so that correct and wrong images differ by "
    "construction, even for labels that mean nothing: maps and distances say where and how far, "
    "and nothing is tested.",
    "A wrong prediction may be a wrong annotation.",
)


def _problems(params: Params, faces: FaceTable, layers: tuple[str, ...] | None) -> tuple[str, ...]:
    asked = None if params.layer is None else (params.layer,)
    return (
        *unknown_targets(faces, params.targets or ()),
        *unknown_layers(asked, layers),
        *too_few_images(params, faces),
    )


PLUGIN = Analysis(
    title="Groups by outcome",
    params_type=Params,
    run=outcome_maps,
    problems=_problems,
    quantities=("outcome_distance",),
    is_once=True,
)
