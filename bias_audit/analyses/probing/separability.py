"""How well a probe tells its levels apart, and where it does best."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from bias_audit.analyses.analysis import Subject
from bias_audit.analyses.probing.decodability import Decodability, LayerProbe, ProbedTarget
from bias_audit.analyses.probing.probes import (
    ProbeSettings,
    ProbeSpec,
    Scores,
    is_scored,
    out_of_fold_scores,
    part_of,
)
from bias_audit.analyses.small_groups import Treatment, Treatments, independent_images, treat
from bias_audit.analyses.targets import Target, finest_target, targets_of
from bias_audit.arrays import IntArray
from bias_audit.config.catalog import unknown_name
from bias_audit.errors import AnalysisError
from bias_audit.groups import Group
from bias_audit.progress import Silent
from bias_audit.results.blocks import GroupLedger, GroupRow, GroupTable
from bias_audit.results.contributions import MeasureKey
from bias_audit.statistics import inference, influence
from bias_audit.statistics.inference import (
    Measured,
    choice_among,
    share_estimate,
    too_unequal,
    widening,
)
from bias_audit.statistics.influence import Statistic, average
from bias_audit.statistics.shrinkage import shrink_estimates

Curve = tuple[tuple[str, Measured], ...]
"""A number by layer, in order of depth."""


@dataclass(frozen=True)
class Metric:
    """A measure of separability."""

    name: str
    """For an axis."""
    short: str
    """For a sentence."""
    quantity: str
    """For criteria."""
    of: Callable[[Scores, IntArray], Statistic | None]
    """By the scores and the cluster of each of their images."""
    chance: Callable[[int], float]
    """What guessing gives, by the number of levels."""
    is_share: bool = True
    """Whether it lies in [0, 1]."""


AUC = Metric(
    name="macro one-vs-rest AUC",
    short="macro AUC",
    quantity="macro_auc",
    of=lambda scores, clusters: influence.macro_auc(
        scores.probabilities, scores.codes, scores.folds, clusters
    ),
    chance=lambda n_levels: 0.5,  # noqa: ARG005
)
BALANCED_ACCURACY = Metric(
    name="balanced accuracy",
    short="balanced accuracy",
    quantity="balanced_accuracy",
    of=lambda scores, clusters: influence.balanced_accuracy(
        scores.predicted, scores.codes, len(scores.part.levels), clusters
    ),
    chance=lambda n_levels: 1 / n_levels,
)
BITS = Metric(
    name="information beyond base rates (bits per image)",
    short="information in bits",
    quantity="bits",
    of=lambda scores, clusters: influence.bits(
        scores.probabilities, scores.codes, scores.folds, clusters
    ),
    chance=lambda n_levels: 0.0,  # noqa: ARG005
    is_share=False,
)


@dataclass(frozen=True)
class Units:
    """The independent units of a subject: clusters of images, then seeds of controls."""

    clusters: IntArray
    """Number of each image's cluster, 0 .. n_clusters - 1, shape (n_images,)."""
    n_clusters: int
    n_seeds: int

    @classmethod
    def of(cls, subject: Subject) -> Units:
        """The subject's clusters, with room for the seeds of shuffles and random weights."""
        numbers, clusters = np.unique(subject.faces.clusters, return_inverse=True)
        n_seeds = max(subject.shuffles, len(subject.controls))
        return cls(clusters.astype(np.int64), len(numbers), n_seeds)

    @property
    def total(self) -> int:
        """Length of every influence."""
        return self.n_clusters + self.n_seeds


def measured(
    units: Units,
    images: IntArray,
    statistic: Statistic,
    *,
    widened: float = 1.0,
    is_share: bool = True,
) -> Measured:
    """A statistic of some of a subject's images, ready to be compared with others.

    Args:
        units: Of the subject.
        images: The images of the statistic, as numbers among the subject's, shape (n,).
        statistic: Its influences have shape (n,).
        widened: Factor on the influences, such as `widening`.
        is_share: Whether the value lies in [0, 1].
    """
    return inference.measured(
        statistic,
        units.clusters[images],
        n_clusters=units.n_clusters,
        n_seeds=units.n_seeds,
        widened=widened,
        is_share=is_share,
    )


