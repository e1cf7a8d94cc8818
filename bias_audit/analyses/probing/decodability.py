"""A target over the layers: separability, its controls, and the lift over the strongest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from bias_audit.analyses.analysis import Subject
from bias_audit.analyses.families import draws_of
from bias_audit.analyses.probing.probes import (
    Probe,
    ProbeSettings,
    ProbeSpec,
    Scores,
    is_scored,
    part_of,
    probe,
    probe_and_refits,
)
from bias_audit.analyses.probing.refit_noise import refit_noise
from bias_audit.analyses.probing.separability import Metric, Units, measure
from bias_audit.analyses.targets import Measurable, Target
from bias_audit.progress import Silent
from bias_audit.results.blocks import ControlPoint, Curve, CurvePoint
from bias_audit.statistics.estimate import Estimate
from bias_audit.statistics.inference import (
    Measured,
    difference,
    estimate,
    p_above,
    studentised_draws,
)
from bias_audit.statistics.multiplicity import max_t

GUESSING = "guessing"
SHUFFLED = "shuffled labels"


@dataclass(frozen=True)
class LayerProbe:
    """One target at one layer: the probe and its controls."""

    layer: str
    probe: Probe
    controls: dict[str, tuple[Scores, ...]]
    """By kind: several seeds of one kind are averaged."""
    refits: tuple[Scores, ...] = ()
    """Of the probe, to the same labels with other folds."""

    @property
    def scores(self) -> Scores:
        """Of the probe itself."""
        return self.probe.scores


@dataclass(frozen=True)
class ProbedTarget:
    """One target at every layer."""

    target: Target
    part: Measurable
    probes: tuple[LayerProbe, ...]
    """Empty where the target cannot be measured."""


@dataclass(frozen=True)
class Comparison:
    """One metric of a probe beside its controls."""

    layer: str
    probe: Measured
    estimate: Estimate
    controls: tuple[ControlPoint, ...]
    lift: Estimate
    """Over the strongest control or guessing."""
    strongest: str
    narrowest: Measured
    """The difference to the control that is least surely exceeded."""
    adjusted_p: float | None = None
    """That the probe exceeds every control and guessing by chance, for all layers and targets."""
    claim: float = 0.0
    """Lower bound of the lift that holds for all layers and targets at once."""
    over_strongest: Measured | None = None
    """The difference that `lift` is about."""
    refits: tuple[float, ...] = ()
    """The probe's value with other folds."""

    @property
    def point(self) -> CurvePoint:
        """As a block holds it."""
        return CurvePoint(
            layer=self.layer,
            estimate=self.estimate,
            controls=self.controls,
            lift=self.lift,
            strongest=self.strongest,
            p_value=p_above(self.narrowest),
            adjusted_p=self.adjusted_p,
        )


@dataclass(frozen=True)
class Decodability:
    """One metric of one target over the layers."""

    probed: ProbedTarget
    comparisons: tuple[Comparison | None, ...]
    """None where the metric has no value."""

    @property
    def curve(self) -> Curve:
        """As a block holds it."""
        points = zip(self.probed.probes, self.comparisons, strict=True)
        return Curve(
            target=self.probed.target.name,
            points=tuple(
                CurvePoint(layer=probed.layer, estimate=None) if found is None else found.point
                for probed, found in points
            ),
            not_measured=self.probed.part.not_measured,
            noise=refit_noise(self.comparisons),
        )

    @property
    def best(self) -> tuple[LayerProbe, Comparison] | None:
        """The layer with the highest estimate, the first of equals."""
        found = [
            (probed, comparison)
            for probed, comparison in zip(self.probed.probes, self.comparisons, strict=True)
            if comparison is not None
        ]
        return max(found, key=lambda entry: entry[1].probe.value, default=None)


def probe_targets(
    subject: Subject, targets: tuple[Target, ...], settings: ProbeSettings
) -> tuple[ProbedTarget, ...]:
    """Fit every target at every layer and to every control.

    Raises:
        AnalysisError: Activations are not finite.
    """
    parts = [part_of(subject, target, settings) for target in targets]
    measured = [t for t, part in zip(targets, parts, strict=True) if part.not_measured is None]
    specs = [s for target in measured for s in _specs(subject, target, settings)]
    stored = all(is_scored(subject, spec, with_refits=True) for spec in specs)
    progress = Silent() if stored else subject.progress
    with progress.step(f"Probes on {subject.name}", total=len(specs), unit="probe") as step:
        for spec in specs:
            probe_and_refits(subject, spec)
            step.advance()
    return tuple(
        ProbedTarget(
            target,
            part,
            tuple(_layer_probe(subject, target, layer, settings) for layer in _layers(subject))
            if part.not_measured is None
            else (),
        )
        for target, part in zip(targets, parts, strict=True)
    )


def _layers(subject: Subject) -> tuple[str, ...]:
    return subject.activations.layers


def _specs(subject: Subject, target: Target, settings: ProbeSettings) -> list[ProbeSpec]:
    """Every probe of a target once: what does not depend on the layer is fitted once."""
    layers = _layers(subject)
    specs = [ProbeSpec(target, layer, settings) for layer in layers]
    for control in subject.controls:
        where = layers if control.by_layer else layers[:1]
        specs += [ProbeSpec(target, layer, settings, control) for layer in where]
    return specs


