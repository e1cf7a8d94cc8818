"""Backbones by criteria, from their latest audits."""

from __future__ import annotations

from dataclasses import dataclass

from bias_audit.report.numbers import interval, signed_interval
from bias_audit.report.sections.verdicts import SHAPES
from bias_audit.report.zoo.links import Links
from bias_audit.results.history.reading import Backbone, History, TrackedVerdict
from bias_audit.results.verdict import Outcome


@dataclass(frozen=True)
class CellView:
    """One criterion on one backbone."""

    outcome: str
    """Empty where the audit does not have the criterion."""
    shape: str
    measured: str
    where: str
    link: str | None
    before: str
    """The outcome in the audit before, where it differs."""


@dataclass(frozen=True)
class RowView:
    """One backbone."""

    label: str
    link: str | None
    date: str
    cells: tuple[CellView, ...]


@dataclass(frozen=True)
class MatrixView:
    """One dataset."""

    dataset: str
    anchor: str
    counts: str
    criteria: tuple[tuple[str, str], ...]
    """Name and claim."""
    rows: tuple[RowView, ...]


def matrices(history: History, links: Links) -> tuple[MatrixView, ...]:
    """A matrix for every dataset whose audits have criteria."""
    by_backbone: dict[int, dict[str, TrackedVerdict]] = {}
    for verdict in history.verdicts:
        by_backbone.setdefault(verdict.backbone_id, {})[verdict.criterion] = verdict
    found = []
    for place, dataset in enumerate(history.datasets):
        here = [each for each in history.latest if each.audit.dataset == dataset]
        verdicts = [v for each in here for v in by_backbone.get(each.id, {}).values()]
        if verdicts:
            names = list(dict.fromkeys(verdict.criterion for verdict in verdicts))
            criteria = tuple((name, _claims(verdicts, name)) for name in names)
            rows = tuple(_row(each, by_backbone.get(each.id, {}), names, links) for each in here)
            anchor = f"verdicts-{place}"
            found.append(MatrixView(dataset, anchor, counts_of(verdicts), criteria, rows))
    return tuple(found)


def counts_of(verdicts: list[TrackedVerdict]) -> str:
    """Such as "3 PASS, 1 FAIL"; empty without verdicts."""
    outcomes = [verdict.outcome for verdict in verdicts]
    return ", ".join(f"{n} {outcome}" for outcome in SHAPES if (n := outcomes.count(outcome)))


def claim_of(verdict: TrackedVerdict) -> str:
    """What was to be shown, with the margin."""
    lift = "lift of " if verdict.of_what == "lift" else ""
    layers = {"every": "every layer", "best": "the best layer", "last": "the last layer"}
    where = layers.get(verdict.layers, verdict.layers)
    return f"{lift}{verdict.quantity} of {verdict.target} at {where}: {_margin(verdict)}"


def _margin(verdict: TrackedVerdict) -> str:
    if verdict.lowest is None:
        return f"at most {verdict.highest:g}"
    if verdict.highest is None:
        return f"at least {verdict.lowest:g}"
    return f"within {verdict.lowest:g} and {verdict.highest:g}"


def _claims(verdicts: list[TrackedVerdict], name: str) -> str:
    claims = dict.fromkeys(claim_of(v) for v in verdicts if v.criterion == name)
    return " | ".join(claims)


def _row(
    backbone: Backbone, verdicts: dict[str, TrackedVerdict], names: list[str], links: Links
) -> RowView:
    return RowView(
        label=backbone.label,
        link=links.backbone(backbone),
        date=backbone.audit.started[:10],
        cells=tuple(_cell(backbone, verdicts.get(name), links) for name in names),
    )


def _cell(backbone: Backbone, verdict: TrackedVerdict | None, links: Links) -> CellView:
    if verdict is None:
        return CellView("", "", "not asked", "", None, "")
    told = signed_interval if verdict.of_what == "lift" else interval
    group = "" if verdict.group_name is None else f"{verdict.group_name}, "
    return CellView(
        outcome=verdict.outcome,
        shape=shape_of(verdict.outcome),
        measured=told(verdict.estimate),
        where=f"{group}at {verdict.layer}" if verdict.layer else "",
        link=links.report(backbone.audit, f"verdict-{verdict.position}"),
        before=verdict.before or "",
    )


def shape_of(outcome: str) -> str:
    """Beside the word of a verdict."""
    shapes: dict[Outcome, str] = SHAPES
    return next((shape for word, shape in shapes.items() if word == outcome), "")
