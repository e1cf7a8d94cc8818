"""The same number audit after audit, a panel per backbone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import numpy as np
from matplotlib.figure import Figure

from bias_audit.report.figures.style import INK, MUTED, shortened, styled
from bias_audit.report.zoo.figures.panels import Panels, joined, panels
from bias_audit.shapes.printed import told
from bias_audit.statistics.estimate import Estimate

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


@styled
def trends_figure(shown: Sequence[Trend], *, until: str, metric: str, colour: str) -> Figure:
    """Draw a panel per backbone; a value holds until the next audit.

    Args:
        shown: At least one.
        until: Date of the latest audit of all, where the axis ends.
        metric: Name of the vertical axis.
        colour: Of the target.
    """
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
        text = f"{step.started[:10]}, at {step.layer}: {told(step.estimate)}"
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
