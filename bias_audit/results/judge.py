"""Criteria become verdicts: intervals compared with margins.

A number lies within its margin when its interval at the criterion's level does, beyond it when the
interval lies wholly outside, and is undecided otherwise: that no difference was found decides
nothing. A criterion over m numbers

- PASSES when every number is within. This is an intersection-union test (Berger 1982,
  Technometrics 24:295-300): if one true value is beyond, all intervals pass with no more than the
  chance that this one does, so that the level of each needs no adjustment.
- FAILS when any number is beyond. Here each of m intervals could err, so Holm's procedure (1979,
  Scandinavian Journal of Statistics 6:65-70) is applied through the intervals: with error rate
  a = 1 - level, those beyond at 1 - a/m fail, then of the r left those beyond at 1 - a/r, until
  none is. If no true value is beyond, the chance of a FAIL is at most a.
- is INCONCLUSIVE otherwise. A missing number forbids PASS, not FAIL.

The intervals of a layer picked because its estimate is highest ("best") allow for that choice:
they hold for all layers at once. Error rates hold for one criterion on one
backbone.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

import scipy

from bias_audit.config.schema import Criterion
from bias_audit.results.audit import TOGETHER, AnalysisResult, SubjectResult
from bias_audit.results.numbers import Number, best, curves, numbers_of
from bias_audit.results.verdict import Deciding, Outcome, Verdict
from bias_audit.statistics.estimate import (
    Estimate,
    at_level,
    interval_at,
    quantile,
    standard_error,
)

POWER: Final = 0.8
"""Probability with which the images that would decide do so, and with which the smallest
detectable distance is detected."""
_NEVER: Final = 1e15
"""Times the images that are as good as infinitely many."""


@dataclass(frozen=True)
class Held:
    """The numbers of a criterion, by what their intervals say."""

    passing: tuple[Number, ...]
    """Within the margin."""
    failing: tuple[Number, ...]
    """Wholly beyond it, allowing for how many there are."""
    undecided: tuple[Number, ...]
    missing: tuple[Number, ...]

    @property
    def n_measured(self) -> int:
        """Numbers that have an interval."""
        return len(self.passing) + len(self.failing) + len(self.undecided)

    @property
    def n_examined(self) -> int:
        """All numbers."""
        return self.n_measured + len(self.missing)


def hold(criterion: Criterion, numbers: Sequence[Number]) -> Held:
    """Sort numbers into passing, failing, undecided and missing."""
    measured = [number for number in numbers if number.estimate is not None]
    passing = [number for number in measured if room(criterion, number) >= 0]
    # Holm's step-down procedure; all that are beyond at one step are rejected in it.
    left, failing = measured, list[Number]()
    while beyond := [number for number in left if excess(criterion, number, len(left)) > 0]:
        failing += beyond
        left = [number for number in left if number not in beyond]
    return Held(
        passing=tuple(passing),
        failing=tuple(failing),
        undecided=tuple(n for n in measured if n not in passing and n not in failing),
        missing=tuple(number for number in numbers if number.estimate is None),
    )


def level_for(criterion: Criterion, m: int = 1) -> float:
    """Coverage that keeps the error rate over m numbers."""
    return 1 - (1 - criterion.level) / m


def measured(number: Number) -> Estimate:
    """The number's estimate.

    Raises:
        ValueError: It is missing.
    """
    if number.estimate is None:
        raise ValueError(f"{number.layer}: expected a measured number, {number.reason}")
    return number.estimate


def room(criterion: Criterion, number: Number) -> float:
    """How far the interval stays within the margin's nearer end; negative where it sticks out."""
    return _room(interval_at(measured(number), criterion.level), criterion)


def excess(criterion: Criterion, number: Number, m: int) -> float:
    """How far the whole interval, one of m, lies beyond the margin; else negative."""
    lower, upper = interval_at(measured(number), level_for(criterion, m))
    lowest, highest = criterion.margin
    above = -math.inf if highest is None else lower - highest
    below = -math.inf if lowest is None else lowest - upper
    return max(above, below)


def is_inside(criterion: Criterion, number: Number) -> bool:
    """Whether the value itself is allowed."""
    value = measured(number).value
    return _room((value, value), criterion) >= 0


def decisive_level(criterion: Criterion, number: Number, m: int) -> float:
    """Level of the interval that would settle a number, given the side its value is on."""
    return level_for(criterion, 1 if is_inside(criterion, number) else m)


def growth(criterion: Criterion, number: Number, m: int) -> float:
    """How many times the images would decide with a probability of `POWER` if the value held.

    Infinite on the margin itself. Value and interval are taken as normal ones whose variances
    shrink as images are added, while degrees of freedom grow.
    """
    estimate, level = measured(number), decisive_level(criterion, number, m)
    ends = _ends(criterion, estimate.value)

    def chance(times: float) -> float:
        """That the interval of so many times the images leaves out all of the ends."""
        chances = [
            float(scipy.special.ndtr(_surplus(estimate, end, level, times))) for end in ends
        ]
        return sum(chances) - (len(chances) - 1)

    most = 1.0
    while most < _NEVER and chance(most) < POWER:
        most *= 2
    least = most / 2
    while chance(least) >= POWER:
        least /= 2
    if most >= _NEVER:
        return math.inf
    return float(scipy.optimize.brentq(lambda times: chance(times) - POWER, least, most))


