"""A target over the layers: separability, its control, and the lift, with shared draws."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import numpy.typing as npt
from scipy.stats import norm

from bias_audit.analyses.analysis import Subject
from bias_audit.analyses.probes import (
    ProbeSettings,
    ProbeSpec,
    Scores,
    out_of_fold_scores,
    part_of,
)
from bias_audit.analyses.separability import Measured, Metric, measure
from bias_audit.analyses.targets import Measurable, Target
from bias_audit.results.blocks import Curve, CurvePoint
from bias_audit.statistics.bootstrap import SQUARE_AND_ADD, Weights, difference
from bias_audit.statistics.estimate import Estimate

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class LayerProbe:
    """One target at one layer: the probe and its control."""

    layer: str
    scores: Scores
    control: Scores


@dataclass(frozen=True)
class ProbedTarget:
    """One target at every layer."""

    target: Target
    part: Measurable
    probes: tuple[LayerProbe, ...]
    """Empty where the target cannot be measured."""


@dataclass(frozen=True)
class Comparison:
    """One metric of a probe beside its control."""

    layer: str
    probe: Measured | None
    control: Measured | None
    lift: Estimate | None
    """Over the control or guessing, whichever is higher."""
    draws: FloatArray | None
    """Of the lift, shape (n_draws,)."""

    @property
    def point(self) -> CurvePoint:
        """As a block holds it."""
        return CurvePoint(
            layer=self.layer,
            estimate=self.probe.estimate if self.probe else None,
            control=self.control.estimate if self.control else None,
            lift=self.lift,
        )


@dataclass(frozen=True)
class Decodability:
    """One metric of one target over the layers."""

    probed: ProbedTarget
    comparisons: tuple[Comparison, ...]
    claim: float | None
    """Lower bound of the lift at the best layer that allows for the choice among the layers."""

    @property
    def curve(self) -> Curve:
        """As a block holds it."""
        return Curve(
            target=self.probed.target.name,
            points=tuple(comparison.point for comparison in self.comparisons),
            not_measured=self.probed.part.not_measured,
        )

    @property
    def best(self) -> tuple[LayerProbe, Comparison] | None:
        """The layer with the highest estimate, the first of equals."""
        place = _best_place(self.comparisons)
        return None if place is None else (self.probed.probes[place], self.comparisons[place])


def probe_targets(
    subject: Subject, targets: tuple[Target, ...], settings: ProbeSettings
) -> tuple[ProbedTarget, ...]:
    """Fit every target at every layer, with its control."""
    parts = [part_of(subject, target, settings) for target in targets]
    measured = sum(part.not_measured is None for part in parts)
    layers = subject.activations.layers
    result = []
    title = f"Probes on {subject.name}"
    with subject.progress.step(title, total=2 * measured * len(layers), unit="probe") as step:
        for target, part in zip(targets, parts, strict=True):
            probes = []
            for layer in layers if part.not_measured is None else ():
                pair = []
                for shuffled in (False, True):
                    spec = ProbeSpec(target, layer, settings, shuffled=shuffled)
                    pair.append(out_of_fold_scores(subject, spec))
                    step.advance()
                probes.append(LayerProbe(layer, *pair))
            result.append(ProbedTarget(target, part, tuple(probes)))
    return tuple(result)


def decodability(
    subject: Subject,
    probed: tuple[ProbedTarget, ...],
    metric: Metric,
    weights: Weights,
    *,
    n_folds: int,
    level: float,
) -> tuple[Decodability, ...]:
    """Measure every probe and its control under the same bootstrap draws.

    Args:
        subject: The subject.
        probed: Its probes.
        metric: What to measure.
        weights: Bootstrap weights of all images, shape (n_draws, n_images).
        n_folds: Of the cross-validation.
        level: Coverage of the intervals.
    """
    measured = partial(
        measure,
        metric,
        weights=weights,
        clusters=subject.faces.clusters,
        n_folds=n_folds,
    )
    total = sum(len(target.probes) for target in probed)
    title = f"Intervals of {metric.short} on {subject.name}"
    result = []
    with subject.progress.step(title, total=total, unit="layer") as step:
        for target in probed:
            comparisons = []
            for probe in target.probes:
                comparisons.append(_compare(probe, metric, partial(measured, level=level)))
                step.advance()
            # Bonferroni: the best of several layers is a claim about any of them.
            strict = 1 - (1 - level) / max(1, len(comparisons))
            place = _best_place(comparisons)
            claim = None
            if place is not None:
                probe = target.probes[place]
                best = _compare(probe, metric, partial(measured, level=strict))
                claim = _claim(best, strict)
            result.append(Decodability(target, tuple(comparisons), claim))
    return tuple(result)


def _best_place(comparisons: Sequence[Comparison]) -> int | None:
    measured = [
        (comparison.probe.estimate.value, -place)
        for place, comparison in enumerate(comparisons)
        if comparison.probe is not None
    ]
    return -max(measured)[1] if measured else None


def _compare(
    probe: LayerProbe, metric: Metric, measured: Callable[[Scores], Measured | None]
) -> Comparison:
    real, control = measured(probe.scores), measured(probe.control)
    lift, draws = None, None
    if real and control:
        floor = _at_least(control, metric.chance(len(probe.scores.part.levels)))
        lift, draws = paired_difference(real, floor), real.draws - floor.draws
    return Comparison(probe.layer, real, control, lift, draws)


def _at_least(control: Measured, chance: float) -> Measured:
    """The control, or guessing where that does better: nothing is gained by beating less.

    A probe fitted to few shuffled labels falls below guessing in cross-validation.
    """
    own = control.estimate
    raised = replace(
        own,
        value=max(own.value, chance),
        lower=max(own.lower, chance),
        upper=max(own.upper, chance),
    )
    return Measured(raised, np.maximum(control.draws, chance), control.degenerate)


def _claim(best: Comparison, level: float) -> float | None:
    """Lower bound of the lift at a level so strict that its draws have too few to cut off."""
    if best.lift is None or best.draws is None:
        return None
    finite = best.draws[np.isfinite(best.draws)]
    degenerate = best.lift.method == SQUARE_AND_ADD
    if degenerate or len(finite) < 2:  # noqa: PLR2004
        return best.lift.lower
    z = float(norm.ppf((1 + level) / 2))
    return min(best.lift.lower, best.lift.value - z * float(finite.std(ddof=1)))


def paired_difference(one: Measured, other: Measured) -> Estimate:
    """One measure minus another over the same draws."""
    return difference(
        one.estimate,
        other.estimate,
        one.draws - other.draws,
        degenerate=one.degenerate or other.degenerate,
    )
