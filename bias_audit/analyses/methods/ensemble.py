"""What several backbones decode together, by group, and whose attribution maps hold up.

Votes of several networks as in Chatterjee et al. 2020, with out-of-fold linear probes in place of
fine-tuned heads.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import combinations
from typing import Final

import numpy as np
from pydantic import Field

from bias_audit.analyses.analysis import Coverage, JointAnalysis, Member, Outcome, together
from bias_audit.analyses.attributing.names import DOES_NOT_APPLY, PASSES
from bias_audit.analyses.ensembling import votes
from bias_audit.analyses.ensembling.voters import Voters, ballots, votes_by_group
from bias_audit.analyses.probing.probes import ProbeSettings
from bias_audit.analyses.probing.separability import Units, setting_problems
from bias_audit.analyses.targets import attribute_targets, unmeasured
from bias_audit.analyses.wording import LABEL_ERRORS, SCORE_INTERVALS, listed
from bias_audit.errors import AnalysisError
from bias_audit.results.finding import Finding
from bias_audit.shapes.measures import Entry, Measure, Measures
from bias_audit.shapes.printed import interval
from bias_audit.statistics.comparison import rank_ranges
from bias_audit.statistics.estimate import Estimate, quantile
from bias_audit.statistics.inference import independent_difference
from bias_audit.statistics.sureness import sureness, weight_of


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


Rank = tuple[int, int]

AGREEMENT: Final = Measure(
    name="agreement",
    better="higher",
    meaning="rank correlation of the maps of two methods for one image, averaged over all pairs "
    "of methods",
)


def compared(members: Sequence[Member], *, alpha: float) -> Outcome:
    """Compare the members by every target whose attribution was checked on at least two.

    Attributions are distinguished by their place among the analyses, so that checks of one are
    never compared with those of another. `alpha` is the chance of any wrong comparison of any
    target.
    """
    blocks: list[Measures] = []
    findings: list[Finding] = []
    limits: list[str] = []
    n_places = max(len(member.results) for member in members)
    by_target = [one for place in range(n_places) for one in _checks_by_target(members, place)]
    for target, rows in by_target:
        without = [m.subject.name for m in members if m.subject.name not in dict(rows)]
        if without:
            limits.append(
                f"The maps of the decision about {target} could not be checked on "
                f"{listed(without)}; comparisons leave that out."
            )
        if len(rows) > 1:
            block = _block(target, rows, alpha / len(by_target))
            blocks.append(block)
            common = _common([trust for _, trust in rows])
            findings += _findings(block, target, len(common)) if common else []
            every = dict.fromkeys(name for _, trust in rows for name in _applied(trust))
            left_out = [name for name in every if name not in common]
            if left_out:
                limits.append(
                    f"Means over methods about {target} leave out {listed(left_out, most=9)}, "
                    "which do not apply to every backbone."
                )
    if not by_target:
        tried = {r.title for m in members for r in m.results if r.kind == _KIND}
        why = (
            f"{listed(sorted(tried))} could not be computed on any backbone"
            if tried
            else f"no analysis of this audit attributes decisions (kind {_KIND})"
        )
        limits.append(f"Attribution maps of the backbones were not compared: {why}.")
    if blocks:
        limits += _LIMITS_OF_CHECKS
    return Outcome(blocks=tuple(blocks), findings=tuple(findings), limits=tuple(limits))


def _common(trusts: Sequence[Measures]) -> list[str]:
    """The methods that apply to all of the backbones."""
    every = [_applied(trust) for trust in trusts]
    return [name for name in every[0] if all(name in names for names in every)]


def _checks_by_target(
    members: Sequence[Member], place: int
) -> list[tuple[str, list[tuple[str, Measures]]]]:
    """What one analysis checked: by target, the backbones' names with their checks."""
    found: dict[str, list[tuple[str, Measures]]] = {}
    for member in members:
        for block in member.results[place].blocks if place < len(member.results) else ():
            if isinstance(block, Measures) and block.target and block.covariances:
                found.setdefault(block.target, []).append((member.subject.name, block))
    return [*found.items()]


_KIND: Final = "attribution"
_OWN_SCALE: Final = "sensitivity"
"""A measure whose noise is a share of each backbone's own input scale, so that none is first."""
_LIMITS_OF_CHECKS: Final = (
    "Comparisons of checks do not include how much other probes or other shuffles of the weights "
    "would differ; all images of one batch share the same shuffles.",
    "What covers a part of an image is the mean colour of each backbone's own preprocessing, and "
    "probabilities are as well calibrated as each probe is; deletion, insertion and infidelity "
    "are affected by both.",
    "Sensitivity is not ranked: its noise is a share of each backbone's own input scale.",
)


