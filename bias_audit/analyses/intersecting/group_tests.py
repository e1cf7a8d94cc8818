"""Tests of many groups at once, in families that open one after another, and of their extremes."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from bias_audit.analyses.analysis import Subject
from bias_audit.analyses.families import GroupTests, Parents, draws_of, tested_families
from bias_audit.analyses.intersecting.group_aucs import GroupMeasures, GroupValue
from bias_audit.arrays import FloatArray, IntArray
from bias_audit.shapes.printed import listed_all
from bias_audit.shapes.test_families import HypothesisFamilies
from bias_audit.statistics.inference import (
    Measured,
    bounds,
    combined,
    joint_draws,
    normal_score,
    quantile_of,
)
from bias_audit.statistics.label_noise import GroupContrast
from bias_audit.statistics.multiplicity import Resampled, is_rejected, max_t, resampling_p


@dataclass(frozen=True)
class Tested:
    """One question: its measures from coarse to fine, and their tests."""

    measured: tuple[tuple[GroupMeasures, GroupTests], ...]
    block: HypothesisFamilies
    p_global: float | None
    """That nothing in the global family exceeds chance."""


def tested(
    subject: Subject,
    question: str,
    seed: str,
    anything: Sequence[Measured | None],
    families: Mapping[str, Sequence[GroupMeasures]],
    *,
    null: float,
    side: Literal["above", "apart"],
) -> Tested:
    """Test a global hypothesis, then families from coarse to fine.

    `anything` are the measures of the global hypothesis that none of them exceeds chance; it has
    one p-value, by max-T. Families come after it in order, each the tables whose groups are
    adjusted together. "above" tests whether values exceed `null`, "apart" whether they differ from
    it.
    """
    plan = subject.multiplicity
    tests = [[v.tested for each in members for v in each.values] for members in families.values()]
    n_draws = draws_of(plan, max(map(len, tests)))
    rng = subject.rng("group tests", seed)
    resampled = _resampled([anything, *tests], n_draws, rng, null=null, side=side)
    joint = resampled[0].adjusted("max_t", plan.alpha)
    p_global = min((p for p in joint if p is not None), default=None)
    members = list(families.values())
    parents = [None, *(parents_of(own, before) for before, own in itertools.pairwise(members))]
    rows, by_family = tested_families(
        plan,
        p_global,
        dict(zip(families, zip(resampled[1:], parents, strict=True), strict=True)),
        n_draws,
    )
    measured: list[tuple[GroupMeasures, GroupTests]] = []
    for tables, found in zip(members, by_family, strict=True):
        ends = np.cumsum([0, *(len(each.values) for each in tables)]).tolist()
        parts = (found.part(slice(*own)) for own in itertools.pairwise(ends))
        measured += zip(tables, parts, strict=True)
    block = HypothesisFamilies(detail=True, title=question, families=rows)
    return Tested(tuple(measured), block, p_global)


def _resampled(
    families: Sequence[Sequence[Measured | None]],
    n_draws: int,
    rng: np.random.Generator,
    *,
    null: float,
    side: Literal["above", "apart"],
) -> list[Resampled]:
    """Statistics of all families with one set of joint draws."""
    everything = [value for family in families for value in family]
    columns = [i for i, value in enumerate(everything) if value is not None]
    draws = np.full((n_draws, len(everything)), np.nan)
    if columns:
        draws[:, columns] = joint_draws([v for v in everything if v is not None], n_draws, rng)
    scores = [None if value is None else normal_score(value, null) for value in everything]
    if side == "apart":
        draws = np.abs(draws)
        scores = [None if score is None else abs(score) for score in scores]
    ends = np.cumsum([len(family) for family in families]).tolist()
    return [
        Resampled(tuple(scores[start:end]), draws[:, start:end])
        for start, end in itertools.pairwise([0, *ends])
    ]


def parents_of(members: Sequence[GroupMeasures], before: Sequence[GroupMeasures]) -> Parents:
    """For each group, the groups of the family before it that contain it.

    A group contains another if its levels are a subset of the other's. Of attributes within groups
    only tables of the same attribute are related.
    """
    known = [(set(entry.group.levels), table) for table in before for entry in table.values]
    return tuple(
        tuple(
            position
            for position, (levels, other) in enumerate(known)
            if levels <= set(entry.group.levels)
            and (measures.quantity != "within_auc" or measures.target == other.target)
        )
        for measures in members
        for entry in measures.values
    )


_EXACT = 1e-9


def interactions(measures: GroupMeasures) -> GroupMeasures:
    """Observed value of every group minus what an additive model predicts.

    The model has main effects of the attributes that span the groups, or is a constant where a
    single attribute does: for how well an attribute can be read within levels of another, what
    is left over the constant is the interaction of the two. It is fitted by least squares with the
    groups' images as weights; inverse variances would favour values near 1, whose variance is
    small because they are near 1. The residuals are sums of the groups' values with known
    coefficients that add up to 0, and their errors the same sums of the groups' influences.
    """
    known, model = measures.known, model_of(measures.given)
    contrasts = tuple(measures.values[i].contrast or value for i, value in known.items())
    labels = tuple(measures.values[i].labels for i in known)
    codes = measures.codes[list(known)]
    if codes.shape[1] == 1:
        codes = np.zeros_like(codes)
    weights = np.array([value.n for value in contrasts], dtype=np.float64)
    remainder = residual_map(codes, weights) if known else np.zeros((0, 0))
    values = []
    for index, entry in enumerate(measures.values):
        if index not in known:
            values.append(GroupValue(entry.group, entry.n, None, reason=entry.reason))
            continue
        place = list(known).index(index)
        if remainder[place, place] < _EXACT:
            reason = "the additive model fits it exactly, whatever its value"
            values.append(GroupValue(entry.group, entry.n, None, reason=reason))
            continue
        observed = replace(combined(remainder[place], contrasts), n=contrasts[place].n)
        own = np.arange(len(known)) == place
        between = GroupContrast(observed, contrasts, remainder[place], labels, own)
        values.append(GroupValue(entry.group, entry.n, observed, observed, between=between))
    return replace(
        measures,
        title=f"{measures.title} Difference from {model}",
        quantity="interaction",
        metric=f"{measures.metric}, minus {model}",
        chance=0.0,
        values=tuple(values),
        pooled=None,
        entries=(),
    )


def model_of(names: Sequence[str]) -> str:
    """The model that a group's value is compared with, for a sentence."""
    if len(names) == 1:
        return f"the mean over {names[0]}"
    return f"what {listed_all(names)} alone predict"


