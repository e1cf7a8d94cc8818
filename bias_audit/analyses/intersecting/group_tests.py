"""Tests of many groups at once, in families that open one after another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from bias_audit.analyses.analysis import Subject
from bias_audit.analyses.families import draws_of, family_row
from bias_audit.analyses.intersecting.measures import GroupMeasures, GroupTests, GroupValue
from bias_audit.analyses.wording import listed
from bias_audit.arrays import FloatArray, IntArray
from bias_audit.results.blocks import HypothesisFamilies, HypothesisFamily
from bias_audit.statistics.inference import Measured, combined, joint_draws, normal_score
from bias_audit.statistics.label_noise import GroupContrast
from bias_audit.statistics.multiplicity import Family, Gated, MaybeP, Resampled, gatekeep

Side = Literal["above", "apart"]


@dataclass(frozen=True)
class Level:
    """One family: the groups of several tables, adjusted together."""

    name: str
    members: tuple[GroupMeasures, ...]
    parents: tuple[tuple[int, ...], ...] | None = None
    """As `multiplicity.Family.parents`."""


@dataclass(frozen=True)
class Tested:
    """A hierarchy of families after its tests."""

    tests: tuple[tuple[GroupTests, ...], ...]
    """Of each table, by family."""
    block: HypothesisFamilies
    p_global: float | None
    """That nothing in the global family exceeds chance."""


def tested(
    subject: Subject,
    question: str,
    anything: Sequence[Measured | None],
    levels: Sequence[Level],
    *,
    null: float,
    side: Side,
) -> Tested:
    """Test a global hypothesis, then families from coarse to fine.

    Args:
        subject: The subject, with its plan.
        question: What is tested, for a title.
        anything: Measures of the global hypothesis that none of them exceeds chance; it has one
            p-value, by max-T.
        levels: The families after it, in order.
        null: Value without an effect.
        side: "above" tests whether values exceed `null`, "apart" whether they differ from it.
    """
    plan = subject.multiplicity
    flat = [_flat(level) for level in levels]
    n_draws = draws_of(plan, max(map(len, flat)))
    rng = subject.rng("group tests", question)
    resampled = _resample([list(anything), *flat], n_draws, rng, null=null, side=side)
    joint = resampled[0].adjusted("max_t", plan.alpha)
    p_global = min((p for p in joint if p is not None), default=None)
    families = [Family("global", (p_global,))]
    for level, found in zip(levels, resampled[1:], strict=True):
        verdicts = found.adjusted(plan.verdicts, plan.alpha)
        families.append(Family(level.name, verdicts, level.parents))
    gated = gatekeep(families, alpha=plan.alpha, gates=plan.gatekeeping)
    rows = [_global_row(subject, gated[0], p_global, n_draws)]
    tests = []
    for level, found, family in zip(levels, resampled[1:], gated[1:], strict=True):
        rows.append(
            family_row(
                family,
                method=plan.verdicts,
                alpha=plan.alpha,
                draws=n_draws,
                p_values=found.p_values,
            )
        )
        discovery = found.adjusted(plan.discovery, plan.alpha)
        tests.append(_by_table(level, found.p_values, discovery, family))
    block = HypothesisFamilies(detail=False, title=question, families=tuple(rows))
    return Tested(tuple(tests), block, p_global)


def _global_row(
    subject: Subject, gated: Gated, p_global: float | None, n_draws: int
) -> HypothesisFamily:
    return family_row(
        gated,
        method="max_t",
        alpha=subject.multiplicity.alpha,
        draws=n_draws,
        p_values=(p_global,),
    )


def _flat(level: Level) -> list[Measured | None]:
    return [value for measures in level.members for value in measures.tested]


def _resample(
    families: Sequence[Sequence[Measured | None]],
    n_draws: int,
    rng: np.random.Generator,
    *,
    null: float,
    side: Side,
) -> list[Resampled]:
    """One set of joint draws for all families."""
    everything = [value for family in families for value in family]
    known = [value for value in everything if value is not None]
    draws = np.full((n_draws, len(everything)), np.nan)
    if known:
        columns = [i for i, value in enumerate(everything) if value is not None]
        draws[:, columns] = joint_draws(known, n_draws, rng)
    if side == "apart":
        draws = np.abs(draws)
    statistics = [None if value is None else _statistic(value, null, side) for value in everything]
    result, start = [], 0
    for family in families:
        chosen = slice(start, start + len(family))
        result.append(Resampled(tuple(statistics[chosen]), draws[:, chosen]))
        start += len(family)
    return result


def _statistic(measured: Measured, null: float, side: Side) -> float:
    found = normal_score(measured, null)
    return abs(found) if side == "apart" else found


def _by_table(
    level: Level, p_values: Sequence[MaybeP], discovery: Sequence[MaybeP], family: Gated
) -> tuple[GroupTests, ...]:
    result, start = [], 0
    for measures in level.members:
        chosen = slice(start, start + len(measures.values))
        result.append(
            GroupTests(
                tuple(p_values[chosen]),
                tuple(discovery[chosen]),
                family.adjusted[chosen],
                family.rejected[chosen],
                family.reason,
                family.is_open,
            )
        )
        start += len(measures.values)
    return tuple(result)


def parents_of(
    members: Sequence[GroupMeasures], before: Sequence[GroupMeasures]
) -> tuple[tuple[int, ...], ...]:
    """For each group, the groups of the family before it that contain it.

    Only tables of the same target are related where these tables share a quantity of a target;
    a group contains another if its levels are a subset of the other's.
    """
    known = [
        (position, dict(entry.group.levels), measures)
        for position, (measures, entry) in enumerate(
            (measures, entry) for measures in before for entry in measures.values
        )
    ]
    result = []
    for measures in members:
        for entry in measures.values:
            own = dict(entry.group.levels).items()
            result.append(
                tuple(
                    position
                    for position, levels, other in known
                    if levels.items() <= own and _related(measures, other)
                )
            )
    return tuple(result)


def _related(one: GroupMeasures, other: GroupMeasures) -> bool:
    return one.quantity != "within_auc" or one.target == other.target


_EXACT = 1e-9


def interactions(measures: GroupMeasures) -> GroupMeasures:
    """Observed value of every group minus what an additive model says of it.

    The model has main effects of the attributes that span the groups, or is a constant where a
    single attribute does: for how well an attribute is told apart within levels of another, what
    is left over the constant is the interaction of the two. It is fitted by least squares with the
    groups' images as weights; inverse variances would favour values near 1, whose variance is
    small because they are near 1. The residuals are sums of the groups' values with known
    coefficients that add up to 0, and their errors the same sums of the groups' influences.
    """
    known = list(measures.known)
    model = model_of(measures.given)
    title = f"{measures.title}: difference to {model}"
    residuals, reasons = _residuals(measures, known)
    values = tuple(
        _left(entry, residuals[index])
        if index in residuals
        else GroupValue(entry.group, entry.n, None, reason=reasons.get(index) or entry.reason)
        for index, entry in enumerate(measures.values)
    )
    return replace(
        measures,
        title=title,
        quantity="interaction",
        metric=f"{measures.metric}, minus {model}",
        chance=0.0,
        values=values,
        pooled=None,
        entries=(),
    )


def model_of(names: Sequence[str]) -> str:
    """The model that a group's value is compared with, for a sentence."""
    if len(names) == 1:
        return f"the mean over {names[0]}"
    return f"an additive model of {listed(names, most=len(names))}"


