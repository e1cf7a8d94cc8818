"""How numbers went from audit to audit, and what changed beside them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Final

from bias_audit.report.figures.style import Palette
from bias_audit.report.page import Section
from bias_audit.report.zoo.curves import Question
from bias_audit.report.zoo.drawing import curves_section, figure_view
from bias_audit.report.zoo.figures.panels import MOST
from bias_audit.report.zoo.figures.trends import Step, Trend, trends_figure
from bias_audit.results.history.reading import Backbone, History
from bias_audit.shapes.printed import counted, interval, sentence
from bias_audit.shapes.shape import Rows, estimate_cells

_MOST_STEPS: Final = 30
"""Audits drawn per panel."""
_NEWEST: Final = 15
"""Of them, the newest, which are all drawn."""
Lines = dict[tuple[tuple[str, str, str], str], list[Backbone]]
"""Audits of one backbone, oldest first, by zoo, dataset, entry and the backbone's name."""


def lines_of(history: History) -> Lines:
    """Every backbone's audits in order of time."""
    found: Lines = {}
    for backbone in history.backbones:
        found.setdefault((backbone.audit.key, backbone.name), []).append(backbone)
    return found


def trends(
    question: Question, history: History, lines: Lines, colours: Palette, anchor: str
) -> Section | None:
    """Put a question's highest values in order of time; None where no backbone has two audits."""
    every = tuple(_trend(question, history, lines, backbone) for backbone in question.backbones)
    several = [trend for trend in every if len(trend.steps) > 1]
    if not several:
        return None
    shown = [Trend(each.label, thinned(each.steps)) for each in several[:MOST]]
    until = history.audits[-1].started
    alt = _alt(question, several)
    colour = colours.colour(question.target)
    return curves_section(
        title=f"{question.title}: {question.metric}",
        anchor=anchor,
        notes=tuple(_notes(every, several, shown)),
        figure=figure_view(
            partial(trends_figure, shown, until=until, metric=question.metric, colour=colour),
            partial(_data, shown),
            alt=alt,
            caption=f"{sentence(question.metric)} of {question.title} at the layer where it is "
            "highest in each audit, with its interval; a value holds until the next audit.",
            anchor=anchor,
        ),
    )


def _trend(question: Question, history: History, lines: Lines, backbone: Backbone) -> Trend:
    steps = []
    before: Backbone | None = None
    for each in lines[backbone.audit.key, backbone.name]:
        point = history.highest.get(question.key(each))
        if point is None:
            continue
        changed = differing(before, each) if before else ()
        steps.append(Step(each.audit.started, point.layer, point.estimate, changed))
        before = each
    return Trend(backbone.label, tuple(steps))


def differing(before: Backbone, after: Backbone) -> tuple[str, ...]:
    """What an audit rests on and the one before did not: weights, data, config, software."""
    pairs = {
        "weights": (before.weights_sha256, after.weights_sha256),
        "data": (before.audit.manifest_sha256, after.audit.manifest_sha256),
        "config": (before.audit.config_sha256, after.audit.config_sha256),
        "software": (before.audit.packages, after.audit.packages),
    }
    return tuple(kind for kind, (one, other) in pairs.items() if one != other)


def thinned(steps: Sequence[Step]) -> tuple[Step, ...]:
    """The newest audits, the first, those where something changed, and of the others some."""
    if len(steps) <= _MOST_STEPS:
        return tuple(steps)
    kept = {0, *range(len(steps) - _NEWEST, len(steps))}
    old = list(range(1, len(steps) - _NEWEST))
    old.sort(key=lambda i: (not steps[i].changed, -i if steps[i].changed else _spread(i)))
    kept.update(old[: _MOST_STEPS - len(kept)])
    return tuple(steps[i] for i in sorted(kept))


def _spread(place: int) -> int:
    """Small for places far apart: what divides by a high power of two comes first."""
    return -(place & -place)


def _notes(every: Sequence[Trend], several: Sequence[Trend], shown: Sequence[Trend]) -> list[str]:
    notes = []
    if len(several) < len(every):
        alone = counted(len(every) - len(several), "backbone")
        notes.append(f"{alone} with a single audit: no trend.")
    if len(several) > len(shown):
        notes.append(f"The {len(shown)} backbones with the highest values are drawn.")
    left = sum(len(t.steps) for t in several[:MOST]) - sum(len(t.steps) for t in shown)
    if left:
        notes.append(
            f"{counted(left, 'older audit')} in which nothing changed are left out of the figure; "
            "the history's view `trend` has them."
        )
    return notes


def _alt(question: Question, several: Sequence[Trend]) -> str:
    moved = max(
        several, key=lambda t: abs(t.steps[-1].estimate.value - t.steps[-2].estimate.value)
    )
    return (
        f"{counted(len(several), 'panel')}, one per backbone: {question.metric} of "
        f"{question.title} in each of its audits. The largest step to the latest audit is that of "
        f"{moved.label}, from {interval(moved.steps[-2].estimate)} to "
        f"{interval(moved.steps[-1].estimate)}."
    )


def _data(shown: Sequence[Trend]) -> Rows:
    names = ("value", "lower", "upper", "level", "n")
    rows: Rows = [("backbone", "audit", "layer", *names, "differs from the audit before in")]
    for trend in shown:
        rows += [
            (
                trend.label,
                step.started,
                step.layer,
                *estimate_cells(step.estimate)[:5],
                ", ".join(step.changed),
            )
            for step in trend.steps
        ]
    return rows
