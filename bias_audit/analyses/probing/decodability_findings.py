"""What the probes of a subject say, in sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

from bias_audit.analyses.probing.decodability import GUESSING, Comparison, Decodability
from bias_audit.analyses.probing.likeness import Recheck, caution, recheck_estimates
from bias_audit.analyses.targets import INTERSECTION
from bias_audit.analyses.wording import coverage, interval, listed, sample
from bias_audit.results.blocks import Finding
from bias_audit.statistics.estimate import Estimate, allowing_for_choice, interval_at
from bias_audit.statistics.inference import independent_difference
from bias_audit.statistics.sureness import sureness_above

_CORRECTED: Final = "after correction for all layers and attributes"
_CEILING: Final = 0.9
"""From this AUC of a baseline on, a lift has little room, and these images may not show it: the
interval of the lift holds half of the room or more."""


def findings_of(
    results: tuple[Decodability, ...],
    rechecks: Mapping[str, Recheck] = MappingProxyType({}),
    *,
    alpha: float,
) -> tuple[Finding, ...]:
    """A sentence for every target, and one on which attribute stands out most.

    Args:
        results: By macro AUC.
        rechecks: By target, where identity is not recorded: what is left of its claim.
        alpha: Error rate of a claim that the lifts' own tests do not decide.
    """
    checked = [(result, rechecks.get(result.probed.target.name)) for result in results]
    sentences = [_of_target(result, recheck, alpha) for result, recheck in checked]
    stand = [result for result, recheck in checked if recheck is None or recheck.stands]
    return (*sentences, *_of_order(stand, alpha))


def _of_target(result: Decodability, recheck: Recheck | None, alpha: float) -> Finding:
    target = result.probed.target.described
    name = f"{target[0].upper()}{target[1:]}"
    if result.best is None:
        why = result.probed.part.not_measured or "no fold has images of two levels"
        return Finding(text=f"{name} was not measured: {why}.", weight=0.0, question="encoded")
    best = result.best[1]
    value = allowing_for_choice(best.estimate, result.choice)
    lift = allowing_for_choice(best.lift, result.lift_choice)
    numbers = (
        f"macro AUC {interval(value)} ({coverage(value.level)}, {sample(value)}), "
        f"{interval(lift)} above {_over(best)}"
    )
    surest = result.surest
    if result.is_claimed:
        verb, only_if, more = caution(recheck)
        if best.claim > 0:
            text = f"{name} {verb} at {best.layer}{only_if}: {numbers}, significant {_CORRECTED}."
        else:
            text = (
                f"{name} {verb} at {surest.layer}{only_if}, where its macro AUC is "
                f"{interval(allowing_for_choice(surest.lift, result.lift_choice))} above "
                f"{_over(surest)}, significant {_CORRECTED}. It is "
                f"highest at {best.layer}: {numbers}."
            )
        text += more
    elif interval_at(value, 1 - alpha)[0] > _chance(best):
        text = f"{name} can be read from {best.layer}, {_undecided(best, value, lift)}: {numbers}."
    else:
        layers = len(result.comparisons)
        where = f"any of {layers} layers" if layers > 1 else "the layer audited"
        text = (
            f"No linear decodability of {target} was shown at {where}: at {best.layer}, the "
            f"highest, {numbers}; {_CORRECTED}, this could be chance."
        )
    estimates = {"macro_auc": value, "lift": lift}
    estimates |= {f"control, {control.name}": control.estimate for control in best.controls}
    estimates |= recheck_estimates(recheck)
    stands = recheck is None or recheck.stands
    weight = sureness_above(surest.narrowest.value, surest.claim) if stands else 0.0
    return Finding(text=text, weight=weight, estimates=estimates, question="encoded")


def _over(comparison: Comparison) -> str:
    if comparison.strongest == GUESSING:
        return GUESSING
    return f"the strongest baseline ({comparison.strongest})"


def _chance(comparison: Comparison) -> float:
    return comparison.differences[GUESSING].offset


def _undecided(best: Comparison, value: Estimate, lift: Estimate) -> str:
    """Why what can be read is no finding about the backbone."""
    baseline = value.value - best.differences[best.strongest].value
    if baseline >= _CEILING and lift.upper >= (1 - baseline) / 2:
        return (
            "but what the backbone adds is not identifiable: "
            f"{_alone(best.strongest)} as well, which leaves little room above"
        )
    return f"but a lift over {_over(best)} was not shown {_CORRECTED}"


def _alone(baseline: str) -> str:
    if baseline in {"pixels", "image quality"}:
        return f"the pictures alone ({baseline}) do"
    return f"{baseline} alone does"


def _of_order(results: Sequence[Decodability], alpha: float) -> tuple[Finding, ...]:
    """Compare the lifts of the attributes that are claimed, each at its best layer.

    Their intervals allow for the choice of the layer and of the baseline, which the images of both
    share; differences are taken as if they did not, which is cautious.
    """
    found = [
        (result.probed.target.name, len(result.probed.part.levels), _lift(result))
        for result in results
        if result.probed.target.name != INTERSECTION and result.is_claimed
    ]
    if len(found) < 2:  # noqa: PLR2004
        return ()
    found.sort(key=lambda entry: -entry[2].value)
    (first, _, top), rest = found[0], found[1:]
    level = top.level
    differences = {name: independent_difference(top, other) for name, _, other in rest}
    weight = min(
        sureness_above(each.value, interval_at(each, 1 - alpha)[0])
        for each in differences.values()
    )
    against = listed([f"{interval(d)} over {name}" for name, d in differences.items()], most=20)
    counts = listed([f"{name} {n}" for name, n, _ in found], most=20)
    opening = (
        f"Of the attributes that are linearly decodable, {first} lies furthest above its "
        "strongest baseline"
        if weight > 0
        else "The data do not show which attribute lies furthest above its strongest baseline; "
        f"highest is {first}"
    )
    text = f"{opening}: its lift exceeds that of the others by {against} ({coverage(level)}s)."
    if len({n for _, n, _ in found}) > 1:
        text += (
            f" The attributes differ in their number of levels ({counts}), so these are not the "
            "same task."
        )
    estimates = {f"{first}_over_{name}": value for name, value in differences.items()}
    return (Finding(text=text, weight=weight, estimates=estimates),)


def _lift(result: Decodability) -> Estimate:
    """Over the strongest baseline, at the layer of the highest estimate."""
    if result.best is None:
        raise ValueError("expected a target with an estimate")
    return allowing_for_choice(result.best[1].lift, result.lift_choice)
