"""How well a probe separates groups, and where it does best."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from pydantic import Field

from bias_audit.analyses.analysis import OneLayer, Subject
from bias_audit.analyses.probing.probes import (
    ProbeSettings,
    ProbeSpec,
    Scores,
    is_scored,
    out_of_fold_scores,
    part_of,
    too_few_images,
)
from bias_audit.analyses.targets import (
    Measurable,
    Target,
    finest_target,
    targets_of,
    unknown_groups,
    unknown_targets,
)
from bias_audit.arrays import IntArray
from bias_audit.config.catalog import unknown_name
from bias_audit.data.faces import FaceTable
from bias_audit.errors import AnalysisError
from bias_audit.statistics import inference, influence
from bias_audit.statistics.bootstrap import mean_of
from bias_audit.statistics.inference import Measured, choice_among, widening
from bias_audit.statistics.influence import Statistic

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
    chance: Callable[[Measurable], float]
    """What guessing gives: each level as often as the others."""
    is_share: bool = True
    """Whether it lies in [0, 1]."""


AUC = Metric(
    name="macro one-vs-rest AUC",
    short="macro AUC",
    quantity="macro_auc",
    of=lambda scores, clusters: influence.macro_auc(
        scores.probabilities, scores.codes, scores.folds, clusters, scores.part.pictures
    ),
    chance=lambda part: 0.5,  # noqa: ARG005
)
BALANCED_ACCURACY = Metric(
    name="balanced accuracy",
    short="balanced accuracy",
    quantity="balanced_accuracy",
    of=lambda scores, clusters: influence.balanced_accuracy(
        scores.predicted, scores.codes, len(scores.part.levels), clusters
    ),
    chance=lambda part: float(
        part.recall_by_chance(np.full(len(part.levels), 1 / len(part.levels))).mean()
    ),
)
BITS = Metric(
    name="information beyond base rates (bits per image)",
    short="information in bits",
    quantity="bits",
    of=lambda scores, clusters: influence.bits(
        scores.probabilities, scores.codes, scores.folds, clusters
    ),
    chance=lambda part: 0.0,  # noqa: ARG005
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

    Images are numbers among the subject's, as many as the statistic has influences, shape (n,);
    `widened` is a factor on these, such as `widening`.
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


def over_labels(found: Iterable[Measured | None]) -> Measured | None:
    """The mean of a number over `Scores.labelled`; None where none has a value.

    Every face has an influence on the number of each label set, and their mean is its influence on
    the mean. It differs between faces by what differs between their annotators, too, and by what
    the draws leave to chance, so that no variance between label sets is to be added.
    """
    known = [each for each in found if each is not None]
    return mean_of(known) if known else None


def measure(metric: Metric, scores: Scores, units: Units) -> Measured | None:
    """One metric of one probe, over its label sets; None where it has no value.

    Its error is widened by as much as the probe depends on its training images.
    """
    return over_labels(_measure(metric, each, units) for each in scores.labelled)


def _measure(metric: Metric, scores: Scores, units: Units) -> Measured | None:
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
    layer, chosen, _ = most_separable_layer(subject, settings)
    return (layer,), chosen


def chosen_layer(subject: Subject, layer: str | None, settings: ProbeSettings) -> tuple[str, str]:
    """The same for an analysis of one layer; see `chosen_layers`."""
    (layer,), chosen = chosen_layers(subject, None if layer is None else [layer], settings)
    return layer, chosen


def chosen_layer_and_choice(
    subject: Subject, layer: str | None, settings: ProbeSettings
) -> tuple[str, str, float]:
    """The same as `chosen_layer`, with the share of the error rate that the choice leaves.

    A layer named in the config leaves the whole error rate; where several curves choose the layer,
    the smallest share counts.

    Raises:
        AnalysisError: A layer is unknown, or none can be chosen.
    """
    if layer is not None:
        return (*chosen_layer(subject, layer, settings), 1.0)
    found, chosen, curves = most_separable_layer(subject, settings)
    return found, chosen, min(choice_of_layer(subject, *each) for each in curves)


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
    specs = [ProbeSpec(target, layer, settings) for layer in subject.activations.layers]
    kept, units = all(is_scored(subject, spec) for spec in specs), Units.of(subject)
    title = f"Probes of {target.name} on"
    return tuple(
        (spec.layer, found)
        for spec in subject.counted(specs, title, unit="probe", is_quick=kept)
        if (found := measure(AUC, out_of_fold_scores(subject, spec), units)) is not None
    )


def choice_of_layer(subject: Subject, target: Target, curve: Curve) -> float:
    """Share of the error rate left to what is measured where a target's curve is highest."""
    measures = [found for _, found in curve]
    return choice_among(measures, subject.rng("choice of layer", target.name))


def most_separable_layer(
    subject: Subject, settings: ProbeSettings
) -> tuple[str, str, tuple[tuple[Target, Curve], ...]]:
    """The layer at which groups are easiest to recognise.

    It has the highest macro AUC of the intersections or, where these cannot be measured, the
    highest mean over the measured attributes; the first of equals. With it come how it was chosen
    (for a sentence), and the curves that chose it.

    Raises:
        AnalysisError: No target can be measured.
    """
    table = subject.faces.table
    targets: Sequence[Target] = [finest_target(table)]
    chosen = f"highest macro AUC of {targets[0].described} among the layers audited"
    if part_of(subject, targets[0], settings).not_measured is not None:
        attributes = targets_of(table, [attribute.name for attribute in table.attributes])
        reasons = {t.name: part_of(subject, t, settings).not_measured for t in attributes}
        targets = [target for target in attributes if reasons[target.name] is None]
        chosen = "highest macro AUC, averaged over the attributes, among the layers audited"
        if not targets:
            why = "; ".join(f"{name}: {reason}" for name, reason in reasons.items())
            raise AnalysisError(
                f"no layer can be chosen, because no attribute can be measured ({why}); add "
                "images, lower the number of folds, or name the layers"
            )
    curves = tuple((target, probed_layers(subject, target, settings)) for target in targets)
    values = [{layer: found.value for layer, found in curve} for _, curve in curves]
    means = {
        layer: float(np.mean([own[layer] for own in values]))
        for layer in subject.activations.layers
        if all(layer in own for own in values)
    }
    return max(means, key=lambda layer: means[layer]), chosen, curves


class OneLayerSettings(ProbeSettings):
    """Of an analysis of one layer; the settings of probes choose it where none is named."""

    layer: OneLayer = None

    @property
    def named(self) -> tuple[str, ...] | None:
        """The layer, if the config names it."""
        return None if self.layer is None else (self.layer,)


class LayersSettings(ProbeSettings):
    """Of an analysis of some layers; the settings of probes choose one where none is named."""

    layers: tuple[str, ...] | None = Field(
        default=None,
        min_length=1,
        description="Default: the layer at which intersections separate best.",
    )

    @property
    def named(self) -> tuple[str, ...] | None:
        """The layers, if the config names any."""
        return self.layers


def setting_problems(
    params: ProbeSettings,
    faces: FaceTable,
    layers: tuple[str, ...] | None = None,
    *,
    targets: Sequence[str] | None = None,
    groups: Sequence[str] | None = None,
) -> tuple[str, ...]:
    """Targets, groups and layers that there are not, and too few images to choose or probe one."""
    named = params.named if isinstance(params, OneLayerSettings | LayersSettings) else None
    return (
        *unknown_targets(faces, targets or ()),
        *unknown_groups(faces, groups),
        *unknown_layers(named, layers),
        *too_few_images(params, faces),
    )