def _left(entry: GroupValue, residual: GroupContrast) -> GroupValue:
    value = residual.observed
    return GroupValue(entry.group, entry.n, value, value, between=residual)


def _residuals(
    measures: GroupMeasures, known: list[tuple[int, Measured]]
) -> tuple[dict[int, GroupContrast], dict[int, str]]:
    """The residual of each group that has one, and why the others have none."""
    if not known:
        return {}, {}
    rows = [index for index, _ in known]
    contrasts = tuple(measures.values[i].contrast or value for i, value in known)
    labels = tuple(measures.values[i].labels for i in rows)
    codes = measures.codes[rows]
    if codes.shape[1] == 1:
        codes = np.zeros_like(codes)
    weights = np.array([value.n for value in contrasts], dtype=np.float64)
    remainder = residual_map(codes, weights)
    result, reasons = {}, {}
    for place, index in enumerate(rows):
        if remainder[place, place] < _EXACT:
            reasons[index] = "the additive model fits it exactly, whatever its value"
            continue
        observed = replace(combined(remainder[place], contrasts), n=contrasts[place].n)
        own = np.arange(len(rows)) == place
        result[index] = GroupContrast(observed, contrasts, remainder[place], labels, own)
    return result, reasons


def residual_map(codes: IntArray, weights: FloatArray) -> FloatArray:
    """The matrix that takes values to their residuals from main effects.

    Args:
        codes: Level of each group, shape (n_groups, n_attributes).
        weights: Of the groups in the least squares, positive, shape (n_groups,).

    Returns:
        Shape (n_groups, n_groups); its rows sum to 0.
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
