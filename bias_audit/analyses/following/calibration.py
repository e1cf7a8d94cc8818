"""Whether a network is right as often as it is confident, over checkpoints and by group."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from bias_audit.analyses.analysis import Outcome, Subject
from bias_audit.analyses.following.relation import Classes, Divided, Seen, at_checkpoint
from bias_audit.analyses.probing.separability import Units, measured
from bias_audit.analyses.wording import LABEL_ERRORS, coverage, decided_at
from bias_audit.arrays import FloatArray, IntArray
from bias_audit.groups import Group
from bias_audit.results.finding import Finding
from bias_audit.shapes.group_table import GroupRow, GroupTable
from bias_audit.shapes.measures import Entry, Measure, Measures
from bias_audit.shapes.printed import decimal, interval, percent, points_interval
from bias_audit.statistics.bootstrap import Weights
from bias_audit.statistics.calibration import (
    FEWEST_IN_BIN,
    calibration_error,
    losses,
    over_confidence,
)
from bias_audit.statistics.comparison import clear_extremes
from bias_audit.statistics.estimate import Estimate
from bias_audit.statistics.inference import Measured, independent_difference
from bias_audit.statistics.inference import estimate as estimated
from bias_audit.statistics.influence import average
from bias_audit.statistics.sureness import sureness, weight_of

QUANTITY: Final = "over_confidence"
BEFORE, AFTER = "softmax", "calibrated"
"""Measures of confidence that are probabilities, before and after temperature scaling."""
_UNANSWERED: Final = "the checkpoint has no classification layer"


@dataclass(frozen=True)
class Calibration:
    """What calibration is measured with."""

    subject: Subject
    seen: tuple[Seen, ...]
    classes: Classes
    weights: Weights
    """Of the bootstrap, shape (n_draws, n_images)."""
    n_bins: int
    level: float

    @property
    def answered(self) -> tuple[Seen, ...]:
        """The checkpoints whose right answers are known."""
        return tuple(one for one in self.seen if one.answers is not None)

    @property
    def everything(self) -> IntArray:
        """All images, shape (n_images,)."""
        return np.arange(len(self.subject.faces))

    def mean(self, values: FloatArray, images: IntArray, *, is_share: bool = True) -> Measured:
        """The mean of a number per image, over some of the images."""
        found = average(values[images], self.subject.faces.clusters[images])
        return measured(Units.of(self.subject), images, found, is_share=is_share)

    def gap(self, one: Seen, measure: str, images: IntArray) -> Measured | None:
        """The over-confidence of a checkpoint in some of the images; None without answers."""
        confidence = one.confidence(measure)
        if confidence is None or one.answers is None:
            return None
        clusters = self.subject.faces.clusters[images]
        found = over_confidence(confidence[images], one.answers.is_right[images], clusters)
        return measured(Units.of(self.subject), images, found, is_share=False)

    def gap_estimate(self, one: Seen, measure: str, images: IntArray) -> Estimate | None:
        """The same with its interval."""
        found = self.gap(one, measure, images)
        return None if found is None else estimated(found, level=self.level)

    def error(self, one: Seen, measure: str, images: IntArray) -> Estimate | None:
        """The calibration error; None without answers, or with too few images for the bins."""
        confidence = one.confidence(measure)
        if confidence is None or one.answers is None:
            return None
        return calibration_error(
            confidence[images],
            one.answers.is_right[images],
            self.subject.faces.clusters[images],
            self.weights[:, images],
            n_bins=self.n_bins,
            level=self.level,
        )

    def right(self, one: Seen, images: IntArray) -> Estimate | None:
        """The share of images that a checkpoint is right for."""
        if one.answers is None:
            return None
        found = self.mean(one.answers.is_right.astype(np.float64), images)
        return estimated(found, level=self.level)

    def loss(self, one: Seen) -> Measured | None:
        """The mean cross-entropy over all images."""
        if one.answers is None or one.logits is None:
            return None
        each = losses(one.logits, one.answers.codes)
        return self.mean(each, self.everything, is_share=False)


def calibration_outcome(calibration: Calibration, parts: Sequence[Divided]) -> Outcome:
    """Compare confidence with the share of right answers; empty where no answer is known."""
    if not calibration.answered:
        return Outcome(blocks=())
    others = [part for part in parts if part.target.name != calibration.classes.attribute]
    tables = tuple(_by_group(calibration, part) for part in others)
    return Outcome(
        blocks=(_overall(calibration), *tables, _errors(calibration, others)),
        findings=tuple(_findings(calibration, others)),
        method=tuple(_method(calibration)),
        limits=tuple(_limits(calibration)),
    )


def _overall(calibration: Calibration) -> Measures:
    """Confidence, right answers, their difference and the loss, by checkpoint."""
    entries = []
    everything, n_classes = calibration.everything, len(calibration.classes.outputs)
    for one in calibration.answered:
        confidence, loss = one.confidence(BEFORE), calibration.loss(one)
        if confidence is None or loss is None or one.answers is None:
            continue
        stated = calibration.mean(confidence, everything)
        entries.append(
            Entry(
                name=one.name,
                values=(
                    estimated(stated, level=calibration.level),
                    calibration.right(one, everything),
                    calibration.gap_estimate(one, BEFORE, everything),
                    estimated(loss, level=calibration.level),
                ),
                standing=_temperature(one),
            )
        )
    return Measures(
        detail=False,
        title="Is the network right as often as it is confident?",
        noun="checkpoint",
        target=calibration.classes.attribute,
        measures=(
            Measure(name="mean confidence", reference=1 / n_classes),
            Measure(
                name="share right",
                better="higher",
                reference=1 / n_classes,
                reference_is="guessing",
            ),
            Measure(name="over-confidence", reference=0.0),
            Measure(
                name="loss",
                better="lower",
                reference=float(np.log(n_classes)),
                reference_is="guessing",
            ),
        ),
        entries=tuple(entries),
        standing_is="temperature",
        caption=(
            f"Each dot is a checkpoint over all {len(everything)} faces, with its interval. "
            "Dotted: guessing, which is not over-confident."
        ),
        notes=(
            "Confidence is the largest softmax probability. Over-confidence is mean confidence "
            "minus the share of faces whose most probable class is the annotated one; below 0 the "
            "network is too cautious. Loss is the mean cross-entropy in nats.",
            "Temperature: what divides the class scores so that the loss on other faces is "
            "smallest, averaged over folds; above 1, the network was too confident there. Where "
            "scores say nothing about the class, it can be any large number.",
        ),
    )


def _temperature(one: Seen) -> str:
    return "" if one.answers is None else decimal(float(one.answers.temperatures.mean()), 2)


def _by_group(calibration: Calibration, part: Divided) -> GroupTable:
    rows = []
    for group, treatment, images in part:
        for one in calibration.seen:
            found = (
                calibration.gap_estimate(one, BEFORE, images) if treatment.is_measured else None
            )
            reason = treatment.reason or (_UNANSWERED if found is None else None)
            rows.append(
                GroupRow(
                    group=at_checkpoint(group, one), n=len(images), estimate=found, reason=reason
                )
            )
    return GroupTable(
        detail=False,
        title=f"How over-confident is the network by {part.target.name} over checkpoints?",
        quantity=QUANTITY,
        metric="over-confidence (mean confidence minus share right)",
        layer=calibration.answered[-1].head or "",
        target=part.target.name,
        chance=0.0,
        rows=tuple(rows),
    )


def _errors(calibration: Calibration, parts: Sequence[Divided]) -> Measures:
    """Over-confidence after scaling, and the calibration error before and after."""
    last = calibration.answered[-1]
    entries = [
        _errors_of(calibration, one, calibration.everything, None) for one in calibration.answered
    ]
    for part in parts:
        for group, images in part.measured():
            entries += [
                _errors_of(calibration, one, images, group) for one in calibration.answered
            ]
    return Measures(
        detail=False,
        title="Does one temperature correct the confidence of every group?",
        noun="checkpoint",
        target=calibration.classes.attribute,
        measures=(
            Measure(name="share right", better="higher"),
            Measure(name="over-confidence, scaled", reference=0.0),
            Measure(name="calibration error"),
            Measure(name="calibration error, scaled"),
        ),
        entries=tuple(
            entry.model_copy(
                update={"is_drawn": entry.group is not None and entry.name == last.name}
            )
            for entry in entries
        ),
        caption=f"Each dot is a group at {last.name}, with its interval. Dotted: 0.",
        notes=(
            "Scaled: after the class scores were divided by one temperature for all groups.",
            "Calibration error: how far confidence typically lies from the share right (the root "
            f"mean square over {calibration.n_bins} bins of faces by confidence, less what chance "
            "alone would give). Errors in both directions add up here, and cancel in "
            "over-confidence.",
        ),
    )


def _errors_of(
    calibration: Calibration, one: Seen, images: IntArray, group: Group | None
) -> Entry:
    few = f"a bin of fewer than {FEWEST_IN_BIN} independent images"
    errors = [calibration.error(one, scaling, images) for scaling in (BEFORE, AFTER)]
    return Entry(
        name=one.name,
        group=group,
        n=None if group is None else len(images),
        values=(
            calibration.right(one, images),
            calibration.gap_estimate(one, AFTER, images),
            *errors,
        ),
        reasons=(None, None, *(None if error else few for error in errors)),
    )


def _findings(calibration: Calibration, parts: Sequence[Divided]) -> Iterator[Finding]:
    last, everything = calibration.answered[-1], calibration.everything
    stated, gap = last.confidence(BEFORE), calibration.gap_estimate(last, BEFORE, everything)
    right = calibration.right(last, everything)
    if stated is None or gap is None or right is None:
        return
    numbers = (
        f"its confidence is {percent(float(stated.mean()))} on average, and it is right for "
        f"{percent(right.value)} of {len(everything)} faces, a difference of "
        f"{points_interval(gap)} ({coverage(gap.level)})"
    )
    yield Finding(
        text=f"At {last.name}, {_direction(gap)}: {numbers}.",
        weight=sureness(gap),
        estimates={"over_confidence": gap, "right": right},
    )
    yield from _rising_loss(calibration)
    yield from _after_scaling(calibration, gap)
    for part in parts:
        yield from _extremes(calibration, part)


def _direction(gap: Estimate) -> str:
    if gap.lower > 0:
        return "the network is over-confident"
    if gap.upper < 0:
        return "the network is too cautious"
    return "the network is about as often right as it is confident, with no significant difference"


def _rising_loss(calibration: Calibration) -> Iterator[Finding]:
    """Where the loss on these faces is lowest, if it is higher at the end of training."""
    known = [
        (one.name, found)
        for one in calibration.answered
        if (found := calibration.loss(one)) is not None
    ]
    (name, lowest), (last, end) = min(known, key=lambda pair: pair[1].value), known[-1]
    if name == last:
        return
    # any of the others could have been the lowest
    change = estimated(replace(end - lowest, choice=1 / (len(known) - 1)), level=calibration.level)
    if change.lower <= 0:
        return
    yield Finding(
        text=(
            f"After {name} the network gets worse on these faces: its loss rises from "
            f"{decimal(lowest.value)} to {decimal(end.value)} at {last}, by {interval(change)} "
            f"({coverage(change.level)}, allowing for the choice of the checkpoint)."
        ),
        weight=sureness(change),
        estimates={"loss_change": change},
    )


def _after_scaling(calibration: Calibration, before: Estimate) -> Iterator[Finding]:
    last = calibration.answered[-1]
    after = calibration.gap(last, AFTER, calibration.everything)
    if after is None or before.lower <= 0 <= before.upper:
        return
    left = estimated(after, level=calibration.level)
    is_left = not left.lower <= 0 <= left.upper
    yield Finding(
        text=(
            f"At {last.name}, dividing the class scores by one temperature, about "
            f"{_temperature(last)}, leaves {'a' if is_left else 'no significant'} difference "
            f"between confidence and the share right: {points_interval(left)} "
            f"({coverage(left.level)})."
        ),
        weight=sureness(left),
        estimates={"after_scaling": left},
    )


def _extremes(calibration: Calibration, part: Divided) -> Iterator[Finding]:
    """The groups with the lowest and the highest over-confidence, and whether these differ."""
    last = calibration.answered[-1]
    stated, answers = last.confidence(BEFORE), last.answers
    known: list[tuple[str, Estimate]] = []
    for group, images in part.measured():
        gap = calibration.gap_estimate(last, BEFORE, images)
        if gap is None or stated is None or answers is None:
            continue
        confidence, right = float(stated[images].mean()), float(answers.is_right[images].mean())
        text = f"{group.label} ({points_interval(gap)}: confidence {percent(confidence)}, right "
        known.append((f"{text}for {percent(right)})", gap))
    if len(known) < 2:  # noqa: PLR2004
        return
    alpha = calibration.subject.multiplicity.alpha
    ends = clear_extremes([gap for _, gap in known], alpha=alpha)
    (lowest, low), *_, (highest, high) = sorted(known, key=lambda pair: pair[1].value)
    said = (
        f"At {last.name}, the network is most over-confident for {highest} and least for {lowest} "
        f"among the groups of {part.target.name}"
        if ends
        else f"At {last.name}, over-confidence does not differ significantly between the groups "
        f"of {part.target.name}: it is highest for {highest} and lowest for {lowest}"
    )
    rate = decided_at(alpha, calibration.level)
    end = f" The two differ significantly after correction for all pairs of groups{rate}."
    yield Finding(
        text=f"{said} ({coverage(calibration.level)}s, not corrected for multiple comparisons)."
        + (end if ends else ""),
        weight=weight_of(sureness(independent_difference(high, low)), is_decided=ends is not None),
        estimates={"lowest": low, "highest": high},
    )


def _method(calibration: Calibration) -> Iterator[str]:
    task = calibration.classes.attribute
    yield (
        f"The right class of a face is its annotated {task}. Over-confidence is the mean of the "
        "largest softmax probability minus the share of right answers; its interval rests on the "
        "influence of every image, summed over clusters, and is never narrower than that of as "
        "many pairs which all agree (Tango 1998)."
    )
    yield (
        "Temperature scaling (Guo et al. 2017) divides the class scores by one number, the one "
        "with the smallest cross-entropy. It is fitted to the faces of all other folds, never "
        "splitting a cluster, so no face corrects its own confidence; intervals are those for "
        "the temperatures fitted."
    )
    yield (
        "The calibration error is the root of the mean squared difference of confidence and "
        f"share right over {calibration.n_bins} bins with about as many faces each, minus the "
        "variance of each bin's difference (Kumar et al. 2019), and 0 where that is negative. "
        "Faces of the same confidence share a bin. Its interval is that of "
        f"{len(calibration.weights)} bootstrap draws of clusters, from which the same variance is "
        "subtracted twice, because draws have it twice; bins whose answers are all right, or all "
        "wrong, widen it as Tango's interval of as many pairs that all agree."
    )
    yield (
        f"Groups of {task} are left out: within one class, even a calibrated network is right "
        "more or less often than its confidence says."
    )


def _limits(calibration: Calibration) -> Iterator[str]:
    splits = set(calibration.subject.faces.table.splits or ())
    named = f" All of them are of split {', '.join(sorted(splits))}." if splits else ""
    yield (
        "Calibration says how the network does on new faces only if none of these faces trained "
        f"it, which the audit cannot verify.{named}"
    )
    yield (
        "Calibration is about faces like these, as often in each group as here; with other shares "
        "of the classes it would be another one. A small calibration error with few bins may hide "
        "larger errors within a bin."
    )
    yield LABEL_ERRORS
