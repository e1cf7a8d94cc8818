"""The verdicts on the criteria of the config, as rows and strings."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from markupsafe import Markup

from bias_audit.config.schema import Criterion
from bias_audit.report.page import Prose, Section, Tabled, linked, number_columns, text_columns
from bias_audit.report.references import SECTIONS
from bias_audit.results.audit import AuditResult
from bias_audit.results.judge import POWER
from bias_audit.results.verdict import Deciding, Outcome, Verdict
from bias_audit.shapes.printed import (
    count,
    counted,
    decimal,
    interval,
    sample,
    sentence,
    signed_interval,
)
from bias_audit.shapes.tables import Table

SHAPES: Final[dict[str, str]] = {
    "PASS": "\N{BLACK CIRCLE}",
    "FAIL": "\N{BLACK SQUARE}",
    "INCONCLUSIVE": "\N{WHITE DIAMOND}",
}
"""Beside the word, so that outcomes can be distinguished at a glance and without colour."""


_URGENCY: Final[tuple[Outcome, ...]] = ("FAIL", "INCONCLUSIVE", "PASS")
AT_POWER: Final = f"at {100 * POWER:.0f} % power"
"""What the images that would decide, and the distance that would be detected, are for."""


@dataclass(frozen=True)
class VerdictView:
    """One criterion on one backbone."""

    name: str
    rationale: str
    backbone: str
    outcome: Outcome
    shape: str
    claim: str
    """What was to be shown, with the margin."""
    margin: str
    """Such as "at most 0.05"."""
    measured: str
    """The deciding number with its interval."""
    where: str
    """Its layer and group, and the coverage of its interval."""
    reason: str
    n_to_decide: str
    detectable: str


@dataclass(frozen=True)
class VerdictsView:
    """All criteria."""

    rows: tuple[VerdictView, ...]
    counts: str
    """Such as "1 PASS, 2 FAIL"; empty without criteria."""


def verdicts(result: AuditResult) -> VerdictsView:
    """Put the verdicts together, in the order of the config."""
    counts = tally([verdict.outcome for verdict in result.verdicts])
    return VerdictsView(tuple(map(_row, result.verdicts)), counts)


def tally(outcomes: Sequence[str], order: Iterable[str] = SHAPES) -> str:
    """Such as "3 PASS, 1 FAIL"; empty without any."""
    return ", ".join(f"{n} {outcome}" for outcome in order if (n := outcomes.count(outcome)))


def by_urgency(rows: Iterable[VerdictView]) -> list[VerdictView]:
    """What fails first, then what is inconclusive."""
    return sorted(rows, key=lambda row: _URGENCY.index(row.outcome))


def badge(outcome: str, link: str | None = None) -> str:
    """An outcome as a word in its colour, with its symbol."""
    shape = Markup('<span aria-hidden="true">{}</span> ').format(SHAPES.get(outcome, ""))
    return Markup('<span class="outcome {}">{}{}</span>').format(
        outcome.lower(), shape if outcome in SHAPES else "", linked(outcome, link)
    )


def _row(verdict: Verdict) -> VerdictView:
    criterion, deciding = verdict.criterion, verdict.deciding
    return VerdictView(
        name=criterion.name,
        rationale=criterion.rationale,
        backbone=verdict.backbone,
        outcome=verdict.outcome,
        shape=SHAPES[verdict.outcome],
        claim=claim(
            criterion.of,
            criterion.quantity,
            criterion.target,
            criterion.layer,
            criterion.margin,
            groups=criterion.groups.values() if criterion.groups else (),
        ),
        margin=_margin(criterion.margin),
        measured=_measured(criterion, deciding),
        where=_where(deciding),
        reason=sentence(verdict.reason),
        n_to_decide=_n_to_decide(verdict),
        detectable="unknown" if verdict.detectable is None else decimal(verdict.detectable, 3),
    )


def claim(
    of: str,
    quantity: str,
    target: str,
    layer: str,
    margin: tuple[float | None, float | None],
    *,
    groups: Iterable[str] = (),
) -> str:
    """What is to be shown, such as "lift of recall of age at the last layer: at most 0.1"."""
    lift = "lift of " if of == "lift" else ""
    layers = {"every": "every layer", "best": "the best layer", "last": "the last layer"}
    where = ", ".join((layers.get(layer, layer), *groups))
    return f"{lift}{quantity} of {target} at {where}: {_margin(margin)}"


def _margin(margin: tuple[float | None, float | None]) -> str:
    lowest, highest = margin
    if lowest is None:
        return f"at most {highest:g}"
    return f"at least {lowest:g}" if highest is None else f"within {lowest:g} and {highest:g}"


def _measured(criterion: Criterion, deciding: Deciding | None) -> str:
    if deciding is None:
        return "nothing"
    if criterion.of == "lift":
        return signed_interval(deciding.estimate)
    return interval(deciding.estimate)


def _where(deciding: Deciding | None) -> str:
    if deciding is None:
        return ""
    group = "" if deciding.group is None else f"{deciding.group.label}, "
    if deciding.estimate is None:
        return f"{group}at {deciding.layer}"
    found = deciding.estimate
    level = f"{100 * found.level:.4g} % interval, n = {sample(found.n, found)}"
    return f"{group}at {deciding.layer}; {level}"


def _n_to_decide(verdict: Verdict) -> str:
    if verdict.outcome != "INCONCLUSIVE":
        return "decided"
    if verdict.n_to_decide is None:
        return "no number of images"
    estimate = verdict.deciding.estimate if verdict.deciding else None
    now = f" (now {count(estimate.n)})" if estimate else ""
    return f"about {counted(verdict.n_to_decide, 'image')}{now}"


def verdicts_sections(found: VerdictsView, answers: tuple[str, ...]) -> tuple[Section, ...]:
    """The table of all, with how to read it; nothing without a criterion."""
    if not found.rows:
        return ()
    name = Markup(
        '<strong>{}</strong><br>{}<br><span class="rationale">Why this margin: {}</span>'
    )
    rows = tuple(
        (
            name.format(row.name, row.claim, row.rationale),
            row.backbone,
            badge(row.outcome),
            "\n".join(filter(None, (row.measured, row.where, f"{row.reason}."))),
            row.detectable,
            row.n_to_decide,
        )
        for row in found.rows
    )
    table = Table(
        caption="Criteria and verdicts",
        columns=(
            *text_columns("criterion", "backbone", "verdict", "what decides"),
            *number_columns(
                f"smallest detectable distance ({AT_POWER})",
                f"images that would decide ({AT_POWER})",
            ),
        ),
        rows=rows,
        excerpt=rows,
    )
    note = (
        "A criterion over several numbers passes if each interval, at the criterion's level, lies "
        "within the margin, and fails if one lies beyond it after Holm's correction for their "
        "number. The interval of the deciding number is printed at the level that decided. "
        "“Images that would decide” are independent images behind that number, if the observed "
        "value stays the same."
    )
    content = (
        Prose(
            "The config declares the criteria and their margins. A verdict compares an interval "
            "with a margin: PASS if the whole interval lies within, FAIL if it lies wholly "
            "beyond, INCONCLUSIVE otherwise. Finding no difference is never a PASS. A verdict is "
            "about these images and annotations, not about whether a use of the backbone is "
            "acceptable."
        ),
        Tabled(table, "verdicts", rows_named="verdict"),
        Prose(note, "note of-table"),
    )
    title = f"{SECTIONS['criteria']} {found.counts}"
    return (Section("criteria", title, content, answers=answers),)
