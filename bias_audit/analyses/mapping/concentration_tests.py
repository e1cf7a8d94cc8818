"""Tests of which groups are concentrated on a map of faces, in families from coarse to fine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bias_audit.analyses.families import family_row
from bias_audit.analyses.mapping.concentration import Concentration
from bias_audit.config.schema import Multiplicity
from bias_audit.groups import Group
from bias_audit.results.blocks import HypothesisFamily
from bias_audit.statistics.multiplicity import (
    Family,
    MaybeP,
    Resampled,
    gatekeep,
    resampling_p,
)


@dataclass(frozen=True)
class ToTest:
    """One family."""

    name: str
    groups: tuple[Group, ...]
    places: tuple[int, ...]
    """Of the groups among those of the `Concentration`."""


@dataclass(frozen=True)
class TestedGroup:
    """What was found of one group; None where it was not tested."""

    p_value: float | None
    discovery: float | None
    """Adjusted to point at something."""
    verdict: float | None
    """Adjusted to decide something; None also where a gate stayed closed."""
    is_rejected: bool


@dataclass(frozen=True)
class TestedFamilies:
    """All groups after their tests."""

    by_place: dict[int, TestedGroup]
    """By place among the groups of the `Concentration`."""
    rows: tuple[HypothesisFamily, ...]
    p_global: float


def tested(
    found: Concentration,
    is_measured: Sequence[bool],
    families: Sequence[ToTest],
    plan: Multiplicity,
) -> TestedFamilies:
    """Test that the map tells anything of the intersections, then the groups by family.

    Args:
        found: With its draws.
        is_measured: Whether a group has images enough, by its place.
        families: From coarse to fine.
        plan: Of the audit.
    """
    p_global = resampling_p(found.information, found.permuted_information)
    steps = [Family("global", (p_global,))]
    before: ToTest | None = None
    resampled = [_resampled(found, is_measured, family) for family in families]
    for family, one in zip(families, resampled, strict=True):
        parents = None if before is None else _parents(family.groups, before.groups)
        steps.append(Family(family.name, one.adjusted(plan.verdicts, plan.alpha), parents))
        before = family
    gated = gatekeep(steps, alpha=plan.alpha, gates=plan.gatekeeping)
    n_draws = len(found.permuted)
    p_values: list[tuple[MaybeP, ...]] = [(p_global,), *(one.p_values for one in resampled)]
    rows = tuple(
        family_row(
            step,
            method="max_t" if number == 0 else plan.verdicts,
            alpha=plan.alpha,
            draws=n_draws,
            p_values=p_values[number],
        )
        for number, step in enumerate(gated)
    )
    by_place = {}
    for family, one, step in zip(families, resampled, gated[1:], strict=True):
        discovery = one.adjusted(plan.discovery, plan.alpha)
        for i, place in enumerate(family.places):
            by_place[place] = TestedGroup(
                one.p_values[i], discovery[i], step.adjusted[i], bool(step.rejected[i])
            )
    return TestedFamilies(by_place, rows, p_global)


def _resampled(found: Concentration, is_measured: Sequence[bool], family: ToTest) -> Resampled:
    places = list(family.places)
    draws = found.permuted[:, places]
    centre, spread = draws.mean(axis=0), draws.std(axis=0)
    spread = np.where(spread > 0, spread, 1)
    observed = (found.bits[places] - centre) / spread
    return Resampled(
        tuple(
            float(t) if is_measured[place] else None
            for t, place in zip(observed, places, strict=True)
        ),
        (draws - centre) / spread,
    )


def _parents(groups: Sequence[Group], before: Sequence[Group]) -> tuple[tuple[int, ...], ...]:
    """For each group, the groups of the family before it that contain it."""
    sets = [set(group.levels) for group in before]
    return tuple(
        tuple(i for i, levels in enumerate(sets) if levels <= set(group.levels))
        for group in groups
    )
