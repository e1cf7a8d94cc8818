"""Everything that is measured about the groups of one layer, with its tests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from bias_audit.analyses.analysis import Subject
from bias_audit.analyses.intersecting.group_aucs import Scored, depths, group_aucs
from bias_audit.analyses.intersecting.group_measures import GroupMeasures, GroupTests
from bias_audit.analyses.intersecting.group_tests import Level, Tested, parents_of, tested
from bias_audit.analyses.intersecting.interactions import interactions
from bias_audit.analyses.intersecting.within_groups import Asked, subsets, within_groups
from bias_audit.analyses.probing.probes import (
    ProbeSettings,
    ProbeSpec,
    out_of_fold_scores,
    part_of,
)
from bias_audit.analyses.probing.separability import AUC, Units, measure
from bias_audit.analyses.targets import INTERSECTION, Target, targets_of
from bias_audit.statistics.inference import Measured

TestedMeasures = tuple[tuple[GroupMeasures, GroupTests], ...]


@dataclass(frozen=True)
class Probed:
    """The probes of one layer."""

    layer: str
    targets: tuple[Target, ...]
    scored: dict[str, Scored]
    """By the target's name."""
    overall: dict[str, Measured | None]
    """Macro AUC by the target's name."""
    choice: float
    """Share of the error rate that the choice of the layer left."""


@dataclass(frozen=True)
class Part:
    """One question: its measures from coarse to fine, and their tests."""

    measured: TestedMeasures
    result: Tested


def probed(
    subject: Subject, layer: str, settings: ProbeSettings, *, choice: float = 1.0
) -> Probed:
    """The scores of every attribute and of their intersection.

    Args:
        subject: The subject.
        layer: Where.
        settings: Of the probes.
        choice: Share of the error rate that the choice of the layer left.

    Raises:
        AnalysisError: The activations are not finite.
    """
    targets, units = targets_of(subject.faces.table), Units.of(subject)
    scored: dict[str, Scored] = {}
    overall: dict[str, Measured | None] = {}
    for target in targets:
        reason = part_of(subject, target, settings).not_measured
        spec = ProbeSpec(target, layer, settings)
        scores = None if reason else out_of_fold_scores(subject, spec)
        scored[target.name] = Scored(scores, reason)
        found = None if scores is None else measure(AUC, scores, units)
        overall[target.name] = None if found is None else replace(found, choice=choice)
    return Probed(layer, targets, scored, overall, choice)


def aucs_of(subject: Subject, probes: Probed) -> Part:
    """Every level, pair of levels and cell against all other images."""
    families: dict[str, list[GroupMeasures]] = {}
    for name, over in depths(subject.faces.table.attributes):
        probe = over[0].name if len(over) == 1 else INTERSECTION
        own = group_aucs(subject, probes.layer, over, probes.scored[probe])
        families.setdefault(name, []).append(own)
    return _part(
        subject,
        "Is a group told apart from all others?",
        list(probes.overall.values()),
        families,
        probes.choice,
    )


def within_of(subject: Subject, probes: Probed) -> Part:
    """Every attribute within every group of the others."""
    attributes = subject.faces.table.attributes
    families: dict[str, list[GroupMeasures]] = {}
    overall = []
    for target in probes.targets:
        if target.name == INTERSECTION:
            continue
        overall.append(probes.overall[target.name])
        scored = probes.scored[target.name]
        for given in subsets(attributes, target.name):
            asked = Asked(subject, target, probes.layer, scored.scores, scored.not_measured, given)
            families.setdefault(_family(len(given)), []).append(within_groups(asked))
    ordered = dict(sorted(families.items(), key=lambda entry: len(entry[1][0].given)))
    question = "Within which groups is an attribute told apart?"
    return _part(subject, question, overall, ordered, probes.choice)


def _family(n_given: int) -> str:
    return {1: "within marginals", 2: "within pairs"}.get(n_given, f"within {n_given} attributes")


def _part(
    subject: Subject,
    question: str,
    anything: list[Measured | None],
    families: dict[str, list[GroupMeasures]],
    choice: float,
) -> Part:
    levels: list[Level] = []
    for name, found in families.items():
        members = [measures.allowing(choice) for measures in found]
        parents = parents_of(members, levels[-1].members) if levels else None
        levels.append(Level(name, tuple(members), parents))
    result = tested(subject, question, anything, levels, null=0.5, side="above")
    return Part(_joined(levels, result), result)


def interactions_of(subject: Subject, aucs: Part, within: Part) -> Part:
    """What the additive models leave: of the full cells, and of attributes within groups."""
    cells = [m for m, _ in aucs.measured if m.target == INTERSECTION]
    members = tuple(interactions(m) for m in (*(m for m, _ in within.measured), *cells))
    everything = [value for m in members for value in m.tested]
    levels = [Level("interactions", members)]
    question = "Is there more to a group than the effects of its single attributes?"
    result = tested(subject, question, everything, levels, null=0.0, side="apart")
    return Part(_joined(levels, result), result)


def _joined(levels: Sequence[Level], result: Tested) -> TestedMeasures:
    return tuple(
        pair
        for level, tests in zip(levels, result.tests, strict=True)
        for pair in zip(level.members, tests, strict=True)
    )