def widening_of(scores: Scores) -> float:
    """What errors of values of these scores are multiplied by, because probes are refitted."""
    return widening(int(scores.folds.max()) + 1, scores.dependence)


def measure(metric: Metric, scores: Scores, units: Units) -> Measured | None:
    """One metric of one probe; None where it has no value.

    Its error is widened by as much as the probe depends on its training images.
    """
    statistic = metric.of(scores, units.clusters[scores.part.images])
    if statistic is None:
        return None
    return measured(
        units, scores.part.images, statistic, widened=widening_of(scores), is_share=metric.is_share
    )


def check_layers(subject: Subject, layers: Iterable[str]) -> tuple[str, ...]:
    """The layers, if the subject has all of them.

    Raises:
        AnalysisError: One is not among the layers of the activations.
    """
    layers = tuple(layers)
    for message in unknown_layers(layers, subject.activations.layers):
        raise AnalysisError(message)
    return layers


def chosen_layers(
    subject: Subject, layers: Iterable[str] | None, settings: ProbeSettings
) -> tuple[tuple[str, ...], str]:
    """The layers named in a config, else the most separable one, and which of both it was.

    Raises:
        AnalysisError: A layer is unknown, or none can be chosen.
    """
    if layers is not None:
        return check_layers(subject, layers), "named in the config"
    layer, chosen = most_separable_layer(subject, settings)
    return (layer,), chosen


def chosen_layer(subject: Subject, layer: str | None, settings: ProbeSettings) -> tuple[str, str]:
    """The same for an analysis of one layer; see `chosen_layers`."""
    (layer,), chosen = chosen_layers(subject, None if layer is None else [layer], settings)
    return layer, chosen


def chosen_layer_and_choice(
    subject: Subject, layer: str | None, settings: ProbeSettings
) -> tuple[str, str, float]:
    """As `chosen_layer`, and the share of the error rate that the choice leaves.

    A layer named in the config leaves all of it; of several curves that choose, the strictest
    counts.

    Raises:
        AnalysisError: A layer is unknown, or none can be chosen.
    """
    if layer is not None:
        return (*chosen_layer(subject, layer, settings), 1.0)
    found, said, curves = _most_separable(subject, settings)
    return found, said, min(choice_of_layer(subject, *each) for each in curves)


def unknown_layers(layers: Iterable[str] | None, known: Iterable[str] | None) -> tuple[str, ...]:
    """A message for every layer that is not among the known ones; nothing while none is known."""
    if layers is None or known is None:
        return ()
    known = tuple(known)
    return tuple(unknown_name(name, known, noun="layer") for name in layers if name not in known)


def probed_layers(subject: Subject, target: Target, settings: ProbeSettings) -> Curve:
    """Every layer with the macro AUC of a target there; empty where it cannot be measured."""
    if part_of(subject, target, settings).not_measured is not None:
        return ()
    result = []
    title = f"Probes of {target.name} on {subject.name}"
    specs = [ProbeSpec(target, layer, settings) for layer in subject.activations.layers]
    kept = all(is_scored(subject, spec) for spec in specs)
    progress = Silent() if kept else subject.progress
    units = Units.of(subject)
    with progress.step(title, total=len(specs), unit="probe") as step:
        for spec in specs:
            found = measure(AUC, out_of_fold_scores(subject, spec), units)
            if found is not None:
                result.append((spec.layer, found))
            step.advance()
    return tuple(result)


def choice_of_layer(subject: Subject, target: Target, curve: Curve) -> float:
    """Share of the error rate left to what is measured where a target's curve is highest."""
    measures = [found for _, found in curve]
    return choice_among(measures, subject.rng("choice of layer", target.name))