def _layer_probe(
    subject: Subject, target: Target, layer: str, settings: ProbeSettings
) -> LayerProbe:
    found, refits = probe_and_refits(subject, ProbeSpec(target, layer, settings))
    controls: dict[str, tuple[Scores, ...]] = {SHUFFLED: found.shuffled}
    for control in subject.controls:
        scores = probe(subject, ProbeSpec(target, layer, settings, control)).scores
        controls[control.kind] = (*controls.get(control.kind, ()), scores)
    return LayerProbe(layer, found, controls, refits)


def decodability(
    subject: Subject, probed: tuple[ProbedTarget, ...], metric: Metric, *, level: float
) -> tuple[Decodability, ...]:
    """Measure every probe and its controls, and adjust for the number of layers and targets.

    Args:
        subject: The subject.
        probed: Its probes.
        metric: What to measure.
        level: Coverage of the intervals.
    """
    units = Units.of(subject)
    compare = partial(_compare, metric=metric, units=units, level=level)
    total = sum(len(target.probes) for target in probed)
    title = f"Intervals of {metric.short} on {subject.name}"
    results = []
    with subject.progress.step(title, total=total, unit="layer") as step:
        for target in probed:
            comparisons = []
            for layer_probe in target.probes:
                comparisons.append(compare(layer_probe))
                step.advance()
            results.append(Decodability(target, tuple(comparisons)))
    return _adjusted(subject, results, metric)


def _compare(
    layer_probe: LayerProbe, *, metric: Metric, units: Units, level: float
) -> Comparison | None:
    real = measure(metric, layer_probe.scores, units)
    if real is None:
        return None
    controls = {
        kind: control
        for kind, scores in layer_probe.controls.items()
        for control in [_averaged([measure(metric, s, units) for s in scores], units, kind)]
        if control is not None
    }
    chance = metric.chance(len(layer_probe.scores.part.levels))
    guessing = replace(real, value=chance, influence=np.zeros_like(real.influence))
    differences = {kind: real - control for kind, control in controls.items()}
    differences[GUESSING] = real - guessing
    lifts = {kind: difference(real, c, level=level) for kind, c in controls.items()}
    lifts[GUESSING] = estimate(differences[GUESSING], level=level)
    strongest = min(lifts, key=lambda kind: lifts[kind].value)
    return Comparison(
        layer=layer_probe.layer,
        probe=real,
        estimate=estimate(real, level=level),
        controls=tuple(
            ControlPoint(name=kind, estimate=estimate(control, level=level), lift=lifts[kind])
            for kind, control in controls.items()
        ),
        lift=_over_all(lifts, strongest),
        strongest=strongest,
        narrowest=max(differences.values(), key=p_above),
        over_strongest=differences[strongest],
        refits=_refitted(layer_probe, metric),
    )


def _refitted(layer_probe: LayerProbe, metric: Metric) -> tuple[float, ...]:
    statistics = (metric.of(scores) for scores in layer_probe.refits)
    return tuple(statistic.value for statistic in statistics if statistic is not None)


def _over_all(lifts: dict[str, Estimate], strongest: str) -> Estimate:
    """The lift over the strongest control, with bounds that hold for the lift over each control.

    Which control is strongest is itself uncertain; the lowest of the bounds allows for that
    (intersection-union, Berger 1982).
    """
    chosen = lifts[strongest]
    return replace(
        chosen,
        lower=min(lift.lower for lift in lifts.values()),
        upper=min(lift.upper for lift in lifts.values()),
        method=f"{chosen.method}, lowest of {len(lifts)} paired intervals",
    )


def _averaged(measures: Sequence[Measured | None], units: Units, kind: str) -> Measured | None:
    """The mean over seeds; seeds of random weights vary as well as the images do.

    Shuffles need no such term: what varies between them is which images got which labels, and the
    images' influences hold that.
    """
    known = [measure for measure in measures if measure is not None]
    if not known:
        return None
    values = np.array([measure.value for measure in known])
    mean = float(values.mean())
    influence = np.mean([measure.influence for measure in known], axis=0)
    n = len(known)
    if n > 1 and kind != SHUFFLED:
        at = units.n_clusters
        influence[at : at + n] += (values - mean) / np.sqrt(n * (n - 1))
    return replace(known[0], value=mean, influence=np.asarray(influence))


def _adjusted(
    subject: Subject, results: Sequence[Decodability], metric: Metric
) -> tuple[Decodability, ...]:
    """Max-T over all layers and targets: the largest of many lifts is a claim about any."""
    found = [c for result in results for c in result.comparisons if c is not None]
    if not found:
        return tuple(results)
    measures = [comparison.narrowest for comparison in found]
    plan = subject.multiplicity
    draws = studentised_draws(
        measures, draws_of(plan, len(found)), subject.rng("max-t", metric.quantity)
    )
    joint = max_t([_t(measure) for measure in measures], draws, alpha=plan.alpha)
    known = {
        id(comparison): replace(
            comparison,
            adjusted_p=p_value,
            claim=measure.value - joint.critical * measure.standard_error,
        )
        for comparison, measure, p_value in zip(found, measures, joint.adjusted, strict=True)
    }
    return tuple(
        replace(
            result,
            comparisons=tuple(None if c is None else known[id(c)] for c in result.comparisons),
        )
        for result in results
    )


def _t(measured: Measured) -> float:
    error = measured.standard_error
    return measured.value / error if error > 0 else -np.inf
