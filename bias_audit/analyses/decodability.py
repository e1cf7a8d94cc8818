"""A target over the layers: separability, its control, and the lift, with shared draws."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

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
from bias_audit.statistics.bootstrap import Weights, difference
from bias_audit.statistics.estimate import Estimate


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
        measured = [
            (comparison.probe.estimate.value, -place)
            for place, comparison in enumerate(self.comparisons)
            if comparison.probe is not None
        ]
        if not measured:
            return None
        place = -max(measured)[1]
        return self.probed.probes[place], self.comparisons[place]


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
    total = sum(len(target.probes) for target in probed)
    measured = partial(
        measure,
        metric,
        weights=weights,
        clusters=subject.faces.clusters,
        n_folds=n_folds,
        level=level,
    )
    title = f"Intervals of {metric.short} on {subject.name}"
    result = []
    with subject.progress.step(title, total=total, unit="layer") as step:
        for target in probed:
            comparisons = []
            for probe in target.probes:
                comparisons.append(_compare(probe, measured))
                step.advance()
            result.append(Decodability(target, tuple(comparisons)))
    return tuple(result)


def _compare(probe: LayerProbe, measured: Callable[[Scores], Measured | None]) -> Comparison:
    real, control = measured(probe.scores), measured(probe.control)
    lift = paired_difference(real, control) if real and control else None
    return Comparison(probe.layer, real, control, lift)


def paired_difference(one: Measured, other: Measured) -> Estimate:
    """One measure minus another over the same draws."""
    return difference(
        one.estimate,
        other.estimate,
        one.draws - other.draws,
        degenerate=one.degenerate or other.degenerate,
    )
