"""Group profiles: the mean activation of each unit over the images of each group.

The papers call them Neuron Activation Profiles (Krug, Ratul, Olson & Stober, arXiv:2204.03528).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bias_audit.activations.moments import Moments
from bias_audit.analyses.analysis import Subject
from bias_audit.analyses.targets import Target, finest_target, targets_of
from bias_audit.arrays import FloatArray, IntArray
from bias_audit.groups import Group


@dataclass(frozen=True)
class Profiles:
    """Profiles of all levels of one target at one layer."""

    target: Target
    counts: IntArray
    """Images per group, shape (n_groups,)."""
    means: FloatArray
    """Shape (n_groups, n_units); NaN for groups without images."""
    deviations: FloatArray
    """Sample standard deviation, same shape; NaN for groups with fewer than two images."""

    @property
    def contrasts(self) -> FloatArray:
        """Means less the unweighted mean over the non-empty groups, shape (n_groups, n_units)."""
        return np.asarray(self.means - self.means[self.counts > 0].mean(axis=0), dtype=np.float64)

    @property
    def groups(self) -> tuple[Group, ...]:
        """The declared groups."""
        return self.target.groups


def attribute_targets(subject: Subject) -> tuple[Target, ...]:
    """Every attribute as a target."""
    table = subject.faces.table
    return targets_of(table, [attribute.name for attribute in table.attributes])


def profiles(
    subject: Subject, layer: str, target: Target, moments: Moments | None = None
) -> Profiles:
    """Profiles of a target's groups, united from those of the intersections.

    Args:
        subject: Whose activations.
        layer: One of its layers.
        target: An attribute, some of them, or all intersections.
        moments: Of the intersections over some of the images; default: over all.
    """
    cells = subject.activations.moments(layer) if moments is None else moments
    finest = finest_target(subject.faces.table)
    members = [
        np.array(
            [i for i, cell in enumerate(finest.groups) if set(group.levels) <= set(cell.levels)]
        )
        for group in target.groups
    ]
    merged = cells.merged(members)
    counts = merged.count.astype(np.float64)[:, None]
    means = np.where(counts > 0, merged.mean, np.nan)
    variance = merged.m2 / np.maximum(counts - 1, 1)
    deviations = np.where(counts > 1, np.sqrt(variance), np.nan)
    return Profiles(target, merged.count, means, deviations)


def pooled_deviation(moments: Moments) -> FloatArray:
    """Standard deviation of each unit within the intersections, pooled, shape (n_units,).

    It is 0 for a unit that is constant within every intersection.
    """
    freedom = int(np.maximum(moments.count - 1, 0).sum())
    return np.asarray(np.sqrt(moments.m2.sum(axis=0) / max(1, freedom)), dtype=np.float64)


def pooled_freedom(moments: Moments, clusters: IntArray) -> float:
    """Degrees of freedom of `pooled_deviation`, of independent images; at least 3."""
    return float(max(3, len(np.unique(clusters)) - int((moments.count > 0).sum())))
