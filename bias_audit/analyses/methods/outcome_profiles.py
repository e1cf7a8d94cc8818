"""Maps of groups by outcome: rightly and wrongly classified images, and confusions.

Source: Krug, Ratul, Olson & Stober, arXiv:2204.03528. Backbones have no classes for annotated
attributes; the classifier is the out-of-fold linear probe of an attribute at the layer drawn.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from pydantic import Field

from bias_audit.analyses import small_groups
from bias_audit.analyses.analysis import (
    Analysis,
    BootstrapDraws,
    Coverage,
    Outcome,
    Subject,
    together,
)
from bias_audit.analyses.mapping import profiles
from bias_audit.analyses.mapping.group_maps import Kind, map_blocks, plane_of
from bias_audit.analyses.mapping.layout import LayoutSettings, Plane
from bias_audit.analyses.probing.probes import ProbeSpec, Scores, out_of_fold_scores, part_of
from bias_audit.analyses.probing.separability import (
    OneLayerSettings,
    chosen_layer,
    setting_problems,
)
from bias_audit.analyses.targets import Measurable, Target, attribute_targets
from bias_audit.analyses.wording import coverage, listed
from bias_audit.arrays import Float32Array, IntArray
from bias_audit.errors import AnalysisError
from bias_audit.groups import Group
from bias_audit.results.finding import Finding
from bias_audit.shapes.group_table import GroupRow, GroupTable
from bias_audit.shapes.printed import interval
from bias_audit.statistics.estimate import Estimate


class Params(LayoutSettings, OneLayerSettings):
    """Whose outcomes are drawn, and where."""

    targets: tuple[str, ...] | None = Field(
        default=None,
        min_length=1,
        description='Attributes, or "intersection", that are predicted; default: all attributes.',
    )
    bootstrap_draws: BootstrapDraws = 1000
    level: Coverage = 0.95


def by_outcome(target: Target, scores: Scores) -> Target:
    """Correct and wrong out-of-fold predictions of each level that was probed.

    There are two groups a level, the correct one first; images not probed have the code -1.
    """
    groups = tuple(
        Group(((f"{target.name} {target.groups[level].label}", outcome),))
        for level in scores.part.levels
        for outcome in ("correct", "wrong")
    )
    wrong = (scores.predicted != scores.part.codes).astype(np.int64)
    codes = _everywhere(target, scores, 2 * scores.part.codes + wrong)
    return Target("outcome", groups, codes, target.pictures)


def by_confusion(target: Target, scores: Scores) -> Target:
    """Cells of the confusion matrix, those of one annotated level after the other."""
    labels = [target.groups[level].label for level in scores.part.levels]
    groups = tuple(
        Group(((f"annotated {target.name} {one}", f"predicted {other}"),))
        for one in labels
        for other in labels
    )
    cells = len(labels) * scores.part.codes + scores.predicted
    return Target(target.name, groups, _everywhere(target, scores, cells), target.pictures)


def _everywhere(target: Target, scores: Scores, codes: IntArray) -> IntArray:
    found = np.full(len(target.codes), -1, dtype=np.int64)
    found[scores.part.images] = codes
    return found


def only(target: Target, places: Sequence[int]) -> Target:
    """Some of the groups; images of the others have the code -1."""
    codes = np.full(len(target.codes), -1, dtype=np.int64)
    for new, old in enumerate(places):
        codes[target.codes == old] = new
    groups = tuple(target.groups[place] for place in places)
    return Target(target.name, groups, codes, target.pictures)


def outcome_profiles(units: Float32Array, target: Target) -> profiles.Profiles:
    """Profiles of groups that are no union of intersections; see `only` for images in none."""
    images = np.flatnonzero(target.codes >= 0)
    return profiles.Profiles.of(
        target, profiles.moments_of(units, target.codes, len(target.groups), images)
    )


@dataclass(frozen=True)
class _Groups:
    """Groups that a target's probe made."""

    target: Target
    independent: IntArray
    """Images of each, those of one cluster counted once, shape (n_groups,)."""
    shown: small_groups.Mask
    """Whether a group can be drawn: neither small, nor would a small one follow from it."""


