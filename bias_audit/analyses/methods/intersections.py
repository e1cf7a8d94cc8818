"""How well groups are told apart, alone and combined, and what is more than their sum."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field

from bias_audit.analyses.analysis import Analysis, Coverage, OneLayer, Outcome, Subject, Workload
from bias_audit.analyses.families import declared_families, draws_of
from bias_audit.analyses.intersecting.measures import (
    Part,
    aucs_of,
    interactions_of,
    probed,
    table_of,
    within_of,
)
from bias_audit.analyses.intersecting.published_claims import attributes_named, claim_findings
from bias_audit.analyses.intersecting.sentences import (
    LIMIT,
    METHOD,
    bounds_sentences,
    disagreement_method,
    extremes_finding,
    interaction_findings,
    within_findings,
)
from bias_audit.analyses.probing.probes import ProbeSettings, too_few_images
from bias_audit.analyses.probing.sentences import likeness_limits
from bias_audit.analyses.probing.separability import chosen_layer_and_choice, unknown_layers
from bias_audit.analyses.small_groups import treat
from bias_audit.analyses.wording import SCORE_INTERVALS
from bias_audit.data.faces import FaceTable
from bias_audit.groups import Attribute
from bias_audit.results.blocks import GroupLedger, GroupTable
from bias_audit.results.contributions import MeasureKey
from bias_audit.statistics.inference import Measured
from bias_audit.statistics.multiplicity import CONTROLS, NAMES


class Params(ProbeSettings):
    """Where groups are compared."""

    layer: OneLayer = None
    most_frequent: int = Field(
        default=20,
        ge=1,
        le=1000,
        description="Pairs of confused groups that the published claim about gender is held to.",
    )
    level: Coverage = 0.95


def intersections(subject: Subject, params: Params) -> Outcome:
    """Tell apart groups, attributes within groups, and what additive models leave of both.

    Raises:
        AnalysisError: The layer is unknown, nothing can be measured, or activations are not
            finite.
    """
    attributes = subject.faces.table.attributes
    if len(attributes) < 2:  # noqa: PLR2004
        only = attributes[0].name
        return Outcome(
            blocks=(),
            limits=(
                f"There is one annotated attribute ({only}), so there is nothing to intersect: "
                "groups within groups and interactions need two.",
            ),
        )
    layer, chosen, choice = chosen_layer_and_choice(subject, params.layer, params.probes)
    probes = probed(subject, layer, params.probes, choice=choice)
    aucs, within = aucs_of(subject, probes), within_of(subject, probes)
    extra = interactions_of(subject, aucs, within)
    level = params.level
    return Outcome(
        blocks=(
            *_tables(aucs, level, main=len(attributes)),
            *_tables(within, level, main=1),
            *_tables(extra, level, main=None, shrunk=False),
            *(part.result.block for part in (aucs, within, extra)),
            _ledger(subject, within, aucs),
        ),
        findings=(
            *claim_findings(
                subject, probes, within, level=level, most_frequent=params.most_frequent
            ),
            *within_findings(within, level=level),
            *interaction_findings(subject, extra, level=level),
            *extremes_finding(subject, aucs, level=level),
        ),
        method=_method(subject, layer, chosen),
        limits=(*_LIMITS, *likeness_limits(subject), *bounds_sentences(within, aucs)),
        measures=_measures(aucs, within),
    )


def _measures(*parts: Part) -> dict[MeasureKey, Measured]:
    """Every group of every table but those of interactions, which follow from the others."""
    return {
        MeasureKey(table.quantity, table.target, table.layer, entry.group.levels): entry.value
        for part in parts
        for table, _ in part.measured
        for entry in table.values
        if entry.value is not None
    }


def _tables(
    part: Part, level: float, *, main: int | None, shrunk: bool = True
) -> tuple[GroupTable, ...]:
    """One table a set of groups; those over `main` attributes carry the message, None: none do."""
    tables = []
    for measures, tests in part.measured:
        table = table_of(measures, tests, level=level, shrunk=shrunk)
        tables.append(table.model_copy(update={"detail": len(measures.given) != main}))
    return tuple(tables)


def _ledger(subject: Subject, *parts: Part) -> GroupLedger:
    """Everything that is not reported like the rest, in all tables."""
    measured = [measures for part in parts for measures, _ in part.measured]
    return GroupLedger(
        detail=False,
        title="Small groups: intersections",
        n_groups=sum(len(measures.values) for measures in measured),
        rule=treat((), (), subject.small_groups, title="").ledger.rule
        + " An attribute within a group is treated by the smallest of the levels compared there; "
        "a group counts once for each table that it is in.",
        entries=tuple(entry for measures in measured for entry in measures.entries),
    )


def _method(subject: Subject, layer: str, chosen: str) -> tuple[str, ...]:
    plan = subject.multiplicity
    gates = (
        "each is tested only where the one before it rejected something, and a group only where "
        "a group that contains it was rejected"
        if plan.gatekeeping
        else "without gates between them"
    )
    return (
        f"Groups are compared at {layer} ({chosen}) by the out-of-fold scores of the linear "
        "probes of single attributes and of their intersection; nothing is fitted anew. Within a "
        "group of other attributes, an attribute is told apart by its own probe, fitted to all "
        "images, over pairs of images of one fold and that group (macro one-vs-rest AUC over the "
        "levels that have images enough there, by the probabilities among these). A fold without "
        "a pair contributes none. Each group is also told from all other images by its "
        "probability, which for pairs of attributes is summed over the intersections.",
        "Intervals rest on the influence of every image (DeLong et al. 1988), summed over the "
        f"images of a cluster. Those of AUCs {SCORE_INTERVALS}; those of interactions are "
        "symmetric. They are widened by the correction of Nadeau & Bengio (2003) in "
        "proportion to how much the scores depend on the training images and, within a group, to "
        "the group's share of these: only images of the group both train for it and are judged "
        "in it. Differences between groups need no widening, because the errors that the probe "
        "brings to all groups alike cancel.",
        "An interaction is the value of a group minus an additive model of its attributes (least "
        "squares over groups, weighted by images), or minus the mean over groups where a single "
        "attribute spans them; its interval counts that the model was fitted to the same images.",
        "Hypotheses are declared in families from coarse to fine (global, marginals, pairs, "
        f"cells); {gates}. p-values come from joint draws of the errors (a multiplier "
        f"bootstrap). Tables show them adjusted by {NAMES[plan.discovery]} "
        f"({CONTROLS[plan.discovery]}) within a family, before gates, to point at groups to look "
        f"into; what findings claim is decided by {NAMES[plan.verdicts]} "
        f"({CONTROLS[plan.verdicts]}) at {plan.alpha:g}, behind the gates.",
        "Published claims of Krug & Stober (2025) are tested where age, race and gender are "
        "annotated: supported where every comparison lies above 0 beyond chance, contradicted "
        "where one lies below, undecided otherwise, adjusted for all claims together. Where none "
        "of the attributes compared can be read beyond chance, they are not examined. Attributes "
        "are compared by the mean AUC over pairs of levels (Hand & Till 2001), because the task "
        "of a one-vs-rest AUC changes with the number of levels. The middle ages are all but the "
        "two youngest and the two oldest of six or more levels, else all but the ends.",
        METHOD,
        *disagreement_method(subject.faces.table),
    )


_LIMITS = (
    "Within groups, the probe is the one fitted to all images: a direction that only a group of "
    "its own would need is not found.",
    "Where the layer is the most separable one, it was chosen on the same images, which favours "
    "high values a little; intervals and tests allow for the choice.",
    "Interactions are on the scale of the AUC; values near 1 leave less room for differences.",
    LIMIT,
)


def _problems(params: Params, faces: FaceTable, layers: tuple[str, ...] | None) -> tuple[str, ...]:
    asked = None if params.layer is None else (params.layer,)
    return (*unknown_layers(asked, layers), *too_few_images(params, faces))


_SLOWER = 1.5
"""Time of a draw of one group, relative to a unit of `probe_work`; measured with 600 to
3000 images and 12 to 126 intersections."""
_TABLES = 3
"""Questions that are asked of every group."""


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
    run=intersections,
    problems=_problems,
    families=_families,
    fits=_work,
    quantities=("within_auc", "cell_auc", "interaction"),
)
