"""What votes come to, as blocks of a report."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bias_audit.analyses.ensembling.vote_groups import Asked, Grid
from bias_audit.analyses.ensembling.voters import MEASURES, Voters
from bias_audit.analyses.ensembling.voting import SOFT, VOTES
from bias_audit.config.schema import Multiplicity
from bias_audit.groups import EVERYONE
from bias_audit.results.blocks import (
    EnsembleVotes,
    GroupRow,
    GroupTable,
    VoteDifference,
    VoteGroup,
    Voter,
)
from bias_audit.statistics.estimate import Estimate
from bias_audit.statistics.inference import Measured, estimate
from bias_audit.statistics.multiplicity import NAMES

QUANTITIES = ("ensemble_micro_f1", "ensemble_macro_f1")
"""Of the soft vote, by measure; what criteria can name."""


def overall(voters: Voters) -> Grid:
    """Every measure of every voter over all images."""
    everything = np.ones(len(voters.images), dtype=np.bool_)
    return tuple(
        tuple(voters.measured(voter, measure, everything) for measure in MEASURES)
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
                reason=each.reason,
            )
            for each in asked
        ),
        differences=differences,
        adjustment=_adjustment(plan),
    )


def _adjustment(plan: Multiplicity) -> str:
    return (
        "Differences are paired image by image. P-values are adjusted by "
        f"{NAMES[plan.verdicts]} in two families: both votes less each backbone over all images, "
        "and the soft vote less each backbone in every group."
    )


def _estimates(grid: Grid, level: float) -> tuple[tuple[Estimate | None, ...], ...]:
    return tuple(tuple(_told(found, level) for found in row) for row in grid)


def _told(found: Measured | None, level: float) -> Estimate | None:
    return None if found is None else estimate(found, level=level)


def soft_tables(
    voters: Voters, found: Grid, asked: Sequence[Asked], *, level: float
) -> tuple[GroupTable, ...]:
    """What criteria can name: the soft vote over all images and in every group."""
    soft = VOTES.index(SOFT)
    tables = []
    for place, (measure, quantity) in enumerate(zip(MEASURES, QUANTITIES, strict=True)):
        rows = [
            GroupRow(group=EVERYONE, n=voters.n, estimate=_told(found[soft][place], level)),
            *(
                GroupRow(
                    group=each.group,
                    n=each.n,
                    estimate=_told(each.found[soft][place], level),
                    reason=each.reason,
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
