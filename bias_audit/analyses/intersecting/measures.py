"""A quantity of every group of some attributes: its values, its tests, and its table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from bias_audit.analyses.families import GroupTests
from bias_audit.arrays import IntArray
from bias_audit.groups import Attribute, Group
from bias_audit.shapes.group_ledger import GroupLedgerEntry
from bias_audit.shapes.group_table import GroupRow, GroupTable
from bias_audit.statistics.estimate import Estimate
from bias_audit.statistics.inference import Measured, estimate
from bias_audit.statistics.label_noise import GroupContrast, Labels
from bias_audit.statistics.shrinkage import shrink_estimates


@dataclass(frozen=True)
class GroupValue:
    """One group and its value."""

    group: Group
    n: int
    """Images the value is about, those without a value included."""
    value: Measured | None
    """None where there is none, and `reason` says why."""
    contrast: Measured | None = None
    """The same for differences between groups, in which errors that all groups share cancel."""
    reason: str | None = None
    labels: Labels = field(default_factory=Labels)
    """Behind the value, where there is one."""
    between: GroupContrast | None = None
    """What the value is made of, where it is a difference between groups."""

    @property
    def tested(self) -> Measured | None:
        """What of the value errors of annotators, as far as these disagree, leave to be tested."""
        return self.value if self.between is None else self.between.nearest

    def estimate(self, level: float) -> Estimate | None:
        """The value with its interval, which counts errors of annotators as `tested` does."""
        if self.between is not None:
            return self.between.estimate(level)
        return None if self.value is None else estimate(self.value, level=level)

    def allowing(self, choice: float) -> GroupValue:
        """With the share of the error rate that the choice of the layer left."""
        value, contrast = (
            None if each is None else replace(each, choice=choice)
            for each in (self.value, self.contrast)
        )
        return replace(self, value=value, contrast=contrast)


@dataclass(frozen=True)
class GroupMeasures:
    """A quantity of every group of a set of attributes."""

    title: str
    quantity: str
    metric: str
    target: str
    layer: str
    chance: float | None
    given: tuple[str, ...]
    """Attributes that span the groups."""
    codes: IntArray
    """Level of each group, shape (n_groups, n_attributes)."""
    values: tuple[GroupValue, ...]
    """Of each declared group."""
    pooled: GroupValue | None = None
    entries: tuple[GroupLedgerEntry, ...] = ()
    """For the ledger of small groups."""

    def allowing(self, choice: float) -> GroupMeasures:
        """With the share of the error rate that the choice of the layer left."""
        return replace(
            self,
            values=tuple(v.allowing(choice) for v in self.values),
            pooled=self.pooled and self.pooled.allowing(choice),
        )

    @property
    def known(self) -> dict[int, Measured]:
        """The values of the groups that have one, by the group's index."""
        return {i: v.value for i, v in enumerate(self.values) if v.value is not None}


def level_codes(attributes: Sequence[Attribute]) -> IntArray:
    """Level of each group as `groups.intersections` orders them, (n_groups, n_attributes)."""
    return np.argwhere(np.ones([len(attribute.levels) for attribute in attributes]))


def table_of(
    measures: GroupMeasures, tests: GroupTests, *, level: float, detail: bool, shrunk: bool
) -> GroupTable:
    """The block of a quantity.

    With `shrunk`, values drawn towards what the attributes predict stand beside the raw ones.
    """
    estimates = [entry.estimate(level) for entry in measures.values]
    drawn: Sequence[Estimate | None] = [None] * len(estimates)
    shrinkage = None
    if shrunk:
        drawn, shrinkage = shrink_estimates(estimates, measures.codes, names=measures.given)
    rows = [
        GroupRow(
            group=entry.group,
            n=entry.n,
            estimate=estimates[i],
            reason=entry.reason,
            shrunk=drawn[i],
            p_value=tests.p_values[i],
            adjusted_p=tests.discovery[i],
        )
        for i, entry in enumerate(measures.values)
    ]
    if (pooled := measures.pooled) is not None:
        value, reason = pooled.estimate(level), pooled.reason
        rows.append(GroupRow(group=pooled.group, n=pooled.n, estimate=value, reason=reason))
    return GroupTable(
        detail=detail,
        title=measures.title,
        quantity=measures.quantity,
        metric=measures.metric,
        layer=measures.layer,
        target=measures.target,
        chance=measures.chance,
        rows=tuple(rows),
        shrinkage=shrinkage,
    )
