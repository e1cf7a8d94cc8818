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
    Grid,
    GroupVotes,
    Rated,
    Voters,
)
from bias_audit.analyses.families import draws_of
from bias_audit.analyses.wording import coverage, listed
from bias_audit.config.schema import Multiplicity
from bias_audit.groups import EVERYONE, Group
from bias_audit.results.finding import Finding
from bias_audit.shapes.group_table import GroupRow, GroupTable
from bias_audit.shapes.measures import Entry, Measure, Measures, Pair
from bias_audit.shapes.printed import interval
from bias_audit.statistics.comparison import clear_extremes
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
    group_votes: Sequence[GroupVotes],
    plan: Multiplicity,
    *,
    rng: np.random.Generator,
    level: float,
) -> tuple[Pair, ...]:
    """Every vote less each member over all images, then the soft vote in every group.

    Two families, each adjusted by itself as the plan says: all images, and groups. Intervals add
    half an image to either side as Agresti & Min 2005 (Statistics in Medicine 24:729-740) do for
    paired shares. `overall` is of all images, by voter and measure.
    """
    families = (
        list(_pairs(voters, None, overall, voters.votes)),
        [p for each in group_votes for p in _pairs(voters, each.group, each.found, (SOFT,))],
    )
    differences = []
    for pairs in filter(None, families):
        errors = joint_draws([pair.apart for pair in pairs], draws_of(plan, len(pairs)), rng)
        found = Resampled(tuple(pair.statistic for pair in pairs), np.abs(errors))
        for pair, p_value in zip(pairs, found.adjusted(plan.verdicts, plan.alpha), strict=True):
            differences.append(
                Pair(
                    group=pair.group,
                    one=pair.vote,
                    other=pair.member,
                    measure=pair.measure,
                    estimate=pair.estimate(level),
                    adjusted_p=p_value,
                )
            )
    return tuple(differences)


def _pairs(
    voters: Voters, group: Group | None, grid: Grid, votes: Sequence[str]
) -> Iterator[_Pair]:
    widened = voters.widest
    members = range(len(voters.votes), len(voters.names))
    for vote, member in itertools.product(votes, members):
        for place, measure in enumerate(MEASURES):
            one, other = grid[voters.votes.index(vote)][place], grid[member][place]
            if one is None or other is None:
                continue
            # Pairs that never differ learn nothing from images that both get right or wrong alike.
            influence = widened * (one.raw - other.raw)
            apart = replace(one.shown - other.shown, influence=influence, trials=np.inf)
            name = voters.names[member]
            yield _Pair(group, vote, name, measure, apart, one.one_image, widened)


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
    group_votes: Sequence[GroupVotes],
    differences: tuple[Pair, ...],
    plan: Multiplicity,
    *,
    level: float,
) -> Measures:
    """Voters side by side, over all images and by group."""
    values = _estimates(found, level)
    return Measures(
        detail=False,
        title=(
            f"Do {len(voters.ballots)} backbones together read {voters.target.described} better "
            "than each alone?"
        ),
        noun="voter",
        target=voters.target.name,
        measures=tuple(
            Measure(name=name, reference=share, reference_is="guessing")
            for name, share in zip(MEASURES, voters.by_guessing(), strict=True)
        ),
        entries=(
            *(
                Entry(name=name, layer=layer, values=values[place], is_faint=layer is not None)
                for place, (name, layer) in enumerate(
                    zip(voters.names, voters.layers, strict=True)
                )
            ),
            *(
                Entry(
                    name=name,
                    group=each.group,
                    n=each.n,
                    values=row,
                    reasons=each.reasons,
                    is_drawn=False,
                )
                for each in group_votes
                for name, row in zip(voters.names, _estimates(each.found, level), strict=True)
            ),
        ),
        pairs=differences,
        caption=(
            f"Each dot is a vote or a single backbone on {voters.target.name}, over {voters.n:,} "
            "images, with its interval. Hollow: single backbones. Dotted: guessing, which names "
            "the most frequent group for every image."
        ),
        notes=(_tied(voters), _IN_GROUPS, _adjustment(plan, differences)),
        reading=(_READING,),
    )


_READING: Final = (
    "Several backbones may know more together than each does alone, or make the same mistakes. "
    "Here their probes vote on every face, each with probes that never saw it. A vote gains where "
    "its members err on different faces, and loses where one knows more than the others."
)
_IN_GROUPS: Final = (
    "Within a group of the attribute itself, micro F1 is its recall, and macro F1 the F1 of that "
    "group against all others, over all images (of an intersection, the mean over its groups "
    "there). Elsewhere macro F1 is given where every group has enough images."
)


def _tied(voters: Voters) -> str:
    if voters.n_tied is None:
        return "Two backbones have no majority: wherever they disagree it would be tied."
    if not voters.n_tied:
        return "The majority vote was never tied."
    return (
        f"The majority vote was tied at {voters.n_tied:,} images; the tied group with the highest "
        "mean probability was taken."
    )


def _adjustment(plan: Multiplicity, differences: Sequence[Pair]) -> str:
    said = (
        "Differences are paired image by image; their intervals are not corrected for multiple "
        "comparisons, and add half an image either way (Agresti & Min 2005). P-values are "
        f"adjusted by {NAMES[plan.verdicts]} in two families: votes less each backbone over all "
        "images, and the soft vote less each backbone in every group."
    )
    n_overall = sum(difference.group is None for difference in differences)
    largest = max(n_overall, len(differences) - n_overall)
    least = smallest_attainable(largest, draws=draws_of(plan, largest), method=plan.verdicts)
    if least > plan.alpha:
        said += (
            f" With so few draws no adjusted p-value of a single effect can be below {least:.2g}."
        )
    return said


