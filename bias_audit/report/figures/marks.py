"""Places in a figure that a reader can point at or step through, with their numbers in words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.transforms import Transform

Bounds = tuple[float, float, float, float]
"""Left, lower, right and upper end."""


class Mark(Artist):
    """A rectangle that is not drawn: figures carry it to where they become part of a page."""

    def __init__(self, bounds: Bounds, transform: Transform, *, key: str, text: str) -> None:
        super().__init__()
        self.bounds, self.place = bounds, transform
        self.key, self.text = key, text
        self.set_in_layout(False)

    def draw(self, renderer: Any, *args: Any, **kwargs: Any) -> None:
        """Draw nothing: a mark is invisible."""


@dataclass(frozen=True)
class PlacedMark:
    """A mark where the figure's layout has put it."""

    key: str
    """What it stands for, such as a layer or a group: what a reader selects by."""
    text: str
    """Its numbers."""
    bounds: Bounds
    """In shares of the figure's width and height, from its lower left corner."""


def add_mark(axes: Axes, transform: Transform, bounds: Bounds, *, key: str, text: str) -> None:
    """Put a mark on axes: the layer or group it stands for, and its numbers in words."""
    mark = Mark(bounds, transform, key=" ".join(key.split()), text=text)
    axes.add_artist(mark)


def mark_row(axes: Axes, place: int, *, key: str, text: str) -> None:
    """Put a mark as wide as the axes on one of their rows."""
    bounds = (0, place - 0.5, 1, place + 0.5)
    add_mark(axes, axes.get_yaxis_transform(), bounds, key=key, text=text)


def placed_marks(figure: Figure) -> tuple[PlacedMark, ...]:
    """All marks of a figure that was laid out, panel by panel in their order."""
    back = figure.transFigure.inverted()
    placed = []
    for axes in figure.axes:
        for mark in axes.get_children():
            if isinstance(mark, Mark):
                left, lower, right, upper = mark.bounds
                ends = back.transform(mark.place.transform([(left, lower), (right, upper)]))
                (x0, y0), (x1, y1) = ends.tolist()
                bounds = min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1)
                placed.append(PlacedMark(mark.key, mark.text, bounds))
    return tuple(placed)
