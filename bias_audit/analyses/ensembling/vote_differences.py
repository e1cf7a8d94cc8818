"""Votes less each of their members, paired image by image and adjusted together."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from bias_audit.analyses.ensembling.vote_groups import Asked, Grid
from bias_audit.analyses.ensembling.voters import MEASURES, Voters
from bias_audit.analyses.ensembling.voting import SOFT, VOTES
from bias_audit.analyses.families import draws_of
from bias_audit.config.schema import Multiplicity
from bias_audit.groups import Group
from bias_audit.results.blocks import VoteDifference
from bias_audit.statistics.inference import Measured, difference, studentised_draws
from bias_audit.statistics.multiplicity import Resampled

_NO_SPREAD: Final = 1e-9


@dataclass(frozen=True)
class _Pair:
    group: Group | None
    vote: str
    member: str
    measure: str
    of_vote: Measured
    of_member: Measured


def vote_differences(
    voters: Voters,
    overall: Grid,
    asked: Sequence[Asked],
    plan: Multiplicity,
    *,
    rng: np.random.Generator,
    level: float,
) -> tuple[VoteDifference, ...]:
    """Both votes less each member over all images, then the soft vote in every group.

    Two families, each adjusted by itself as the plan says: all images, and groups.

    Args:
        voters: Of one target.
        overall: Of all images, by voter and measure.
        asked: The groups.
        plan: Of tests.
        rng: Source of the draws.
        level: Coverage of the intervals.
    """
    families = (
        list(_pairs(voters, None, overall, VOTES)),
        [p for each in asked for p in _pairs(voters, each.group, each.found, (SOFT,))],
    )
    return tuple(
        found for family in families for found in _adjusted(family, plan, rng=rng, level=level)
    )


def _pairs(
    voters: Voters, group: Group | None, grid: Grid, votes: Sequence[str]
) -> Iterator[_Pair]:
    members = range(len(VOTES), len(voters.names))
    for vote, member in itertools.product(votes, members):
        for place, measure in enumerate(MEASURES):
            one, other = grid[VOTES.index(vote)][place], grid[member][place]
            if one is not None and other is not None:
                yield _Pair(group, vote, voters.names[member], measure, one, other)


def _adjusted(
    pairs: Sequence[_Pair], plan: Multiplicity, *, rng: np.random.Generator, level: float
) -> Iterator[VoteDifference]:
    if not pairs:
        return
    apart = [pair.of_vote - pair.of_member for pair in pairs]
    observed = [
        abs(found.value) / found.standard_error if found.standard_error > _NO_SPREAD else None
        for found in apart
    ]
    draws = np.abs(studentised_draws(apart, draws_of(plan, len(apart)), rng))
    p_values = Resampled(tuple(observed), draws).adjusted(plan.verdicts, plan.alpha)
    for pair, p_value in zip(pairs, p_values, strict=True):
        yield VoteDifference(
            group=pair.group,
            vote=pair.vote,
            member=pair.member,
            measure=pair.measure,
            estimate=difference(pair.of_vote, pair.of_member, level=level),
            adjusted_p=p_value,
        )
