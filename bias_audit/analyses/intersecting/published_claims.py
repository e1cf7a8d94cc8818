"""The findings of Krug & Stober 2025 (arXiv:2506.03664), stated so that they can fail.

Claims are compared by the mean AUC over pairs of levels (Hand & Till 2001, Machine Learning
45:171-186): each of its AUCs separates one level from one other, so attributes with different
numbers of levels can be compared. The macro one-vs-rest AUC is reported beside it.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from bias_audit.analyses.analysis import Subject
from bias_audit.analyses.confusing.confusions import (
    change_classes,
    confusion_matrix,
    expected_shares,
    most_frequent_pairs,
)
from bias_audit.analyses.families import draws_of
from bias_audit.analyses.intersecting.group_aucs import Probed
from bias_audit.analyses.intersecting.group_tests import Tested
from bias_audit.analyses.intersecting.sentences import explained_too, explaining
from bias_audit.analyses.probing.probes import Scores
from bias_audit.analyses.probing.separability import Units, measured, widening_of
from bias_audit.analyses.wording import coverage, listed
from bias_audit.arrays import IntArray
from bias_audit.groups import INTERSECTION, Attribute
from bias_audit.results.finding import ClaimResult, Finding
from bias_audit.shapes.printed import chance_of, interval
from bias_audit.statistics.estimate import Estimate
from bias_audit.statistics.inference import (
    Measured,
    combined,
    difference,
    estimate,
    joint_draws,
    normal_score,
    p_above,
    quantile_for,
)
from bias_audit.statistics.influence import Statistic, auc, average, mean
from bias_audit.statistics.label_noise import GroupContrast
from bias_audit.statistics.multiplicity import adjusted, is_rejected, max_t, resampling_p
from bias_audit.statistics.sureness import sureness, weight_of

_MANY_LEVELS = 6
"""From here on the two youngest and the two oldest levels are no middle."""


@dataclass(frozen=True)
class Comparison:
    """A number that the claim says is above 0."""

    name: str
    measured: Measured
    estimate: Estimate
    p_value: float = 1.0
    """That it differs from 0 by chance, adjusted for all claims."""


@dataclass(frozen=True)
class Claim:
    """One published finding: it holds where every comparison is above 0."""

    said: str
    comparisons: tuple[Comparison, ...]
    details: str
    about: tuple[str, ...]
    """Attributes compared; where none can be read beyond chance, there is nothing to compare."""
    holds_too: bool = True
    """Whether what has no interval holds as well."""


def attributes_named(attributes: Sequence[Attribute]) -> Mapping[str, str] | None:
    """The attributes called age, race and gender, in whatever case; None without all three."""
    names = {a.name.casefold(): a.name for a in attributes}
    wanted = ("age", "race", "gender")
    return {name: names[name] for name in wanted} if set(wanted) <= set(names) else None


def claim_findings(
    subject: Subject, probes: Probed, within: Tested, *, level: float, most_frequent: int
) -> tuple[Finding, ...]:
    """Every published claim with the verdict of these data; none without age, race and gender."""
    names = attributes_named(subject.faces.table.attributes)
    if names is None:
        return ()
    claims = [
        *_separability(subject, probes, names, level),
        *_middle_aged(within, names, level),
        *_wrong_genders(subject, probes, names, level, most_frequent),
    ]
    if not claims:
        return ()
    alpha = subject.multiplicity.alpha
    attributes = [probes.scored[name] for name in names.values()]
    p_values = [None if a.overall is None else p_above(a.overall, 0.5) for a in attributes]
    readable = {
        name
        for name, p_value in zip(names.values(), adjusted(p_values, "holm"), strict=True)
        if is_rejected(p_value, alpha=alpha)
    }
    findings = []
    for claim in _adjusted(subject, claims):
        if readable.isdisjoint(claim.about):
            text = (
                f"Not examined at {probes.layer}: {listed(claim.about)} cannot be read there "
                "beyond chance."
            )
            findings.append(
                Finding(text=text, weight=0.0, claim=claim.said, result="not examined")
            )
        else:
            findings.append(_finding(claim, probes.layer, level, alpha))
    return tuple(findings)


def pairwise_auc(scores: Scores, clusters: IntArray | None = None) -> Statistic | None:
    """Mean over pairs of levels of the AUC that separates one from the other.

    Images of a pair are ranked by the logarithm of the ratio of its two probabilities; pairs of
    images are of one fold.
    """
    logs = np.log(np.maximum(scores.probabilities, np.finfo(np.float32).tiny))
    parts: list[Statistic | None] = []
    for one, other in itertools.combinations(range(logs.shape[1]), 2):
        inside = np.flatnonzero((scores.codes == one) | (scores.codes == other))
        ratio = (logs[:, one] - logs[:, other])[inside]
        own = None if clusters is None else clusters[inside]
        pictures = None if scores.part.pictures is None else scores.part.pictures[inside]
        part = auc(ratio, scores.codes[inside] == one, scores.folds[inside], own, pictures)
        if part is not None:
            influence, weight = np.zeros((2, len(scores.codes)))
            influence[inside], weight[inside] = part.influence, part.weight
            part = replace(part, influence=influence, weight=weight)
        parts.append(part)
    found = mean(parts)
    # a level is in two of as many pairs as there are levels
    levels = logs.shape[1]
    return found and replace(found, trials=found.trials * max(1.0, levels / 2))


def _separability(
    subject: Subject, probes: Probed, names: Mapping[str, str], level: float
) -> list[Claim]:
    """Claims (a) and (b)."""
    units = Units.of(subject)
    balanced: dict[str, Measured] = {}
    for key, name in names.items():
        scores = probes.scored[name].scores
        if scores is None:
            continue
        images = scores.part.images
        statistic = pairwise_auc(scores, units.clusters[images])
        if statistic is not None:
            found = measured(units, images, statistic, widened=widening_of(scores))
            balanced[key] = replace(found, choice=probes.choice)
    macro = {key: probes.scored[name].overall for key, name in names.items()}
    n_levels = {
        name: 0 if (scores := probes.scored[name].scores) is None else len(scores.part.levels)
        for name in names.values()
    }
    levels = "; ".join(f"{name} {n}" for name, n in n_levels.items())
    values = "; ".join(
        f"{key} {interval(estimate(value, level=level))}" for key, value in balanced.items()
    )
    claims = []
    for said, keys in (
        ("age is the most separable attribute", ("race", "gender")),
        ("race is less separable than age", ("race",)),
    ):
        if not {"age", *keys} <= set(balanced):
            continue
        chosen, others = [], []
        for key in keys:
            over, age, other = balanced["age"] - balanced[key], macro["age"], macro[key]
            chosen.append(Comparison(f"age minus {key}", over, estimate(over, level=level)))
            if age is not None and other is not None:
                apart = interval(difference(age, other, level=level))
                others.append(f"age minus {key} {apart}")
        details = (
            f"The mean AUC of one group against one other is compared ({values}). It does not "
            "depend on the number of groups; for macro one-vs-rest AUC, which does, the "
            f"differences are: {'; '.join(others)}. Numbers of groups: {levels}; how finely an "
            "attribute is annotated remains part of the comparison."
        )
        about = tuple(names[key] for key in ("age", *keys))
        claims.append(Claim(said, tuple(chosen), details, about))
    return claims


def middle_levels(n_levels: int) -> range:
    """All but the two youngest and the two oldest levels, or all but one each where few."""
    edge = 2 if n_levels >= _MANY_LEVELS else 1
    return range(edge, n_levels - edge)


def _middle_aged(within: Tested, names: Mapping[str, str], level: float) -> list[Claim]:
    """Claim (c): gender within the middle ages, minus gender within the others."""
    gender, age = names["gender"], names["age"]
    measures = next(m for m, _ in within.measured if (m.target, m.given) == (gender, (age,)))
    n_levels, known = len(measures.values), measures.known
    middle = [i for i in middle_levels(n_levels) if i in known]
    others = [i for i in known if i not in middle_levels(n_levels)]
    if not middle or not others:
        return []
    # differences between groups hold no error that all groups share
    weights = {i: 1 / len(middle) for i in middle} | {i: -1 / len(others) for i in others}
    parts = {i: measures.values[i].contrast or known[i] for i in weights}
    contrast = combined(list(weights.values()), list(parts.values()))
    between = GroupContrast(
        contrast,
        tuple(parts.values()),
        np.array(list(weights.values())),
        tuple(measures.values[i].labels for i in weights),
        np.isin(list(weights), middle),
    )
    labels = [
        listed([measures.values[i].group.label for i in chosen], most=9)
        for chosen in (middle, others)
    ]
    means = [float(np.mean([known[i].value for i in chosen])) for chosen in (middle, others)]
    missing = n_levels - len(known)
    details = (
        f"The mean AUC of gender is compared within {labels[0]} ({means[0]:.2f}) and within "
        f"{labels[1]} ({means[1]:.2f})"
        + (f"; {missing} groups of age have no value." if missing else ".")
    )
    own = Comparison("middle minus other ages", between.nearest, between.estimate(level))
    explained = explaining(
        between, "in the middle ages", "in the others", quantile_for(contrast, level)
    )
    details += f" {explained}{explained_too(between, level)}"
    said = "gender is separable mainly in the middle-aged"
    return [Claim(said, (own,), details, about=(gender,))]


def _wrong_genders(
    subject: Subject, probes: Probed, names: Mapping[str, str], level: float, most_frequent: int
) -> list[Claim]:
    """Claim (d): the most frequent confusions do not change gender.

    None where the intersection cannot be measured or too few people are confused.
    """
    gender, scored = names["gender"], probes.scored[INTERSECTION]
    scores, units = scored.scores, Units.of(subject)
    if scores is None:
        return []
    wrong = scores.predicted != scores.codes
    images = scores.part.images[wrong]
    people = units.clusters[images]
    if len(np.unique(people)) < max(1, subject.small_groups.suppress_below):
        return []
    groups = [scored.target.groups[index] for index in scores.part.levels]
    matrix = confusion_matrix(scores.codes, scores.predicted, len(groups))
    classes, pairs = change_classes(groups)
    changes = np.array([gender in changed for changed in classes])
    expected = float(expected_shares(matrix, pairs, len(classes))[changes].sum())
    changing = changes[pairs[scores.codes[wrong], scores.predicted[wrong]]]
    share = measured(units, images, average(changing, people), widened=widening_of(scores))
    below = replace(
        share,
        value=expected - share.value,
        influence=-share.influence,
        is_share=False,
        choice=probes.choice,
    )
    shown, _ = most_frequent_pairs(matrix, most_frequent)
    n_changing = sum(bool(changes[pairs[true, predicted]]) for true, predicted in shown)
    details = (
        f"Of {wrong.sum()} confusions {100 * share.value:.1f} % change gender, against "
        f"{100 * expected:.1f} % expected if wrong predictions fell on groups as often as these "
        f"are predicted. Of the {len(shown)} most frequent pairs {n_changing} change gender "
        "(claimed: none)."
    )
    said = "the most frequent confusions do not change gender"
    own = Comparison("expected minus observed share", below, estimate(below, level=level))
    return [Claim(said, (own,), details, about=(gender,), holds_too=n_changing == 0)]


def _adjusted(subject: Subject, claims: Sequence[Claim]) -> list[Claim]:
    """Two-sided p-values of all comparisons together, by the method that decides verdicts."""
    plan = subject.multiplicity
    # a comparison that two claims share is one hypothesis
    every = {c.name: c for claim in claims for c in claim.comparisons}
    measures = [comparison.measured for comparison in every.values()]
    draws = np.abs(
        joint_draws(measures, draws_of(plan, len(measures)), subject.rng("published claims"))
    )
    observed = [abs(normal_score(measure)) for measure in measures]
    if plan.verdicts == "max_t":
        p_values = max_t(observed, draws, alpha=plan.alpha).adjusted
    else:
        raw = [resampling_p(t, draws[:, i]) for i, t in enumerate(observed)]
        p_values = adjusted(raw, plan.verdicts)
    by_name = dict(zip(every, p_values, strict=True))
    return [
        replace(
            claim,
            comparisons=tuple(
                replace(c, p_value=by_name[c.name] or 1.0) for c in claim.comparisons
            ),
        )
        for claim in claims
    ]


def _finding(claim: Claim, layer: str, level: float, alpha: float) -> Finding:
    """The verdict: its weight is of the least sure number, or of the clearest contradiction."""
    sure = [c for c in claim.comparisons if is_rejected(c.p_value, alpha=alpha)]
    estimates = [comparison.estimate for comparison in claim.comparisons]
    result: ClaimResult
    if any(c.measured.value < 0 for c in sure):
        result = "disagrees"
        weight = max(sureness(each) for each in estimates if each.value < 0)
    else:
        is_supported = len(sure) == len(estimates) and claim.holds_too
        result = "agrees" if is_supported else "inconclusive"
        weight = min(sureness(each) for each in estimates)
    numbers = "; ".join(
        f"{c.name} {interval(c.estimate)}, adjusted {chance_of(c.p_value)}, n = {c.estimate.n}"
        for c in claim.comparisons
    )
    return Finding(
        text=f"At {layer}: {numbers} ({coverage(level)}s). {claim.details}",
        weight=weight_of(weight, is_decided=result != "inconclusive"),
        estimates={c.name.replace(" ", "_"): c.estimate for c in claim.comparisons},
        claim=claim.said,
        result=result,
    )