def _estimates(grid: Grid, level: float) -> tuple[tuple[Estimate | None, ...], ...]:
    return tuple(tuple(_estimate(found, level) for found in row) for row in grid)


def _estimate(found: Rated | None, level: float) -> Estimate | None:
    return None if found is None else estimate(found.shown, level=level)


def soft_tables(
    voters: Voters, found: Grid, group_votes: Sequence[GroupVotes], *, level: float
) -> tuple[GroupTable, ...]:
    """What criteria can name: the soft vote over all images and in every group."""
    soft = voters.votes.index(SOFT)
    tables = []
    for place, (measure, quantity) in enumerate(zip(MEASURES, QUANTITIES, strict=True)):
        rows = [
            GroupRow(group=EVERYONE, n=voters.n, estimate=_estimate(found[soft][place], level)),
            *(
                GroupRow(
                    group=each.group,
                    n=each.n,
                    estimate=_estimate(each.found[soft][place], level),
                    reason=each.reasons[place],
                )
                for each in group_votes
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
    voters: Voters,
    block: Measures,
    group_votes: Sequence[GroupVotes],
    *,
    alpha: float,
    level: float,
) -> Iterator[Finding]:
    """What voting gains over each member, where it does, and in which groups it is least right."""
    place = MEASURES.index(MACRO)
    soft = block.entries[voters.votes.index(SOFT)].values[place]
    if soft is not None:
        yield _gain(voters, block, soft, alpha)
    yield from _in_groups(voters, block, alpha)
    yield from _extremes(voters, group_votes, alpha=alpha, level=level)


def _gain(voters: Voters, block: Measures, soft: Estimate, alpha: float) -> Finding:
    mine = [d for d in block.pairs if d.group is None and (d.one, d.measure) == (SOFT, MACRO)]
    by_direction: dict[bool | None, list[str]] = {True: [], False: [], None: []}
    for found in mine:
        by_direction[_direction(found, alpha)].append(f"{found.other} ({_signed(found.estimate)})")
    parts = [
        f"{words} {listed(names)}"
        for words, names in (
            ("significantly more than", by_direction[True]),
            ("significantly less than", by_direction[False]),
            ("no significant difference from", by_direction[None]),
        )
        if names
    ]
    estimates = {"soft_vote": soft} | {f"less_{d.other}": d.estimate for d in mine}
    return Finding(
        text=(
            f"The soft vote of {len(voters.ballots)} backbones reaches a macro F1 of "
            f"{interval(soft)} on {voters.target.described} ({coverage(soft.level)}): "
            f"{'; '.join(parts)} (intervals in brackets, not corrected for multiple comparisons)."
        ),
        weight=max((_weight(d, alpha) for d in mine), default=0.0),
        estimates=estimates,
    )


def _in_groups(voters: Voters, block: Measures, alpha: float) -> Iterator[Finding]:
    """Groups in which the vote is right more or less often than a member, after adjustment."""
    sure = [
        d
        for d in block.pairs
        if d.group is not None and d.measure == MICRO and _direction(d, alpha) is not None
    ]
    for name in dict.fromkeys(d.other for d in sure):
        own = sorted((d for d in sure if d.other == name), key=lambda d: -_weight(d, alpha))
        groups = [f"{_named(d)} ({_signed(d.estimate)})" for d in own]
        yield Finding(
            text=(
                f"On {voters.target.described} the soft vote's micro F1 differs significantly "
                f"from that of {name} in {len(own)} group{'s' if len(own) > 1 else ''}, after "
                f"adjustment: {listed(groups, most=3)}."
            ),
            weight=_weight(own[0], alpha),
            estimates={_named(d): d.estimate for d in own[:3]},
        )


def _extremes(
    voters: Voters, group_votes: Sequence[GroupVotes], *, alpha: float, level: float
) -> Iterator[Finding]:
    """The levels of an attribute in which the vote was right least and most often."""
    place, soft = MEASURES.index(MICRO), voters.votes.index(SOFT)
    by_attribute: dict[str, list[tuple[str, Estimate]]] = {}
    for each in group_votes:
        found = each.found[soft][place]
        if found is not None:
            name, label = each.group.levels[0]
            by_attribute.setdefault(name, []).append((label, estimate(found.shown, level=level)))
    for name, rows in by_attribute.items():
        ends = clear_extremes([value for _, value in rows], alpha=alpha)
        if ends is None:
            continue
        (least, low), (most, high) = (rows[end] for end in ends)
        yield Finding(
            text=(
                f"Among the groups of {name}, the soft vote on {voters.target.described} was "
                f"right least often for {least} (micro F1 {interval(low)}) and most often for "
                f"{most} ({interval(high)}). The two differ significantly after correction for "
                "all pairs of groups."
            ),
            weight=weight_of(sureness(independent_difference(high, low)), is_decided=True),
            estimates={"lowest": low, "highest": high},
        )


def _direction(found: Pair, alpha: float) -> bool | None:
    """Whether the vote is better; None where it is not decided."""
    if not is_rejected(found.adjusted_p, alpha=alpha):
        return None
    return found.estimate.value > 0


def _weight(found: Pair, alpha: float) -> float:
    return weight_of(
        sureness(found.estimate), is_decided=is_rejected(found.adjusted_p, alpha=alpha)
    )


def _signed(found: Estimate) -> str:
    return interval(found) if found.value < 0 else f"+{interval(found)}"


def _named(found: Pair) -> str:
    if found.group is None:
        return "all images"
    name, label = found.group.levels[0]
    return f"{name} {label}"
