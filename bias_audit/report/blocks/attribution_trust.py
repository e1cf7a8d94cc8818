"""Checks of attribution methods in words and numbers."""

from __future__ import annotations

from bias_audit.report.elements import BlockText, Column, Table
from bias_audit.report.numbers import MISSING, interval, interval_note, sentence
from bias_audit.results.blocks import AttributionTrust, TrustedMethod


def attribution_trust(block: AttributionTrust) -> BlockText:
    """Say which methods pass, by which rule, and what every measure means."""
    applied = [method for method in block.methods if method.standing != "does not apply"]
    known = [value for method in applied for value in method.estimates if value is not None]
    agreed = [pair.estimate for pair in block.agreements]
    return BlockText(
        alt=_alt(block, applied) if known else None,
        caption=(
            f"Checks of the maps at {block.layer} on {block.n} images drawn for them, with "
            "intervals. Hollow: the method does not pass the sanity check. Dotted: the limit of "
            "the check, or what a map without meaning gives. Arrows: the better direction."
        ),
        notes=(
            _standings(block),
            block.rule,
            *(
                f"{sentence(measure.name)} ({measure.better} is better): {measure.meaning}."
                for measure in block.measures
            ),
            *interval_note([*known, *agreed]),
        ),
        tables=(_table(block), *_agreements(block)),
    )


def _alt(block: AttributionTrust, applied: list[TrustedMethod]) -> str:
    first = block.measures[0].name
    told = "; ".join(
        f"{method.name} {method.standing}, {first} {interval(method.estimates[0])}"
        for method in applied
    )
    return (
        f"Dot plots of {len(block.measures)} checks of {len(applied)} methods at {block.layer}. "
        f"{told}."
    )


def _standings(block: AttributionTrust) -> str:
    parts = []
    for standing in ("passes", "fails", "undecided", "does not apply"):
        named = [
            f"{method.name} ({method.reason})" if method.reason else method.name
            for method in block.methods
            if method.standing == standing
        ]
        if named:
            parts.append(f"{sentence(standing)}: {', '.join(named)}.")
    return " ".join(parts)


def _table(block: AttributionTrust) -> Table:
    rows = tuple(
        (
            method.name,
            method.standing,
            *(MISSING if value is None else interval(value) for value in method.estimates),
        )
        for method in block.methods
    )
    return Table(
        caption=f"Checks of attribution methods at {block.layer}",
        columns=(
            Column("method"),
            Column("sanity check"),
            *(Column(measure.name, numeric=True) for measure in block.measures),
        ),
        rows=rows,
        excerpt=rows,
        excerpt_note="All methods.",
    )


def _agreements(block: AttributionTrust) -> tuple[Table, ...]:
    if not block.agreements:
        return ()
    rows = tuple((pair.one, pair.other, interval(pair.estimate)) for pair in block.agreements)
    return (
        Table(
            caption=f"Agreement of methods at {block.layer}: rank correlation of their maps",
            columns=(Column("method"), Column("other"), Column("agreement", numeric=True)),
            rows=rows,
            n_headers=2,
            excerpt=rows[:6],
            excerpt_note="The first pairs.",
        ),
    )
