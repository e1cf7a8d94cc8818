"""Which intersections a probe takes for which others, and which attributes change in that."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from pydantic import Field

from bias_audit.analyses.analysis import Analysis, Coverage, OneLayer, Outcome, Subject
from bias_audit.analyses.confusing.confusions import Predictions, Wrong, confusion_block
from bias_audit.analyses.confusing.published import (
    PublishedSettings,
    accuracy_by_layer,
    published_limits,
    published_method,
    published_predictions,
    published_probes,
    split_of,
    too_few_to_hold_out,
)
from bias_audit.analyses.probing.probes import (
    ProbeSettings,
    ProbeSpec,
    out_of_fold_scores,
    too_few_images,
)
from bias_audit.analyses.probing.sentences import likeness_limits
from bias_audit.analyses.probing.separability import (
    Units,
    check_layers,
    chosen_layer_and_choice,
    unknown_layers,
    widening_of,
)
from bias_audit.analyses.targets import Target, finest_target
from bias_audit.analyses.wording import (
    SCORE_INTERVALS,
    coverage,
    decided_at,
    percent,
    percent_interval,
)
from bias_audit.data.faces import FaceTable
from bias_audit.groups import Attribute
from bias_audit.results.blocks import Confusions, Finding
from bias_audit.statistics.estimate import at_level
from bias_audit.statistics.sureness import sureness

PUBLISHED = "krug_stober_2025"


class Params(ProbeSettings):
    """Where confusions are looked at, and how many are shown."""

    protocol: Literal["cross_validated", "krug_stober_2025"] = Field(
        default="cross_validated",
        description="How probes are fitted and asked: every image out of fold, or as published.",
    )
    published: PublishedSettings = Field(
        default=PublishedSettings(), description="The probe of protocol krug_stober_2025."
    )
    layer: OneLayer = None
    most_frequent: int = Field(default=20, ge=1, le=1000, description="Pairs to show.")
    level: Coverage = 0.95


def confusions(subject: Subject, params: Params) -> Outcome:
    """Count the confusions of the intersection probe on images it was not fitted to.

    Raises:
        AnalysisError: Intersections cannot be measured, or the layer is unknown.
    """
    if params.protocol == PUBLISHED:
        return _published(subject, params)
    return _cross_validated(subject, params)


def _cross_validated(subject: Subject, params: Params) -> Outcome:
    target = finest_target(subject.faces.table)
    layer, chosen, choice = chosen_layer_and_choice(subject, params.layer, params.probes)
    scores = out_of_fold_scores(subject, ProbeSpec(target, layer, params.probes))
    part = scores.part
    wrong = Wrong.of(
        Predictions(
            layer=layer,
            groups=tuple(target.groups[index] for index in part.levels),
            true=part.codes,
            predicted=scores.predicted,
            units=Units.of(subject),
            images=part.images,
            widened=widening_of(scores),
            level=params.level,
            choice=choice,
            fewest=subject.small_groups.suppress_below,
        )
    )
    title = f"Confusions of {target.described} at {layer}"
    block, tied = confusion_block(wrong, title, params.most_frequent)
    return Outcome(
        blocks=(block,),
        findings=_findings(block, wrong, target, subject.multiplicity.alpha),
        method=(
            "Confusions are the wrong out-of-fold predictions of the linear probe of "
            f"{target.described} at {layer} ({chosen}), classed by the set of annotated "
            "attributes in which the predicted group differs from the annotated one.",
            f"{_EXPECTED} Intervals of shares of all confusions {SCORE_INTERVALS}, widened by a "
            f"factor of {widening_of(scores):.2f}, because every image also trains probes that "
            "predict others (Nadeau & Bengio 2003, in proportion to how much the probe's scores "
            "depend on the training images); those of single pairs are made and widened alike.",
        ),
        limits=(*_limits(wrong, tied, len(part.reasons)), *likeness_limits(subject)),
    )


_EXPECTED = (
    "The share expected of a class is the one that would be seen if a wrong prediction fell on "
    "any other group as often as that group is predicted at all."
)


def _published(subject: Subject, params: Params) -> Outcome:
    target = finest_target(subject.faces.table)
    asked = subject.activations.layers if params.layer is None else (params.layer,)
    layers, settings = check_layers(subject, asked), params.published
    split = split_of(subject, target, settings)
    probes = published_probes(subject, split, layers, settings)
    curve, best, finding = accuracy_by_layer(subject, target, split, probes, level=params.level)
    predictions = published_predictions(
        subject, target, split, best, level=params.level, n_layers=len(layers)
    )
    wrong = Wrong.of(predictions)
    title = f"Confusions of {target.described} at {best.layer}, published protocol"
    block, tied = confusion_block(wrong, title, params.most_frequent)
    return Outcome(
        blocks=(curve, block),
        findings=(finding, *_findings(block, wrong, target, subject.multiplicity.alpha)),
        method=(*published_method(target, settings, split, probes), _EXPECTED),
        limits=(
            *published_limits(target, split, level=params.level),
            *_limits(wrong, tied, len(split.part.reasons)),
        ),
    )


def _findings(
    block: Confusions, wrong: Wrong, target: Target, alpha: float
) -> tuple[Finding, ...]:
    names = [name for name, _ in target.groups[0].levels]
    if len(names) < 2 or not wrong.is_enough:  # noqa: PLR2004
        return ()
    return tuple(_finding(block, wrong, name, alpha) for name in names)


def _finding(block: Confusions, wrong: Wrong, name: str, alpha: float) -> Finding:
    """How often an attribute changes in a confusion, against chance."""
    chosen = np.flatnonzero([name in changed for changed in wrong.classes])
    share, expected = wrong.share(chosen), float(wrong.expected[chosen].sum())
    shown = len(block.most_frequent)
    changing = sum(name in confusion.changed for confusion in block.most_frequent)
    deciding = at_level(share, 1 - alpha)
    less, more = deciding.upper < expected, deciding.lower > expected
    verdict = "less than" if less else "more than" if more else "not distinguishable from"
    listed = (
        f"Of the {shown} most frequent confusions at {block.layer}, {changing} change annotated "
        f"{name}. "
    )
    text = (
        f"{listed if shown else ''}Of all {block.n_confused} confusions at {block.layer}, "
        f"{percent_interval(share)} ({coverage(share.level)}) change annotated {name}, {verdict} "
        f"the {percent(expected)} expected if wrong predictions fell on groups as often as these "
        f"are predicted{decided_at(alpha, share.level)}."
    )
    weight = sureness(deciding, expected)
    estimates = {f"share_changing_{name}": share}
    return Finding(text=text, weight=weight, estimates=estimates, evidence="confusions")


def _limits(wrong: Wrong, tied: int, n_left_out: int) -> tuple[str, ...]:
    sentences = ["Confusions are those of a linear probe, not of the backbone's own task."]
    if tied:
        sentences.append(
            f"{tied} more pairs of groups are confused as often as the last one shown."
        )
    predictions = wrong.predictions
    if hidden := int((~predictions.shown).sum()):
        sentences.append(
            f"Single confusions of {hidden} of {len(predictions.groups)} groups are not listed: "
            f"these groups have fewer than {predictions.fewest} independent images that the probe "
            "was asked about, or such a group would follow from them."
        )
    if n_left_out:
        sentences.append(
            f"{n_left_out} groups have too few images to be told apart; they are "
            "neither confused nor confused with."
        )
    return tuple(sentences)


def _problems(params: Params, faces: FaceTable, layers: tuple[str, ...] | None) -> tuple[str, ...]:
    asked = None if params.layer is None else (params.layer,)
    published = params.protocol == PUBLISHED
    few = (
        too_few_to_hold_out(params.published, faces)
        if published
        else too_few_images(params, faces)
    )
    return (*unknown_layers(asked, layers), *few)


def _needs_positions(params: Params) -> bool:
    return params.protocol == PUBLISHED


def _families(_params: Params, attributes: Sequence[Attribute]) -> int:
    """Whether each attribute changes more or less often than by chance, each by itself."""
    return len(attributes) if len(attributes) > 1 else 0


PLUGIN = Analysis(
    title="Confusions",
    params_type=Params,
    run=confusions,
    problems=_problems,
    families=_families,
    needs_positions=_needs_positions,
    quantities=("validation_accuracy",),
)
