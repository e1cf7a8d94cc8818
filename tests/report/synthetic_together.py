"""What analyses of all backbones together might find, made up."""

from __future__ import annotations

from collections.abc import Sequence

from bias_audit.groups import Attribute, Group
from bias_audit.results.audit import AnalysisResult
from bias_audit.results.blocks import (
    BackboneComparison,
    ComparedBackbone,
    EnsembleVotes,
    Finding,
    TrustMeasure,
    VoteDifference,
    VoteGroup,
    Voter,
)
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


def _votes(attribute: Attribute, backbones: Sequence[str], layer: str) -> EnsembleVotes:
    voters = (
        *(Voter(name=name, layer=None) for name in ("soft vote", "majority vote")),
        *(Voter(name=name, layer=layer) for name in backbones),
    )
    values = tuple((_estimate(0.75, 0.03), _estimate(0.72, 0.04)) for _ in voters)
    nothing = tuple((None, None) for _ in voters)
    groups = [Group(((attribute.name, level),)) for level in attribute.levels]
    return EnsembleVotes(
        title=f"Votes on annotated {attribute.name}",
        target=attribute.name,
        n=60,
        n_tied=3,
        voters=voters,
        measures=("micro F1", "macro F1"),
        guessing=(0.5, 0.33),
        estimates=values,
        groups=tuple(
            VoteGroup(
                group=group,
                n=60 if place else 4,
                estimates=values if place else nothing,
                reason=None if place else "4 independent images: suppressed",
            )
            for place, group in enumerate(groups)
        ),
        differences=tuple(
            VoteDifference(
                group=group,
                vote="soft vote",
                member=backbones[0],
                measure="macro F1",
                estimate=_estimate(0.03, 0.02),
                adjusted_p=p_value,
            )
            for group, p_value in ((None, 0.02), (groups[-1], None))
        ),
        adjustment="P-values are adjusted.",
    )


def _comparison(attribute: Attribute, backbones: Sequence[str], layer: str) -> BackboneComparison:
    return BackboneComparison(
        title="Whose maps hold up",
        target=attribute.name,
        methods=("Saliency", "Guided backpropagation"),
        measures=(
            TrustMeasure(name="without training", better="lower", meaning="as it says"),
            TrustMeasure(name="deletion", better="higher", meaning="as it says", reference=0.0),
        ),
        backbones=tuple(
            ComparedBackbone(
                name=name,
                layer=layer,
                passing=1,
                applied=2,
                estimates=(_estimate(0.2, 0.05), None),
                ranks=((1, len(backbones)), None),
            )
            for name in backbones
        ),
        rule="Ranks are what comparisons leave open.",
    )
