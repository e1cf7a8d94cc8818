"""How well groups can be recognised, alone and combined, and what is more than their sum."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field

from bias_audit.analyses.analysis import Analysis, Coverage, Outcome, Subject, Workload
from bias_audit.analyses.families import declared_families, depths, draws_of
from bias_audit.analyses.intersecting import sentences
from bias_audit.analyses.intersecting.group_aucs import (
    GroupMeasures,
    Probed,
    group_aucs,
    probed,
    subsets,
    table_of,
    within_groups,
)
from bias_audit.analyses.intersecting.group_tests import Tested, interactions, tested
from bias_audit.analyses.intersecting.published_claims import attributes_named, claim_findings
from bias_audit.analyses.probing.sentences import likeness_limits
from bias_audit.analyses.probing.separability import (
    OneLayerSettings,
    chosen_layer_and_choice,
    setting_problems,
)
from bias_audit.analyses.small_groups import treat
from bias_audit.groups import INTERSECTION, Attribute
from bias_audit.results.contributions import MeasureKey
from bias_audit.shapes.group_ledger import GroupLedger


class Params(OneLayerSettings):
    """Where groups are compared."""

    most_frequent: int = Field(
        default=20,
        ge=1,
        le=1000,
        description="Pairs of confused groups that the published claim about gender is tested on.",
    )
    level: Coverage = 0.95


def intersections(subject: Subject, params: Params) -> Outcome:
    """Probe groups, attributes within groups, and what additive models leave of both."""
    attributes = subject.faces.table.attributes
    if len(attributes) < 2:  # noqa: PLR2004
        only = attributes[0].name
        return Outcome(
            blocks=(),
            limits=(
                f"The labels have one attribute ({only}), so there is nothing to intersect: "
                "groups within groups and interactions need two.",
            ),
        )
    layer, chosen, choice = chosen_layer_and_choice(subject, params.layer, params.probes)
    probes = probed(subject, layer, params.probes, choice=choice)
    aucs, within = aucs_of(subject, probes), within_of(subject, probes)
    extra = interactions_of(subject, aucs, within)
    # Of each question, the tables over so many attributes carry the message.
    tables = [
        table_of(
            measures,
            tests,
            level=params.level,
            detail=len(measures.given) != n_main,
            shrunk=part is not extra,
        )
        for part, n_main in ((aucs, len(attributes)), (within, None), (extra, None))
        for measures, tests in part.measured
    ]
    found = [measures for part in (within, aucs) for measures, _ in part.measured]
    ledger = GroupLedger(
        detail=False,
        title="Small groups: intersections",
        n_groups=sum(len(measures.values) for measures in found),
        rule=treat((), (), subject.small_groups, title="").ledger.rule
        + " An attribute within a group is treated by the smallest of its groups compared there; "
        "a group counts once for each table that it is in.",
        entries=tuple(entry for measures in found for entry in measures.entries),
    )
    level, most_frequent = params.level, params.most_frequent
    return Outcome(
        blocks=(*tables, aucs.block, within.block, extra.block, ledger),
        findings=(
            *claim_findings(subject, probes, within, level=level, most_frequent=most_frequent),
            *sentences.within_findings(within, level=level),
            *sentences.interaction_findings(subject, extra, level=level),
            *sentences.extremes_finding(subject, aucs, level=level),
        ),
        method=sentences.method_of(subject, layer, chosen),
        limits=(
            *sentences.LIMITS,
            *likeness_limits(subject),
            *sentences.bounds_sentences(within, aucs),
        ),
        # Interactions follow from the others.
        measures={
            MeasureKey(each.quantity, each.target, each.layer, each.values[index].group.levels): v
            for part in (aucs, within)
            for each, _ in part.measured
            for index, v in each.known.items()
        },
    )


_SEEDS = (
    "Is a group told apart from all others?",
    "Within which groups is an attribute told apart?",
    "Is there more to a group than the effects of its single attributes?",
)
"""Seeds of the draws of each question, which is worded differently where it is printed: with other
seeds, p-values would differ from those of earlier audits."""


def aucs_of(subject: Subject, probes: Probed) -> Tested:
    """Every level, pair of levels and cell against all other images."""
    families: dict[str, list[GroupMeasures]] = {}
    for name, over in depths(subject.faces.table.attributes):
        scored = probes.scored[over[0].name if len(over) == 1 else INTERSECTION]
        measures = group_aucs(subject, probes.layer, over, scored).allowing(probes.choice)
        families.setdefault(name, []).append(measures)
    question = "Which groups can be recognised among all others?"
    anything = [scored.overall for scored in probes.scored.values()]
    return tested(subject, question, _SEEDS[0], anything, families, null=0.5, side="above")


def within_of(subject: Subject, probes: Probed) -> Tested:
    """Every attribute within every group of the others, in families by the number of these."""
    attributes = subject.faces.table.attributes
    names = {n: f"within {n} attributes" for n in range(1, len(attributes))}
    names |= {1: "within marginals", 2: "within pairs"}
    families: dict[str, list[GroupMeasures]] = {names[n]: [] for n in range(1, len(attributes))}
    for attribute in attributes:
        for given in subsets(attributes, attribute.name):
            measures = within_groups(subject, probes.layer, given, probes.scored[attribute.name])
            families[names[len(given)]].append(measures.allowing(probes.choice))
    question = "In which groups can an attribute be read?"
    anything = [probes.scored[attribute.name].overall for attribute in attributes]
    return tested(subject, question, _SEEDS[1], anything, families, null=0.5, side="above")


def interactions_of(subject: Subject, aucs: Tested, within: Tested) -> Tested:
    """What the additive models leave: of attributes within groups, and of the full cells."""
    cells = [measures for measures, _ in aucs.measured if measures.target == INTERSECTION]
    members = [interactions(m) for m in (*(m for m, _ in within.measured), *cells)]
    everything = [value.tested for measures in members for value in measures.values]
    question = "Which groups differ from what their single attributes predict?"
    families = {"interactions": members}
    return tested(subject, question, _SEEDS[2], everything, families, null=0.0, side="apart")


_SLOWER = 10.0
"""Time of a draw of one group, relative to a unit of `probe_work`; measured with 600 to
3000 images and 12 to 126 intersections."""
_TABLES = 3
"""Questions about every group."""


def _work(_params: Params, workload: Workload) -> float:
    """Joint draws of the errors of every group; probes are those of `linear_probe`."""
    families = declared_families(workload.attributes)
    if len(workload.attributes) < 2:  # noqa: PLR2004
        return 0.0
    draws = draws_of(workload.multiplicity, max(families.values()))
    return _SLOWER * _TABLES * draws * workload.n_images * sum(families.values())


_EXTREMES = 3
"""Statements of the finding on extremes: the two differ, and which others may be either."""


def _families(_params: Params, attributes: Sequence[Attribute]) -> int:
    """Those of the three blocks of families, the extremes, and the published claims.

    Groups against all others have one family for each depth; attributes within groups a global
    one and one for each number of attributes that make the groups; interactions two.
    """
    if len(attributes) < 2:  # noqa: PLR2004
        return 0
    published = attributes_named(attributes) is not None
    return len(declared_families(attributes)) + len(attributes) + 2 + _EXTREMES + published


PLUGIN = Analysis(
    title="Intersections",
    params_type=Params,
    question="groups",
    run=intersections,
    problems=setting_problems,
    families=_families,
    fits=_work,
    quantities=("within_auc", "cell_auc", "interaction"),
)
