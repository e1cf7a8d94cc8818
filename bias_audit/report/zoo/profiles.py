"""Layer curves of the latest audits, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from bias_audit.report.figures.style import Palette
from bias_audit.report.page import Section
from bias_audit.report.zoo.curves import Question
from bias_audit.report.zoo.drawing import curves_section, figure_view
from bias_audit.report.zoo.figures.panels import MOST
from bias_audit.report.zoo.figures.profiles import Profile, profiles_figure
from bias_audit.results.history.reading import History
from bias_audit.shapes.printed import counted, interval, sentence
from bias_audit.shapes.shape import Rows, estimate_cells


def profiles(question: Question, history: History, colours: Palette, anchor: str) -> Section:
    """Put the layer curves of a question side by side, in the order of their ranks."""
    every = _profiles(question, history)
    shown = every[:MOST]
    colour = colours.colour(question.target)
    notes: tuple[str, ...] = ()
    if len(every) > MOST:
        notes = (
            f"The {MOST} backbones with the highest values are drawn; the range, and the data of "
            f"the figure, are of all {len(every)}.",
        )
    alt = _alt(question, every)
    return curves_section(
        title=f"{question.title}: {question.metric}",
        anchor=anchor,
        notes=notes,
        figure=figure_view(
            partial(profiles_figure, shown, every, metric=question.metric, colour=colour),
            partial(_data, every),
            alt=alt,
            caption=f"{sentence(question.metric)} of {question.title} from the first layer "
            "audited to the last, with its interval; a dot marks the highest value.",
            anchor=anchor,
        ),
    )


def _profiles(question: Question, history: History) -> tuple[Profile, ...]:
    found = []
    for backbone in question.backbones:
        points = history.profiles[question.key(backbone)]
        deepest = max(1, backbone.n_layers - 1)
        places = [point.depth if point.depth >= 0 else i for i, point in enumerate(points)]
        depths = tuple(min(1.0, place / deepest) for place in places)
        found.append(Profile(backbone.label, depths, points))
    return tuple(found)


def _alt(question: Question, every: Sequence[Profile]) -> str:
    told = []
    for profile in every[:3]:
        best = max(profile.points, key=lambda point: point.estimate.value)
        told.append(f"{profile.label} reaches {interval(best.estimate)} at {best.layer}")
    return (
        f"{counted(len(every), 'panel')}, one per backbone: {question.metric} of {question.title} "
        f"over relative depth. {'; '.join(told)}. The tables of standing hold every highest value."
    )


def _data(every: Sequence[Profile]) -> Rows:
    names = ("value", "lower", "upper", "level", "n")
    rows: Rows = [("backbone", "layer", "relative depth", *names)]
    for profile in every:
        for depth, point in zip(profile.depths, profile.points, strict=True):
            cells = estimate_cells(point.estimate)[:5]
            rows.append((profile.label, point.layer, round(depth, 4), *cells))
    return rows
