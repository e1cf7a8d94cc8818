"""How maps of groups, and the relation of activity and confidence, change with training.

Source: Krug, Olson & Stober 2023, "Relation of Activity and Confidence when Training Deep Neural
Networks"; maps over training as in Krug, Ratul, Olson & Stober, arXiv:2204.03528.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from pydantic import Field
from scipy.special import logsumexp

from bias_audit.analyses.analysis import Analysis, Coverage, Head, Outcome, Step, Subject
from bias_audit.analyses.mapping.group_maps import colour_limit, map_blocks, plane_of
from bias_audit.analyses.mapping.layout import LayoutSettings
from bias_audit.analyses.mapping.profiles import marginal_profiles
from bias_audit.analyses.probing.separability import (
    OneLayerSettings,
    Units,
    chosen_layer,
    measured,
    setting_problems,
)
from bias_audit.analyses.small_groups import independent_images, suppress
from bias_audit.analyses.targets import Target, attribute_targets
from bias_audit.analyses.wording import coverage
from bias_audit.arrays import FloatArray, IntArray
from bias_audit.groups import Group
from bias_audit.results.finding import Finding
from bias_audit.shapes.group_ledger import GroupLedger
from bias_audit.shapes.group_table import GroupRow, GroupTable
from bias_audit.shapes.printed import interval
from bias_audit.statistics.comparison import clear_extremes
from bias_audit.statistics.inference import (
    Measured,
    correlation_estimate,
    difference,
    independent_difference,
)
from bias_audit.statistics.influence import pearson
from bias_audit.statistics.sureness import sureness, weight_of


class Params(LayoutSettings, OneLayerSettings):
    """Which layer is followed, and how its maps are drawn."""

    layer: str | None = Field(
        default=None,
        description="Default: the layer of the last checkpoint at which intersections separate "
        "best.",
    )
    level: Coverage = 0.95


@dataclass(frozen=True)
class _Seen:
    """One checkpoint: activity and confidence of each image."""

    name: str
    activity: FloatArray
    """Mean over the units of the layer, shape (n_images,)."""
    confidence: FloatArray | None
    """Softmax probability of the most probable class, shape (n_images,); None without a head."""


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
    by_step = [marginal_profiles(step.activations.moments(layer), table) for step in steps]
    # Levels of every attribute at every checkpoint, on one layout and one colour scale.
    maps, arrays = map_blocks(
        plane,
        [
            (f"step{number}", f"{step.name}: groups of each attribute", parts)
            for number, (step, parts) in enumerate(zip(steps, by_step, strict=True))
        ],
        colour_limit([part for parts in by_step for part in parts]),
    )
    seen = [
        _Seen(
            step.name,
            step.activations.units(layer).mean(axis=1, dtype=np.float64),
            None if step.head is None else confidence(step.head),
        )
        for step in steps
    ]
    made = [
        _table(subject, seen, target, layer, params.level) for target in attribute_targets(table)
    ]
    tables = [table for table, _ in made]
    return Outcome(
        blocks=(*tables, *maps, *(ledger for _, ledger in made)),
        arrays=arrays,
        findings=tuple(_findings(subject, seen, tables, layer, level=params.level)),
        method=(
            f"Followed over {', '.join(step.name for step in steps)}: {plane.layer} ({chosen}). "
            f"Units keep their places: the layout ({plane.layout}) is that of the last "
            "checkpoint, and the colour scale is one for all.",
            "Activity is the mean of all units of the layer for an image, confidence the largest "
            "softmax probability of the classification layer (Krug, Olson & Stober 2023). Per "
            "checkpoint and group their Pearson correlation over images is shown; intervals rest "
            "on the influence of every image, summed over clusters, on Fisher's z scale.",
        ),
        limits=tuple(_limits(subject, seen)),
    )


def confidence(head: Head) -> FloatArray:
    """Softmax probability of the most probable class, shape (n_images,)."""
    logits = (head.inputs @ head.weight.T + head.bias).astype(np.float64)
    return np.asarray(np.exp(logits.max(axis=1) - logsumexp(logits, axis=1)), dtype=np.float64)


def _related(subject: Subject, seen: _Seen, images: IntArray) -> Measured | None:
    """The correlation over some of the images; None where it has no value."""
    if seen.confidence is None:
        return None
    found = pearson(seen.activity[images], seen.confidence[images])
    if found is None:
        return None
    return measured(Units.of(subject), images, found, is_share=False)


def _table(
    subject: Subject, seen: Sequence[_Seen], target: Target, layer: str, level: float
) -> tuple[GroupTable, GroupLedger]:
    counts = independent_images(target.codes, subject.faces.clusters, len(target.groups))
    title = f"Small groups: activity and confidence by {target.name}"
    treated = suppress(target.groups, counts, subject.small_groups, title=title)
    rows = []
    for index, (group, treatment) in enumerate(zip(target.groups, treated.by_group, strict=True)):
        images = np.flatnonzero(target.codes == index)
        for one in seen:
            found, reason = None, treatment.reason
            if treatment.is_measured:
                found = _related(subject, one, images)
            if found is None and reason is None:
                reason = (
                    "the checkpoint has no classification layer"
                    if one.confidence is None
                    else "activity or confidence does not vary"
                )
            rows.append(
                GroupRow(
                    group=Group((*group.levels, ("checkpoint", one.name))),
                    n=len(images),
                    estimate=found and correlation_estimate(found, level=level),
                    reason=reason,
                )
            )
    table = GroupTable(
        title=f"How do activity and confidence correlate by {target.name} over checkpoints?",
        quantity="activity_confidence",
        metric="correlation of activity and confidence",
        layer=layer,
        target=target.name,
        chance=0.0,
        rows=tuple(rows),
    )
    return table, treated.ledger


def _findings(
    subject: Subject,
    seen: Sequence[_Seen],
    tables: Sequence[GroupTable],
    layer: str,
    *,
    level: float,
) -> Iterator[Finding]:
    everything = np.arange(len(subject.faces))
    related = [(one.name, _related(subject, one, everything)) for one in seen]
    known = [(name, found) for name, found in related if found is not None]
    if not known:
        return
    name, last = known[-1]
    estimate = correlation_estimate(last, level=level)
    text = (
        f"At {name}, the mean activity of {layer} and the softmax confidence of the "
        f"classification layer have a correlation of {interval(estimate)} over all "
        f"{len(everything)} faces ({coverage(level)})"
    )
    estimates, deciding = {"last": estimate}, estimate
    if len(known) > 1:
        before, first = known[0]
        deciding = difference(last, first, level=level)
        text += (
            f". At {before} it was {interval(correlation_estimate(first, level=level))}, a change "
            f"of {interval(deciding)} over {len(seen)} checkpoints"
        )
        estimates["change"] = deciding
    yield Finding(text=f"{text}.", weight=sureness(deciding), estimates=estimates)
    for table in tables:
        yield from _by_group(table, name)


def _by_group(table: GroupTable, name: str) -> Iterator[Finding]:
    """The extremes of an attribute at one checkpoint, where their intervals lie apart."""
    rows = [
        (row.group.levels[0][1], row.estimate)
        for row in table.rows
        if row.estimate is not None and row.group.levels[-1][1] == name
    ]
    estimates = [estimate for _, estimate in rows]
    ends = clear_extremes(estimates, alpha=1 - estimates[0].level) if rows else None
    if ends is None:
        return
    (lowest, low), (highest, high) = (rows[end] for end in ends)
    yield Finding(
        text=(
            f"At {name}, activity and confidence correlate least in {lowest} ({interval(low)}) "
            f"and most in {highest} ({interval(high)}) among the groups of {table.target} "
            f"({coverage(low.level)}s, not corrected for multiple comparisons). The two differ "
            "significantly after correction for all pairs of groups."
        ),
        weight=weight_of(sureness(independent_difference(high, low)), is_decided=True),
        estimates={"lowest": low, "highest": high},
    )


def _limits(subject: Subject, seen: Sequence[_Seen]) -> Iterator[str]:
    yield (
        "The correlation of activity and confidence describes the network on these images; it "
        "does not say that activity causes confidence."
    )
    if subject.training is None:
        yield (
            "This backbone is not a checkpoint of a training, so there is nothing to follow; "
            "list checkpoints with the backbone kind checkpoints."
        )
    if missing := [one.name for one in seen if one.confidence is None]:
        yield f"No confidence: {', '.join(missing)} ({subject.without_head}). Only maps are drawn."


PLUGIN = Analysis(
    title="Activity and confidence over training",
    params_type=Params,
    question="training",
    run=training,
    problems=setting_problems,
    quantities=("activity_confidence",),
    needs_head=True,
    needs_positions=lambda params: params.reads_positions,
)
