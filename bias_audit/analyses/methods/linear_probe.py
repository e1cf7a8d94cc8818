"""Which annotated attributes can be read off a layer linearly, and how much above a control."""

from __future__ import annotations

import math

import numpy as np
from pydantic import Field

from bias_audit.analyses.analysis import Analysis, Outcome, Subject, Workload
from bias_audit.analyses.decodability import (
    Decodability,
    LayerProbe,
    ProbedTarget,
    decodability,
    probe_targets,
)
from bias_audit.analyses.decodability_findings import findings_of
from bias_audit.analyses.probes import ProbeSettings, too_few_images
from bias_audit.analyses.separability import AUC, BALANCED_ACCURACY, Metric
from bias_audit.analyses.targets import INTERSECTION, targets_of, unknown_targets
from bias_audit.analyses.wording import listed
from bias_audit.data.faces import FaceTable
from bias_audit.results.blocks import GroupRow, GroupTable, LayerCurve
from bias_audit.statistics.bootstrap import cluster_weights, overlap_factor
from bias_audit.statistics.proportions import proportion


class Params(ProbeSettings):
    """Which targets are probed, and how intervals are made."""

    targets: tuple[str, ...] | None = Field(
        default=None,
        description='Attributes, or "intersection"; default: every attribute and "intersection".',
    )
    bootstrap_draws: int = Field(
        default=1000, ge=100, le=100_000, description="Draws behind each interval."
    )
    level: float = Field(default=0.95, gt=0.5, lt=1, description="Coverage of the intervals.")


def linear_probe(subject: Subject, params: Params) -> Outcome:
    """Probe every target at every layer, against shuffled labels.

    Raises:
        AnalysisError: A target is unknown, or activations are not finite.
    """
    targets = targets_of(subject.faces.table, params.targets)
    probed = probe_targets(subject, targets, params.probes)
    weights = cluster_weights(
        subject.faces.clusters, params.bootstrap_draws, subject.rng("bootstrap")
    )
    by_auc, by_accuracy = (
        decodability(subject, probed, metric, weights, n_folds=params.folds, level=params.level)
        for metric in (AUC, BALANCED_ACCURACY)
    )
    tables = [
        _recalls(subject, result.probed, result.best[0], params.level)
        for result in by_auc
        if result.best is not None
    ]
    return Outcome(
        blocks=(_curves(AUC, by_auc), _curves(BALANCED_ACCURACY, by_accuracy), *tables),
        findings=findings_of(by_auc),
        method=_method(params),
        limits=_limits(probed),
    )


def _curves(metric: Metric, results: tuple[Decodability, ...]) -> LayerCurve:
    n_levels = {result.probed.target.name: len(result.probed.part.levels) for result in results}
    return LayerCurve(
        title=f"Linear decodability by layer: {metric.name}",
        metric=metric.name,
        chance={name: metric.chance(n) for name, n in n_levels.items() if n},
        curves=tuple(result.curve for result in results),
    )


def _recalls(
    subject: Subject, probed: ProbedTarget, probe: LayerProbe, level: float
) -> GroupTable:
    """How many images of each declared level the probe at the best layer gives that level."""
    target, part = probed.target, probed.part
    place = {int(index): kept for kept, index in enumerate(part.levels)}
    hit = probe.scores.predicted == part.codes
    clusters = subject.faces.clusters[part.images]
    rows = []
    for index, group in enumerate(target.groups):
        if index in part.reasons:
            n = int((target.codes == index).sum())
            rows.append(GroupRow(group=group, n=n, estimate=None, reason=part.reasons[index]))
            continue
        members = part.codes == place[index]
        n = int(members.sum())
        n_clusters = len(np.unique(clusters[members]))
        recall = proportion(int(hit[members].sum()), n, level=level, n_clusters=n_clusters)
        # The probe is not balanced: it names some levels more often than others for any image.
        named = float((probe.scores.predicted == place[index]).mean())
        rows.append(GroupRow(group=group, n=n, estimate=recall, by_chance=named))
    return GroupTable(
        title=f"Recall of {target.described} at its most separable layer",
        metric="recall",
        layer=probe.layer,
        target=target.name,
        chance=None,
        rows=tuple(rows),
    )


