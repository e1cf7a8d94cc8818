"""Differences of numbers, and what they amount to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import Final

import numpy as np

from bias_audit.config.schema import Better, Changes, Criterion
from bias_audit.results.contributions import Contributions, MeasureKey
from bias_audit.results.differing.comparables import Comparable
from bias_audit.results.differing.shapes import ChangeOutcome
from bias_audit.statistics.comparison import Joined, UnitsOf, join
from bias_audit.statistics.estimate import Estimate, at_level, interval_at, p_of_no_difference
from bias_audit.statistics.inference import difference, independent_difference
from bias_audit.statistics.multiplicity import adjusted, is_rejected


@dataclass(frozen=True)
class Difference:
    """One number minus another."""

    estimate: Estimate
    noise: float | None
    paired: bool
    identical: bool


class Pairing:
    """Joins the units of two audits once for all numbers that have the same."""

    def __init__(self) -> None:
        """Nothing is joined yet."""
        self._joined: dict[tuple[int, int], Joined] = {}

    def of(self, before: Contributions, after: Contributions) -> Joined:
        """The units of both together; both have to stay in memory."""
        key = id(before), id(after)
        if key not in self._joined:
            self._joined[key] = join(_units_of(before), _units_of(after))
        return self._joined[key]


def _units_of(entry: Contributions) -> UnitsOf:
    clusters = dict(zip(entry.images, entry.clusters.tolist(), strict=True))
    return UnitsOf(clusters, entry.seeds, entry.n_clusters)


def subtract(
    before: Comparable, after: Comparable, pairing: Pairing, *, level: float, same: bool
) -> Difference:
    """AFTER minus BEFORE, image by image where that can be done.

    What two audits of the same images share cancels in a paired difference, and what refitting
    adds does not; so its noise, measured by each audit, is added. Where it was not measured, or
    single images are not known, the two are taken as independent. That needs no noise floor: the
    interval of each number covers what other images and other folds would give.

    Where both audits have the `same` weights, images and labels, equal numbers are one number.
    """
    joined = _joint(before, after, pairing)
    is_equal = _CONTENT(before.estimate) == _CONTENT(after.estimate)
    if is_equal and (same or _equal_by_unit(before, after, joined)):
        n = before.estimate.n
        nothing = Estimate(0.0, 0.0, 0.0, level=level, n=n, method="identical numbers")
        return Difference(nothing, None, paired=joined is not None, identical=True)
    if joined is None or before.measured is None or after.measured is None:
        one, other = (at_level(each.estimate, level) for each in (after, before))
        return Difference(independent_difference(one, other), None, paired=False, identical=False)
    sds = (before.noise or 0.0, after.noise or 0.0)
    first, second = joined.together(before.measured, after.measured, noise=sds)
    found = difference(second, first, level=level)
    method = f"{found.method}, paired by image, noise of refitting added"
    total = float(np.hypot(*sds))
    return Difference(replace(found, method=method), total, paired=True, identical=False)


def _joint(before: Comparable, after: Comparable, pairing: Pairing) -> Joined | None:
    """None where the two cannot be paired."""
    known = (before.noise, after.noise, before.measured, after.measured)
    if any(each is None for each in known) or before.units is None or after.units is None:
        return None
    joined = pairing.of(before.units, after.units)
    return joined if joined.n_shared else None


_CONTENT: Final = attrgetter("value", "lower", "upper", "n")


def _equal_by_unit(before: Comparable, after: Comparable, joined: Joined | None) -> bool:
    """Whether every image contributes the same to both, as where a layer was not touched."""
    if joined is None or before.measured is None or after.measured is None:
        return False
    one, other = joined.together(before.measured, after.measured)
    return bool(np.array_equal(one.influence, other.influence))


@dataclass(frozen=True)
class Classed:
    """What a difference amounts to."""

    p_value: float | None
    adjusted_p: float | None
    equivalence: tuple[float, float]
    outcome: ChangeOutcome


def classed(
    differences: Sequence[Difference],
    margins: Sequence[float],
    betters: Sequence[Better | None],
    *,
    level: float,
) -> tuple[Classed, ...]:
    """Equivalent within the margin, else changed beyond chance, else undecided.

    Equivalence is two one-sided tests (Schuirmann 1987, Journal of Pharmacokinetics and
    Biopharmaceutics 15:657-680): the interval of coverage 1 - 2 alpha lies within the margin.
    Changes are one family, adjusted by Holm (1979), so that the chance of calling any number
    changed that did not is at most alpha = 1 - `level`; identical numbers are not tested.
    """
    p_values = [None if d.identical else p_of_no_difference(d.estimate) for d in differences]
    stepped = adjusted(p_values, "holm")
    alpha = 1 - level
    found = []
    for each, margin, better, p, adjusted_p in zip(
        differences, margins, betters, p_values, stepped, strict=True
    ):
        lower, upper = interval_at(each.estimate, 1 - 2 * alpha)
        if -margin <= lower and upper <= margin:
            outcome: ChangeOutcome = "equivalent"
        elif is_rejected(adjusted_p, alpha=alpha):
            went: Better = "higher" if each.estimate.value > 0 else "lower"
            outcome = went if better is None else "improved" if went == better else "worse"
        else:
            outcome = "undecided"
        found.append(Classed(p, adjusted_p, (lower, upper), outcome))
    return tuple(found)


def better_of(
    key: MeasureKey, policy: Changes, criteria: Sequence[Criterion], backbone: str
) -> Better | None:
    """Which way a number improves, as the policy says or the criteria do; None where neither does.

    A criterion speaks for what it is about: its quantity, target, groups and `of`. Criteria that
    contradict each other say nothing.
    """
    if key.quantity in policy.better:
        return policy.better[key.quantity]
    said: set[Better] = set()
    for criterion in criteria:
        if _is_about(criterion, key, backbone):
            if criterion.at_most is not None:
                said.add("lower")
            if criterion.at_least is not None:
                said.add("higher")
    return said.pop() if len(said) == 1 else None


def _is_about(criterion: Criterion, key: MeasureKey, backbone: str) -> bool:
    if (criterion.quantity, criterion.target, criterion.of) != (key.quantity, key.target, key.of):
        return False
    if criterion.backbones is not None and backbone not in criterion.backbones:
        return False
    levels: Mapping[str, str] = dict(key.group or ())
    return (criterion.groups or {}).items() <= levels.items()
