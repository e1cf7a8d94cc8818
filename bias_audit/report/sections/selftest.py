"""The self-test: what was examined, expected and found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from bias_audit.durations import duration, written_date
from bias_audit.report.page import (
    Fact,
    Facts,
    Prose,
    Section,
    Tabled,
    number_columns,
    parts,
    text_columns,
)
from bias_audit.report.sections.verdicts import tally
from bias_audit.results.selftest import Outcome, Scale, SelfTest, SelfTestPart, SelfTestRow
from bias_audit.shapes.printed import count, counted, decimal, percent_interval
from bias_audit.shapes.tables import Table
from bias_audit.statistics.estimate import Estimate

SHAPES: Final[dict[Outcome, str]] = {
    "OK": "\N{BLACK CIRCLE}",
    "NOT OK": "\N{BLACK SQUARE}",
    "UNDECIDED": "\N{WHITE DIAMOND}",
}
_DIGITS: Final = 4


@dataclass(frozen=True)
class SelfTestView:
    """All checks, ready to print."""

    counts: str
    """Such as "20 OK, 3 UNDECIDED"."""
    warning: str
    """What is NOT OK; empty where nothing is."""
    facts: tuple[Fact, ...]
    table: Table


def selftest(found: SelfTest) -> SelfTestView:
    """Turn a self-test into rows and strings."""
    outcomes = [row.outcome for row in found.rows]
    rows = tuple(map(_row, found.rows))
    return SelfTestView(
        counts=tally(outcomes, SHAPES),
        warning=_warning(found.not_ok),
        facts=(
            Fact("Version", (f"{found.mode}, seed {found.seed}",)),
            Fact("Made", (f"{written_date(found.date)}, in {duration(found.seconds)}",)),
            Fact("With", ("; ".join(" ".join(entry) for entry in found.versions.items()),)),
            Fact("Code of statistics and analyses", (found.code,), is_code=True),
        ),
        table=Table(
            caption=f"Self-test, {found.mode} version",
            columns=(
                *text_columns("check", "simulated", "expected", "found"),
                *number_columns("trials", "seconds"),
                *text_columns("outcome"),
            ),
            rows=rows,
            excerpt=tuple(
                row for row, outcome in zip(rows, outcomes, strict=True) if outcome != "UNDECIDED"
            ),
            excerpt_note="The checks that are decided.",
        ),
    )


def _warning(rows: tuple[SelfTestRow, ...]) -> str:
    if not rows:
        return ""
    listed = "; ".join(
        f"{row.check} ({row.condition}): {_number(row.estimate, row.scale)}, "
        f"expected {row.expected}"
        for row in rows
    )
    failed = counted(len(rows), "check")
    return f"Numbers of this audit that rest on what failed cannot be trusted. {failed}: {listed}."


def _row(row: SelfTestRow) -> tuple[str, ...]:
    parts = "".join(f"\n{_part(part, row.scale)}" for part in row.parts)
    return (
        row.check,
        row.condition,
        row.expected,
        f"{_number(row.estimate, row.scale)}{parts}",
        count(row.trials),
        decimal(row.seconds, 1),
        f"{SHAPES[row.outcome]} {row.outcome}",
    )


def _part(part: SelfTestPart, scale: Scale) -> str:
    return f"{part.name}: {_number(part.estimate, scale)}"


def _number(estimate: Estimate, scale: Scale) -> str:
    if scale == "share":
        return percent_interval(estimate)
    if estimate.lower == estimate.upper:
        return decimal(estimate.value, _DIGITS)
    value, lower, upper = (
        decimal(number, _DIGITS) for number in (estimate.value, estimate.lower, estimate.upper)
    )
    return f"{value} [{lower}, {upper}]"


def selftest_section(found: SelfTest, answers: tuple[str, ...]) -> Section:
    """Print it, first what is not OK."""
    shown = selftest(found)
    return Section(
        "selftest",
        "Self-test",
        parts(
            failed_box(shown.warning),
            Prose(
                "Before it measures, the audit runs its own code on simulated activations, for "
                f"which the right answers are known: {shown.counts}. Simulated units are "
                "Gaussian; activations of real images are not, so an interval that covers the "
                "truth here may cover it slightly less often there."
            ),
            Tabled(shown.table, is_folded=True),
            Prose(
                "[ ] = 95 % interval over the simulations. OK: it lies within the tolerance. NOT "
                "OK: it lies outside, under one condition or under all. UNDECIDED: there were too "
                "few simulations. Rows that share simulations count their time once.",
                "note of-table",
            ),
            Facts(shown.facts),
        ),
        answers=answers,
    )


def failed_box(warning: str) -> tuple[Prose, ...]:
    """A box around what is not OK; none where nothing is."""
    return (Prose(warning, "box failure", "The self-test failed."),) if warning else ()
