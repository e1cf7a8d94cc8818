"""What several backbones decode together, by group, and whose attribution maps hold up.

Votes of several networks as in Chatterjee et al. 2020, with out-of-fold linear probes in place of
fine-tuned heads.
"""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field

from bias_audit.analyses.analysis import Coverage, JointAnalysis, Member, Outcome, together
from bias_audit.analyses.ensembling import votes
from bias_audit.analyses.ensembling.trust_comparison import compared
from bias_audit.analyses.ensembling.voters import Voters, ballots, votes_by_group
from bias_audit.analyses.probing.probes import ProbeSettings
from bias_audit.analyses.probing.separability import Units, setting_problems
from bias_audit.analyses.targets import attribute_targets, unmeasured
from bias_audit.analyses.wording import LABEL_ERRORS, SCORE_INTERVALS
from bias_audit.errors import AnalysisError


class Params(ProbeSettings):
    """What is voted on, and for which groups it is reported."""

    targets: tuple[str, ...] | None = Field(
        default=None,
        min_length=1,
        description='Attributes, or "intersection"; default: every attribute.',
    )
    groups: tuple[str, ...] | None = Field(
        default=None, description="Attributes whose groups are reported; default: all."
    )
    level: Coverage = 0.95


def ensemble(members: Sequence[Member], params: Params) -> Outcome:
    """Let the probes of all backbones vote, and compare votes with members."""
    faces = members[0].subject.faces
    outcomes, without = [], []
    for target in attribute_targets(faces.table, params.targets):
        found = ballots(members, target, params.probes)
        if isinstance(found, str):
            without.append((target, found))
            continue
        voters = Voters(target, found, Units.of(members[0].subject))
        outcomes.append(_of_target(members, voters, params))
    if not outcomes:
        reasons = "; ".join(f"{target.name}: {why}" for target, why in without)
        raise AnalysisError(f"nothing can be voted on: {reasons}")
    voted = together(outcomes)
    beside = compared(members, alpha=members[0].subject.multiplicity.alpha)
    return Outcome(
        blocks=(*voted.blocks, *beside.blocks),
        findings=(*voted.findings, *beside.findings),
        method=_method(params),
        limits=(
            *_LIMITS,
            *_related(members),
            *voted.limits,
            *beside.limits,
            *(f"Not voted on: {target.described} ({why})." for target, why in without),
        ),
    )


def _of_target(members: Sequence[Member], voters: Voters, params: Params) -> Outcome:
    first, level, target = members[0].subject, params.level, voters.target
    plan = first.multiplicity
    attributes = [a.name for a in first.faces.table.attributes]
    names = [name for name in attributes if params.groups is None or name in params.groups]
    group_votes, ledgers = votes_by_group(voters, first.faces, names, first.small_groups)
    found = votes.overall(voters)
    rng = first.rng("votes", target.name)
    differences = votes.vote_differences(voters, found, group_votes, plan, rng=rng, level=level)
    block = votes.votes_block(voters, found, group_votes, differences, plan, level=level)
    return Outcome(
        blocks=(block, *votes.soft_tables(voters, found, group_votes, level=level), *ledgers),
        findings=tuple(
            votes.vote_findings(voters, block, group_votes, alpha=plan.alpha, level=level)
        ),
        limits=unmeasured(target, voters.ballots[0].scores.part, "the votes"),
    )


def _related(members: Sequence[Member]) -> tuple[str, ...]:
    """Members that are hardly more than one voice."""
    subjects = [member.subject for member in members]
    steps = [subject.name for subject in subjects if subject.training is not None]
    sentences = []
    if steps:
        sentences.append(
            f"Each checkpoint of a training has a vote of its own: {', '.join(steps)}."
        )
    by_weights: dict[str, list[str]] = {}
    for subject in subjects:
        by_weights.setdefault(subject.weights_sha256, []).append(subject.name)
    sentences += [
        f"The same weights have several votes: {', '.join(names)}."
        for weights, names in by_weights.items()
        if weights and len(names) > 1
    ]
    return tuple(sentences)


def _method(params: Params) -> tuple[str, ...]:
    return (
        "Each backbone votes with the out-of-fold probabilities of the linear probe at its best "
        f"layer for the attribute ({params.folds} folds, the same images in each for all "
        "backbones). The soft vote takes the group with the highest mean probability. The "
        "majority vote takes the group that most backbones find most probable, and of tied ones "
        "that with the highest mean probability.",
        "F1 of a group is 2 x hits / (images predicted as it + images annotated as it). Macro F1 "
        "is its mean over the groups; micro F1 counts hits of all groups together and, with one "
        "group per image, is the share of images that are right. Within a group of the attribute "
        "itself macro F1 would rest on one group alone; there the F1 of that group against all "
        "others is given, over all images. Differences are tested as McNemar's test does, with "
        "the error under no difference.",
        "Intervals rest on the influence of every image, summed over clusters of images of one "
        f"person. Those of F1 {SCORE_INTERVALS}. They are widened for refitting as those of the "
        "probes are (a vote's, and those of all differences, as much as those of the member that "
        "depends most on the training images), and allow for the choice of the layers.",
    )


_LIMITS = (
    "Votes are those of probes of annotated attributes, not of what the backbones were trained "
    "for; they say what several backbones encode together.",
    "Layers were picked on the same images that are voted on, so values are a little high, the "
    "more so the more layers a backbone has; intervals allow for that. Differences between votes "
    "and members are affected too.",
    LABEL_ERRORS,
)


PLUGIN = JointAnalysis(
    title="Ensemble",
    params_type=Params,
    question="together",
    run=ensemble,
    problems=lambda params, faces, _layers: setting_problems(
        params, faces, targets=params.targets, groups=params.groups
    ),
    # Of each target: votes over all images, in groups, and the extremes of each attribute. And one
    # for the checks of attribution, over all targets.
    families=lambda params, attributes: (
        1
        + len(params.targets or attributes)
        * (2 + len(attributes if params.groups is None else params.groups))
    ),
    quantities=votes.QUANTITIES,
)
