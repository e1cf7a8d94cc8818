"""Which annotated attributes can be read off a layer linearly, and how much above a baseline."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field

from bias_audit.analyses.analysis import Analysis, Coverage, Outcome, Subject, Workload
from bias_audit.analyses.probing.decodability import (
    Decodability,
    ProbedTarget,
    decodability,
    probe_targets,
)
from bias_audit.analyses.probing.decodability_findings import findings_of
from bias_audit.analyses.probing.likeness import likeness_limits, likeness_method, rechecks
from bias_audit.analyses.probing.probes import ProbeSettings, controlled_work, too_few_images
from bias_audit.analyses.probing.separability import (
    AUC,
    BALANCED_ACCURACY,
    BITS,
    Metric,
    curve_measures,
    recall_measures,
    recall_table,
)
from bias_audit.analyses.targets import (
    INTERSECTION,
    target_names,
    targets_of,
    unknown_targets,
    worth_of,
)
from bias_audit.analyses.wording import LABEL_ERRORS, SCORE_INTERVALS, listed
from bias_audit.data.faces import FaceTable
from bias_audit.groups import Attribute
from bias_audit.results.blocks import LayerCurve
from bias_audit.statistics.clusters import FEW_CLUSTERS, FEWEST_CLUSTERS

METRICS = (AUC, BALANCED_ACCURACY, BITS)


class Params(ProbeSettings):
    """Which targets are probed, and how intervals are made."""

    targets: tuple[str, ...] | None = Field(
        default=None,
        description='Attributes, or "intersection"; default: every attribute and "intersection".',
    )
    level: Coverage = 0.95


def linear_probe(subject: Subject, params: Params) -> Outcome:
    """Probe every target at every layer, against its controls.

    Raises:
        AnalysisError: A target is unknown, or activations are not finite.
    """
    targets = targets_of(subject.faces.table, params.targets)
    probed = probe_targets(subject, targets, params.probes)
    by_auc, by_accuracy, by_bits = (
        decodability(subject, probed, metric, level=params.level) for metric in METRICS
    )
    found = zip(METRICS, (by_auc, by_accuracy, by_bits), strict=True)
    measures = {k: m for metric, each in found for k, m in curve_measures(metric, each).items()}
    tables, ledgers = [], []
    for result in by_auc:
        if result.best is not None:
            best = result.best[0]
            table, ledger = recall_table(
                subject, result.probed, best, params.level, choice=result.choice
            )
            tables.append(table)
            measures |= recall_measures(subject, result.probed, best, table)
            ledgers += [ledger] if ledger.entries else []
    return Outcome(
        blocks=(
            _curves(AUC, by_auc),
            _curves(BALANCED_ACCURACY, by_accuracy),
            _curves(BITS, by_bits),
            *tables,
            *ledgers,
        ),
        findings=findings_of(
            by_auc, rechecks(subject, by_auc, params.probes), alpha=subject.multiplicity.alpha
        ),
        method=_method(subject, params),
        limits=_limits(subject, probed),
        measures=measures,
    )


def _curves(metric: Metric, results: tuple[Decodability, ...]) -> LayerCurve:
    n_levels = {result.probed.target.name: len(result.probed.part.levels) for result in results}
    return LayerCurve(
        detail=metric is not AUC,
        title=f"Linear decodability by layer: {metric.name}",
        quantity=metric.quantity,
        metric=metric.name,
        chance={name: metric.chance(n) for name, n in n_levels.items() if n},
        curves=tuple(result.curve for result in results),
    )


def _method(subject: Subject, params: Params) -> tuple[str, ...]:
    strengths = ", ".join(f"{c:g}" for c in params.strengths)
    chosen = (
        f"C = {strengths}"
        if len(params.strengths) == 1
        else f"C chosen from {strengths} within the training images of each fold, by the "
        "cross-entropy on one further fold held out of them"
    )
    kinds = dict.fromkeys(control.kind for control in subject.controls)
    others = "".join(f", {_CONTROLS.get(kind, kind)}" for kind in kinds)
    return (
        f"A linear probe (multinomial logistic regression, L2 penalty, {chosen}) is fitted to "
        "the activations of each layer, averaged over positions, to predict each annotated "
        "attribute and their intersection. Units are standardised over all images, which uses no "
        f"label. Every image is predicted once, in {params.folds}-fold cross-validation, by a "
        "probe that saw neither it nor another image of its cluster (one person, or near "
        "duplicates).",
        "Separability is the macro one-vs-rest area under the ROC curve (AUC; guessing gives "
        "0.5), over pairs of images of the same fold, since scores of different folds come from "
        "different probes; balanced accuracy (recall averaged over levels; guessing gives "
        "1 / levels); and bits: how much lower the cross-entropy is than that of the base rates.",
        f"Baselines are the same procedure on labels shuffled within folds ({subject.shuffles} "
        f"times){others}. The lift is the difference to the strongest of them, or to guessing "
        "where none does better. Which one is strongest is uncertain too: the lift and its upper "
        "bound allow for that (Chernozhukov, Lee & Rosen 2013), and its lower bound is the lowest "
        "over all baselines.",
        "Intervals rest on the influence of every image on the value (for an AUC, DeLong et al. "
        "1988), summed over the images of a cluster. Those of AUC, balanced accuracy and recall "
        f"{SCORE_INTERVALS}. Differences are paired image by image; their intervals are "
        "symmetric, and no narrower than those of as many pairs that all agree (Tango 1998). "
        "Clusters of unequal size count by their effective number; an attribute with fewer than "
        f"{FEWEST_CLUSTERS:g} effective clusters is not measured. Because every image also trains "
        "the probes that predict others, intervals are widened by the correction of Nadeau & "
        "Bengio (2003), in proportion to how much the probe's scores depend on which images "
        "trained it: the disagreement between the probes of different folds, relative to that of "
        "probes fitted to shuffled labels. Seeds of random weights add their own variance. Where "
        "a sentence or a verdict is about the best layer, its interval holds for all layers at "
        "once (joint draws of their errors), and so do those of recall there; other intervals in "
        "tables hold for one layer each.",
        "An attribute is called linearly decodable when its lift exceeds 0 for some layer at a "
        "level that allows for every layer and attribute (single-step max-T over joint draws of "
        "the errors; Westfall & Young 1993).",
        *likeness_method(subject),
        *_refits_told(subject.refits),
    )


def _refits_told(refits: int) -> tuple[str, ...]:
    if not refits:
        return ()
    return (
        f"Refitting noise is how much a value moves when nothing changes but chance: every probe "
        f"is fitted {refits} times more to the same labels with other folds, and the standard "
        "deviation between these fits is pooled over layers. A comparison with another audit of "
        "the same images (`bias-audit diff`) adds it to the errors of both; the intervals here "
        "do not, since images vary far more.",
    )


_CONTROLS = {
    "random weights": "on the same layer of the same architecture with random weights",
    "image quality": "on measures of image quality (brightness, contrast, sharpness, colour, "
    "size) without any backbone",
    "pixels": "on the pixels of a thumbnail without any backbone",
}


def _limits(subject: Subject, probed: tuple[ProbedTarget, ...]) -> tuple[str, ...]:
    sentences = [
        "Intervals include retraining variability through a correction, not by refitting"
        + (
            "."
            if subject.refits
            else "; how much values move with other folds was not measured (controls.refits: 0)."
        ),
        "The most separable layer is picked on the same images that measure it, so its value is "
        "a little high, the more so the more layers and the fewer images; its interval and the "
        "claim of decodability allow for that, the value does not.",
        "That an attribute is linearly decodable says that a layer encodes it, not that a "
        "downstream decision uses it.",
        "What is decoded is the annotated label, as the source recorded it.",
        LABEL_ERRORS,
        *likeness_limits(subject),
    ]
    for target in probed:
        name, part = target.target.described, target.part
        if part.not_measured is not None:
            sentences.append(f"Not measured: {name} ({part.not_measured}).")
            continue
        if part.reasons:
            out = [f"{target.target.groups[i].label} ({why})" for i, why in part.reasons.items()]
            sentences.append(
                f"{len(out)} of {len(target.target.groups)} levels of {name} were left "
                f"out of its probes: {listed(out)}."
            )
        if (worth := worth_of(part, subject.faces.clusters)) < FEW_CLUSTERS:
            sentences.append(
                f"Intervals of {name} rest on {worth:.1f} effective clusters of images, fewer "
                f"than {FEW_CLUSTERS}: they are wide, and a few people decide the value."
            )
    drawn = [control for control in subject.controls if control.kind == "random weights"]
    if len(drawn) == 1:
        sentences.append(
            "Random weights were drawn once (controls.random_weights: 1), so how much draws "
            "differ is unknown: lifts over random weights hold for that draw."
        )
    kinds = {control.kind for control in subject.controls}
    absent = [kind for kind in _CONTROLS if kind not in kinds]
    if absent:
        sentences.append(
            f"Not controlled for: {listed(absent)}. Without them it is unknown how much could be "
            "read without what the backbone has learned."
        )
    failed = sum(p.probe.not_converged for target in probed for p in target.probes)
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
    return controlled_work(params.probes, workload, params.targets)


def _families(params: Params, attributes: Sequence[Attribute]) -> int:
    """Lifts over all layers and targets, each target above guessing, and the order of attributes.

    Claims about balanced accuracy and bits are not made.
    """
    names = target_names(attributes, params.targets)
    n_attributes = sum(name != INTERSECTION for name in names)
    return 1 + len(names) + (n_attributes > 1)


PLUGIN = Analysis(
    title="Linear decodability",
    params_type=Params,
    run=linear_probe,
    problems=_problems,
    families=_families,
    fits=_fits,
    quantities=("macro_auc", "balanced_accuracy", "bits", "recall"),
    needs_controls=True,
)
