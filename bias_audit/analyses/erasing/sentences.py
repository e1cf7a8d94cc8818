"""What an erasure analysis shows and says."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from bias_audit.analyses.analysis import Head
from bias_audit.analyses.erasing.erasure import ErasureSettings, Measures
from bias_audit.analyses.erasing.leace import SHRINK_BELOW
from bias_audit.analyses.probing.separability import BALANCED_ACCURACY
from bias_audit.analyses.targets import Measurable, Target, unmeasured
from bias_audit.analyses.wording import SCORE_INTERVALS, coverage, decided_at
from bias_audit.arrays import IntArray
from bias_audit.results.finding import Finding
from bias_audit.shapes.group_table import GroupRow, GroupTable
from bias_audit.shapes.layer_curve import ControlPoint, Curve, CurvePoint, LayerCurve
from bias_audit.shapes.printed import interval, percent, percent_interval, points_interval
from bias_audit.statistics.estimate import at_level, interval_at, reflected
from bias_audit.statistics.inference import share_estimate, widening
from bias_audit.statistics.sureness import sureness, sureness_above

_METRICS = {
    "head_auc": ("macro AUC", "Before and after erasure: macro AUC"),
    "erased_auc": ("macro AUC", "After erasure: macro AUC"),
    "head_balanced_accuracy": ("balanced accuracy", "Before and after erasure: balanced accuracy"),
    "erased_balanced_accuracy": ("balanced accuracy", "After erasure: balanced accuracy"),
    "refitted_head_auc": (
        "macro AUC",
        "Before and after erasure: macro AUC of a probe fitted to images new to the eraser",
    ),
    "refitted_erased_auc": (
        "macro AUC",
        "After erasure: macro AUC of a probe fitted to images new to the eraser",
    ),
    "top1_agreement": ("top-1 agreement", "Predictions unchanged by erasure"),
    "top5_agreement": ("top-5 overlap", "Top-5 overlap after erasure"),
    "reference_top1_agreement": (
        "top-1 agreement",
        "Predictions of reference images unchanged by erasure",
    ),
    "reference_top5_agreement": (
        "top-5 overlap",
        "Top-5 overlap of reference images after erasure",
    ),
}
"""By quantity: a name for an axis, and a title."""
_BY_GROUP = {
    "group_top1_agreement": _METRICS["top1_agreement"],
    "group_top5_agreement": _METRICS["top5_agreement"],
}
QUANTITIES = (*_METRICS, *_BY_GROUP)
_MAIN = ("head_auc", "top1_agreement")
"""Of these, what was encoded and whether the classification layer uses it."""
_CHANCE = 0.5
"""AUC of a probe that knows nothing."""


def blocks_of(
    measures: Sequence[Measures], layer: str, clusters: IntArray
) -> tuple[LayerCurve | GroupTable, ...]:
    """One curve block a quantity, at the one layer; then agreement by group of each target."""
    curves = [_curve(quantity, measures, layer) for quantity in _METRICS]
    measured = [block for block in curves if any(c.points for c in block.curves)]
    tables = [
        _by_group(measure, quantity, layer, clusters)
        for measure in measures
        for quantity in _BY_GROUP
    ]
    return (*measured, *tables)


def _curve(quantity: str, measures: Sequence[Measures], layer: str) -> LayerCurve:
    metric, title = _METRICS[quantity]
    curves, chance = [], {}
    for measure in measures:
        name = measure.erased.target.name
        point = _point(quantity, measure, layer)
        if quantity.endswith("_auc"):
            chance[name] = _CHANCE
        elif quantity.endswith("_accuracy"):
            chance[name] = BALANCED_ACCURACY.chance(measure.erased.part)
        few = "too few images of a group in a held-out fold"
        points = () if point is None else (point,)
        curves.append(Curve(target=name, points=points, not_measured=None if points else few))
    return LayerCurve(
        detail=quantity not in _MAIN,
        title=title,
        quantity=quantity,
        metric=metric,
        chance=chance,
        curves=tuple(curves),
    )


def _point(quantity: str, measure: Measures, layer: str) -> CurvePoint | None:
    """Beside agreement stands that under random directions, beside "before" stands "after"."""
    if quantity.endswith("_agreement"):
        found = measure.agreed.get(quantity)
        if found is None:
            return None
        lift = reflected(found.excess, 0)
        estimate, name, control = found.attribute, "random directions", found.random
    else:
        before = measure.values.get(quantity)
        if before is None:
            return None
        if "head_" not in quantity:
            return CurvePoint(layer=layer, estimate=before)
        after = quantity.replace("head_", "erased_")
        estimate, name, control = before, "after erasure", measure.values[after]
        lift = measure.values[f"{after}_drop"]
    point = ControlPoint(name=name, estimate=control, lift=lift)
    return CurvePoint(layer=layer, estimate=estimate, controls=(point,), lift=lift, strongest=name)


def _by_group(measure: Measures, quantity: str, layer: str, clusters: IntArray) -> GroupTable:
    erased = measure.erased
    target, part = erased.target, erased.part
    own = erased.kept if quantity == "group_top1_agreement" else erased.overlap
    values, level = own[0].astype(np.float64), measure.agreed["top1_agreement"].attribute.level
    place = {int(index): kept for kept, index in enumerate(part.levels)}
    rows = []
    for index, group in enumerate(target.groups):
        if index not in place:
            n = target.n_images([index])
            rows.append(GroupRow(group=group, n=n, estimate=None, reason=part.reasons[index]))
            continue
        members = part.codes == place[index]
        estimate = share_estimate(values[members], clusters[part.images][members], level=level)
        rows.append(GroupRow(group=group, n=target.n_images([index]), estimate=estimate))
    return GroupTable(
        detail=True,
        title=f"{_BY_GROUP[quantity][1]}: {target.described}, by group",
        quantity=quantity,
        metric=_BY_GROUP[quantity][0],
        layer=layer,
        target=target.name,
        chance=None,
        rows=tuple(rows),
    )


def findings_of(measures: Sequence[Measures], layer: str, *, alpha: float) -> Iterator[Finding]:
    """Two sentences a target, and one on the reference images where there are some.

    Each claim has the error rate `alpha`.
    """
    for measure in measures:
        yield _encoded(measure, layer, alpha)
        used = _changes(measure, "top1_agreement", f"at {layer}", "used_", alpha)
        yield used.model_copy(update={"question": "used"})
        if "reference_top1_agreement" in measure.agreed:
            where = f"at {layer} on the reference images"
            yield _changes(measure, "reference_top1_agreement", where, "reference_", alpha)


def _encoded(measure: Measures, layer: str, alpha: float) -> Finding:
    name, values = measure.erased.target.described, measure.values
    before, after = values["head_auc"], values["erased_auc"]
    drop = values["erased_auc_drop"]
    shown = interval_at(before, 1 - alpha)[0] > _CHANCE
    said = "can be read" if shown else "was not shown to be readable"
    text = (
        f"{name[0].upper()}{name[1:]} {said} from what {layer} receives: macro AUC "
        f"{interval(before)} ({coverage(before.level)}, n = {before.n}). After linear erasure it "
        f"is {interval(after)}, a difference of {interval(drop)}"
    )
    new = values.get("refitted_erased_auc")
    if new is not None:
        still = interval_at(new, 1 - alpha)[0] > _CHANCE
        remains = "can still read it" if still else "was not shown to read it"
        text += (
            f". A new probe, fitted to erased images that the eraser never saw, {remains} (macro "
            f"AUC {interval(new)}; without erasure {interval(values['refitted_head_auc'])})"
        )
    text += f"{decided_at(alpha, before.level)}."
    weight = sureness_above(drop.value, drop.lower)
    return Finding(text=text, weight=weight, estimates=dict(values))


def _changes(measure: Measures, evidence: str, where: str, key: str, alpha: float) -> Finding:
    """How many decisions erasure changes, beside erasure of random directions."""
    found = measure.agreed[evidence]
    changed, by_chance = (reflected(kept, 1) for kept in (found.attribute, found.random))
    name, excess = measure.erased.target.described, found.excess
    deciding = at_level(excess, 1 - alpha)
    verdict = "no significant difference"
    if deciding.lower > 0 or deciding.upper < 0:
        verdict = "significantly more" if deciding.lower > 0 else "significantly fewer"
    variance = measure.erased.variance
    text = (
        f"Removing {name} changed {percent_interval(changed)} ({coverage(changed.level)}, n = "
        f"{changed.n}) of the backbone's own decisions {where} (most probable class), against "
        f"{percent_interval(by_chance)} for random directions: {verdict} "
        f"({points_interval(excess)}){decided_at(alpha, excess.level)}. It removed "
        f"{percent(float(variance[0]))} of the variance of the inputs, the random directions "
        f"{percent(float(variance[1:].mean()))}."
    )
    return Finding(
        text=text,
        weight=sureness(deciding),
        estimates={f"{key}changed": changed, f"{key}random": by_chance, f"{key}excess": excess},
        evidence=evidence,
    )


def method_of(settings: ErasureSettings, head: Head) -> tuple[str, ...]:
    """How it was done."""
    top = min(5, len(head.bias))
    return (
        f"From what the last layer {head.name} receives ({head.inputs.shape[1]} units), each "
        "attribute, as annotated, is erased by LEACE (Belrose et al. 2023), the affine map that "
        "moves activations least of all those after which no linear probe beats a constant on "
        "the images it was fitted to. Erasers are fitted to the training folds of a "
        f"{settings.folds}-fold split (clusters kept together) and applied to the held-out fold; "
        f"covariances are shrunk where there are fewer than {SHRINK_BELOW} images per unit.",
        "The probe is a regularised linear discriminant on standardised inputs, out of fold, "
        "which chooses its regularisation on its training images. After erasure it is fitted to "
        "the erased training images, from which the eraser left nothing linear to learn. A second "
        "probe examines whether something is left in images that the eraser never saw: it is "
        "cross-validated within each erased held-out fold, beside the same without erasure.",
        f"The layer's own decisions are its most probable class and its {top} most probable "
        "classes, before and after erasure of held-out images. The baseline removes "
        f"{settings.draws} sets of random directions in the same way. They leave the attribute "
        "itself, and as much variance goes with each set as with the attribute; a set has as many "
        "directions, or more where it needs more to have that variance. Erasing labels that mean "
        "nothing would be one more set, so the interval of the difference from the baseline also "
        "contains how much single sets differ. A direction with a meaning of its own may change "
        "more or fewer decisions than a random one for other reasons than the attribute.",
        "Overall intervals rest on the influence of every image on the value (for an AUC, which "
        "compares images that one probe has scored, DeLong et al. 1988), summed over the images "
        f"of a cluster. Those of AUCs and shares of images {SCORE_INTERVALS}; those of "
        "differences are symmetric, and no narrower than those of as many pairs that all agree "
        "(Tango 1998). On cross-fitted images they are widened as for probes that depend wholly "
        f"on their training images, by {widening(settings.folds, 1.0):.2f} with {settings.folds} "
        "folds (Nadeau & Bengio 2003).",
    )


_LIMITS = (
    "Erasure is linear: what is encoded otherwise stays, and may be used.",
    "Decisions are those of the backbone's own classes (ImageNet, say), not downstream "
    "decisions; that they change does not say for whom they get worse, and that they do not "
    "change does not say that another head would not use the attribute. Encoding is not use, and "
    "use is not harm.",
    "The eraser is fitted to annotations, and removes whatever goes with them linearly, "
    "be it the attribute itself, lighting, clothing or background.",
    "The groups' own intervals do not include how much other erasers would differ.",
)


def limits_of(
    measures: Sequence[Measures], parts: Sequence[tuple[Target, Measurable]]
) -> tuple[str, ...]:
    """What the numbers do not say."""
    sentences = list(_LIMITS) if measures else []
    for each in parts:
        sentences += unmeasured(*each, "its erasure")
    return tuple(sentences)
