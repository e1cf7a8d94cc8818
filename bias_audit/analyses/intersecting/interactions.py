"""What is left of group values once the effects of single attributes are taken out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from bias_audit.analyses.intersecting.group_measures import GroupMeasures, GroupValue
from bias_audit.analyses.wording import listed
from bias_audit.arrays import FloatArray, IntArray
from bias_audit.statistics.inference import Measured, combined
from bias_audit.statistics.label_noise import GroupContrast

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
