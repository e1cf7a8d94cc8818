"""The declared plan of tests, and what became of each family."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final, Literal

from bias_audit.shapes.printed import count
from bias_audit.shapes.shape import Block, Frozen, Row, Shape
from bias_audit.shapes.tables import BlockText, Shown, table, words

_EXACT_FROM: Final = 0.0001


class HypothesisFamily(Frozen):
    """Hypotheses that were declared together and are adjusted together."""

    name: str
    """Such as "cells"."""
    n_hypotheses: int
    """Declared, those that could not be measured included."""
    n_tested: int
    """With a p-value."""
    method: str
    """Such as "single-step max-T"."""
    controls: str
    """What the method keeps at alpha: "family-wise error rate", "false discovery rate"."""
    alpha: float
    draws: int | None
    """Resampling draws; None where p-values come from a formula."""
    smallest_p: float | None
    """The smallest adjusted p-value that a single effect can attain with so many draws."""
    rejected: int | None
    """Tests that are significant; None where the family was not tested."""
    is_open: bool
    """Whether the gate before it let the family be tested."""
    gate: str
    """Why: such as "tested, because a test in marginals was significant"."""


class HypothesisFamilies(Block):
    """The declared plan of tests, and what became of each family."""

    block: Literal["test_families"] = "test_families"
    title: str
    families: tuple[HypothesisFamily, ...]
    """In the order in which they are tested."""


def _rows(block: HypothesisFamilies) -> Iterator[Row]:
    for family in block.families:
        yield {
            "family": family.name,
            "hypotheses": family.n_hypotheses,
            "tested": family.n_tested,
            "adjustment": family.method,
            "controls": family.controls,
            "alpha": family.alpha,
            "draws": family.draws,
            "smallest_p": family.smallest_p,
            "rejected": family.rejected,
            "gate": "open" if family.is_open else "closed",
            "gate_reason": family.gate,
        }


def _text(block: HypothesisFamilies) -> BlockText:
    """Say what was tested together, how it was adjusted, and which gates stayed closed."""

    def known(name: str, missing: str, form: Callable[[Any], str] = count) -> Callable[[Row], str]:
        return lambda row: missing if row[name] is None else form(row[name])

    rows = [*_rows(block)]
    return BlockText(
        alt=None,
        caption=(
            "What was tested, how each family of tests is adjusted, and how many tests are "
            "significant; in the order of testing."
        ),
        notes=tuple(note for family in block.families if (note := _cannot_reject(family))),
        tables=(
            table(
                "Families of tests",
                rows,
                (
                    words("family", "family"),
                    Shown("hypotheses", lambda row: count(row["hypotheses"])),
                    Shown("tested", lambda row: count(row["tested"])),
                    Shown(
                        "adjustment",
                        lambda row: f"{row['adjustment']} ({row['controls']})",
                        numeric=False,
                    ),
                    Shown("alpha", lambda row: f"{row['alpha']:.3g}"),
                    Shown("draws", known("draws", "by formula")),
                    Shown("smallest possible p", known("smallest_p", "no limit", _p_value)),
                    Shown("significant", known("rejected", "not tested")),
                    words("why tested or not", "gate_reason"),
                ),
                excerpt=rows[:12],
                note="The first families, in the order in which they are tested.",
            ),
        ),
    )


def _cannot_reject(family: HypothesisFamily) -> str | None:
    """A warning where too few draws keep any single effect from being found."""
    if family.smallest_p is None or family.smallest_p <= family.alpha or not family.is_open:
        return None
    draws = "the draws made" if family.draws is None else f"{count(family.draws)} draws"
    return (
        f"{family.name}: {draws} are too few for a single one of {count(family.n_hypotheses)} "
        "hypotheses to be significant, whatever the effect: the smallest adjusted p-value is "
        f"{_p_value(family.smallest_p)}, above {family.alpha:.3g}."
    )


def _p_value(p: float) -> str:
    """Such as "0.0312", or "below 0.0001"."""
    return f"below {_EXACT_FROM:.4f}" if p < _EXACT_FROM else f"{p:.4f}"


_READING: Final = (
    "Tests of one family are adjusted together, so that many tests do not make chance look like "
    "a finding. Families are tested in this order; where no test of a family is significant, the "
    "next family is not tested and nothing in it is claimed."
)
_COLUMNS: Final = (
    "family", "hypotheses", "tested", "adjustment", "controls", "alpha", "draws", "smallest_p",
    "rejected", "gate", "gate_reason",
)  # fmt: skip
SHAPE = Shape(
    HypothesisFamilies,
    place=150,
    table="test_families",
    about="a family of tests that was declared",
    columns=_COLUMNS,
    rows=_rows,
    text=_text,
    reading=(_READING,),
    in_short=_READING,
    printed=True,
    is_open=True,
    has_notes_first=True,
)
