"""Votes less each of their members, paired image by image and adjusted together."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from bias_audit.analyses.ensembling.vote_groups import Asked, Grid
from bias_audit.analyses.ensembling.voters import MEASURES, Rated, Voters
from bias_audit.analyses.ensembling.voting import SOFT
from bias_audit.analyses.families import draws_of
from bias_audit.arrays import FloatArray
from bias_audit.config.schema import Multiplicity
from bias_audit.groups import Group
from bias_audit.results.blocks import VoteDifference
from bias_audit.statistics.estimate import Estimate
from bias_audit.statistics.inference import Measured, estimate, joint_draws, normal_score
from bias_audit.statistics.multiplicity import Resampled

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