@dataclass(frozen=True)
class _Predicted:
    """What a target's probe made of every image."""

    target: Target
    part: Measurable
    outcomes: _Groups
    cells: _Groups
    """Of the confusion matrix."""


def outcome_maps(subject: Subject, params: Params) -> Outcome:
    """Draw what an attribute's probe got right and wrong, class by class, on a layer's layout."""
    faces = subject.faces
    targets = attribute_targets(faces.table, params.targets)
    layer, chosen = chosen_layer(subject, params.layer, params.probes)
    weights = profiles.bayesian_weights(
        faces.clusters, params.bootstrap_draws, subject.rng("bootstrap")
    )
    plane, _ = plane_of(subject, layer, params)
    sample = profiles.Sample.of(subject, layer, weights)
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
    parts = [
        _of_target(subject, predicted, plane, sample, number=number, level=params.level)
        for number, predicted in enumerate(_predicted(subject, measured, layer, params))
    ]
    found = together(parts)
    return replace(
        found,
        method=(
            f"The classifier is the linear probe of an attribute at {plane.layer} ({chosen}); "
            "every image is predicted out of fold. Outcomes are the images of a group that were "
            "predicted rightly and wrongly, and the entries of the confusion matrix (annotated "
            "and predicted group). Their profiles are drawn over the layout of the layer "
            f"({plane.layout}), which was made from annotated intersections, on half of the "
            "images, as that of the topographic maps is.",
            "The distance of correct from wrong is the root mean square over units of the "
            "difference of their mean activations, in standard deviations within intersections, "
            "with the part expected from sampling noise subtracted. "
            f"{profiles.SCORE_INTERVALS.format(draws=params.bootstrap_draws)} The probe is not "
            "refitted.",
        ),
        limits=(
            *_LIMITS,
            *found.limits,
            *(
                f"Not measured: {target.described} (too few groups with images for every fold)."
                for target in targets
                if target not in measured
            ),
        ),
    )


def _predicted(
    subject: Subject, targets: Sequence[Target], layer: str, params: Params
) -> list[_Predicted]:
    """Outcomes of all targets, without those from which few images follow.

    A class less what was predicted rightly are the wrong ones, so that outcomes of one target, of
    another and the intersections, which are drawn elsewhere, are looked at together.
    """
    clusters, policy = subject.faces.clusters, subject.small_groups
    parts: list[Measurable] = []
    groups: list[Target] = []
    for target in targets:
        scores = out_of_fold_scores(subject, ProbeSpec(target, layer, params.probes))
        parts.append(scores.part)
        groups += [by_outcome(target, scores), by_confusion(target, scores)]
    counts = [
        small_groups.independent_images(each.codes, clusters, len(each.groups)) for each in groups
    ]
    shown = small_groups.without_remainders(
        np.hstack([each.codes[:, None] == np.arange(len(each.groups)) for each in groups]),
        np.concatenate(counts) >= policy.minimum,
        clusters,
        policy.suppress_below,
        known=subject.faces.table.cells[:, None] == np.unique(subject.faces.table.cells),
    )
    masks = np.split(shown, np.cumsum([len(each.groups) for each in groups])[:-1])
    found = [_Groups(*each) for each in zip(groups, counts, masks, strict=True)]
    return [
        _Predicted(*each) for each in zip(targets, parts, found[::2], found[1::2], strict=True)
    ]


def _of_target(
    subject: Subject,
    predicted: _Predicted,
    plane: Plane,
    sample: profiles.Sample,
    *,
    number: int,
    level: float,
) -> Outcome:
    target, outcomes, cells = predicted.target, predicted.outcomes, predicted.cells
    # Correct and wrong images of every class that has enough of both, by the place of the former.
    by_class = {
        place: outcome_profiles(sample.units, only(outcomes.target, [place, place + 1]))
        for place in range(0, len(outcomes.shown), 2)
        if outcomes.shown[place : place + 2].all()
    }
    drawn: list[Kind] = []
    if by_class:
        title = f"Correct and wrong predictions of {target.name}, minus the mean of both,"
        drawn.append((f"target{number}-outcomes", title, list(by_class.values())))
    kept = np.flatnonzero(cells.shown).tolist()
    if len(kept) > 1:
        title = f"Confusions of {target.name}, minus their mean,"
        confused = outcome_profiles(sample.units, only(cells.target, kept))
        drawn.append((f"target{number}-confusions", title, [confused]))
    maps, arrays = map_blocks(plane, drawn)
    treated = small_groups.suppress(
        outcomes.target.groups,
        outcomes.independent,
        subject.small_groups,
        title=f"Small groups: outcomes of {target.name}",
    )
    table = _table(predicted, treated.by_group, by_class, sample, layer=plane.layer, level=level)
    return Outcome(
        blocks=(table, *maps, treated.ledger),
        arrays=arrays,
        findings=tuple(_finding(table, target)),
        limits=tuple(_suppressed(cells, kept, target)),
    )


