"""What a shape declares, and what follows: its table in files, the data of its figure, its text.

A shape is one module of this folder with a `SHAPE`. Results keep its blocks, the report prints
them, exports and figures' data list them, criteria and comparisons read their numbers, and
`docs/tables.md` documents them, all from that one declaration; a drawing is the only other part,
in `report/figures` under the shape's name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Generic, Literal, NamedTuple, TypeVar

import numpy.typing as npt
from pydantic import BaseModel, ConfigDict

from bias_audit.groups import Group
from bias_audit.shapes.tables import BlockText
from bias_audit.statistics.estimate import Estimate


class Frozen(BaseModel):
    """A part of a result; missing is None, never NaN."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Block(Frozen):
    """A part of what an analysis found, in one shape; arrays stay in the run's store.

    Every shape has a field `block`, a literal with its name.
    """

    title: str
    detail: bool | None = None
    """Whether paper may leave it to the HTML report, because another block of its analysis carries
    the message; None where the analysis does not say."""

    @property
    def name(self) -> str:
        """Of the shape."""
        return str(type(self).model_fields["block"].default)

    @property
    def counts_images(self) -> bool:
        """Whether its estimates count images, and nothing else such as repetitions."""
        return True

    @property
    def map_sizes(self) -> tuple[int, ...]:
        """Images behind every map that is drawn from its arrays."""
        return ()


B = TypeVar("B", bound=Block)
Arrays = Mapping[str, npt.NDArray[Any]]
"""By key, as blocks name them."""
Kind = Literal["text", "whole", "number", "group", "estimate", "bounds"]
Cell = str | int | float | None
"""None is an empty cell."""
Rows = list[tuple[Cell, ...]]
"""The first one names the columns."""
Row = Mapping[str, Any]
"""Values by column of a shape's table; what is missing has no value."""


class Meaning(NamedTuple):
    """A column of any table."""

    kind: Kind
    about: str


COLUMNS: Final[Mapping[str, Meaning]] = {
    "quantity": Meaning("text", "what criteria call it"),
    "metric": Meaning("text", "the quantity in words"),
    "target": Meaning("text", "an attribute, or intersection"),
    "layer": Meaning("text", "of the backbone"),
    "other_layer": Meaning("text", "the later of two layers"),
    "group": Meaning("group", "attribute=level, joined by /; empty: all images"),
    "other_group": Meaning("group", "the second of two groups"),
    "cluster": Meaning("whole", "of groups, numbered as in the figure"),
    "true": Meaning("group", "annotated as"),
    "predicted": Meaning("group", "predicted as"),
    "images": Meaning("whole", "independent images"),
    "series": Meaning("text", "which of several numbers a row contains"),
    "estimate": Meaning("estimate", "the value with its interval"),
    "lift": Meaning("bounds", "the estimate minus that of a baseline, or minus guessing"),
    "over": Meaning("text", "what the lift is over"),
    "control": Meaning("bounds", "the value of the baseline that the lift is over"),
    "shrunk": Meaning(
        "bounds", "the estimate, stabilised: pulled towards what the attributes predict"
    ),
    "chance": Meaning("number", "what guessing gives, or ignoring the image"),
    "p": Meaning("number", "p-value, unadjusted"),
    "adjusted_p": Meaning("number", "p-value, adjusted for its family"),
    "refit_sd": Meaning("number", "standard deviation over refits of the same probe"),
    "refit_share": Meaning("number", "the same as a share of the standard error"),
    "choice": Meaning("number", "share of the error rate left to a layer that is chosen"),
    "lift_choice": Meaning("number", "the same of the lift"),
    "is_conditional": Meaning("text", "yes: only if no two similar images show one person"),
    "reason": Meaning("text", "why it was not measured"),
    "changed": Meaning("text", "the attributes that differ"),
    "confusions": Meaning("whole", "images that are confused"),
    "expected": Meaning("number", "share by chance"),
    "units": Meaning("whole", "units of the layer"),
    "strongest_units": Meaning("text", "by index, those that differ most"),
    "layout": Meaning("text", "how units are placed"),
    "attribute": Meaning("text", "of the labels"),
    "one": Meaning("text", "the first of two"),
    "other": Meaning("text", "the second of two"),
    "images_one": Meaning("whole", "images of the first"),
    "images_other": Meaning("whole", "images of the second"),
    "tested_one": Meaning("whole", "images of the first that the test used"),
    "tested_other": Meaning("whole", "images of the second that the test used"),
    "region": Meaning("whole", "of the map, the smallest p first"),
    "direction": Meaning("text", "higher or lower in the first"),
    "family": Meaning("text", "tests that are adjusted together"),
    "hypotheses": Meaning("whole", "declared"),
    "tested": Meaning("whole", "with a p-value"),
    "adjustment": Meaning("text", "the method"),
    "controls": Meaning("text", "the error rate that it keeps at alpha"),
    "alpha": Meaning("number", "the error rate"),
    "draws": Meaning("whole", "of resampling; empty: a formula"),
    "smallest_p": Meaning("number", "the smallest possible p-value of a single effect"),
    "rejected": Meaning("whole", "significant tests"),
    "gate": Meaning("text", "open, or closed by the family before"),
    "gate_reason": Meaning("text", "why"),
    "action": Meaning("text", "how a group was treated"),
    "effect": Meaning("text", "on the numbers printed"),
    "entry": Meaning("text", "what is compared: a layout, a method, a backbone, a vote"),
    "standing": Meaning("text", "of the entry"),
    "measure": Meaning("text", "by which entries are compared"),
    "better": Meaning("text", "higher or lower; empty: neither"),
    "reference": Meaning("number", "what guessing, an even spread or a rule's limit gives"),
    "best_rank": Meaning("whole", "that the comparisons leave open"),
    "worst_rank": Meaning("whole", "that the comparisons leave open"),
    "disturbance": Meaning("text", "of a picture"),
    "rank": Meaning("whole", "in the comparison"),
    "strength": Meaning("number", "of the disturbance"),
    "strength_is": Meaning("text", "its name and unit"),
    "sanity_check": Meaning("text", "whether the method passed it"),
}
"""Every column of every shape's table: one name for one thing, in all files."""

