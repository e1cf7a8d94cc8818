"""How maps, activity, confidence and calibration of groups change with training.

Source: Krug, Olson & Stober 2023, "Relation of Activity and Confidence when Training Deep Neural
Networks"; maps over training as in Krug, Ratul, Olson & Stober, arXiv:2204.03528. Calibration as
in Guo et al. 2017 (arXiv:1706.04599) and Kumar et al. 2019 (arXiv:1909.10155).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from bias_audit.analyses.analysis import Analysis, BootstrapDraws, Coverage, Outcome, Step, Subject
from bias_audit.analyses.following import calibration
from bias_audit.analyses.following.relation import (
    QUANTITY,
    WORDS,
    Classes,
    Divided,
    Relation,
    Seen,
    class_problems,
    comparison,
    divided,
    relation_findings,
    relation_table,
    seen,
)
from bias_audit.analyses.mapping.group_maps import (
    colour_limit,
    drawn_moments,
    map_blocks,
    plane_of,
)
from bias_audit.analyses.mapping.layout import LayoutSettings
from bias_audit.analyses.mapping.profiles import marginal_profiles
from bias_audit.analyses.probing.separability import (
    OneLayerSettings,
    chosen_layer,
    setting_problems,
)
from bias_audit.statistics.bootstrap import cluster_weights

Confidence = Literal["softmax", "margin", "entropy", "energy", "calibrated"]


class Params(LayoutSettings, OneLayerSettings):
    """Which layer is followed, how its maps are drawn, and how confidence is measured."""

    layer: str | None = Field(
        default=None,
        description="Default: the layer of the last checkpoint at which intersections separate "
        "best.",
    )
    confidence: Annotated[tuple[Confidence, ...], Field(min_length=1)] | None = Field(
        default=None,
        description='Measures of confidence; the first has the tables by group. "calibrated" '
        "needs classes. Default: softmax, margin, entropy, energy and, with classes, calibrated.",
    )
    classes: Classes | None = Field(
        default=None,
        description="Which class is right for a face, to measure calibration; default: unknown.",
    )
    bins: int = Field(
        default=5, ge=2, le=50, description="Bins of the calibration error, by confidence."
    )
    draws: BootstrapDraws = 2000
    level: Coverage = 0.95

    @model_validator(mode="after")
    def _measures_fit(self) -> Self:
        given = self.confidence or ()
        if len(set(given)) < len(given):
            raise ValueError(f"confidence: expected each measure once, got {', '.join(given)}")
        if "calibrated" in given and self.classes is None:
            raise ValueError(
                "confidence: calibrated needs to know which class is right for a face; add "
                "classes: {attribute: ..., outputs: [...]}, or remove calibrated"
            )
        return self

    @property
    def measures(self) -> tuple[str, ...]:
        """Names of the measures of confidence, the first one for the tables by group."""
        known = (name for name in WORDS if name != "calibrated" or self.classes is not None)
        return self.confidence or tuple(known)


def training(subject: Subject, params: Params) -> Outcome:
    """Follow one layer over the checkpoints up to the subject, the last of its training.

    A backbone that is not a checkpoint is reported on its own.
    """
    if subject.training is not None and not subject.training.is_last:
        limit = "All checkpoints of this training are reported together, with the last one."
        return Outcome(blocks=(), limits=(limit,))
    layer, chosen = chosen_layer(subject, params.layer, params.probes)
    table, alone = subject.faces.table, Step(subject.name, subject.activations, subject.head)
    steps = (alone,) if subject.training is None else subject.training.steps
    if len({step.name for step in steps}) < len(steps):  # each has a name of its own
        steps = tuple(replace(step, name=f"{n}: {step.name}") for n, step in enumerate(steps, 1))
    plane, _ = plane_of(subject, layer, params)
    by_step = [
        marginal_profiles(
            drawn_moments(replace(subject, activations=step.activations), layer, params), table
        )
        for step in steps
    ]
    # Levels of every attribute at every checkpoint, on one layout and one colour scale.
    maps, arrays = map_blocks(
        plane,
        [
            (f"step{number}", f"{step.name}: groups of each attribute", parts)
            for number, (step, parts) in enumerate(zip(steps, by_step, strict=True))
        ],
        colour_limit([part for parts in by_step for part in parts]),
    )
    middle = range(1, len(maps) - 1)
    maps = [
        block.model_copy(update={"detail": place in middle}) for place, block in enumerate(maps)
    ]
    found = seen(subject, steps, layer, params.classes, params.folds)
    relation = Relation(subject, found, layer, params.measures, params.level)
    parts = divided(subject)
    tables = [relation_table(relation, part) for part in parts]
    calibrated = _calibrated(subject, found, parts, params)
    return Outcome(
        blocks=(
            *calibrated.blocks,
            *tables,
            *comparison(relation, parts),
            *maps,
            *(part.treatments.ledger for part in parts),
        ),
        arrays=arrays,
        findings=(*calibrated.findings, *relation_findings(relation, tables)),
        method=(
            f"Followed over {', '.join(step.name for step in steps)}: {plane.layer} ({chosen}). "
            f"Units keep their places: the layout ({plane.layout}) is that of the last "
            "checkpoint, and the colour scale is one for all.",
            "Activity is the mean of all units of the layer for an image, confidence "
            f"{WORDS[relation.measures[0]].meaning} of the classification layer (Krug, Olson & "
            "Stober 2023). Per checkpoint and group their Pearson correlation over images is "
            "shown; intervals rest on the influence of every image, summed over clusters, on "
            "Fisher's z scale.",
            *calibrated.method,
        ),
        limits=(*_limits(subject, found), *calibrated.limits),
    )


def _calibrated(
    subject: Subject, found: tuple[Seen, ...], parts: Sequence[Divided], params: Params
) -> Outcome:
    if params.classes is None:
        return Outcome(blocks=())
    rng = subject.rng("calibration error")
    weights = cluster_weights(subject.faces.clusters, params.draws, rng)
    whole = calibration.Calibration(
        subject, found, params.classes, weights, n_bins=params.bins, level=params.level
    )
    return calibration.calibration_outcome(whole, parts)


def _limits(subject: Subject, found: Sequence[Seen]) -> Iterator[str]:
    yield (
        "The correlation of activity and confidence describes the network on these images; it "
        "does not say that activity causes confidence."
    )
    if subject.training is None:
        yield (
            "This backbone is not a checkpoint of a training, so there is nothing to follow; "
            "list checkpoints with the backbone kind checkpoints."
        )
    if missing := [one.name for one in found if one.logits is None]:
        yield f"No confidence: {', '.join(missing)} ({subject.without_head}). Only maps are drawn."


PLUGIN = Analysis(
    title="Activity, confidence and calibration over training",
    params_type=Params,
    question="training",
    run=training,
    problems=lambda params, faces, layers: (
        *setting_problems(params, faces, layers),
        *class_problems(params.classes, faces),
    ),
    quantities=(QUANTITY, calibration.QUANTITY),
    # Of each attribute: which groups differ in the relation, and which in over-confidence.
    families=lambda params, attributes: (
        len(attributes) + (len(attributes) - 1 if params.classes else 0)
    ),
    needs_head=True,
    needs_positions=lambda params: params.reads_positions,
)
