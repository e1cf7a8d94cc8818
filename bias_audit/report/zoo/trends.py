"""How numbers went from audit to audit, and what changed beside them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, Final

import numpy as np
from matplotlib.figure import Figure

from bias_audit.report.figures.saving import FigureView
from bias_audit.report.figures.style import INK, MUTED, Palette, shortened, styled
from bias_audit.report.page import Section
from bias_audit.report.zoo.curves import MOST, Panels, Question, curves_section, joined, panels
from bias_audit.results.history.reading import Backbone, History
from bias_audit.shapes.printed import counted, format_estimate, interval, sentence
from bias_audit.shapes.shape import Rows, estimate_cells
from bias_audit.statistics.estimate import Estimate

_MOST_STEPS: Final = 30
"""Audits drawn per panel."""
_NEWEST: Final = 15
"""Of them, the newest, which are all drawn."""
Lines = dict[tuple[tuple[str, str, str], str], list[Backbone]]
"""Audits of one backbone, oldest first, by zoo, dataset, entry and the backbone's name."""


LETTERS: Final = {"weights": "W", "data": "D", "config": "C", "software": "S"}
"""Above a point, for what differs from the audit before it."""


_LETTER_ROOM: Final = 0.24


@dataclass(frozen=True)
class Step:
    """One audit."""

    started: str
    """ISO 8601, UTC."""
    layer: str
    estimate: Estimate
    changed: tuple[str, ...]
    """What differs from the audit before it; see `LETTERS`."""


@dataclass(frozen=True)
class Trend:
    """All audits of one backbone, oldest first."""

    label: str
    steps: tuple[Step, ...]


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
        figure=FigureView(
            partial(trends_figure, shown, until=until, metric=question.metric, colour=colour),
            partial(_data, shown),
            alt=alt,
            caption=f"{sentence(question.metric)} of {question.title} at the layer where it is "
            "highest in each audit, with its interval, until the next audit.",
            anchor=anchor,
            heading="backbone",
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
        notes.append(f"Without a trend, because of a single audit: {alone}.")
    if len(several) > len(shown):
        notes.append(f"The {len(shown)} backbones with the highest values are drawn.")
    left = sum(len(t.steps) for t in several[:MOST]) - sum(len(t.steps) for t in shown)
    if left:
        notes.append(
            f"The figure leaves out {counted(left, 'older audit')} in which nothing changed; the "
            "view `trend` of the history has them."
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


@styled
def trends_figure(shown: Sequence[Trend], *, until: str, metric: str, colour: str) -> Figure:
    """Draw a panel per backbone; a value continues until the next audit, or the end."""
    begin = min(_moment(trend.steps[0].started) for trend in shown)
    end = _moment(until)
    margin = max(0.5, 0.05 * (end - begin))
    first = min(trend.steps[0].started for trend in shown)
    found = panels(
        [trend.label for trend in shown],
        x_limits=(begin - margin, end + margin),
        y_limits=_limits(shown),
        x_ticks=((begin, first[:10]), (end + margin, until[:10])),
        x_label="date of the audit (letters: what differs from the one before: W weights, D data, "
        "C config, S software)",
        y_label=shortened(metric, 34),
    )
    _draw(found, shown, colour)
    _write_changes(found, shown)
    for place, trend in enumerate(shown):
        _mark(found, place, trend)
    return found.figure


def _limits(shown: Sequence[Trend]) -> tuple[float, float]:
    """From the lowest bound to the highest, with room above for letters."""
    low = min(step.estimate.lower for trend in shown for step in trend.steps)
    high = max(step.estimate.upper for trend in shown for step in trend.steps)
    room = high - low or 0.01
    return low - 0.06 * room, high + _LETTER_ROOM * room


def _moment(started: str) -> float:
    """In days."""
    return datetime.fromisoformat(started).timestamp() / 86_400


def _draw(found: Panels, shown: Sequence[Trend], colour: str) -> None:
    across, bounds = [], []
    for place, trend in enumerate(shown):
        across.append(found.x(place, _times(found, trend)))
        estimates = [step.estimate for step in (*trend.steps, trend.steps[-1])]
        rows = np.array([(e.value, e.lower, e.upper) for e in estimates]).T
        bounds.append(found.y(place, rows))
    value, lower, upper = (joined(each[row] for each in bounds) for row in range(3))
    x = joined(across)
    band: dict[str, Any] = {"color": colour, "alpha": 0.25, "linewidth": 0}
    found.axes.fill_between(x, lower, upper, step="post", **band)
    found.axes.step(x, value, where="post", color=colour, linewidth=1.1)
    audits = np.concatenate([each[:-1] for each in across])
    values = np.concatenate([each[0][:-1] for each in bounds])
    dots: dict[str, Any] = {"linestyle": "none", "marker": "o", "markersize": 2.6}
    found.axes.plot(audits, values, color=colour, **dots)


def _times(found: Panels, trend: Trend) -> list[float]:
    """Of each audit, and the end of the axis, up to which the latest value holds."""
    return [*(_moment(step.started) for step in trend.steps), found.x_limits[1]]


def _mark(found: Panels, place: int, trend: Trend) -> None:
    times = _times(found, trend)
    for number, step in enumerate(trend.steps):
        changed = f"; differs from the audit before in {', '.join(step.changed)}"
        text = f"{step.started[:10]}, at {step.layer}: {format_estimate(step.estimate)}"
        text += changed if step.changed else ""
        found.mark(place, (times[number], times[number + 1]), key=trend.label, text=text)


def _write_changes(found: Panels, shown: Sequence[Trend]) -> None:
    low, high = found.y_limits
    lines = []
    for place, trend in enumerate(shown):
        ends = found.y(place, [low, high - 0.14 * (high - low)])
        for step in trend.steps:
            if step.changed:
                x = float(found.x(place, [_moment(step.started)])[0])
                letters = "".join(LETTERS.get(kind, "·") for kind in step.changed)
                at: dict[str, Any] = {"ha": "center", "va": "bottom"}
                found.axes.text(x, float(ends[1]), letters, fontsize=6, color=INK, **at)
                lines.append((np.array([x, x]), ends))
    across, up = (joined(line[i] for line in lines) for i in (0, 1))
    dashed: dict[str, Any] = {"color": MUTED, "linewidth": 0.6, "linestyle": (0, (2, 1.5))}
    found.axes.plot(across, up, zorder=1, **dashed)