def most_separable_layer(subject: Subject, settings: ProbeSettings) -> tuple[str, str]:
    """The layer at which groups are easiest to tell apart, and a sentence that says how.

    It has the highest macro AUC of the intersections or, where these cannot be measured, the
    highest mean over the measured attributes; the first of equals.

    Raises:
        AnalysisError: No target can be measured.
    """
    return _most_separable(subject, settings)[:2]


def _most_separable(
    subject: Subject, settings: ProbeSettings
) -> tuple[str, str, tuple[tuple[Target, Curve], ...]]:
    """The same, and the curves that choose it."""
    targets, said = _deciding(subject, settings)
    curves = tuple((target, probed_layers(subject, target, settings)) for target in targets)
    values = [{layer: found.value for layer, found in curve} for _, curve in curves]
    means = {
        layer: float(np.mean([own[layer] for own in values]))
        for layer in subject.activations.layers
        if all(layer in own for own in values)
    }
    return max(means, key=lambda layer: means[layer]), said, curves


def _deciding(subject: Subject, settings: ProbeSettings) -> tuple[tuple[Target, ...], str]:
    """The targets by which a layer is chosen, and how, in a sentence.

    Raises:
        AnalysisError: No target can be measured.
    """
    table = subject.faces.table
    finest = finest_target(table)
    if part_of(subject, finest, settings).not_measured is None:
        return (finest,), f"highest macro AUC of {finest.described} among the layers audited"
    attributes = targets_of(table, [attribute.name for attribute in table.attributes])
    reasons = [part_of(subject, t, settings).not_measured for t in attributes]
    known = tuple(t for t, reason in zip(attributes, reasons, strict=True) if reason is None)
    if not known:
        why = "; ".join(f"{t.name}: {r}" for t, r in zip(attributes, reasons, strict=True))
        raise AnalysisError(
            f"no layer can be chosen, because no attribute can be measured ({why}); add images, "
            "lower the number of folds, or name the layers"
        )
    return known, "highest macro AUC among the layers audited, as the mean over the attributes"


def curve_measures(metric: Metric, results: Iterable[Decodability]) -> dict[MeasureKey, Measured]:
    """Every point of the curves of a metric, and its lift over the strongest control."""
    found: dict[MeasureKey, Measured] = {}
    for result in results:
        target = result.probed.target.name
        for comparison in result.comparisons:
            if comparison is None:
                continue
            key = MeasureKey(metric.quantity, target, comparison.layer)
            found[key] = comparison.probe
            lift = MeasureKey(metric.quantity, target, comparison.layer, of="lift")
            found[lift] = comparison.over_strongest
    return found


def recall_measures(
    subject: Subject, probed: ProbedTarget, probe: LayerProbe, table: GroupTable
) -> dict[MeasureKey, Measured]:
    """The rows of a recall table that have an estimate; a row for pooled groups is not among them.

    Args:
        subject: The subject.
        probed: The target.
        probe: Its probe at the table's layer.
        table: As `recalls.recall_table` made it.
    """
    units, part = Units.of(subject), probed.part
    levels = [probed.target.groups[index].levels for index in part.levels]
    wanted = {row.group.levels for row in table.rows if row.estimate is not None}
    found: dict[MeasureKey, Measured] = {}
    for place, level in enumerate(levels):
        members = np.flatnonzero(part.codes == place)
        if level not in wanted or not len(members):
            continue
        own = units.clusters[part.images[members]]
        hits = average(probe.scores.predicted[members] == place, own)
        found[MeasureKey("recall", probed.target.name, probe.layer, level)] = measured(
            units, part.images[members], hits, widened=widening_of(probe.scores)
        )
    return found


