"""Votes of several backbones in words and numbers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from bias_audit.report.blocks.groups import group_heading
from bias_audit.report.elements import BlockText, Column, Table
from bias_audit.report.numbers import (
    MISSING,
    chance_of,
    counted,
    guess,
    interval,
    interval_note,
    sample,
    sample_heading,
    sentence,
    signed_interval,
)
from bias_audit.results.blocks import EnsembleVotes, VoteDifference
from bias_audit.statistics.estimate import Estimate

_PRINTED: Final = 12
_LESS: Final = (
    Column("less"),
    Column("measure"),
    Column("difference", numeric=True),
    Column("adjusted p", numeric=True),
)


def ensemble_votes(block: EnsembleVotes) -> BlockText:
    """Say what voting gains, over all images and in every group."""
    known = [value for row in block.estimates for value in row if value is not None]
    return BlockText(
        alt=_alt(block) if known else None,
        caption=(
            f"Votes and single backbones on {block.target}, over {counted(block.n, 'image')}, "
            "with intervals. Hollow: single backbones. Dotted: what naming the most frequent "
            "level for every image gives."
        ),
        notes=(
            _tied(block),
            _GROUPS,
            block.adjustment,
            *interval_note([*known, *(found.estimate for found in block.differences)]),
        ),
        tables=(_voters(block), *_differences(block), *_groups(block), *_in_groups(block)),
    )


_GROUPS: Final = (
    "Within a level of the target itself, micro F1 is its recall, and macro F1 the F1 of that "
    "level against all others, over all images (of an intersection, the mean over its cells "
    "there). Elsewhere macro F1 is told where every level has enough images."
)


def _tied(block: EnsembleVotes) -> str:
    if block.n_tied is None:
        return "Two backbones have no majority: wherever they disagree it would be tied."
    if not block.n_tied:
        return "The majority vote was never tied."
    return (
        f"The majority vote was tied at {counted(block.n_tied, 'image')}; the tied level with the "
        "highest mean probability was taken."
    )


def _alt(block: EnsembleVotes) -> str:
    told = "; ".join(
        f"{voter.name}: "
        + ", ".join(
            f"{measure} {_cell(value)}"
            for measure, value in zip(block.measures, values, strict=True)
        )
        for voter, values in zip(block.voters, block.estimates, strict=True)
    )
    return (
        f"Dot plots of {' and '.join(block.measures)} of {len(block.voters)} ways to decide on "
        f"{block.target}. {told}."
    )


def _cell(value: Estimate | None) -> str:
    return MISSING if value is None else interval(value)


def _voters(block: EnsembleVotes) -> Table:
    guessing = (
        "naming the most frequent level",
        "",
        *(f"chance {guess(share)}" for share in block.guessing),
    )
    rows = (
        *(
            (voter.name, voter.layer or "probes of all", *map(_cell, values))
            for voter, values in zip(block.voters, block.estimates, strict=True)
        ),
        guessing,
    )
    return Table(
        caption=f"Votes and single backbones on {block.target}, all images",
        columns=(
            Column("decided by"),
            Column("probe at"),
            *(Column(measure, numeric=True) for measure in block.measures),
        ),
        rows=rows,
        excerpt=rows[:_PRINTED],
        excerpt_note="The first ones.",
    )


def _differences(block: EnsembleVotes) -> Iterator[Table]:
    found = [each for each in block.differences if each.group is None]
    if found:
        rows = tuple((each.vote, each.member, each.measure, *_tested(each)) for each in found)
        yield Table(
            caption=f"Votes on {block.target} less each backbone, all images",
            columns=(Column("vote"), *_LESS),
            rows=rows,
            n_headers=3,
            excerpt=rows[:_PRINTED],
            excerpt_note="The first ones.",
        )


def _tested(found: VoteDifference) -> tuple[str, str]:
    p_value = "same images right" if found.adjusted_p is None else chance_of(found.adjusted_p)
    return signed_interval(found.estimate), p_value


def _groups(block: EnsembleVotes) -> Iterator[Table]:
    """One table for each measure: groups by voters."""
    heading = group_heading([each.group for each in block.groups]) if block.groups else ""
    for place, measure in enumerate(block.measures if block.groups else ()):
        rows = tuple(
            (
                each.group.label,
                sample(each.n, each.estimates[0][place]),
                *(_or_why(values[place], each.reasons[place]) for values in each.estimates),
            )
            for each in block.groups
        )
        samples = [(each.n, each.estimates[0][place]) for each in block.groups]
        yield Table(
            caption=f"{sentence(measure)} on {block.target} by group",
            columns=(
                Column(heading),
                Column(sample_heading("n", samples), numeric=True),
                *(Column(voter.name, numeric=True) for voter in block.voters),
            ),
            rows=rows,
            excerpt=rows if len(rows) <= _MOST_GROUPS else _lowest(rows, block, place),
            excerpt_note=(
                "All groups."
                if len(rows) <= _MOST_GROUPS
                else f"The groups with the lowest {measure} of the {block.voters[0].name}."
            ),
            is_detail=place > 0,
        )


_MOST_GROUPS: Final = 20


def _or_why(value: Estimate | None, reason: str | None) -> str:
    return interval(value) if value is not None else (reason or MISSING)


def _lowest(
    rows: Sequence[tuple[str, ...]], block: EnsembleVotes, place: int
) -> tuple[tuple[str, ...], ...]:
    known = [
        (value.value, row)
        for row, each in zip(rows, block.groups, strict=True)
        if (value := each.estimates[0][place]) is not None
    ]
    return tuple(row for _, row in sorted(known)[:_PRINTED])


def _in_groups(block: EnsembleVotes) -> Iterator[Table]:
    found = [each for each in block.differences if each.group is not None]
    if found:
        found.sort(key=lambda each: 1.0 if each.adjusted_p is None else each.adjusted_p)
        rows = tuple(
            (each.group.label if each.group else "", each.member, each.measure, *_tested(each))
            for each in found
        )
        yield Table(
            caption=f"The {found[0].vote} on {block.target} less each backbone, by group",
            columns=(Column(group_heading([each.group for each in found if each.group])), *_LESS),
            rows=rows,
            n_headers=3,
            excerpt=rows[:_PRINTED],
            excerpt_note="The smallest adjusted p-values.",
        )
