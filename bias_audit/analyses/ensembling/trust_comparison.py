"""Backbones side by side, by what the checks of their attribution maps came to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Final

import numpy as np

from bias_audit.analyses.analysis import Member
from bias_audit.analyses.wording import interval, listed
from bias_audit.results.blocks import (
    AttributionTrust,
    BackboneComparison,
    ComparedBackbone,
    Finding,
    TrustMeasure,
)
from bias_audit.statistics.comparison import standings
from bias_audit.statistics.estimate import Estimate, quantile
from bias_audit.statistics.inference import independent_difference
from bias_audit.statistics.sureness import sureness, weight_of

Rank = tuple[int, int]

AGREEMENT: Final = TrustMeasure(
    name="agreement",
    better="higher",
    meaning="rank correlation of the maps of two methods for one image, as the mean over all "
    "pairs of methods",
)


@dataclass(frozen=True)
class Compared:
    """What could be compared, and what could not."""

    blocks: tuple[BackboneComparison, ...]
    findings: tuple[Finding, ...]
    limits: tuple[str, ...]


def compared(members: Sequence[Member], *, alpha: float) -> Compared:
    """Compare the members by every target whose attribution was checked on at least two.

    Attributions are told apart by their place among the analyses, so that checks of one are never
    held against those of another.

    Args:
        members: With the results of their analyses.
        alpha: Chance of any wrong comparison of any target.
    """
    blocks: list[BackboneComparison] = []
    findings: list[Finding] = []
    limits: list[str] = []
    n_places = max(len(member.results) for member in members)
    trusts = [_of_place(members, place) for place in range(n_places)]
    asked = [found for found in trusts if found]
    n_compared = sum(len(_targets(found)) for found in asked)
    for found in asked:
        for target in _targets(found):
            rows = [(name, own[target]) for name, own in found.items() if target in own]
            limits += _missing(members, target, [name for name, _ in rows])
            if len(rows) > 1:
                block = _block(target, rows, alpha / n_compared)
                blocks.append(block)
                findings += _findings(block) if block.methods else []
                limits += _other_methods(block, [trust for _, trust in rows])
    if not asked:
        limits.append(_nothing(members))
    if blocks:
        limits += _LIMITS
    return Compared(tuple(blocks), tuple(findings), tuple(limits))


def _targets(found: Mapping[str, Mapping[str, AttributionTrust]]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(target for one in found.values() for target in one))


def _other_methods(block: BackboneComparison, trusts: Sequence[AttributionTrust]) -> list[str]:
    """Methods that do not apply to every backbone, which no mean holds."""
    every = dict.fromkeys(name for trust in trusts for name in _applied(trust))
    left_out = [name for name in every if name not in block.methods]
    if not left_out:
        return []
    return [
        f"Means over methods about {block.target} leave out {listed(left_out, most=9)}, which do "
        "not apply to every backbone."
    ]


def _of_place(members: Sequence[Member], place: int) -> dict[str, dict[str, AttributionTrust]]:
    """What one analysis checked, by backbone and target."""
    found = {}
    for member in members:
        blocks = member.results[place].blocks if place < len(member.results) else ()
        own = {block.target: block for block in blocks if isinstance(block, AttributionTrust)}
        if own:
            found[member.subject.name] = own
    return found


def _missing(members: Sequence[Member], target: str, having: Sequence[str]) -> list[str]:
    """Members that an attribution was not checked on."""
    without = [m.subject.name for m in members if m.subject.name not in having]
    if not without:
        return []
    return [
        f"The maps of the decision about {target} could not be checked on {listed(without)}; "
        "comparisons leave that out."
    ]


def _nothing(members: Sequence[Member]) -> str:
    tried = {r.title for m in members for r in m.results if r.kind == _KIND}
    why = (
        f"{listed(sorted(tried))} could not be computed on any backbone"
        if tried
        else f"no analysis of this audit attributes decisions (kind {_KIND})"
    )
    return f"Which backbone's attribution maps hold up best was not compared: {why}."


_KIND: Final = "attribution"
_OWN_SCALE: Final = frozenset({"sensitivity"})
"""Measures whose noise is as large as a share of each backbone's own input scale."""
_LIMITS: Final = (
    "Comparisons of checks hold the backbones, their probes and the shuffles of weights that were "
    "drawn fixed; the shuffles of one batch of images are the same.",
    "What covers a part of an image is the mean colour of each backbone's own preprocessing, and "
    "probabilities are as well calibrated as each probe is; deletion, insertion and infidelity "
    "hold some of both.",
    "Sensitivity is not ranked: its noise is a share of each backbone's own input scale.",
)