def recall_table(
    subject: Subject, probed: ProbedTarget, probe: LayerProbe, level: float, *, choice: float = 1.0
) -> tuple[GroupTable, GroupLedger]:
    """How many images of each declared level the probe gives that level.

    Args:
        subject: The subject.
        probed: The target.
        probe: Its probe at one layer.
        level: Coverage of the intervals.
        choice: Share of the error rate that the choice of the layer left.

    Returns:
        The table, with shrunk values beside the raw ones, and the ledger of small groups.
    """
    target = probed.target
    title = f"Recall of {target.described} at its most separable layer"
    counts = independent_images(target.codes, subject.faces.clusters, len(target.groups))
    treatments = treat(target.groups, counts, subject.small_groups, title=f"Small groups: {title}")
    rows = [
        _row(subject, probed, probe, (index, treatment), level=level, choice=choice)
        for index, treatment in enumerate(treatments.by_group)
    ]
    names = [name for name, _ in target.groups[0].levels]
    shrunk, said = shrink_estimates(
        [row.estimate for row in rows], _level_codes(target.groups), names=names
    )
    rows = [
        row.model_copy(update={"shrunk": value}) for row, value in zip(rows, shrunk, strict=True)
    ]
    table = GroupTable(
        detail=len(names) > 1,
        title=title,
        quantity="recall",
        metric="recall",
        layer=probe.layer,
        target=target.name,
        chance=None,
        rows=(*rows, *_pooled(subject, probed, probe, treatments, level=level, choice=choice)),
        shrinkage=said,
    )
    return table, treatments.ledger


def _row(
    subject: Subject,
    probed: ProbedTarget,
    probe: LayerProbe,
    treated: tuple[int, Treatment],
    *,
    level: float,
    choice: float,
) -> GroupRow:
    target, part = probed.target, probed.part
    index, treatment = treated
    group, n = target.groups[index], int((target.codes == index).sum())
    if index in part.reasons:
        return GroupRow(group=group, n=n, estimate=None, reason=part.reasons[index])
    if not treatment.is_measured:
        return GroupRow(group=group, n=n, estimate=None, reason=treatment.reason)
    place = int(np.searchsorted(part.levels, index))
    predicted = probe.scores.predicted
    members = part.codes == place
    recall = share_estimate(
        predicted[members] == place,
        subject.faces.clusters[part.images][members],
        level=level,
        widened=widening_of(probe.scores),
        choice=choice,
    )
    if recall is not None and (reason := too_unequal(recall)) is not None:
        return GroupRow(group=group, n=n, estimate=None, reason=reason)
    # The probe is not balanced: it names some levels more often than others for any image.
    named = float((predicted == place).mean())
    return GroupRow(group=group, n=n, estimate=recall, by_chance=named, reason=treatment.reason)


def _pooled(
    subject: Subject,
    probed: ProbedTarget,
    probe: LayerProbe,
    treatments: Treatments,
    *,
    level: float,
    choice: float,
) -> tuple[GroupRow, ...]:
    """One row for all small groups together, where the policy is to pool them."""
    pooled, part = treatments.pooled, probed.part
    if pooled is None:
        return ()
    if pooled.reason is not None:
        return (GroupRow(group=pooled.group, n=pooled.n, estimate=None, reason=pooled.reason),)
    members = np.isin(part.levels[part.codes], pooled.members)
    recall = share_estimate(
        probe.scores.predicted[members] == part.codes[members],
        subject.faces.clusters[part.images][members],
        level=level,
        widened=widening_of(probe.scores),
        choice=choice,
    )
    reason = None if recall is not None else "none of its groups could be probed"
    return (GroupRow(group=pooled.group, n=pooled.n, estimate=recall, reason=reason),)


def _level_codes(groups: tuple[Group, ...]) -> IntArray:
    """Level of each group in each attribute, shape (n_groups, n_attributes)."""
    columns = zip(*(tuple(level for _, level in group.levels) for group in groups), strict=True)
    return np.stack(
        [np.unique(column, return_inverse=True)[1] for column in columns], axis=1
    ).astype(np.int64)
