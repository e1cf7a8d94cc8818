"""Backbones side by side, by what the checks of their attribution maps came to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from bias_audit.analyses.analysis import Member
from bias_audit.analyses.wording import interval, listed
from bias_audit.results.blocks import (
    AttributionTrust,
    BackboneComparison,
    ComparedBackbone,
    Finding,
    TrustMeasure,
)
from bias_audit.statistics.estimate import Estimate
from bias_audit.statistics.ranking import standings

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

    Args:
        members: With the results of their analyses.
        alpha: Chance of any wrong comparison of one target.
    """
    trusts = [(member.subject.name, _trusts(member)) for member in members]
    targets = list(dict.fromkeys(target for _, found in trusts for target in found))
    blocks: list[BackboneComparison] = []
    findings: list[Finding] = []
    limits: list[str] = []
    for target in targets:
        rows = [(name, found[target]) for name, found in trusts if target in found]
        if len(rows) < 2:  # noqa: PLR2004
            limits.append(
                f"The attribution of {target} was checked on {rows[0][0]} alone, so there is "
                "nothing to compare it with."
            )
            continue
        block, same = _block(target, rows, alpha)
        blocks.append(block)
        if same:
            findings += _findings(block)
        else:
            limits.append(
                f"Not every attribution method applies to every backbone asked about {target}; "
                "their means rest on different methods and are not ranked."
            )
    if not targets:
        limits.append(
            "Which backbone's attribution maps can be relied on most was not compared: no "
            "analysis of this audit attributes decisions (kind attribution)."
        )
    return Compared(tuple(blocks), tuple(findings), tuple(limits))


def _trusts(member: Member) -> dict[str, AttributionTrust]:
    """By target; the first where several attributions ask about one."""
    found: dict[str, AttributionTrust] = {}
    for result in member.results:
        for block in result.blocks:
            if isinstance(block, AttributionTrust):
                found.setdefault(block.target, block)
    return found


def _block(
    target: str, rows: Sequence[tuple[str, AttributionTrust]], alpha: float
) -> tuple[BackboneComparison, bool]:
    applied = [_applied(trust) for _, trust in rows]
    same = all(methods == applied[0] for methods in applied)
    measures = (*rows[0][1].measures, AGREEMENT)
    values = [(*trust.averages, trust.agreement) for _, trust in rows]
    columns = [
        _ranks([row[place] for row in values], measure, alpha / len(measures), is_ranked=same)
        for place, measure in enumerate(measures)
    ]
    backbones = tuple(
        ComparedBackbone(
            name=name,
            layer=trust.layer,
            passing=sum(method.standing == "passes" for method in trust.methods),
            applied=len(_applied(trust)),
            estimates=values[number],
            ranks=tuple(column[number] for column in columns),
        )
        for number, (name, trust) in enumerate(rows)
    )
    return (
        BackboneComparison(
            detail=False,
            title=f"Whose maps of the decision about {target} hold up to the checks",
            target=target,
            methods=applied[0] if same else (),
            measures=measures,
            backbones=backbones,
            rule=_RULE.format(100 * (1 - alpha)),
        ),
        same,
    )


_RULE: Final = (
    "Ranks are what pairwise comparisons leave open (Mogstad, Romano, Shaikh & Wilhelm 2024, with "
    "Holm's procedure and Bonferroni's over the measures): with a confidence of {:g} % all hold "
    "the true ranks. Backbones are compared as if checked on different images, which is cautious."
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
        first = [b for b in block.backbones if b.ranks[place] == (1, 1)]
        known = [b for b in block.backbones if b.estimates[place] is not None]
        if not first:
            open_ones.append(measure.name)
            continue
        best = first[0]
        others = [b for b in known if b is not best]
        text = (
            f"Maps of the decision about {block.target}, {measure.name} ({measure.better} is "
            f"better), mean over {len(block.methods)} methods: {best.name} with "
            f"{_told(best.estimates[place])} is ahead of "
            f"{listed([f'{b.name} ({_told(b.estimates[place])})' for b in others])}."
        )
        yield Finding(text=text, weight=_gap(best, others, place))
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


def _gap(best: ComparedBackbone, others: Sequence[ComparedBackbone], place: int) -> float:
    """Distance between the intervals of the first and the next, at least a little."""
    own = best.estimates[place]
    ends = [value for other in others if (value := other.estimates[place]) is not None]
    if own is None or not ends:
        return 0.0
    gaps = [max(own.lower - end.upper, end.lower - own.upper) for end in ends]
    return max(1e-6, min(gaps))
