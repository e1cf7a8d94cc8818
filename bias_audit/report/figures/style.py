"""The look that all figures share."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, ParamSpec

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bias_audit.report.figures.lettering import families
from bias_audit.statistics.estimate import Estimate

P = ParamSpec("P")

WIDTH: Final = 6.85
"""Inches: the text width of an A4 page."""
INK: Final = "#1d1f23"
MUTED: Final = "#5b616b"
RULE: Final = "#dfe2e7"
CONTROL: Final = "#767b84"
BASELINE: Final = "#b3202c"
ON_MAP: Final = "#1a1c20"
"""Ink on a coloured ground, which is the same in light and dark."""
COLOURS: Final = ("#0072b2", "#b84f00", "#00795a", "#a0437a", "#4b3fa8", "#6b6100")
"""Dark variants of the Okabe-Ito palette: distinct without colour vision, readable as text."""
MARKERS: Final = ("o", "s", "^", "D", "v", "P")
DASHES: Final = ("-", (0, (5, 1.5)), (0, (1.2, 1.2)), (0, (5, 1.5, 1, 1.5)), "-", (0, (3, 1)))

_CHANGED: Final[dict[str, Any]] = {
    "font.size": 8,
    "text.color": INK,
    "text.parse_math": False,  # a label such as "$5-$9" is text
    "axes.edgecolor": "#9aa0a9",
    "axes.labelcolor": INK,
    "axes.labelsize": 8,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.unicode_minus": True,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.labelsize": 7.5,
    "ytick.labelsize": 7.5,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "lines.linewidth": 1.4,
    "hatch.linewidth": 0.6,
    "figure.facecolor": "white",
    "figure.dpi": 150,
    "savefig.facecolor": "white",
    "svg.fonttype": "path",
    "svg.hashsalt": "bias-audit",  # the same figure gives the same bytes
}


@dataclass(frozen=True)
class Look:
    """Colour of an attribute, and its marker, which identifies it in prints without colours."""

    colour: str = COLOURS[0]
    marker: str = MARKERS[0]


@dataclass(frozen=True)
class Palette:
    """One colour and marker per attribute, the same in every figure of a report."""

    attributes: tuple[str, ...] = ()
    """As the audit declares them."""

    def number(self, target: str, otherwise: int = 0) -> int:
        """Place of a target's colour and marker.

        Args:
            target: An attribute, or several, which share what follows the last attribute's.
            otherwise: The place where no attributes are known.
        """
        if not self.attributes:
            return otherwise
        if target in self.attributes:
            return self.attributes.index(target)
        return len(self.attributes)

    def colour(self, target: str, otherwise: int = 0) -> str:
        """Of lines, marks and their names."""
        return self.look(target, otherwise).colour

    def look(self, target: str, otherwise: int = 0) -> Look:
        """Of lines and marks."""
        place = self.number(target, otherwise)
        return Look(COLOURS[place % len(COLOURS)], MARKERS[place % len(MARKERS)])


PLAIN: Final = Palette()
"""For a figure outside a report."""


def styled(draw: Callable[P, Figure]) -> Callable[P, Figure]:
    """Draw under the report's settings, whatever the process has set."""

    @functools.wraps(draw)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> Figure:
        with mpl.rc_context(settings()):
            return draw(*args, **kwargs)

    return wrapped


def settings() -> Any:  # matplotlib types the keys as one huge Literal
    """The settings under which figures are drawn and written: matplotlib's own, and ours."""
    defaults = {k: v for k, v in mpl.rcParamsDefault.items() if not k.startswith("backend")}
    return defaults | _CHANGED | {"font.family": families()}


def shortened(label: str, most: int = 28) -> str:
    """A label that fits; the tables hold it in full."""
    return label if len(label) <= most else f"{label[: most - 1]}…"


def name_rows(axes: Axes, labels: Sequence[str], size: float) -> None:
    """Labels at the left of rows, without ticks and frame; the first row is at the top."""
    axes.set_yticks(range(len(labels)), labels, fontsize=size)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)


def draw_dot(
    axes: Axes,
    place: float,
    estimate: Estimate,
    colour: str,
    *,
    size: float,
    marker: str = "o",
    is_hollow: bool = False,
) -> None:
    """An estimate on a row, with its interval."""
    axes.plot([estimate.lower, estimate.upper], [place, place], color=colour, linewidth=1.1)
    face = "white" if is_hollow else colour
    axes.plot(
        [estimate.value], [place], marker=marker, markersize=size, color=colour,
        markerfacecolor=face, zorder=2.5,
    )  # fmt: skip


def dotted_line(axes: Axes, value: float) -> None:
    """Where a horizontal axis has chance, or no difference."""
    axes.axvline(value, color=INK, linewidth=0.8, linestyle=(0, (1, 2)), zorder=1)


def grid_lines(axes: Axes, axis: str) -> None:
    """Faint lines across one axis."""
    getattr(axes, f"{axis}axis").grid(visible=True, color=RULE, linewidth=0.6)
