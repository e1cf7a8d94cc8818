"""The families of tests that an audit declares, and what became of them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from bias_audit.config.schema import Multiplicity
from bias_audit.groups import Attribute
from bias_audit.shapes.difference_map import DifferenceMap
from bias_audit.shapes.test_families import HypothesisFamilies, HypothesisFamily
from bias_audit.statistics.multiplicity import (
    CONTROLS,
    NAMES,
    Family,
    Gated,
    Method,
    Resampled,
    draws_needed,
    gatekeep,
    is_rejected,
    smallest_attainable,
)

FEWEST_DRAWS: Final = 1999
Parents = tuple[tuple[int, ...], ...]
"""Of each group, the groups that contain it, as places in the family before it."""


def depths(attributes: Sequence[Attribute]) -> Iterator[tuple[str, tuple[Attribute, ...]]]:
    """The sets of attributes whose groups are tested, each with the name of its family."""
    yield from (("marginals", (attribute,)) for attribute in attributes)
    if len(attributes) > 2:  # noqa: PLR2004
        yield from (("pairs", pair) for pair in itertools.combinations(attributes, 2))
    if len(attributes) > 1:
        yield "cells", tuple(attributes)


def declared_families(attributes: Sequence[Attribute]) -> dict[str, int]:
    """The hypotheses of each family by its name, from coarse to fine.

    One global hypothesis; each level of each attribute; each cell of each pair of attributes; each
    cell of all attributes. A family that would repeat the one before it is left out.
    """
    families = {"global": 1}
    for name, over in depths(attributes):
        n_groups = math.prod(len(attribute.levels) for attribute in over)
        families[name] = families.get(name, 0) + n_groups
    return families


def draws_of(plan: Multiplicity, n_hypotheses: int) -> int:
    """Draws to make for p-values of families of at most so many hypotheses."""
    if plan.draws is not None:
        return plan.draws
    needed = [
        draws_needed(n_hypotheses, alpha=plan.alpha, method=method)
        for method in (plan.verdicts, plan.discovery)
    ]
    return max(FEWEST_DRAWS, *needed)


def too_few_draws(plan: Multiplicity, attributes: Sequence[Attribute]) -> tuple[str, ...]:
    """A message for each method under which the declared draws can reject no single effect."""
    if plan.draws is None:
        return ()
    name, largest = max(declared_families(attributes).items(), key=lambda entry: entry[1])
    problems = []
    for method in dict.fromkeys((plan.verdicts, plan.discovery)):
        needed = draws_needed(largest, alpha=plan.alpha, method=method)
        if plan.draws >= needed:
            continue
        threshold = f"{plan.alpha:g}" if method == "max_t" else f"{plan.alpha:g}/{largest}"
        # Benjamini-Hochberg rejects at a larger p where several hypotheses share it
        what = "a single one" if method == "benjamini_hochberg" else "any"
        problems.append(
            f"multiplicity.draws: {plan.draws} draws cannot make {what} of {largest} {name} "
            f"significant under {NAMES[method]} at {plan.alpha:g} (smallest p "
            f"{1 / (1 + plan.draws):.3g} > {threshold}); at least {needed} are needed, which is "
            "what leaving the key out gives"
        )
    return tuple(problems)


@dataclass(frozen=True)
class GroupTests:
    """Tests of every group of a family, or of some; None where nothing was tested."""

    p_values: tuple[float | None, ...]
    discovery: tuple[float | None, ...]
    """Adjusted to point at something."""
    verdicts: tuple[float | None, ...]
    """Adjusted to decide something; None also where a gate stayed closed."""
    rejected: tuple[bool | None, ...]
    gate: str
    """Why the family was tested, or not."""
    is_open: bool
    smallest_p: float | None = None
    """The smallest of `verdicts` that a single effect can reach; None where there is no limit."""

    def part(self, own: slice) -> GroupTests:
        """Those of some of its groups."""
        return replace(
            self,
            p_values=self.p_values[own],
            discovery=self.discovery[own],
            verdicts=self.verdicts[own],
            rejected=self.rejected[own],
        )


def tested_families(
    plan: Multiplicity,
    p_global: float | None,
    families: Mapping[str, tuple[Resampled, Parents | None]],
    n_draws: int,
) -> tuple[tuple[HypothesisFamily, ...], tuple[GroupTests, ...]]:
    """Test the global hypothesis, then families from coarse to fine as the plan says.

    Families come with their statistics and, for each group, those of the family before it that
    contain it. The rows of the block begin with the global hypothesis, the tests after it.
    """
    p_values: list[tuple[float | None, ...]] = [(p_global,)]
    methods: list[Method] = ["max_t"]
    hypotheses = [Family("global", (p_global,))]
    for name, (found, parents) in families.items():
        p_values.append(found.p_values)
        methods.append(plan.verdicts)
        hypotheses.append(Family(name, found.adjusted(plan.verdicts, plan.alpha), parents))
    gated = gatekeep(hypotheses, alpha=plan.alpha, gates=plan.gatekeeping)
    rows = tuple(
        family_row(each, method=method, alpha=plan.alpha, draws=n_draws, p_values=own)
        for each, method, own in zip(gated, methods, p_values, strict=True)
    )
    tests = (
        GroupTests(
            own,
            found.adjusted(plan.discovery, plan.alpha),
            each.adjusted,
            each.rejected,
            each.reason,
            each.is_open,
            row.smallest_p,
        )
        for own, (found, _), each, row in zip(
            p_values[1:], families.values(), gated[1:], rows[1:], strict=True
        )
    )
    return rows, tuple(tests)


def family_row(
    gated: Gated, *, method: Method, alpha: float, draws: int, p_values: Sequence[float | None]
) -> HypothesisFamily:
    """One row of the block of families; p-values are those before gates."""
    measured = sum(p is not None for p in p_values)
    return HypothesisFamily(
        name=gated.name,
        n_hypotheses=len(p_values),
        n_tested=measured,
        method=NAMES[method],
        controls=CONTROLS[method],
        alpha=alpha,
        draws=draws,
        smallest_p=smallest_attainable(measured, draws=draws, method=method) if measured else None,
        rejected=sum(map(bool, gated.rejected)) if gated.is_open else None,
        is_open=gated.is_open,
        gate=gated.reason,
    )


def map_families(maps: Sequence[DifferenceMap]) -> tuple[HypothesisFamilies, ...]:
    """The difference maps of each layer as a family; nothing where none was to be tested."""
    families = []
    for block in maps:
        if block.draws is None:
            continue
        p_values = [each.adjusted_p for each in block.differences]
        family = HypothesisFamily(
            name=f"difference maps at {block.layer}",
            n_hypotheses=len(p_values),
            n_tested=sum(p is not None for p in p_values),
            method=f"{NAMES['holm']}, over maps",
            controls=CONTROLS["holm"],
            alpha=block.alpha,
            draws=block.draws,
            smallest_p=block.smallest_p,
            rejected=sum(p is not None and is_rejected(p, alpha=block.alpha) for p in p_values),
            is_open=True,
            gate="depends on no other family",
        )
        families.append(family)
    if not families:
        return ()
    title = "Which difference maps are significant?"
    return (HypothesisFamilies(detail=True, title=title, families=tuple(families)),)