def _method(params: Params) -> tuple[str, ...]:
    return (
        "A linear probe (multinomial logistic regression, L2 penalty, C = "
        f"{params.regularisation:g}) is fitted to the activations of each layer, averaged over "
        "positions and standardised on the training folds, to predict each annotated attribute "
        f"and their intersection. Every image is predicted once, in {params.folds}-fold "
        "cross-validation, by a probe that saw neither it nor another image of its cluster (one "
        "person, or near duplicates).",
        "Separability is the macro one-vs-rest area under the ROC curve (AUC; guessing gives 0.5) "
        "and balanced accuracy (recall averaged over levels; guessing gives 1 / levels).",
        "The control is the same procedure with labels shuffled among the images of each fold; "
        "the lift is the difference to it, or to guessing where guessing does better. A target "
        "is called linearly decodable when its lift at the best layer exceeds 0 at a level that "
        "allows for the choice among the layers (Bonferroni).",
        f"Intervals are percentile bootstraps over images, or clusters of images, "
        f"{params.bootstrap_draws} draws shared by all probes; a class that a draw misses is left "
        "out of that draw's mean. They are widened by a factor of "
        f"{overlap_factor(params.folds):.2f}, because the training folds overlap (Nadeau & Bengio "
        "2003). Where a bootstrap has no spread, such as at an AUC of exactly "
        "1, the interval is Newcombe's score interval with the size of the smallest class. "
        "Recall of a group has Wilson's interval.",
    )


def _limits(probed: tuple[ProbedTarget, ...]) -> tuple[str, ...]:
    sentences = [
        "Intervals resample images with the fitted probes and the one shuffle held fixed. For "
        "AUC, balanced accuracy and lift the variance of fitting anew enters through a general "
        "widening factor, not by refitting; for the recall of groups it does not enter.",
        "The control is one shuffle, so its own value varies by chance, the more so the fewer the "
        "images; fitted to few labels it falls below guessing.",
        "The most separable layer is picked on the same images that measure it, so its value is "
        "optimistic, the more so the more layers and the fewer images; the claim of decodability "
        "allows for that, the printed interval does not.",
        "That an attribute is linearly decodable says that a layer encodes it, not that a "
        "downstream decision uses it.",
        "What is decoded is the annotated label, as the source recorded it.",
    ]
    for target in probed:
        name, part = target.target.described, target.part
        if part.not_measured is not None:
            sentences.append(f"Not measured: {name} ({part.not_measured}).")
        elif part.reasons:
            out = [f"{target.target.groups[i].label} ({why})" for i, why in part.reasons.items()]
            sentences.append(
                f"{len(out)} of {len(target.target.groups)} levels of {name} were left "
                f"out of its probes: {listed(out)}."
            )
    scores = [s for target in probed for p in target.probes for s in (p.scores, p.control)]
    failed = sum(score.not_converged for score in scores)
    if failed:
        sentences.append(
            f"{failed} probe fits stopped before they converged; their values may be a little low."
        )
    return tuple(sentences)


def _problems(
    params: Params,
    faces: FaceTable,
    layers: tuple[str, ...] | None,  # noqa: ARG001
) -> tuple[str, ...]:
    return (*unknown_targets(faces, params.targets or ()), *too_few_images(params, faces))


def _fits(params: Params, workload: Workload) -> float:
    """Every target at every layer, fitted to labels and to shuffled labels, in every fold."""
    sizes = {attribute.name: len(attribute.levels) for attribute in workload.attributes}
    sizes[INTERSECTION] = math.prod(sizes.values())
    levels = sum(sizes[name] for name in params.targets or sizes)
    return 2.0 * params.folds * workload.n_images * sum(workload.n_units.values()) * levels


PLUGIN = Analysis(
    title="Linear decodability",
    params_type=Params,
    run=linear_probe,
    problems=_problems,
    fits=_fits,
)
