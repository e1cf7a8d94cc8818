"""The declared plan of tests in words and numbers."""

from __future__ import annotations

from bias_audit.report.elements import BlockText, Column, Table
from bias_audit.report.numbers import count
from bias_audit.results.blocks import HypothesisFamilies, HypothesisFamily

_EXACT_FROM = 0.0001


def hypothesis_families(block: HypothesisFamilies) -> BlockText:
    """Say what was tested together, how it was adjusted, and which gates stayed closed."""
    notes = [note for family in block.families if (note := _cannot_reject(family))]
    return BlockText(
        alt=None,
        caption=(
            "Families of hypotheses in the order in which they are tested: how each is adjusted, "
            "and what was rejected."
        ),
        notes=tuple(notes),
        tables=(_table(block),),
    )


def _cannot_reject(family: HypothesisFamily) -> str | None:
    """A warning where too few draws keep any single effect from being found."""
    if family.smallest_p is None or family.smallest_p <= family.alpha or not family.is_open:
        return None
    draws = "the draws made" if family.draws is None else f"{count(family.draws)} draws"
    return (
        f"{family.name}: {draws} cannot reject a single one of {count(family.n_hypotheses)} "
        f"hypotheses, whatever the effect: the smallest adjusted p-value is "
        f"{p_value(family.smallest_p)}, above {family.alpha:.3g}."
    )


def _table(block: HypothesisFamilies) -> Table:
    rows = tuple(map(_row, block.families))
    return Table(
        caption="Families of hypotheses",
        columns=(
            Column("family"),
            Column("hypotheses", numeric=True),
            Column("with a p-value", numeric=True),
            Column("adjustment"),
            Column("alpha", numeric=True),
            Column("draws", numeric=True),
            Column("smallest p attainable", numeric=True),
            Column("rejected", numeric=True),
            Column("gate"),
        ),
        rows=rows,
        excerpt=rows[:12],
        excerpt_note="The first families, in the order in which they are tested.",
    )


def _row(family: HypothesisFamily) -> tuple[str, ...]:
    return (
        family.name,
        count(family.n_hypotheses),
        count(family.n_tested),
        f"{family.method} ({family.controls})",
        f"{family.alpha:.3g}",
        "by formula" if family.draws is None else count(family.draws),
        "no limit" if family.smallest_p is None else p_value(family.smallest_p),
        "not tested" if family.rejected is None else count(family.rejected),
        f"open: {family.gate}" if family.is_open else family.gate,
    )


def p_value(p: float) -> str:
    """Such as "0.0312", or "below 0.0001"."""
    return f"below {_EXACT_FROM:.4f}" if p < _EXACT_FROM else f"{p:.4f}"
