"""The families of tests that an audit declares, and what became of them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Final

from bias_audit.config.schema import Multiplicity
from bias_audit.groups import Attribute
from bias_audit.shapes.difference_map import DifferenceMap
from bias_audit.shapes.test_families import HypothesisFamilies, HypothesisFamily
from bias_audit.statistics.multiplicity import (
    CONTROLS,
    NAMES,
    Gated,
    Method,
    draws_needed,
    is_rejected,
    smallest_attainable,
)

FEWEST_DRAWS: Final = 1999


def declared_families(attributes: Sequence[Attribute]) -> dict[str, int]:
    """The hypotheses of each family by its name, from coarse to fine.

    One global hypothesis; each level of each attribute; each cell of each pair of attributes; each
    cell of all attributes. A family that would repeat the one before it is left out.
    """
    sizes = [len(attribute.levels) for attribute in attributes]
    families = {"global": 1, "marginals": sum(sizes)}
    if len(sizes) > 2:  # noqa: PLR2004
        families["pairs"] = sum(a * b for a, b in itertools.combinations(sizes, 2))
    if len(sizes) > 1:
        families["cells"] = math.prod(sizes)
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
            f"multiplicity.draws: {plan.draws} draws cannot reject {what} of {largest} {name} "
            f"under {NAMES[method]} at {plan.alpha:g} (smallest p {1 / (1 + plan.draws):.3g} > "
            f"{threshold}); at least {needed} are needed, which is what leaving the key out gives"
        )
    return tuple(problems)


def family_row(
    gated: Gated,
    *,
    method: Method,
    alpha: float,
    draws: int | None,
    p_values: Sequence[float | None],
) -> HypothesisFamily:
    """One row of the block of families, of a family after `gatekeep`.

    `p_values` are those before gates, None for hypotheses that could not be measured; there are no
    `draws` where they come from a formula.
    """
    measured = sum(p is not None for p in p_values)
    smallest = None
    if draws is not None and measured:
        smallest = smallest_attainable(measured, draws=draws, method=method)
    return HypothesisFamily(
        name=gated.name,
        n_hypotheses=len(p_values),
        n_tested=measured,
        method=NAMES[method],
        controls=CONTROLS[method],
        alpha=alpha,
        draws=draws,
        smallest_p=smallest,
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
    title = "Families of hypotheses: difference maps"
    return (HypothesisFamilies(title=title, families=tuple(families)),)
