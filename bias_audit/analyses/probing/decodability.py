"""A target over the layers: separability, its controls, and the lift over the strongest."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from bias_audit.analyses.analysis import Subject
from bias_audit.analyses.families import draws_of
from bias_audit.analyses.probing.cross_fitting import refit_noise
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
from bias_audit.analyses.probing.separability import Metric, Units, measure
from bias_audit.analyses.targets import Measurable, Target
from bias_audit.progress import Silent
from bias_audit.results.blocks import ControlPoint, Curve, CurvePoint
from bias_audit.statistics.bootstrap import compared_with_a_further_draw, mean_of
from bias_audit.statistics.comparison import lift_over
from bias_audit.statistics.estimate import Estimate
from bias_audit.statistics.inference import (
    Measured,
    bounds,
    choice_among,
    estimate,
    joint_draws,
    normal_score,
    p_above,
    quantile_of,
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
    differences: dict[str, Measured]
    """To each control and to guessing."""
    lift: Estimate
    """Over the strongest of them."""
    strongest: str
    adjusted_p: float | None = None
    """That the probe exceeds every control and guessing by chance, for all layers and targets."""
    claim: float = 0.0
    """Lower bound of the lift that holds for all layers and targets at once."""
    refits: tuple[float, ...] = ()
    """The probe's value with other folds."""

    @property
    def narrowest(self) -> Measured:
        """The difference to the control that is least surely exceeded."""
        return min(self.differences.values(), key=normal_score)

    @property
    def over_strongest(self) -> Measured:
        """The difference to the strongest, with the value that `lift` has."""
        return replace(self.differences[self.strongest], value=self.lift.value)

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
    choice: float = 1.0
    """Share of the error rate left to a layer that is chosen by its value."""
    lift_choice: float = 1.0
    """The same for lifts, of a layer chosen by value or lift."""

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
            choice=self.choice,
            lift_choice=self.lift_choice,
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

    @property
    def surest(self) -> Comparison:
        """Where the lift is largest at a level that allows for all layers and targets.

        Raises:
            ValueError: The metric has no value anywhere.
        """
        return max((c for c in self.comparisons if c is not None), key=lambda c: c.claim)

    @property
    def is_claimed(self) -> bool:
        """Whether the target exceeds every control and guessing at some layer."""
        return any(c is not None and c.claim > 0 for c in self.comparisons)


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
            tuple(layer_probe(subject, target, layer, settings) for layer in _layers(subject))
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


def layer_probe(
    subject: Subject, target: Target, layer: str, settings: ProbeSettings
) -> LayerProbe:
    """One target at one layer, with its controls.

    Raises:
        AnalysisError: Activations are not finite.
    """
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
    compare = partial(_compare, subject, metric=metric, units=units, level=level)
    total = sum(len(target.probes) for target in probed)
    title = f"Intervals of {metric.short} on {subject.name}"
    results = []
    with subject.progress.step(title, total=total, unit="layer") as step:
        for target in probed:
            comparisons = []
            controls = _controls(target.probes, metric, units)
            for there, own in zip(target.probes, controls, strict=True):
                comparisons.append(compare(there, own))
                step.advance()
            results.append(Decodability(target, tuple(comparisons)))
    return _adjusted(subject, results, metric)


def _compare(
    subject: Subject,
    there: LayerProbe,
    controls: Mapping[str, Measured],
    *,
    metric: Metric,
    units: Units,
    level: float,
) -> Comparison | None:
    real = measure(metric, there.scores, units)
    if real is None:
        return None
    differences = {kind: real - control for kind, control in controls.items()}
    differences[GUESSING] = real.above(metric.chance(len(there.scores.part.levels)))
    lift = lift_over(differences, level=level, rng=subject.rng("lift", there.layer))
    return Comparison(
        layer=there.layer,
        probe=real,
        estimate=estimate(real, level=level),
        controls=tuple(
            ControlPoint(
                name=kind,
                estimate=estimate(control, level=level),
                lift=estimate(differences[kind], level=level),
            )
            for kind, control in controls.items()
        ),
        differences=differences,
        lift=lift,
        strongest=min(differences, key=lambda kind: differences[kind].value),
        refits=_refitted(there, metric, units),
    )


def _refitted(there: LayerProbe, metric: Metric, units: Units) -> tuple[float, ...]:
    found = (measure(metric, scores, units) for scores in there.refits)
    return tuple(refit.value for refit in found if refit is not None)


def _controls(
    probes: Sequence[LayerProbe], metric: Metric, units: Units
) -> list[dict[str, Measured]]:
    """Every control of every layer, several seeds of one kind as one.

    Random weights vary between draws as well as the images do. Shuffles need no such term: what
    varies between them is which images got which labels, and the images' influences hold that.
    With one draw how much draws differ is unknown, and the comparison is with that draw.
    """
    found: list[dict[str, Measured]] = [{} for _ in probes]
    for kind in probes[0].controls if probes else ():
        seeds = [
            [m for scores in p.controls[kind] if (m := measure(metric, scores, units)) is not None]
            for p in probes
        ]
        most = max(map(len, seeds))
        is_drawn = [kind != SHUFFLED and len(each) == most > 1 for each in seeds]
        drawn = [each for each, known in zip(seeds, is_drawn, strict=True) if known]
        further = iter(compared_with_a_further_draw(drawn) if drawn else ())
        for own, each, known in zip(found, seeds, is_drawn, strict=True):
            if known:
                own[kind] = next(further)
            elif each:
                own[kind] = mean_of(each)
    return found


def _adjusted(
    subject: Subject, results: Sequence[Decodability], metric: Metric
) -> tuple[Decodability, ...]:
    """Max-T over all layers and targets: the largest of many lifts is a claim about any."""
    found = [c for result in results for c in result.comparisons if c is not None]
    if not found:
        return tuple(results)
    measures = [comparison.narrowest for comparison in found]
    plan = subject.multiplicity
    draws = joint_draws(
        measures, draws_of(plan, len(found)), subject.rng("max-t", metric.quantity)
    )
    joint = max_t([normal_score(measure) for measure in measures], draws, alpha=plan.alpha)
    known = {
        id(comparison): replace(
            comparison,
            adjusted_p=p_value,
            claim=bounds(measure, quantile_of(measure, joint.critical))[0],
        )
        for comparison, measure, p_value in zip(found, measures, joint.adjusted, strict=True)
    }
    return tuple(
        replace(
            result,
            comparisons=tuple(None if c is None else known[id(c)] for c in result.comparisons),
            choice=_choice(subject, result, lambda comparison: comparison.probe),
            lift_choice=_choice(subject, result, lambda comparison: comparison.over_strongest),
        )
        for result in results
    )


def _choice(subject: Subject, result: Decodability, of: Callable[[Comparison], Measured]) -> float:
    measures = [of(comparison) for comparison in result.comparisons if comparison is not None]
    return choice_among(measures, subject.rng("choice of layer", result.probed.target.name))
