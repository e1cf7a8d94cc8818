"""An analysis: the share of a layer's units that are active, group by group."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations

import numpy as np
from pydantic import Field

from bias_audit.analyses.analysis import Analysis, Coverage, Outcome, Subject
from bias_audit.analyses.probing.separability import Units, measured
from bias_audit.analyses.targets import Target, attribute_targets, unknown_targets
from bias_audit.arrays import FloatArray
from bias_audit.config.schema import Strict
from bias_audit.data.faces import FaceTable
from bias_audit.results.finding import Finding
from bias_audit.shapes.group_table import GroupRow, GroupTable
from bias_audit.shapes.printed import percent_interval, points_interval
from bias_audit.statistics.inference import Measured, difference, estimate
from bias_audit.statistics.influence import average
from bias_audit.statistics.sureness import sureness

QUANTITY = "active_share"


class Params(Strict):
    """Which attributes, and how wide the intervals are."""

    targets: tuple[str, ...] | None = Field(
        default=None, description="Attributes whose groups are compared; default: all."
    )
    level: Coverage = 0.95


def problems(params: Params, table: FaceTable, _layers: tuple[str, ...] | None) -> tuple[str, ...]:
    """What the parameters name that these faces do not have; said before any work."""
    return unknown_targets(table, params.targets or ())


def active_units(subject: Subject, params: Params) -> Outcome:
    """The share of units above 0, averaged over the images of each group, at every layer."""
    blocks: list[GroupTable] = []
    findings: list[Finding] = []
    units = Units.of(subject)
    for layer in subject.counted(subject.activations.layers, "Active units of", unit="layer"):
        active = (subject.activations.units(layer) > 0).mean(axis=1)  # one share for each image
        for target in attribute_targets(subject.faces.table, params.targets):
            shares = [_share(active, target, code, units) for code in range(len(target.groups))]
            blocks.append(_table(layer, target, shares, params.level))
            findings += _finding(layer, target, shares, params.level)
    return Outcome(
        blocks=tuple(blocks),
        findings=tuple(findings),
        method=(
            "A unit is active for an image if its mean over the image is above 0. The share of "
            "active units is averaged over the images of a group; images of one person count "
            "together. The interval of a difference allows for the choice among all pairs of "
            "groups (Bonferroni).",
        ),
        limits=("How many units are active does not say what they encode.",),
    )


def _share(active: FloatArray, target: Target, code: int, units: Units) -> Measured | None:
    """The mean share of one group with what each person contributes; None without images."""
    images = np.flatnonzero(target.codes == code)
    if not len(images):
        return None
    return measured(units, images, average(active[images], units.clusters[images]))


def _table(
    layer: str, target: Target, shares: Sequence[Measured | None], level: float
) -> GroupTable:
    """A row for every declared group: an empty one has no value, and the reason."""
    rows = [
        GroupRow(
            group=group,
            n=0 if share is None else share.n,
            estimate=None if share is None else estimate(share, level=level),
            reason="no images" if share is None else None,
        )
        for group, share in zip(target.groups, shares, strict=True)
    ]
    return GroupTable(
        title=f"How many units of {layer} are active, by {target.name}?",
        quantity=QUANTITY,
        metric="share of active units",
        layer=layer,
        target=target.name,
        chance=None,
        rows=tuple(rows),
    )


def _finding(
    layer: str, target: Target, shares: Sequence[Measured | None], level: float
) -> Iterator[Finding]:
    """The groups that are farthest apart; the interval allows for the choice among all pairs."""
    known = [(g.label, s) for g, s in zip(target.groups, shares, strict=True) if s is not None]
    pairs = list(combinations(known, 2))
    if not pairs:
        return
    farthest = max(pairs, key=lambda pair: abs(pair[0][1].value - pair[1][1].value))
    (other, its), (one, share) = sorted(farthest, key=lambda entry: entry[1].value)
    apart = difference(share, its, level=1 - (1 - level) / len(pairs))
    verb = "differs significantly" if apart.lower > 0 else "shows no significant difference"
    yield Finding(
        text=f"At {layer}, the share of active units {verb} between {one} and {other} "
        f"({target.name}): {percent_interval(estimate(share, level=level))} of units are active "
        f"for {one}, which is {points_interval(apart)} more than for {other}.",
        weight=sureness(apart) if apart.lower > 0 else 0.0,
        estimates={"difference": apart},
        question="groups",
    )


PLUGIN = Analysis(
    title="Active units",
    params_type=Params,
    question="groups",
    run=active_units,
    problems=problems,
    quantities=(QUANTITY,),
)
