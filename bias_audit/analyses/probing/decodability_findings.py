"""What the probes of a subject say, in sentences."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from bias_audit.analyses.probing.decodability import GUESSING, Comparison, Decodability
from bias_audit.analyses.probing.likeness import Recheck, caution, recheck_estimates
from bias_audit.analyses.targets import INTERSECTION
from bias_audit.analyses.wording import coverage, interval, listed
from bias_audit.results.blocks import Finding
from bias_audit.statistics.inference import difference


def findings_of(
    results: tuple[Decodability, ...], rechecks: Mapping[str, Recheck] = MappingProxyType({})
) -> tuple[Finding, ...]:
    """A sentence for every target, and one on which attribute is decodable most.

    Args:
        results: By macro AUC.
        rechecks: By target, where identity is not recorded: what is left of its claim.
    """
    sentences = [_of_target(result, rechecks.get(result.probed.target.name)) for result in results]
    return (*(s for s in sentences if s is not None), *_of_order(results))


def _of_target(result: Decodability, recheck: Recheck | None) -> Finding | None:
    if result.best is None:
        return None
    name, (_, best) = result.probed.target.described, result.best
    estimate, lift = best.estimate, best.lift
    over = GUESSING if best.strongest == GUESSING else f"the strongest control, {best.strongest}"
    numbers = (
        f"macro AUC {interval(estimate)} ({coverage(estimate.level)}, n = {estimate.n}), "
        f"{interval(lift)} above {over}"
    )
    surest = max(
        (c for c in result.comparisons if c is not None), key=lambda comparison: comparison.claim
    )
    if surest.claim > 0:
        verb, where, more = caution(recheck)
        text = f"{name[0].upper()}{name[1:]} {verb} at {best.layer}{where}: {numbers}."
        if best.claim <= 0:
            text = (
                f"{name[0].upper()}{name[1:]} {verb} at {surest.layer}{where}, where its "
                f"macro AUC is {interval(surest.lift)} above the strongest control; it is highest "
                f"at {best.layer}: {numbers}."
            )
        text += f" The claim allows for every layer and target tested.{more}"
    else:
        layers = len(result.comparisons)
        where = f"any of {layers} layers" if layers > 1 else "the layer audited"
        text = (
            f"No linear decodability of {name} beyond the controls was shown at {where}: at "
            f"{best.layer}, the highest, {numbers}; with every layer and target tested, that may "
            "be chance."
        )
    estimates = {"macro_auc": estimate, "lift": lift}
    estimates |= {f"control, {control.name}": control.estimate for control in best.controls}
    estimates |= recheck_estimates(recheck)
    stands = recheck is None or recheck.stands
    return Finding(
        text=text,
        weight=max(0.0, surest.claim) if stands else 0.0,
        estimates=estimates,
        question="encoded",
    )


def _of_order(results: tuple[Decodability, ...]) -> tuple[Finding, ...]:
    """Compare the attributes at their best layers; undecided if an interval includes 0."""
    best = [
        (result.probed.target.name, len(result.probed.part.levels), result.best[1])
        for result in results
        if result.probed.target.name != INTERSECTION and result.best is not None
    ]
    if len(best) < 2:  # noqa: PLR2004
        return ()
    best.sort(key=lambda entry: -_value(entry[2]))
    (first, _, top), rest = best[0], best[1:]
    differences = {
        name: difference(top.probe, other.probe, level=top.estimate.level)
        for name, _, other in rest
    }
    decided = all(estimate.lower > 0 for estimate in differences.values())
    against = listed([f"{interval(d)} over {name}" for name, d in differences.items()], most=20)
    counts = listed([f"{name} {n}" for name, n, _ in best], most=20)
    opening = (
        f"Annotated {first} is the attribute that is linearly decodable most"
        if decided
        else f"Which attribute is linearly decodable most is undecided; highest is {first}"
    )
    text = (
        f"{opening}: its macro AUC at {top.layer} lies {against}, each at its best layer "
        f"({coverage(next(iter(differences.values())).level)}s)."
    )
    if len({n for _, n, _ in best}) > 1:
        text += (
            f" The attributes differ in their number of levels ({counts}), so these are not the "
            "same task."
        )
    estimates = {f"{first}_over_{name}": value for name, value in differences.items()}
    weight = min(max(0.0, value.lower) for value in differences.values())
    return (Finding(text=text, weight=weight, estimates=estimates),)


def _value(comparison: Comparison) -> float:
    return comparison.probe.value
