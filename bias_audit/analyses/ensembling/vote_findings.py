"""What votes show, in sentences."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from bias_audit.analyses.ensembling.vote_groups import Asked
from bias_audit.analyses.ensembling.voters import MACRO, MEASURES, MICRO, Voters
from bias_audit.analyses.ensembling.voting import SOFT
from bias_audit.analyses.wording import coverage, interval, listed
from bias_audit.results.blocks import EnsembleVotes, Finding, VoteDifference
from bias_audit.statistics.estimate import Estimate
from bias_audit.statistics.inference import estimate, independent_difference
from bias_audit.statistics.multiplicity import is_rejected
from bias_audit.statistics.ranking import standings
from bias_audit.statistics.sureness import sureness, weight_of


def vote_findings(
    voters: Voters, block: EnsembleVotes, asked: Sequence[Asked], *, alpha: float, level: float
) -> Iterator[Finding]:
    """What voting gains over each member, where it does, and in which groups it is least right."""
    place = MEASURES.index(MACRO)
    soft = block.estimates[voters.votes.index(SOFT)][place]
    if soft is not None:
        yield _gain(voters, block, soft, alpha)
    yield from _in_groups(voters, block, alpha)
    yield from _extremes(voters, asked, alpha=alpha, level=level)


def _gain(voters: Voters, block: EnsembleVotes, soft: Estimate, alpha: float) -> Finding:
    mine = [
        d for d in block.differences if d.group is None and (d.vote, d.measure) == (SOFT, MACRO)
    ]
    told: dict[bool | None, list[str]] = {True: [], False: [], None: []}
    for found in mine:
        told[_direction(found, alpha)].append(f"{found.member} ({_signed(found.estimate)})")
    parts = [
        f"{words} {listed(names)}"
        for words, names in (
            ("more than", told[True]),
            ("less than", told[False]),
            ("not distinguishable from", told[None]),
        )
        if names
    ]
    estimates = {"soft_vote": soft} | {f"less_{d.member}": d.estimate for d in mine}
    return Finding(
        text=(
            f"The soft vote of {len(voters.ballots)} backbones reaches a macro F1 of "
            f"{interval(soft)} on {voters.target.described} ({coverage(soft.level)}): "
            f"{'; '.join(parts)} (intervals in brackets, each by itself)."
        ),
        weight=max((_weight(d, alpha) for d in mine), default=0.0),
        estimates=estimates,
    )


def _in_groups(voters: Voters, block: EnsembleVotes, alpha: float) -> Iterator[Finding]:
    """Groups in which the vote is right more or less often than a member, after adjustment."""
    sure = [
        d
        for d in block.differences
        if d.group is not None and d.measure == MICRO and _direction(d, alpha) is not None
    ]
    for name in dict.fromkeys(d.member for d in sure):
        own = sorted((d for d in sure if d.member == name), key=lambda d: -_weight(d, alpha))
        groups = [f"{_named(d)} ({_signed(d.estimate)})" for d in own]
        yield Finding(
            text=(
                f"On {voters.target.described} the soft vote's micro F1 differs from that of "
                f"{name} in {len(own)} group{'s' if len(own) > 1 else ''}, after adjustment: "
                f"{listed(groups, most=3)}."
            ),
            weight=_weight(own[0], alpha),
            estimates={f"{_named(d)}": d.estimate for d in own[:3]},
        )


def _extremes(
    voters: Voters, asked: Sequence[Asked], *, alpha: float, level: float
) -> Iterator[Finding]:
    """The levels of an attribute in which the vote was right least and most often."""
    place, soft = MEASURES.index(MICRO), voters.votes.index(SOFT)
    by_attribute: dict[str, list[tuple[str, Estimate]]] = {}
    for each in asked:
        found = each.found[soft][place]
        if found is not None:
            name, label = each.group.levels[0]
            by_attribute.setdefault(name, []).append((label, estimate(found.shown, level=level)))
    for name, rows in by_attribute.items():
        values = [value for _, value in rows]
        lowest, highest = (pick(range(len(rows)), key=lambda i: values[i].value) for pick in _ENDS)
        if lowest == highest or highest in standings(values, alpha=alpha)[lowest].alike:
            continue
        (least, low), (most, high) = rows[lowest], rows[highest]
        yield Finding(
            text=(
                f"Among the levels of annotated {name}, the soft vote on "
                f"{voters.target.described} was right least often for {least} (micro F1 "
                f"{interval(low)}) and most often for {most} ({interval(high)}); these two are "
                "told apart, adjusted for all pairs of levels."
            ),
            weight=weight_of(sureness(independent_difference(high, low)), is_decided=True),
            estimates={"lowest": low, "highest": high},
        )


_ENDS: Final = (min, max)


def _direction(found: VoteDifference, alpha: float) -> bool | None:
    """Whether the vote is better; None where it is not decided."""
    if not is_rejected(found.adjusted_p, alpha=alpha):
        return None
    return found.estimate.value > 0


def _weight(found: VoteDifference, alpha: float) -> float:
    return weight_of(
        sureness(found.estimate), is_decided=is_rejected(found.adjusted_p, alpha=alpha)
    )


def _signed(found: Estimate) -> str:
    return interval(found) if found.value < 0 else f"+{interval(found)}"


def _named(found: VoteDifference) -> str:
    if found.group is None:
        return "all images"
    name, label = found.group.levels[0]
    return f"{name} {label}"
