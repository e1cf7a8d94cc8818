"""What analyses of all backbones together might find, made up."""

from __future__ import annotations

from collections.abc import Sequence

from bias_audit.groups import Attribute, Group
from bias_audit.results.audit import AnalysisResult
from bias_audit.results.finding import Finding
from bias_audit.shapes.measures import Entry, Measure, Measures, Pair
from bias_audit.statistics.estimate import Estimate


def _estimate(value: float, half: float) -> Estimate:
    return Estimate(value, value - half, value + half, 0.95, 60, "clustered influence, images")


def joint_result(
    attributes: Sequence[Attribute], backbones: Sequence[str], layer: str
) -> AnalysisResult:
    """Votes on the first attribute, of which one level has no number, and a comparison."""
    attribute = attributes[0]
    return AnalysisResult(
        kind="ensemble",
        title="Ensemble",
        params={},
        status="done",
        blocks=(_votes(attribute, backbones, layer), _comparison(attribute, backbones, layer)),
        findings=(
            Finding(
                text="The soft vote reaches a macro F1 of 0.72 [0.68, 0.76].",
                weight=0.1,
                estimates={"soft_vote": _estimate(0.72, 0.04)},
            ),
            Finding(text="By deletion no backbone is told to be ahead.", weight=0.0),
        ),
        method=("Each backbone votes with out-of-fold probabilities.",),
        limits=("Votes are those of probes.",),
        seconds=2.0,
    )


def _votes(attribute: Attribute, backbones: Sequence[str], layer: str) -> Measures:
    voters = (("soft vote", None), ("majority vote", None), *((name, layer) for name in backbones))
    values = (_estimate(0.75, 0.03), _estimate(0.72, 0.04))
    groups = [Group(((attribute.name, level),)) for level in attribute.levels]
    return Measures(
        title=f"Votes on annotated {attribute.name}",
        noun="voter",
        target=attribute.name,
        measures=tuple(
            Measure(name=name, reference=share, reference_is="guessing")
            for name, share in (("micro F1", 0.5), ("macro F1", 0.33))
        ),
        entries=(
            *(
                Entry(name=name, layer=at, values=values, is_faint=at is not None)
                for name, at in voters
            ),
            *(
                Entry(
                    name=name,
                    group=group,
                    n=60 if place else 4,
                    values=values if place else (None, None),
                    reasons=(None if place else "4 independent images: suppressed",) * 2,
                    is_drawn=False,
                )
                for place, group in enumerate(groups)
                for name, _ in voters
            ),
        ),
        pairs=tuple(
            Pair(
                group=group,
                one="soft vote",
                other=backbones[0],
                measure="macro F1",
                estimate=_estimate(0.03, 0.02),
                adjusted_p=p_value,
            )
            for group, p_value in ((None, 0.02), (groups[-1], None))
        ),
        caption="Votes and single backbones.",
        notes=("P-values are adjusted.",),
    )


def _comparison(attribute: Attribute, backbones: Sequence[str], layer: str) -> Measures:
    return Measures(
        title="Whose maps hold up",
        noun="backbone",
        target=attribute.name,
        measures=(
            Measure(name="without training", better="lower", meaning="as it says"),
            Measure(name="deletion", better="higher", meaning="as it says", reference=0.0),
        ),
        entries=tuple(
            Entry(
                name=name,
                layer=layer,
                standing="1 of 2",
                values=(_estimate(0.2, 0.05), None),
                ranks=((1, len(backbones)), None),
            )
            for name in backbones
        ),
        standing_is="methods that pass",
        caption="Checks of maps, as means over methods.",
        notes=("Ranks are what comparisons leave open.",),
    )