def _ends(criterion: Criterion, value: float) -> tuple[float, ...]:
    """Ends of the margin that an interval about a value must leave out to be decided."""
    lowest, highest = criterion.margin
    if lowest is not None and value < lowest:
        return (lowest,)
    if highest is not None and value > highest:
        return (highest,)
    return tuple(end for end in (lowest, highest) if end is not None)


def _surplus(estimate: Estimate, end: float, level: float, times: float) -> float:
    """How far an end is expected to lie beyond the interval, over the value's standard error.

    Of a share, Wilson's interval reaches a quantile of its spread at the end, and chance varies
    with its spread at the value.
    """
    value, freedom = estimate.value, estimate.freedom
    alone = 1 - (1 - level) * estimate.choice
    reach = quantile(alone, None if freedom is None else freedom * times)
    distance = abs(value - end) * math.sqrt(times)
    if estimate.scale == "wilson" and 0 < end < 1:
        distance *= math.sqrt(estimate.counted)
        over, error = reach * math.sqrt(end * (1 - end)), math.sqrt(value * (1 - value))
    else:
        lower, upper = interval_at(estimate, level)
        half_width = value - lower if value > end else upper - value
        error = half_width / quantile(alone, freedom)
        over = reach * error
    rest = distance - over
    return rest / error if error > 0 else math.copysign(math.inf, rest)


def _room(bounds: tuple[float, float], criterion: Criterion) -> float:
    lowest, highest = criterion.margin
    low = math.inf if lowest is None else bounds[0] - lowest
    high = math.inf if highest is None else highest - bounds[1]
    return min(low, high)


def judge(
    criteria: Iterable[Criterion],
    subjects: Sequence[SubjectResult],
    together: Sequence[AnalysisResult] = (),
    *,
    joint: Collection[str] = (),
) -> tuple[Verdict, ...]:
    """One verdict for every criterion and every backbone it is about, in that order.

    A criterion about one of the `joint` quantities, which the analyses of all backbones `together`
    measure, has one verdict.
    """
    verdicts: list[Verdict] = []
    names = [subject.backbone.name for subject in subjects]
    measured_on = [
        (s, [*numbers_of(s.backbone.name, s.analyses)], s.backbone.layers[-1].name)
        for s in subjects
    ]
    for criterion in criteria:
        if criterion.quantity in joint:
            found = matched(criterion, numbers_of(TOGETHER, together))
            why = _unmatched(criterion, together)
            verdicts.append(_verdict(criterion, TOGETHER, found, why))
            continue
        names_wanted = names if criterion.backbones is None else criterion.backbones
        verdicts += [
            _verdict(
                criterion,
                s.backbone.name,
                matched(criterion, known, last),
                _unmatched(criterion, s.analyses),
            )
            for s, known, last in measured_on
            if s.backbone.name in names_wanted
        ]
        why = f"no backbone of this name was audited (audited: {', '.join(names)})"
        verdicts += [
            _verdict(criterion, name, (), why) for name in names_wanted if name not in names
        ]
    return tuple(verdicts)


def matched(
    criterion: Criterion, found: Iterable[Number], last: str | None = None
) -> tuple[Number, ...]:
    """The numbers that a criterion is about, missing ones too, in their order.

    `last` is the backbone's last layer; None where numbers are of all backbones together.
    """
    about = [n for n in found if (n.quantity, n.target) == (criterion.quantity, criterion.target)]
    over_layers = curves(about) if criterion.groups is None else ()
    return (
        *(number for points in over_layers for number in _of_curve(criterion, points)),
        *_of_groups(criterion, [n for n in about if n.group is not None], last),
    )


def _of_curve(criterion: Criterion, points: Sequence[Number]) -> Iterator[Number]:
    highest = best(points)
    chosen: Sequence[Number] = {
        "every": points,
        "last": points[-1:],
        "best": [highest or replace(points[0], layer="best")],
    }.get(criterion.layer, [point for point in points if point.layer == criterion.layer])
    for point in chosen:
        if criterion.of == "estimate":
            yield point
        else:
            missing = point.reason if point.estimate is None else "no lift was measured"
            yield replace(point, estimate=point.lift, reason=None if point.lift else missing)


def _of_groups(criterion: Criterion, rows: Sequence[Number], last: str | None) -> Iterator[Number]:
    """Groups stand at a layer that their analysis chose: with one layer, that is the best."""
    at = {row.layer for row in rows}
    if criterion.layer == "best" and len(at) > 1:
        several = (
            f"it was measured at several layers ({', '.join(sorted(map(str, at)))}); name one"
        )
        yield replace(rows[0], layer="best", group=None, estimate=None, reason=several)
        return
    ends = {last} if last is not None else at
    chosen = {"every": at, "best": at, "last": ends}.get(criterion.layer, {criterion.layer})
    levels = (criterion.groups or {}).items()
    for row in rows:
        if row.layer in chosen and row.group and levels <= dict(row.group.levels).items():
            if criterion.of == "lift":
                why = "groups have no lift; use of: estimate"
                yield replace(row, estimate=None, reason=why)
            else:
                yield row