def _block(target: str, rows: Sequence[tuple[str, Measures]], alpha: float) -> Measures:
    """Means over the methods that apply to all of the backbones."""
    common = _common([trust for _, trust in rows])
    measures = (*rows[0][1].measures, AGREEMENT)
    values = [_means(trust, common) for _, trust in rows]
    n_ranked = sum(measure.name != _OWN_SCALE for measure in measures)
    columns = [
        _ranks([row[place] for row in values], measure, alpha / n_ranked)
        for place, measure in enumerate(measures)
    ]
    return Measures(
        detail=False,
        title=f"Which backbone has attribution maps of {target} that pass the checks?",
        noun="backbone",
        target=target,
        measures=measures,
        entries=tuple(
            Entry(
                name=name,
                layer=trust.layer,
                standing=f"{sum(method.standing == PASSES for method in trust.entries)} of "
                f"{len(_applied(trust))}",
                values=values[number],
                ranks=tuple(column[number] for column in columns),
            )
            for number, (name, trust) in enumerate(rows)
        ),
        standing_is="methods that pass the sanity check",
        caption=(
            f"Each dot is one check of one backbone's maps of the decision about {target}, "
            "averaged over methods, with its interval. Dotted line: the limit of the check, or "
            "what a map without meaning gives. Arrow: the better direction."
        ),
        notes=(
            f"Means over the {len(common)} methods that apply to every backbone: "
            f"{', '.join(common)}."
            if common
            else "No method applies to every backbone, so there are no means and no ranks.",
            _RANK_RULE.format(100 * (1 - alpha)),
        ),
        reading=(_HOW_TO_READ,),
    )


_HOW_TO_READ: Final = (
    "Maps of one backbone may show what it has learned while those of another would look the "
    "same without any learning. The checks of each backbone's maps are listed side by side here; "
    "there is no total, because the checks measure different things."
)


def _means(trust: Measures, common: Sequence[str]) -> tuple[Estimate | None, ...]:
    """Every measure, and the agreement, over some of the methods."""
    applied = _applied(trust)
    rows = [method for method in trust.entries if method.standing != DOES_NOT_APPLY]
    chosen = [place for place, name in enumerate(applied) if name in common]
    pairs = [
        place
        for place, (one, other) in enumerate(combinations(applied, 2))
        if one in common and other in common
    ]
    found = {(pair.one, pair.other): pair.estimate for pair in trust.pairs}
    agreements = [found.get(pair) for pair in combinations(applied, 2)]
    columns = [[row.values[place] for row in rows] for place in range(len(trust.measures))]
    *of_measures, of_agreements = trust.covariances
    return (
        *(
            _mean(column, covariance, chosen)
            for column, covariance in zip(columns, of_measures, strict=True)
        ),
        _mean(agreements, of_agreements, pairs),
    )


def _mean(
    values: Sequence[Estimate | None], covariance: Sequence[Sequence[float]], chosen: Sequence[int]
) -> Estimate | None:
    """The mean of some estimates of the same images; None where one of them is missing."""
    known = [value for place in chosen if (value := values[place]) is not None]
    if not known or len(known) < len(chosen):
        return None
    centre = float(np.mean([each.value for each in known]))
    variance = float(np.mean(np.array(covariance)[np.ix_(chosen, chosen)]))
    half = quantile(known[0].level, known[0].freedom) * max(0.0, variance) ** 0.5
    return replace(known[0], value=centre, lower=centre - half, upper=centre + half)


_RANK_RULE: Final = (
    "Ranks are those that pairwise comparisons leave open (Mogstad, Romano, Shaikh & Wilhelm "
    "2024, with Holm's procedure and Bonferroni's over the measures): with a confidence of {:g} "
    "% all ranges of this attribute contain the true ranks, given the shuffles drawn. Backbones "
    "are compared as if checked on different images, which is usually cautious."
)


def _applied(trust: Measures) -> tuple[str, ...]:
    return tuple(m.name for m in trust.entries if m.standing != DOES_NOT_APPLY)


def _ranks(
    values: Sequence[Estimate | None], measure: Measure, alpha: float
) -> tuple[Rank | None, ...]:
    known = [value for value in values if value is not None]
    if measure.name == _OWN_SCALE or len(known) < len(values):
        return (None,) * len(values)
    found = rank_ranges(known, alpha=alpha)
    if measure.better == "higher":
        return tuple((standing.best, standing.worst) for standing in found)
    n = len(known)
    return tuple((n + 1 - standing.worst, n + 1 - standing.best) for standing in found)


def _findings(block: Measures, target: str, n_methods: int) -> Iterator[Finding]:
    """Measures by which one backbone is first; one sentence for the rest."""
    open_ones = []
    for place, measure in enumerate(block.measures):
        known = [
            (b.name, value, b.ranks[place])
            for b in block.entries
            if (value := b.values[place]) is not None
        ]
        first = next((row for row in known if row[2] == (1, 1)), None)
        if first is None:
            open_ones += [measure.name] if known and known[0][2] else []
            continue
        name, best, _ = first
        others = [row for row in known if row is not first]
        # The weight is that of the least sure of the differences between the first and each other.
        surenesses = [sureness(independent_difference(best, value)) for _, value, _ in others]
        yield Finding(
            text=(
                f"Maps of the decision about {target}, {measure.name} ({measure.better} is "
                f"better), mean over {n_methods} methods: {name} with {interval(best)} is "
                "significantly better than "
                f"{listed([f'{other} ({interval(value)})' for other, value, _ in others])}."
            ),
            weight=weight_of(min(surenesses), is_decided=True) if surenesses else 0.0,
        )
    if open_ones:
        yield Finding(
            text=(
                f"Maps of the decision about {target}: by {listed(open_ones, most=9)} no backbone "
                "is significantly better than all others."
            ),
            weight=0.0,
        )