def _table(
    predicted: _Predicted,
    treatments: Sequence[small_groups.Treatment],
    by_class: dict[int, profiles.Profiles],
    sample: profiles.Sample,
    *,
    layer: str,
    level: float,
) -> GroupTable:
    target, part, outcomes = predicted.target, predicted.part, predicted.outcomes
    places = {int(kept): 2 * i for i, kept in enumerate(part.levels)}
    rows = []
    for index, group in enumerate(target.groups):
        place = places.get(index)
        estimate: Estimate | None = None
        if place is None:
            reason: str | None = part.reasons[index]
        elif place in by_class:
            # Of two profiles: twice the deviation of either from the mean of both.
            half, n = profiles.deviations(by_class[place], sample, level)[0], outcomes.independent
            estimate = half and replace(
                half,
                value=2 * half.value,
                lower=2 * half.lower,
                upper=2 * half.upper,
                n=int(n[place : place + 2].sum()),
            )
            reason = None if half else "its images do not vary"
        else:
            both = zip(("correct", "wrong"), treatments[place : place + 2], strict=True)
            small = (f"{name}: {each.reason}" for name, each in both if not each.is_measured)
            reason = next(small, small_groups.REMAINDER)
        n_images = target.n_images([index])
        rows.append(GroupRow(group=group, n=n_images, estimate=estimate, reason=reason))
    return GroupTable(
        title=f"How far apart are correct and wrong predictions of {target.name}?",
        quantity="outcome_distance",
        metric="distance of correct from wrong (within-group standard deviations)",
        layer=layer,
        target=target.name,
        chance=None,
        rows=tuple(rows),
    )


def _finding(table: GroupTable, target: Target) -> Iterator[Finding]:
    known = [(row, row.estimate) for row in table.rows if row.estimate is not None]
    if not known:
        return
    row, distance = max(known, key=lambda entry: entry[1].value)
    yield Finding(
        text=(
            f"At {table.layer}, correct and wrong predictions lie farthest apart for "
            f"{row.group.label}, of {len(known)} groups of {target.described} with enough images "
            f"of both: {interval(distance)} within-group standard deviations, root mean square "
            f"over units ({coverage(distance.level)}, n = {distance.n})."
        ),
        weight=0.0,  # they differ even for labels that mean nothing
        estimates={"outcome_distance": distance},
    )


def _suppressed(cells: _Groups, kept: Sequence[int], target: Target) -> Iterator[str]:
    """Name the cells with images that are not drawn."""
    left = [i for i in np.flatnonzero(cells.independent) if i not in kept]
    if left:
        names = [
            f"{name.removeprefix(f'annotated {target.name} ')} as "
            f"{level.removeprefix('predicted ')} ({cells.independent[i]})"
            for i in left
            for name, level in cells.target.groups[i].levels
        ]
        yield (
            f"Confusions of {target.name} with too few independent images for a map, or from "
            f"which a few images would follow: {listed(names, most=12)}."
        )


_LIMITS = (
    "Outcomes follow from the activations, so that correct and wrong images differ by "
    "construction, even for labels that mean nothing: maps and distances say where and how far, "
    "and nothing is tested.",
    "A prediction that counts as wrong may show a wrong annotation.",
)


PLUGIN = Analysis(
    title="Groups by outcome",
    params_type=Params,
    question="groups",
    run=outcome_maps,
    problems=lambda params, faces, layers: setting_problems(
        params, faces, layers, targets=params.targets
    ),
    quantities=("outcome_distance",),
    needs_positions=lambda params: params.reads_positions,
    is_once=True,
)