ESTIMATE: Final = {
    "estimate": "number",
    "lower": "number",
    "upper": "number",
    "level": "number",
    "n": "whole",
    "effective_clusters": "number",
    "freedom": "number",
    "method": "text",
}
"""Columns of an estimate: `level` is the coverage of its interval, `freedom` the degrees of
freedom of Student's t behind it (empty: a normal one), `method` how it was made."""


def estimate_cells(estimate: Estimate | None) -> tuple[Cell, ...]:
    """Cells of the columns of `ESTIMATE`; all are empty where nothing was measured."""
    if estimate is None:
        return (None,) * len(ESTIMATE)
    e = estimate
    return (e.value, e.lower, e.upper, e.level, e.n, e.clusters, e.freedom, e.method)


def level_names(group: Group) -> str:
    """Such as "age=20-29 / gender=Female"."""
    return " / ".join(f"{name}={level}" for name, level in group.levels)


def columns_of(names: tuple[str, ...]) -> dict[str, str]:
    """Columns of a file by their kind: text, whole or number."""
    found: dict[str, str] = {}
    for name in names:
        kind = COLUMNS[name].kind
        if kind == "estimate":
            found |= ESTIMATE
        elif kind == "bounds":
            found |= dict.fromkeys((name, f"{name}_lower", f"{name}_upper"), "number")
        else:
            found[name] = "text" if kind == "group" else kind
    return found


def cells_of(names: tuple[str, ...], row: Row) -> tuple[Cell, ...]:
    """A row as cells of `columns_of` the same names.

    Raises:
        ValueError: It has a value that the table has no column for.
    """
    if unknown := row.keys() - set(names):
        raise ValueError(f"expected columns {', '.join(names)}, got {', '.join(sorted(unknown))}")
    cells: list[Cell] = []
    for name in names:
        value, kind = row.get(name), COLUMNS[name].kind
        if kind == "estimate":
            cells += estimate_cells(value)
        elif kind == "bounds":
            cells += estimate_cells(value)[:3]
        else:
            cells.append(level_names(value) if isinstance(value, Group) else value)
    return tuple(cells)


@dataclass(frozen=True)
class Shape(Generic[B]):
    """One shape, whole but for its drawing."""

    block: type[B]
    place: int
    """In the order in which a report prints shapes."""
    table: str
    """Name of its table in exports."""
    about: str
    """One row of that table is what, in words."""
    columns: tuple[str, ...]
    """Names in `COLUMNS`."""
    rows: Callable[[B], Iterator[Row]]
    text: Callable[[B], BlockText]
    """What a report prints; figures are drawn where it has an `alt`."""
    reading: tuple[str, ...] = ()
    """How to read the first one of a backbone, in paragraphs."""
    in_short: str = ""
    """The same for paper; empty: nothing."""
    heading: str = ""
    """Over `reading`, in a box; empty: a plain paragraph."""
    arrays: Callable[[B], tuple[str, ...]] = lambda _: ()
    """Keys of the arrays with the numbers behind its figure."""
    figure_rows: Callable[[B, Arrays], Rows] | None = None
    """These numbers, where they are not the rows of its table."""
    printed: bool = False
    """Whether paper shows all, not only the first, unless their analysis says otherwise."""
    most_printed: int = 7
    """Of one analysis on paper."""
    is_drawn: Callable[[B], bool] = lambda _: True
    """Whether the figure says more there than the table."""
    is_open: bool = False
    """Whether a page shows its tables unfolded."""
    has_notes_first: bool = False
    """Whether a page shows its notes before its figure."""

    @property
    def name(self) -> str:
        """As blocks have it."""
        return str(self.block.model_fields["block"].default)

    def data(self, block: B, arrays: Arrays) -> Rows:
        """The numbers behind a block's figure, for a file of its own."""
        if self.figure_rows is not None:
            return self.figure_rows(block, arrays)
        rows = (cells_of(self.columns, row) for row in self.rows(block))
        return [tuple(columns_of(self.columns)), *rows]


def check_array(array: npt.NDArray[Any], shape: tuple[int, ...], title: str, key: str) -> None:
    """Refuse an array that does not belong to its block: a run folder may have been changed.

    Raises:
        ValueError: It has another shape, or holds no floats.
    """
    if array.shape != shape or array.dtype.kind != "f":
        raise ValueError(
            f'{title}: array "{key}": expected floats of shape {shape}, got {array.dtype} of '
            f"shape {array.shape}"
        )


def some_of(names: Sequence[str], most: int = 3) -> str:
    """The first of some names, and how many more there are."""
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return f"{', '.join(names[:most])}{rest}"