def _block(
    target: str, rows: Sequence[tuple[str, AttributionTrust]], alpha: float
) -> BackboneComparison:
    """Means over the methods that apply to all of the backbones."""
    common = [name for name in _applied(rows[0][1]) if all(name in _applied(t) for _, t in rows)]
    measures = (*rows[0][1].measures, AGREEMENT)
    values = [_means(trust, common) for _, trust in rows]
    ranked = [measure.name for measure in measures if measure.name not in _OWN_SCALE]
    columns = [
        _ranks(
            [row[place] for row in values],
            measure,
            alpha / len(ranked),
            is_ranked=measure.name in ranked,
        )
        for place, measure in enumerate(measures)
    ]
    layers = ", ".join(dict.fromkeys(trust.layer for _, trust in rows))
    return BackboneComparison(
        detail=False,
        title=f"Whose maps of the decision about {target} hold up to the checks ({layers})",
        target=target,
        methods=tuple(common),
        measures=measures,
        backbones=tuple(
            ComparedBackbone(
                name=name,
                layer=trust.layer,
                passing=sum(method.standing == "passes" for method in trust.methods),
                applied=len(_applied(trust)),
                estimates=values[number],
                ranks=tuple(column[number] for column in columns),
            )
            for number, (name, trust) in enumerate(rows)
        ),
        rule=_RULE.format(100 * (1 - alpha)),
    )


def _means(trust: AttributionTrust, common: Sequence[str]) -> tuple[Estimate | None, ...]:
    """Every measure, and the agreement, over some of the methods."""
    applied = _applied(trust)
    rows = [method for method in trust.methods if method.standing != "does not apply"]
    chosen = [place for place, name in enumerate(applied) if name in common]
    pairs = [
        place
        for place, (one, other) in enumerate(combinations(applied, 2))
        if one in common and other in common
    ]
    found = {(pair.one, pair.other): pair.estimate for pair in trust.agreements}
    agreements = [found.get(pair) for pair in combinations(applied, 2)]
    columns = [[row.estimates[place] for row in rows] for place in range(len(trust.measures))]
    *of_measures, of_agreements = trust.covariances
    return (
        *(
            _mean(column, covariance, chosen)
            for column, covariance in zip(columns, of_measures, strict=True)
        ),
        _mean(agreements, of_agreements, pairs),
    )


def _mean(
    values: Sequence[Estimate | None], covariance: Sequence[Sequence[float]], chosen: Sequence[int]
) -> Estimate | None:
    """The mean of some estimates of the same images; None where one of them is missing."""
    known = [value for place in chosen if (value := values[place]) is not None]
    if not known or len(known) < len(chosen):
        return None
    centre = float(np.mean([each.value for each in known]))
    variance = float(np.mean(np.array(covariance)[np.ix_(chosen, chosen)]))
    half = quantile(known[0].level, known[0].freedom) * max(0.0, variance) ** 0.5
    return replace(known[0], value=centre, lower=centre - half, upper=centre + half)


_RULE: Final = (
    "Ranks are what pairwise comparisons leave open (Mogstad, Romano, Shaikh & Wilhelm 2024, with "
    "Holm's procedure and Bonferroni's over the measures): with a confidence of {:g} % all of "
    "this target hold the true ranks, given the shuffles drawn. Backbones are compared as if "
    "checked on different images, which is usually cautious."
)


def _applied(trust: AttributionTrust) -> tuple[str, ...]:
    return tuple(m.name for m in trust.methods if m.standing != "does not apply")


def _ranks(
    values: Sequence[Estimate | None], measure: TrustMeasure, alpha: float, *, is_ranked: bool
) -> tuple[Rank | None, ...]:
    known = [value for value in values if value is not None]
    if not is_ranked or len(known) < len(values):
        return (None,) * len(values)
    found = standings(known, alpha=alpha)
    if measure.better == "higher":
        return tuple((standing.best, standing.worst) for standing in found)
    n = len(known)
    return tuple((n + 1 - standing.worst, n + 1 - standing.best) for standing in found)


def _findings(block: BackboneComparison) -> Iterator[Finding]:
    """Measures by which one backbone is told to be first; one sentence for the rest."""
    open_ones = []
    for place, measure in enumerate(block.measures):
        known = [b for b in block.backbones if b.estimates[place] is not None]
        first = [b for b in known if b.ranks[place] == (1, 1)]
        if not first:
            open_ones += [measure.name] if known and known[0].ranks[place] else []
            continue
        best = first[0]
        others = [b for b in known if b is not best]
        text = (
            f"Maps of the decision about {block.target}, {measure.name} ({measure.better} is "
            f"better), mean over {len(block.methods)} methods: {best.name} with "
            f"{_told(best.estimates[place])} is ahead of "
            f"{listed([f'{b.name} ({_told(b.estimates[place])})' for b in others])}."
        )
        yield Finding(text=text, weight=_weight(best, others, place))
    if open_ones:
        yield Finding(
            text=(
                f"Maps of the decision about {block.target}: by {listed(open_ones, most=9)} no "
                "backbone is told to be ahead of all others."
            ),
            weight=0.0,
        )


def _told(found: Estimate | None) -> str:
    return "not measured" if found is None else interval(found)


def _weight(best: ComparedBackbone, others: Sequence[ComparedBackbone], place: int) -> float:
    """That of the least sure of the differences between the first and each other."""
    own = best.estimates[place]
    known = [value for other in others if (value := other.estimates[place]) is not None]
    if own is None or not known:
        return 0.0
    least = min(sureness(independent_difference(own, value)) for value in known)
    return weight_of(least, is_decided=True)
