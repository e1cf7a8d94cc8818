"""A target over the layers: separability, its controls, and the lift over the strongest."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np

from bias_audit.analyses.analysis import Subject
from bias_audit.analyses.families import draws_of
from bias_audit.analyses.probing.probes import (
    ProbeScores,
    ProbeSettings,
    ProbeSpec,
    Scores,
    fit_together,
    fits_at_once,
    is_scored,
    part_of,
    probe,
    probe_and_refits,
)
from bias_audit.analyses.probing.separability import AUC, Metric, Units, measure
from bias_audit.analyses.targets import Measurable, Target
from bias_audit.results.contributions import MeasureKey
from bias_audit.shapes.layer_curve import ControlPoint, Curve, CurvePoint, RefitNoise
from bias_audit.statistics.bootstrap import compared_with_a_further_draw, mean_of
from bias_audit.statistics.comparison import lift_over
from bias_audit.statistics.estimate import Estimate, allowing_for_choice
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
    probe: ProbeScores
    controls: dict[str, tuple[Scores, ...]]
    """By kind: several seeds of one kind are averaged."""
    refits: tuple[Scores, ...] = ()
    """Of the probe, to the same labels with other folds."""


@dataclass(frozen=True)
class ProbedTarget:
    """One target at every layer."""

    target: Target
    part: Measurable
    layers: tuple[str, ...]
    """Empty where the target cannot be measured."""
    at: Callable[[str], LayerProbe]
    """The probe of one layer, read again each time so that no two layers are in memory."""


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
    by_majority: Estimate | None = None
    """Of the labels that most annotators gave, where annotators disagree."""

    @property
    def narrowest(self) -> Measured:
        """The difference to the control that is least surely exceeded."""
        return min(self.differences.values(), key=normal_score)

    @property
    def over_strongest(self) -> Measured:
        """The difference to the strongest, with the value that `lift` has."""
        return replace(self.differences[self.strongest], value=self.lift.value)


@dataclass(frozen=True)
class Decodability:
    """One metric of one target over the layers."""

    probed: ProbedTarget
    comparisons: tuple[Comparison | None, ...]
    """Of each layer; None where the metric has no value."""
    choice: float = 1.0
    """Share of the error rate left to a layer that is chosen by its value."""
    lift_choice: float = 1.0
    """The same for lifts, of a layer chosen by value or lift."""

    @property
    def known(self) -> list[Comparison]:
        """Of the layers where the metric has a value."""
        return [comparison for comparison in self.comparisons if comparison is not None]

    @property
    def curve(self) -> Curve:
        """As a block holds it."""
        points = [
            CurvePoint(layer=layer, estimate=None)
            if found is None
            else CurvePoint(
                layer=found.layer,
                estimate=found.estimate,
                controls=found.controls,
                lift=found.lift,
                strongest=found.strongest,
                p_value=p_above(found.narrowest),
                adjusted_p=found.adjusted_p,
            )
            for layer, found in zip(self.probed.layers, self.comparisons, strict=True)
        ]
        return Curve(
            target=self.probed.target.name,
            points=tuple(points),
            not_measured=self.probed.part.not_measured,
            noise=refit_noise(self.known),
            choice=self.choice,
            lift_choice=self.lift_choice,
        )

    @property
    def best(self) -> Comparison | None:
        """The layer with the highest estimate, the first of equals."""
        return max(self.known, key=lambda comparison: comparison.probe.value, default=None)

    @property
    def strongest_claim(self) -> Comparison:
        """Where the lift is largest at a level that allows for all layers and targets.

        Raises:
            ValueError: The metric has no value anywhere.
        """
        return max(self.known, key=lambda comparison: comparison.claim)

    @property
    def is_claimed(self) -> bool:
        """Whether the target exceeds every control and guessing at some layer."""
        return any(comparison.claim > 0 for comparison in self.known)


def probe_targets(
    subject: Subject, targets: tuple[Target, ...], settings: ProbeSettings
) -> tuple[ProbedTarget, ...]:
    """Fit every target at every layer and to every control.

    Raises:
        AnalysisError: Activations are not finite.
    """
    layers = subject.activations.layers
    parts = [part_of(subject, target, settings) for target in targets]
    measured = [
        target for target, part in zip(targets, parts, strict=True) if part.not_measured is None
    ]
    batches = _batches(subject, dict.fromkeys(layers, measured), settings)
    stored = all(is_scored(subject, spec, with_refits=True) for specs in batches for spec in specs)
    fit, workers = partial(fit_together, subject), fits_at_once(subject, settings)
    subject.mapped(fit, batches, "Probes on", unit="layer", workers=workers, is_quick=stored)
    return tuple(
        ProbedTarget(
            target,
            part,
            layers if part.not_measured is None else (),
            _Probes(subject, target, settings).at,
        )
        for target, part in zip(targets, parts, strict=True)
    )


def _batches(
    subject: Subject, targets: Mapping[str, Sequence[Target]], settings: ProbeSettings
) -> list[list[ProbeSpec]]:
    """What is fitted together: targets of one layer, or of a control that has no layers."""
    own = [
        [ProbeSpec(target, layer, settings) for target in there]
        for layer, there in targets.items()
    ]
    once = {spec.target.name: spec for specs in own for spec in specs}
    batches = [*own]
    for control in subject.controls:
        for specs in own if control.by_layer else [[*once.values()]]:
            batches.append([replace(spec, control=control) for spec in specs])
    return batches


@dataclass(frozen=True)
class _Probes:
    """One target at any layer, with its controls."""

    subject: Subject
    target: Target
    settings: ProbeSettings
    of_all: dict[str, Scores] = field(default_factory=dict)
    """Of controls that are the same at every layer, by name."""

    def at(self, layer: str) -> LayerProbe:
        """The probe at a layer.

        Raises:
            AnalysisError: Activations are not finite.
        """
        spec = ProbeSpec(self.target, layer, self.settings)
        found, refits = probe_and_refits(self.subject, spec)
        controls: dict[str, tuple[Scores, ...]] = {SHUFFLED: found.shuffled}
        for control in self.subject.controls:
            scores = self.of_all.get(control.name)
            if scores is None:
                scores = probe(self.subject, replace(spec, control=control)).scores
            if not control.by_layer:
                self.of_all[control.name] = scores
            controls[control.kind] = (*controls.get(control.kind, ()), scores)
        return LayerProbe(layer, found, controls, refits)


@dataclass(frozen=True)
class _Measures:
    """One metric of one target at one layer."""

    probe: Measured | None
    controls: dict[str, list[Measured]]
    """By kind, of every seed that has a value."""
    refits: tuple[float, ...]
    by_majority: Measured | None

    @classmethod
    def of(cls, there: LayerProbe, metric: Metric, units: Units) -> _Measures:
        def values(scores: Iterable[Scores]) -> list[Measured]:
            found = (
                each.once(metric.quantity, partial(measure, metric, each, units))
                for each in scores
            )
            return [each for each in found if each is not None]

        controls = {kind: values(seeds) for kind, seeds in there.controls.items()}
        refits = tuple(refit.value for refit in values(there.refits))
        scores, plain = there.probe.scores, replace(there.probe.scores, by_annotator=())
        majority = measure(metric, plain, units) if scores.by_annotator else None
        return cls(measure(metric, scores, units), controls, refits, majority)


def decodability(
    subject: Subject, probed: tuple[ProbedTarget, ...], *metrics: Metric, level: float
) -> list[tuple[Decodability, ...]]:
    """Measure every probe and its controls, and adjust for the number of layers and targets.

    What is found is by metric and target, as given.
    """
    units = Units.of(subject)
    todo = [(target, layer) for target in probed for layer in target.layers]
    measures: dict[tuple[str, str], list[_Measures]] = {}
    for target, layer in subject.counted(todo, "Intervals on", unit="layer"):
        there = target.at(layer)
        by_metric = [_Measures.of(there, metric, units) for metric in metrics]
        measures[target.target.name, layer] = by_metric
    results = []
    for place, metric in enumerate(metrics):
        found = []
        for target in probed:
            by_layer = [measures[target.target.name, layer][place] for layer in target.layers]
            controls = _controls([each.controls for each in by_layer])
            chance = metric.chance(target.part) if by_layer else 0.0
            compared = tuple(
                _compare(layer, own, against, chance, level=level, rng=subject.rng("lift", layer))
                for layer, own, against in zip(target.layers, by_layer, controls, strict=True)
            )
            found.append(Decodability(target, compared))
        results.append(_adjusted(subject, found, metric))
    return results


def _compare(
    layer: str,
    own: _Measures,
    controls: Mapping[str, Measured],
    chance: float,
    *,
    level: float,
    rng: np.random.Generator,
) -> Comparison | None:
    real = own.probe
    if real is None:
        return None
    differences = {kind: real - control for kind, control in controls.items()}
    differences[GUESSING] = real.above(chance)
    return Comparison(
        layer=layer,
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
        lift=lift_over(differences, level=level, rng=rng),
        strongest=min(differences, key=lambda kind: differences[kind].value),
        refits=own.refits,
        by_majority=None if (most := own.by_majority) is None else estimate(most, level=level),
    )


def _controls(by_layer: Sequence[Mapping[str, list[Measured]]]) -> list[dict[str, Measured]]:
    """Every control of every layer, several seeds of one kind as one.

    Random weights vary between draws as well as the images do. Shuffles need no such term: what
    varies between them is which images got which labels, and the images' influences hold that.
    With one draw how much draws differ is unknown, and the comparison is with that draw.
    """
    found: list[dict[str, Measured]] = [{} for _ in by_layer]
    for kind in by_layer[0] if by_layer else ():
        seeds = [controls[kind] for controls in by_layer]
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
    measures = [comparison.narrowest for result in results for comparison in result.known]
    if not measures:
        return tuple(results)
    plan, n = subject.multiplicity, len(measures)
    draws = joint_draws(measures, draws_of(plan, n), subject.rng("max-t", metric.quantity))
    joint = max_t([normal_score(measure) for measure in measures], draws, alpha=plan.alpha)
    tested = iter(zip(measures, joint.adjusted, strict=True))
    adjusted = []
    for result in results:
        comparisons: list[Comparison | None] = []
        for comparison in result.comparisons:
            if comparison is None:
                comparisons.append(None)
                continue
            measure, p_value = next(tested)
            claim = bounds(measure, quantile_of(measure, joint.critical))[0]
            comparisons.append(replace(comparison, adjusted_p=p_value, claim=claim))
        choice, lift_choice = (
            choice_among(each, subject.rng("choice of layer", result.probed.target.name))
            for each in (
                [comparison.probe for comparison in result.known],
                [comparison.over_strongest for comparison in result.known],
            )
        )
        adjusted.append(Decodability(result.probed, tuple(comparisons), choice, lift_choice))
    return tuple(adjusted)


def refit_noise(found: Iterable[Comparison]) -> RefitNoise | None:
    """The standard deviation between fits with different folds, pooled over layers.

    The fits of one layer, the reported one among them, have the same images, labels, activations
    and procedure; folds are drawn again, and with them the images that choose the regularisation.
    None where no layer was fitted more than once.
    """
    refitted = [each for each in found if each.refits]
    if not refitted:
        return None
    variances = [np.var([each.probe.value, *each.refits], ddof=1) for each in refitted]
    pooled = float(np.mean(variances))
    sampling = float(np.mean(np.square([each.probe.standard_error for each in refitted])))
    return RefitNoise(
        sd=float(np.sqrt(pooled)),
        relative=float(np.sqrt(pooled / sampling)) if sampling > 0 else 0.0,
        refits=max(len(each.refits) for each in refitted),
        layers=len(refitted),
    )


def curve_measures(metric: Metric, results: Iterable[Decodability]) -> dict[MeasureKey, Measured]:
    """Every point of the curves of a metric, and its lift over the strongest control."""
    found: dict[MeasureKey, Measured] = {}
    for result in results:
        for comparison in result.known:
            key = MeasureKey(metric.quantity, result.probed.target.name, comparison.layer)
            found[key] = comparison.probe
            found[replace(key, of="lift")] = comparison.over_strongest
    return found


TOGETHER = (2, 4)
"""Similar clusters that are merged into one when a claim is checked again."""


@dataclass(frozen=True)
class Recheck:
    """A claim about one target, with the most similar clusters merged.

    Where identity is not recorded, images of one person may fall into different folds, and a probe
    that recognises people then seems to read their label. No similarity finds all such images, so
    each claim is checked again.
    """

    layer: str
    lifts: Mapping[int, Estimate | None]
    """Over the strongest baseline, by how many clusters were merged; None where too few were left
    to measure."""

    def holds(self, together: int) -> bool:
        """Whether the lift over the strongest baseline lies above 0."""
        lift = self.lifts[together]
        return lift is not None and lift.lower > 0

    @property
    def stands(self) -> bool:
        """Whether the claim is left at the first step."""
        return self.holds(TOGETHER[0])


def rechecks(
    subject: Subject, results: Sequence[Decodability], settings: ProbeSettings
) -> dict[str, Recheck]:
    """Fit the probes of all claims again, at the layers claimed, with clusters merged.

    Results are by macro AUC; what is found is by target, and empty where identity is recorded.

    Raises:
        AnalysisError: Activations are not finite.
    """
    if subject.likeness is None:
        return {}
    merged = {}
    for together in TOGETHER:
        clusters = subject.likeness.merged(subject.faces.clusters, together)
        faces = replace(subject.faces, clusters=clusters)
        merged[together] = replace(subject, faces=faces, shuffles=1, refits=0)
    claimed = [
        (result, (result.best if result.best.claim > 0 else result.strongest_claim).layer)
        for result in results
        if result.best is not None and result.is_claimed
    ]
    lifts = {n: _lifts_again(each, claimed, settings) for n, each in merged.items()}
    return {
        result.probed.target.name: Recheck(layer, {n: each[place] for n, each in lifts.items()})
        for place, (result, layer) in enumerate(claimed)
    }


def _lifts_again(
    subject: Subject, claimed: Sequence[tuple[Decodability, str]], settings: ProbeSettings
) -> list[Estimate | None]:
    """The lift of each at its layer, on merged clusters; None where too few are left."""
    parts = [part_of(subject, result.probed.target, settings) for result, _ in claimed]
    at: dict[str, list[Target]] = {}
    for part, (result, layer) in zip(parts, claimed, strict=True):
        if part.not_measured is None:
            at.setdefault(layer, []).append(result.probed.target)
    for specs in _batches(subject, at, settings):
        fit_together(subject, specs)
    return [
        None if part.not_measured is not None else _lift_again(subject, *each, part, settings)
        for part, each in zip(parts, claimed, strict=True)
    ]


def _lift_again(
    subject: Subject, result: Decodability, layer: str, part: Measurable, settings: ProbeSettings
) -> Estimate | None:
    target, level = result.probed.target, result.strongest_claim.estimate.level
    probed = ProbedTarget(target, part, (layer,), _Probes(subject, target, settings).at)
    ((again,),) = decodability(subject, (probed,), AUC, level=level)
    found = again.comparisons[0]
    return None if found is None else allowing_for_choice(found.lift, result.lift_choice)
