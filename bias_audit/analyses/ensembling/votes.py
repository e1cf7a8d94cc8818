"""What votes gain over single backbones, in numbers and sentences."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from bias_audit.analyses.ensembling.voters import (
    MACRO,
    MEASURES,
    MICRO,
    SOFT,
    Asked,
    Grid,
    Rated,
    Voters,
)
from bias_audit.analyses.families import draws_of
from bias_audit.analyses.wording import coverage, interval, listed
from bias_audit.arrays import FloatArray
from bias_audit.config.schema import Multiplicity
from bias_audit.groups import EVERYONE, Group
from bias_audit.results.blocks import (
    EnsembleVotes,
    Finding,
    GroupRow,
    GroupTable,
    VoteDifference,
    VoteGroup,
    Voter,
)
from bias_audit.statistics.comparison import standings
from bias_audit.statistics.estimate import Estimate
from bias_audit.statistics.inference import (
    Measured,
    estimate,
    independent_difference,
    joint_draws,
    normal_score,
)
from bias_audit.statistics.multiplicity import NAMES, Resampled, is_rejected, smallest_attainable
from bias_audit.statistics.sureness import sureness, weight_of

_NO_SPREAD: Final = 1e-9


@dataclass(frozen=True)
class _Pair:
    group: Group | None
    vote: str
    member: str
    measure: str
    apart: Measured
    """Vote less member, both widened alike: only then do the images that they share cancel."""
    one_image: float
    """About what one image changes."""
    widened: float
    """Factor on errors for refitting."""

    @property
    def statistic(self) -> float | None:
        """Distance from no difference in its standard error; None where the two never differ.

        The error is that under no difference, uncentred as in McNemar's test, which small numbers
        of images on which the two differ do not make too small.
        """
        value, error = self.apart.value, self.apart.standard_error
        if abs(value) < _NO_SPREAD and error < _NO_SPREAD:
            return None
        uncentred = self.widened * abs(value) / np.sqrt(self.apart.n)
        return abs(normal_score(_with_error(self.apart, uncentred)))

    def estimate(self, level: float) -> Estimate:
        """With half an image added either way, so that no interval has no width."""
        found = estimate(_with_error(self.apart, self.widened * self.one_image), level=level)
        return replace(
            found,
            lower=max(-1.0, found.lower),
            upper=min(1.0, found.upper),
            method=f"{found.method}, paired, half an image added either way",
        )


def _with_error(measured: Measured, error: float) -> Measured:
    """With one more unit of error, that of none of the images."""
    return replace(measured, influence=np.append(measured.influence, error))


def vote_differences(
    voters: Voters,
    overall: Grid,
    asked: Sequence[Asked],
    plan: Multiplicity,
    *,
    rng: np.random.Generator,
    level: float,
) -> tuple[VoteDifference, ...]:
    """Every vote less each member over all images, then the soft vote in every group.

    Two families, each adjusted by itself as the plan says: all images, and groups. Intervals add
    half an image to either side as Agresti & Min 2005 (Statistics in Medicine 24:729-740) do for
    paired shares.

    Args:
        voters: Of one target.
        overall: Of all images, by voter and measure.
        asked: The groups.
        plan: Of tests.
        rng: Source of the draws.
        level: Coverage of the intervals.
    """
    families = (
        list(_pairs(voters, None, overall, voters.votes)),
        [p for each in asked for p in _pairs(voters, each.group, each.found, (SOFT,))],
    )
    return tuple(
        found for family in families for found in _adjusted(family, plan, rng=rng, level=level)
    )


def _pairs(
    voters: Voters, group: Group | None, grid: Grid, votes: Sequence[str]
) -> Iterator[_Pair]:
    members = range(len(voters.votes), len(voters.names))
    for vote, member in itertools.product(votes, members):
        for place, measure in enumerate(MEASURES):
            one, other = grid[voters.votes.index(vote)][place], grid[member][place]
            if one is not None and other is not None:
                yield _Pair(
                    group,
                    vote,
                    voters.names[member],
                    measure,
                    _apart(one, other, voters.widest),
                    one.one_image,
                    voters.widest,
                )


def _apart(one: Rated, other: Rated, widened: float) -> Measured:
    # the images that both get right or wrong alike say nothing of pairs that never differ
    return replace(
        one.shown - other.shown, influence=widened * (one.raw - other.raw), trials=np.inf
    )


def _adjusted(
    pairs: Sequence[_Pair], plan: Multiplicity, *, rng: np.random.Generator, level: float
) -> Iterator[VoteDifference]:
    if not pairs:
        return
    draws = _draws([pair.apart for pair in pairs], draws_of(plan, len(pairs)), rng)
    found = Resampled(tuple(pair.statistic for pair in pairs), draws)
    for pair, p_value in zip(pairs, found.adjusted(plan.verdicts, plan.alpha), strict=True):
        yield VoteDifference(
            group=pair.group,
            vote=pair.vote,
            member=pair.member,
            measure=pair.measure,
            estimate=pair.estimate(level),
            adjusted_p=p_value,
        )


def _draws(apart: Sequence[Measured], n_draws: int, rng: np.random.Generator) -> FloatArray:
    """Joint draws of absolute errors."""
    return np.abs(joint_draws(apart, n_draws, rng))


QUANTITIES = ("ensemble_micro_f1", "ensemble_macro_f1")
"""Of the soft vote, by measure; what criteria can name."""


def overall(voters: Voters) -> Grid:
    """Every measure of every voter over all images."""
    everything = np.ones(len(voters.images), dtype=np.bool_)
    levels = range(len(voters.levels))
    return tuple(
        (voters.micro(voter, everything), voters.macro(voter, levels, everything))
        for voter in range(len(voters.names))
    )


def votes_block(
    voters: Voters,
    found: Grid,
    asked: Sequence[Asked],
    differences: tuple[VoteDifference, ...],
    plan: Multiplicity,
    *,
    level: float,
) -> EnsembleVotes:
    """Voters side by side, over all images and by group."""
    return EnsembleVotes(
        detail=False,
        title=f"Votes of {len(voters.ballots)} backbones on {voters.target.described}",
        target=voters.target.name,
        n=voters.n,
        n_tied=voters.n_tied,
        voters=tuple(
            Voter(name=name, layer=layer)
            for name, layer in zip(voters.names, voters.layers, strict=True)
        ),
        measures=MEASURES,
        guessing=voters.by_guessing(),
        estimates=_estimates(found, level),
        groups=tuple(
            VoteGroup(
                group=each.group,
                n=each.n,
                estimates=_estimates(each.found, level),
                reasons=each.reasons,
            )
            for each in asked
        ),
        differences=differences,
        adjustment=_adjustment(plan, differences),
    )


def _adjustment(plan: Multiplicity, differences: Sequence[VoteDifference]) -> str:
    said = (
        "Differences are paired image by image; their intervals, each by itself, add half an "
        "image either way (Agresti & Min 2005). P-values are adjusted by "
        f"{NAMES[plan.verdicts]} in two families: votes less each backbone over all images, and "
        "the soft vote less each backbone in every group."
    )
    largest = max(sum(d.group is None for d in differences), sum(map(_is_in_group, differences)))
    least = smallest_attainable(largest, draws=draws_of(plan, largest), method=plan.verdicts)
    if least > plan.alpha:
        said += f" With so few draws no adjusted p-value of a single effect is below {least:.2g}."
    return said


def _is_in_group(difference: VoteDifference) -> bool:
    return difference.group is not None


def _estimates(grid: Grid, level: float) -> tuple[tuple[Estimate | None, ...], ...]:
    return tuple(tuple(_told(found, level) for found in row) for row in grid)


def _told(found: Rated | None, level: float) -> Estimate | None:
    return None if found is None else estimate(found.shown, level=level)


def soft_tables(
    voters: Voters, found: Grid, asked: Sequence[Asked], *, level: float
) -> tuple[GroupTable, ...]:
    """What criteria can name: the soft vote over all images and in every group."""
    soft = voters.votes.index(SOFT)
    tables = []
    for place, (measure, quantity) in enumerate(zip(MEASURES, QUANTITIES, strict=True)):
        rows = [
            GroupRow(group=EVERYONE, n=voters.n, estimate=_told(found[soft][place], level)),
            *(
                GroupRow(
                    group=each.group,
                    n=each.n,
                    estimate=_told(each.found[soft][place], level),
                    reason=each.reasons[place],
                )
                for each in asked
            ),
        ]
        tables.append(
            GroupTable(
                detail=True,
                title=f"Soft vote on {voters.target.described}: {measure} by group",
                quantity=quantity,
                metric=measure,
                layer=SOFT,
                target=voters.target.name,
                chance=None,
                rows=tuple(rows),
            )
        )
    return tuple(tables)


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
