"""The most frequent confusions of a probe, and which attributes change in all of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from bias_audit.groups import Group
from bias_audit.shapes.printed import count, counted, interval_note, percent, percent_interval
from bias_audit.shapes.shape import (
    Arrays,
    Block,
    Cell,
    Frozen,
    Row,
    Rows,
    Shape,
    cells_of,
    check_array,
    columns_of,
    level_names,
)
from bias_audit.shapes.tables import (
    BlockText,
    Shown,
    estimates_of,
    group_heading,
    measured,
    table,
    words,
)
from bias_audit.statistics.estimate import Estimate


class Confusion(Frozen):
    """How often faces annotated as one group were predicted as another."""

    true: Group
    predicted: Group
    count: int
    n_true: int
    share: Estimate
    """count / n_true."""
    changed: tuple[str, ...]
    """Attributes in which the two groups differ."""


class ConfusionClass(Frozen):
    """All confusions that change the same set of attributes."""

    changed: tuple[str, ...]
    count: int
    share: Estimate
    """Of all confusions."""
    expected: float
    """Share that would be seen if a wrong prediction fell on any other group as often as that
    group is predicted at all."""


class ConfusionMatrix(Frozen):
    """How often each group was predicted as each."""

    title: str
    """Of which images, such as "validation images"."""
    values: str
    """Array key: (n_groups, n_groups), share of each annotated group (row) that was predicted as
    each group (column), float; NaN for groups of too few images."""


class Confusions(Block):
    """The most frequent confusions of a probe, and which attributes changed in all of them."""

    block: Literal["confusions"] = "confusions"
    title: str
    layer: str
    n_images: int
    n_confused: int
    most_frequent: tuple[Confusion, ...]
    classes: tuple[ConfusionClass, ...]
    groups: tuple[Group, ...] = ()
    """Of the matrices."""
    matrices: tuple[ConfusionMatrix, ...] = ()


def matrix_of(
    block: Confusions, matrix: ConfusionMatrix, arrays: Arrays
) -> npt.NDArray[np.floating[Any]]:
    """The matrix to draw, shape (n_groups, n_groups).

    Raises:
        ValueError: It has another shape or type.
    """
    n = len(block.groups)
    check_array(arrays[matrix.values], (n, n), block.title, matrix.values)
    return arrays[matrix.values]


def _figure_rows(block: Confusions, arrays: Arrays) -> Rows:
    """The rows of the table, and every pair of groups that the matrices show."""
    names = columns_of(_COLUMNS)
    rows: Rows = [tuple(names), *(cells_of(_COLUMNS, row) for row in _rows(block))]
    for matrix in block.matrices:
        values = matrix_of(block, matrix, arrays)
        for row, column in np.argwhere(np.isfinite(values)).tolist():
            true, predicted = (level_names(block.groups[each]) for each in (row, column))
            share = float(values[row, column])
            texts = {"layer": block.layer, "series": matrix.title, "true": true}
            cells: dict[str, Cell] = {**texts, "predicted": predicted, "estimate": share}
            rows.append(tuple(cells.get(name) for name in names))
    return rows


def _rows(block: Confusions) -> Iterator[Row]:
    """The most frequent pairs, then all confusions by the attributes that change."""
    for pair in block.most_frequent:
        yield {
            "layer": block.layer,
            "true": pair.true,
            "predicted": pair.predicted,
            "changed": " + ".join(pair.changed),
            "confusions": pair.count,
            "images": pair.n_true,
            "estimate": pair.share,
        }
    for each in block.classes:
        yield {
            "layer": block.layer,
            "changed": " + ".join(each.changed),
            "confusions": each.count,
            "expected": each.expected,
            "estimate": each.share,
        }


def _text(block: Confusions) -> BlockText:
    """Say which attributes change in confusions, and list the most frequent pairs."""
    rows = [*_rows(block)]
    pairs = [row for row in rows if "true" in row]
    classes = rows[len(pairs) :]
    heading = group_heading([row["true"] for row in pairs])
    listed = "; ".join(
        f"{e['changed']}: {percent_interval(e['estimate'])}, expected {percent(e['expected'])}"
        for e in classes
    )
    tables = (
        table(
            "Confusions by the attributes that changed",
            classes,
            (
                words("changed", "changed"),
                Shown("confusions", lambda row: count(row["confusions"])),
                measured("share of all confusions", form=percent_interval),
                Shown("expected", lambda row: percent(row["expected"])),
            ),
        ),
        table(
            "The most frequent confusions",
            pairs,
            (
                Shown(
                    f"true group, as annotated ({heading})",
                    lambda row: row["true"].label,
                    numeric=False,
                ),
                Shown("predicted group", lambda row: row["predicted"].label, numeric=False),
                words("changed", "changed"),
                Shown("images", lambda r: f"{count(r['confusions'])} of {count(r['images'])}"),
                measured("share of the group", form=percent_interval),
            ),
            excerpt=pairs[:6],
            note="The most frequent.",
            n_headers=2,
        ),
    )
    total = f"{count(block.n_confused)} of {counted(block.n_images, 'image')}"
    return BlockText(
        alt=(
            f"Bar chart of {counted(block.n_confused, 'confusion')} at {block.layer} by the "
            f"attributes that changed. {listed}."
        )
        if classes
        else None,
        caption=(
            "Each bar is the share of confusions in which exactly these attributes change; "
            "beside it, the share expected if wrong predictions fell on groups as often as these "
            "are predicted at all."
            + (
                " Below: each row is an annotated group, each column a predicted one; the colour "
                "is the share of the row. On the diagonal, predictions are right. Blank: too few "
                "images."
                if block.matrices
                else ""
            )
        ),
        notes=(
            f"The probe at {block.layer} confuses {total}.",
            *interval_note(estimates_of([*classes, *pairs])),
        ),
        tables=tuple(each for each in tables if each.rows),
    )


_COLUMNS: Final = (
    "layer", "series", "true", "predicted", "changed", "confusions", "images", "expected",
    "estimate",
)  # fmt: skip
SHAPE = Shape(
    Confusions,
    place=40,
    table="confusions",
    about=(
        "a pair of groups, its share of the true group; or, without groups, all confusions that "
        "change the same attributes, their share of all"
    ),
    columns=_COLUMNS,
    rows=_rows,
    text=_text,
    has_notes_first=True,
    arrays=lambda block: tuple(matrix.values for matrix in block.matrices),
    figure_rows=_figure_rows,
)
