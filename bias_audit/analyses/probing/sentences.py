"""What the probes of a subject say, in sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

from bias_audit.analyses.analysis import Subject
from bias_audit.analyses.probing.decodability import (
    GUESSING,
    TOGETHER,
    Comparison,
    Decodability,
    ProbedTarget,
    Recheck,
)
from bias_audit.analyses.probing.probes import ProbeSettings
from bias_audit.analyses.targets import unmeasured, worth_of
from bias_audit.analyses.wording import (
    LABEL_ERRORS,
    ONE_ANNOTATOR,
    SCORE_INTERVALS,
    coverage,
    listed,
    sample,
)
from bias_audit.groups import INTERSECTION
from bias_audit.results.finding import Finding
from bias_audit.shapes.printed import interval
from bias_audit.statistics.clusters import FEW_CLUSTERS, FEWEST_CLUSTERS
from bias_audit.statistics.estimate import Estimate, allowing_for_choice, interval_at
from bias_audit.statistics.inference import independent_difference
from bias_audit.statistics.sureness import sureness_above

_CORRECTED: Final = "after correction for all layers and attributes"
_CEILING: Final = 0.9
"""From this AUC of a baseline on, a lift has little room, and these images may not show it: the
interval of the lift holds half of the room or more."""


def findings_of(
    results: tuple[Decodability, ...],
    rechecks: Mapping[str, Recheck] = MappingProxyType({}),
    *,
    alpha: float,
) -> tuple[Finding, ...]:
    """A sentence for every target, and one on which attribute stands out most.

    Results are by macro AUC; `rechecks` say by target, where identity is not recorded, what is
    left of its claim. `alpha` is the error rate of a claim that the lifts' own tests do not
    decide.
    """
    findings, stand = [], []
    for result in results:
        recheck = rechecks.get(result.probed.target.name)
        findings.append(_of_target(result, recheck, alpha))
        if recheck is None or recheck.stands:
            stand.append(result)
    return (*findings, *_of_order(stand, alpha))


def _of_target(result: Decodability, recheck: Recheck | None, alpha: float) -> Finding:
    target, best = result.probed.target.described, result.best
    name = f"{target[0].upper()}{target[1:]}"
    if best is None:
        why = result.probed.part.not_measured or "no fold has images of two groups"
        return Finding(text=f"{name} was not measured: {why}.", weight=0.0, question="encoded")
    value = allowing_for_choice(best.estimate, result.choice)
    lift = allowing_for_choice(best.lift, result.lift_choice)
    numbers = (
        f"macro AUC is {interval(value)} ({coverage(value.level)}, {sample(value)}). It lies "
        f"{interval(lift)} above {_over(best)}"
    )
    majority = best.by_majority and allowing_for_choice(best.by_majority, result.choice)
    strongest, guessing = result.strongest_claim, best.differences[GUESSING].offset
    at_best = _place(result, best)
    if result.is_claimed:
        verb, only_if, more = _caution(recheck)
        if best.claim > 0:
            text = (
                f"{name} {verb} {at_best}, significantly better than {_over(best)} "
                f"{_CORRECTED}{only_if}. Its {numbers}."
            )
        else:
            over = interval(allowing_for_choice(strongest.lift, result.lift_choice))
            text = (
                f"{name} {verb} {_place(result, strongest)}: its macro AUC there is {over} above "
                f"{_over(strongest)}, significant {_CORRECTED}{only_if}. It is highest at "
                f"{at_best}: there, the {numbers}."
            )
        text += more
    elif interval_at(value, 1 - alpha)[0] > guessing:
        text = (
            f"{name} can be read from {at_best}, {_undecided(best, value, lift)}. Its {numbers}."
        )
    else:
        layers = len(result.comparisons)
        where = f"any of {layers} layers" if layers > 1 else "the layer audited"
        text = (
            f"It was not shown that {target} can be read from {where}. At {at_best}, where it is "
            f"highest, the {numbers}; {_CORRECTED}, this could be chance."
        )
    estimates = {"macro_auc": value, "lift": lift}
    if majority is not None:
        text += (
            " These values are about the label that one annotator gave each face; against the "
            f"label that most annotators gave, its macro AUC is {interval(majority)}."
        )
        estimates["macro_auc, majority"] = majority
    estimates |= {f"control, {control.name}": control.estimate for control in best.controls}
    stands = True
    if recheck is not None:
        stands = recheck.stands
        again = {f"lift, {n} similar together": lift for n, lift in recheck.lifts.items()}
        estimates |= {key: lift for key, lift in again.items() if lift is not None}
    weight = sureness_above(strongest.narrowest.value, strongest.claim) if stands else 0.0
    return Finding(text=text, weight=weight, estimates=estimates, question="encoded")


def _place(result: Decodability, comparison: Comparison) -> str:
    """A layer by its place among those audited, such as "layer 6 of 8 (blocks.5)"."""
    layers = result.probed.layers
    if len(layers) == 1:
        return comparison.layer
    return f"layer {layers.index(comparison.layer) + 1} of {len(layers)} ({comparison.layer})"


def _over(comparison: Comparison) -> str:
    if comparison.strongest == GUESSING:
        return GUESSING
    return f"the strongest baseline ({comparison.strongest})"


def _undecided(best: Comparison, value: Estimate, lift: Estimate) -> str:
    """Why what can be read is no finding about the backbone."""
    baseline = value.value - best.differences[best.strongest].value
    if baseline < _CEILING or lift.upper < (1 - baseline) / 2:
        return f"but it was not shown to be read better than {_over(best)} {_CORRECTED}"
    alone = f"{best.strongest} alone"
    if best.strongest in {"pixels", "image quality"}:
        alone = f"the pictures alone ({best.strongest})"
    return (
        f"but what the backbone adds cannot be determined: it can be read from {alone} as well, "
        "which leaves little room above"
    )


def _caution(recheck: Recheck | None) -> tuple[str, str, str]:
    """How a claim is worded: its verb, a condition, and sentences that follow its numbers."""
    if recheck is None:
        return "can be read from", "", ""
    numbers = "; ".join(
        f"{n} together: {'too few are left' if lift is None else interval(lift)}"
        for n, lift in recheck.lifts.items()
    )
    more = (
        f" Lift over the strongest baseline at {recheck.layer} with the most similar images, or "
        f"sets of images, counted as one person: {numbers}."
    )
    if not recheck.stands:
        only_if = ", but only if no two similar images show one person"
        why = " Who is shown is not recorded, and this may be recognition of single people."
        return "seems to be readable from", only_if, why + more
    first, last = TOGETHER
    if recheck.holds(last):
        why = (
            " Who is shown is not recorded; the claim is also supported when similar images count "
            "as one person."
        )
    else:
        why = (
            f" Who is shown is not recorded. The claim is supported with {first} similar images "
            f"counted as one person, but not with {last}, so this may be recognition of single "
            "people."
        )
    return "can be read from", "", why + more


def _of_order(results: Sequence[Decodability], alpha: float) -> tuple[Finding, ...]:
    """Compare the lifts of the attributes that are claimed, each at its best layer.

    Their intervals allow for the choice of the layer and of the baseline, which the images of both
    share; differences are taken as if they did not, which is cautious.
    """
    found = [
        (
            result.probed.target.name,
            len(result.probed.part.levels),
            allowing_for_choice(result.best.lift, result.lift_choice),
        )
        for result in results
        if result.probed.target.name != INTERSECTION and result.is_claimed and result.best
    ]
    if len(found) < 2:  # noqa: PLR2004
        return ()
    found.sort(key=lambda entry: -entry[2].value)
    (first, _, top), rest = found[0], found[1:]
    differences = {name: independent_difference(top, other) for name, _, other in rest}
    weight = min(
        sureness_above(each.value, interval_at(each, 1 - alpha)[0])
        for each in differences.values()
    )
    against = listed([f"{interval(d)} over {name}" for name, d in differences.items()], most=20)
    counts = listed([f"{name} {n}" for name, n, _ in found], most=20)
    opening = (
        f"Of the attributes that can be read, {first} is the easiest, measured by the lift over "
        "the strongest baseline"
        if weight > 0
        else "The data do not show which attribute is easiest to read, measured by the lift over "
        f"the strongest baseline. The highest is {first}"
    )
    text = f"{opening}: its lift exceeds that of the others by {against} ({coverage(top.level)}s)."
    if len({n for _, n, _ in found}) > 1:
        text += (
            f" The attributes differ in their number of groups ({counts}), so these are not the "
            "same task."
        )
    estimates = {f"{first}_over_{name}": value for name, value in differences.items()}
    return (Finding(text=text, weight=weight, estimates=estimates),)


_CONTROLS: Final = {
    "random weights": "on the same layer of the same architecture with random weights",
    "image quality": "on measures of image quality (brightness, contrast, sharpness, colour, "
    "size) without any backbone",
    "pixels": "on the pixels of a thumbnail without any backbone",
}


def method_of(subject: Subject, settings: ProbeSettings) -> tuple[str, ...]:
    """How attributes were probed."""
    values = ", ".join(f"{value:g}" for value in settings.shrinkages)
    chosen = (
        f"by {values}"
        if len(settings.shrinkages) == 1
        else f"by one of {values}, chosen within the training images of each fold by the "
        "cross-entropy on one further fold held out of them"
    )
    kinds = dict.fromkeys(control.kind for control in subject.controls)
    others = "".join(f", {_CONTROLS.get(kind, kind)}" for kind in kinds)
    sentences = [
        "A linear probe (regularised linear discriminant analysis, Friedman 1989) is fitted to "
        "the activations of each layer, averaged over positions, to predict each attribute, as "
        "annotated, and their intersection. The covariance within groups is drawn towards that "
        f"of unrelated units {chosen}; the same fold decides how sure probabilities are. Units "
        "are standardised over all images, which uses no label. Every image is predicted once, "
        f"in {settings.folds}-fold cross-validation, by a probe that saw neither it nor another "
        "image of its cluster (one person, or near duplicates).",
        "Separability is the macro one-vs-rest area under the ROC curve (AUC; guessing gives "
        "0.5), over pairs of images of the same fold, since scores of different folds come from "
        "different probes; balanced accuracy (recall averaged over groups; guessing gives 1 / "
        "groups); and bits: how much lower the cross-entropy is than that of the base rates.",
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
        "a sentence or a verdict is about the best layer, its interval covers all layers at once "
        "(joint draws of their errors), and so do those of recall there; other intervals in "
        "tables cover one layer each.",
        "A probe reads an attribute significantly better than every baseline (the attribute is "
        "linearly decodable) when its lift exceeds 0 for some layer after correction for every "
        "layer and attribute (single-step max-T over joint draws of the errors; Westfall & Young "
        "1993).",
    ]
    if subject.faces.table.label_sets is not None:
        sentences.append(ONE_ANNOTATOR)
    if subject.likeness is not None:
        sentences.append(
            "Who is shown is not recorded for all images. Images that are more similar than the "
            "density of other images around them explains (an exponential tail fitted to the "
            "similarity of further neighbours) count as one person. Every claim of decodability "
            f"is checked again at its layer with the {' and '.join(map(str, TOGETHER))} most "
            "similar of these people counted as one; the report makes it without reservation "
            "only if the interval of its lift over the strongest baseline stays above 0."
        )
    if subject.refits:
        sentences.append(
            "Refitting noise is how much a value moves when nothing changes but chance: every "
            f"probe is fitted {subject.refits} times more to the same labels with other folds, "
            "and the standard deviation between these fits is pooled over layers. A comparison "
            "with another audit of the same images (`bias-audit diff`) adds it to the errors of "
            "both; the intervals here do not, since images vary far more."
        )
    return tuple(sentences)


def likeness_limits(subject: Subject) -> tuple[str, ...]:
    """What the similarity of images cannot show, in sentences."""
    if subject.likeness is None:
        return ()
    return (
        "Images of one person that do not look alike to the backbone, and people with more than "
        "ten images, are not found by similarity; only recorded identities exclude that a probe "
        "recognises people.",
    )


def limits_of(subject: Subject, probed: tuple[ProbedTarget, ...]) -> tuple[str, ...]:
    """What probes leave open."""
    sentences = [
        "Intervals include retraining variability through a correction, not by refitting"
        + (
            "."
            if subject.refits
            else "; how much values move with other folds was not measured (controls.refits: 0)."
        ),
        "The best layer is picked on the same images that measure it, so its value is a little "
        "high, the more so the more layers and the fewer images. Its interval and the claim of "
        "decodability allow for that; the value does not.",
        "That an attribute is linearly decodable says that a layer encodes it, not that a "
        "downstream decision uses it.",
        "Labels are annotations: what is read is the label as the source recorded it, not a "
        "fact about the person shown.",
        LABEL_ERRORS,
        *likeness_limits(subject),
    ]
    for each in probed:
        sentences += unmeasured(each.target, each.part, "its probes")
        if each.part.not_measured is not None:
            continue
        if (worth := worth_of(each.part, subject.faces.clusters)) < FEW_CLUSTERS:
            sentences.append(
                f"Intervals of {each.target.described} rest on {worth:.1f} effective clusters of "
                f"images, fewer than {FEW_CLUSTERS}: they are wide, and a few people decide the "
                "value."
            )
    kinds = [control.kind for control in subject.controls]
    if kinds.count("random weights") == 1:
        sentences.append(
            "Random weights were drawn once (controls.random_weights: 1), so how much draws "
            "differ is unknown: lifts over random weights are those over that draw."
        )
    if absent := [kind for kind in _CONTROLS if kind not in kinds]:
        sentences.append(
            f"Baselines not measured: {listed(absent)}. Without them it is unknown how much could "
            "be read without what the backbone has learned."
        )
    return tuple(sentences)
