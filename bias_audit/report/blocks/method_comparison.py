"""A comparison of methods in words and numbers."""

from __future__ import annotations

from bias_audit.report.elements import BlockText, Column, Table
from bias_audit.report.numbers import MISSING, interval, interval_note, sentence
from bias_audit.results.blocks import ComparedMethod, MethodComparison


def method_comparison(block: MethodComparison) -> BlockText:
    """Say which method is recommended, by which rule, and what every column means."""
    known = [value for method in block.methods for value in method.estimates if value is not None]
    return BlockText(
        alt=None,
        caption=(
            f"{sentence(block.noun)}s at {block.layer}, best mean rank first, with intervals "
            "over repetitions."
        ),
        notes=(
            _recommended(block),
            block.rule,
            *(
                f"{sentence(measure.name)} ({measure.better} is better): {measure.meaning}."
                for measure in block.measures
            ),
            *interval_note([*known, *(method.mean_rank for method in block.methods)]),
        ),
        tables=(_table(block),),
    )


def _recommended(block: MethodComparison) -> str:
    best = [method.name for method in block.methods if method.standing == "recommended"]
    tied = [method.name for method in block.methods if method.standing == "tied"]
    text = f"Recommended {block.noun}: {', '.join(best)}."
    return f"{text} Tied with it: {'; '.join(tied)}." if tied else text


def _table(block: MethodComparison) -> Table:
    rows = tuple(map(_row, block.methods))
    return Table(
        caption=f"{sentence(block.noun)}s compared at {block.layer}",
        columns=(
            Column(block.noun),
            Column("standing"),
            Column("mean rank", numeric=True),
            *(Column(measure.name, numeric=True) for measure in block.measures),
        ),
        rows=rows,
        excerpt=rows[:12],
        excerpt_note=f"The best {block.noun}s.",
    )


def _row(method: ComparedMethod) -> tuple[str, ...]:
    return (
        method.name,
        method.standing,
        interval(method.mean_rank),
        *(MISSING if value is None else interval(value) for value in method.estimates),
    )