def residual_map(codes: IntArray, weights: FloatArray) -> FloatArray:
    """The matrix that takes values to their residuals from main effects.

    From the level of each group, (n_groups, n_attributes), and positive weights in the least
    squares, (n_groups,), to (n_groups, n_groups); its rows sum to 0.
    """
    columns = [np.ones((len(codes), 1))]
    columns += [
        np.asarray(column[:, None] == np.unique(column)[None, 1:], dtype=np.float64)
        for column in codes.T
    ]
    root = np.sqrt(weights)[:, None]
    left, singular, _ = np.linalg.svd(np.concatenate(columns, axis=1) * root, full_matrices=False)
    # where groups are missing, columns may depend on each other
    span = left[:, singular > _EXACT * singular[0]]
    return np.asarray(np.eye(len(codes)) - (span @ span.T) * root.T / root, dtype=np.float64)


_NO_SPREAD = 1e-9


@dataclass(frozen=True)
class Extremes:
    """The highest and the lowest of several values, as indices into them."""

    highest: int
    lowest: int
    like_highest: tuple[int, ...]
    """Others that may be the highest: no value exceeds them beyond chance."""
    like_lowest: tuple[int, ...]
    p_value: float
    """That the highest exceeds the lowest by chance, adjusted for all pairs."""
    gap: float
    """The highest minus the lowest, less what label errors may add."""
    claim: float
    """Lower bound of that gap that holds for all pairs."""
    quantile: float
    """Of that bound, in standard errors of the two as measured."""


def extremes(
    values: Sequence[Measured],
    *,
    n_draws: int,
    alpha: float,
    rng: np.random.Generator,
    without_errors: Sequence[Measured] | None = None,
) -> Extremes:
    """Find the extremes, and what else may be extreme, by max-T over paired differences.

    The two extremes are picked by what is then tested, so their difference is tested at a level
    that holds for every pair (Tukey's comparison, with joint draws of the errors). A value may be
    the highest if none exceeds it beyond chance, at a level that holds for all that could exceed
    it: the set of these holds the true highest in a share 1 - alpha of cases (Mogstad, Romano,
    Shaikh & Wilhelm 2024, Review of Economic Studies 91:476-518).

    There are at least two values, of one subject; `alpha` is the chance of a wrong statement, for
    each of the three. `without_errors` is what each value may be if its labels have errors, one of
    two ends; then only what no such errors explain counts as beyond chance.
    """
    clear = values if without_errors is None else without_errors
    size = np.array([value.value for value in values])
    scores = _pair_scores(values, clear)
    influence = np.stack([value.influence for value in values])
    # Var(a - b) = Var a + Var b - 2 Cov(a, b), for all pairs; a difference without error is 0.
    products = influence @ influence.T
    own = np.diag(products)
    errors = np.sqrt(np.maximum(own[:, None] + own[None, :] - 2 * products, 0))
    draws = joint_draws(values, n_draws, rng) * np.sqrt((influence**2).sum(axis=1))
    highest, lowest = int(size.argmax()), int(size.argmin())
    largest = np.zeros(n_draws)
    like_highest, like_lowest = [], []
    for one in range(len(size)):
        usable = errors[one] > _NO_SPREAD
        apart = (draws - draws[:, [one]]) * usable / np.where(usable, errors[one], 1.0)
        up, down = apart.max(axis=1), -apart.min(axis=1)
        p_above = resampling_p(float(scores[:, one].max()), up)
        p_below = resampling_p(float(-scores[:, one].min()), down)
        if one != highest and not is_rejected(p_above, alpha=alpha):
            like_highest.append(one)
        if one != lowest and not is_rejected(p_below, alpha=alpha):
            like_lowest.append(one)
        np.maximum(largest, up, out=largest)
    statistic = float(scores[highest, lowest])
    critical = max_t([statistic], largest[:, None], alpha=alpha).critical
    observed, gap = values[highest] - values[lowest], values[highest] - clear[lowest]
    return Extremes(
        highest=highest,
        lowest=lowest,
        like_highest=tuple(like_highest),
        like_lowest=tuple(like_lowest),
        p_value=resampling_p(statistic, largest),
        gap=gap.value,
        claim=bounds(gap, quantile_of(gap, critical))[0],
        quantile=quantile_of(observed, critical),
    )


def _pair_scores(values: Sequence[Measured], clear: Sequence[Measured]) -> FloatArray:
    """Normal score of every value minus every other, shape (n, n).

    The lower of two is taken without errors; where that makes it the higher one, the score is 0.
    """
    n = len(values)
    scores = np.zeros((n, n))
    for one, other in itertools.permutations(range(n), 2):
        if values[one].value >= values[other].value:
            scores[one, other] = max(0.0, normal_score(values[one] - clear[other]))
            scores[other, one] = -scores[one, other]
    return scores