def _verdict(criterion: Criterion, name: str, found: Sequence[Number], unmatched: str) -> Verdict:
    """Of numbers on one backbone; where there are none, `unmatched` says why."""
    held = hold(criterion, found)
    m = held.n_measured
    outcome: Outcome = "FAIL" if held.failing else "PASS"
    if not held.failing and len(held.passing) < max(1, len(found)):
        outcome = "INCONCLUSIVE"
    deciding = _deciding(criterion, outcome, held) if found else None
    adjusted = level_for(criterion, m) if m else None
    return Verdict(
        criterion=criterion,
        backbone=name,
        outcome=outcome,
        reason=_reason(criterion, outcome, deciding, held) if deciding else unmatched,
        deciding=_as_decided(criterion, deciding, outcome, m) if deciding else None,
        n_examined=held.n_examined,
        n_pass=len(held.passing),
        n_fail=len(held.failing),
        n_undecided=len(held.undecided),
        n_missing=len(held.missing),
        adjusted_level=adjusted,
        detectable=_detectable(deciding.estimate if deciding else None, adjusted),
        n_to_decide=_n_to_decide(criterion, deciding, m) if outcome == "INCONCLUSIVE" else None,
    )


def _unmatched(criterion: Criterion, analyses: Sequence[AnalysisResult]) -> str:
    groups = "" if criterion.groups is None else " in the groups named"
    failed = [a.title for a in analyses if a.status == "failed"]
    why = f"; not computed: {', '.join(failed)}" if failed else ""
    return (
        f"the results contain no {criterion.quantity} of {criterion.target} at layer "
        f"{criterion.layer!r}{groups}{why}"
    )


def _deciding(criterion: Criterion, outcome: Outcome, held: Held) -> Number:
    m = held.n_measured
    if outcome == "FAIL":
        return max(held.failing, key=lambda number: excess(criterion, number, m))
    if outcome == "PASS":
        return min(held.passing, key=lambda number: room(criterion, number))
    # One number beyond the margin is enough to fail, while all of them have to pass.
    outside = [number for number in held.undecided if not is_inside(criterion, number)]
    if outside:
        return min(outside, key=lambda number: growth(criterion, number, m))
    if held.missing:
        return held.missing[0]
    return max(held.undecided, key=lambda number: growth(criterion, number, m))


def _as_decided(criterion: Criterion, number: Number, outcome: Outcome, m: int) -> Deciding:
    """The number with the interval that was compared with the margin."""
    estimate = number.estimate
    if estimate is not None:
        levels = {
            "PASS": criterion.level,
            "FAIL": level_for(criterion, m),
            "INCONCLUSIVE": decisive_level(criterion, number, m),
        }
        estimate = at_level(estimate, levels[outcome])
    return Deciding(
        layer=number.layer or criterion.layer,
        group=number.group,
        estimate=estimate,
        reason=number.reason,
    )


def _n_to_decide(criterion: Criterion, number: Number | None, m: int) -> int | None:
    """Images for an undecided number; None where it is missing or lies on the margin."""
    if number is None or number.estimate is None:
        return None
    n, times = number.estimate.n, growth(criterion, number, m)
    return max(n + 1, math.ceil(n * times)) if math.isfinite(times) else None


def _detectable(estimate: Estimate | None, level: float | None) -> float | None:
    if estimate is None or level is None:
        return None
    reach = quantile(1 - (1 - level) * estimate.choice, estimate.freedom)
    distance = (reach + quantile(2 * POWER - 1)) * standard_error(estimate)
    return distance if math.isfinite(distance) else None


def _reason(criterion: Criterion, outcome: Outcome, number: Number, held: Held) -> str:
    total = held.n_examined
    if outcome == "PASS":
        return f"{_intervals(len(held.passing), total)} within the margin"
    if outcome == "FAIL":
        return f"{_intervals(len(held.failing), total)} beyond the margin"
    parts = []
    if held.undecided:
        parts.append(f"{_intervals(len(held.undecided), total)} on both sides of the margin's end")
    if held.missing:
        reasons = Counter(entry.reason or "not measured" for entry in held.missing)
        listed = "; ".join(f"{reason} ({n})" for reason, n in reasons.most_common(3))
        parts.append(f"{len(held.missing)} of {total} numbers missing: {listed}")
    if number.estimate is not None and math.isinf(growth(criterion, number, held.n_measured)):
        parts.append(
            "the value observed lies on the margin, so more images would not make this conclusive"
        )
    return "; ".join(parts)


def _intervals(count: int, total: int) -> str:
    if total == 1:
        return "the interval lies"
    return f"{count} of {total} intervals {'lies' if count == 1 else 'lie'}"
