"""A number for every ordered pair of groups, such as the distance of their profiles."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from bias_audit.groups import Group
from bias_audit.shapes.printed import counted, interval_note, sentence
from bias_audit.shapes.shape import (
    Arrays,
    Block,
    Frozen,
    Row,
    Rows,
    Shape,
    check_array,
    level_names,
)
from bias_audit.shapes.tables import (
    BlockText,
    Shown,
    ascending,
    ends,
    estimates_of,
    group_heading,
    lowest_and_highest,
    measured,
    table,
)
from bias_audit.statistics.estimate import Estimate


class GroupPair(Frozen):
    """Two groups of a matrix, by their places in it."""

    one: int
    other: int
    estimate: Estimate


class GroupMatrix(Block):
    """A number for every ordered pair of groups, such as the distance of their profiles."""

    block: Literal["group_matrix"] = "group_matrix"
    title: str
    metric: str
    layer: str
    groups: tuple[Group, ...]
    """In the order in which rows and columns are drawn."""
    values: str
    """Array key: (n_groups, n_groups), float; NaN only on disk, for groups without images."""
    pairs: tuple[GroupPair, ...] = ()
    """With intervals: all pairs of few groups, else the nearest and the farthest."""
    tree: str | None = None
    """Array key: (n_drawn - 1, 4), scipy's linkage of the groups that have numbers, numbered in
    the order of `groups`; None where there is no dendrogram."""
    undrawn_tree: str | None = None
    """Array key: the same of more groups than a dendrogram can name, in their declared order."""
    bounds: str | None = None
    """Array key: (2, n_groups, n_groups), lower and upper ends of the intervals."""


def _rows(block: GroupMatrix) -> Iterator[Row]:
    """Pairs that have an interval."""
    for pair in block.pairs:
        yield {
            "metric": block.metric,
            "layer": block.layer,
            "group": block.groups[pair.one],
            "other_group": block.groups[pair.other],
            "estimate": pair.estimate,
        }


def matrix_of(block: GroupMatrix, arrays: Arrays) -> npt.NDArray[np.floating[Any]]:
    """The matrix to draw, shape (n_groups, n_groups), NaN for groups without images.

    Raises:
        ValueError: It has another shape or type, holds infinity, or no number at all.
    """
    values, n = arrays[block.values], len(block.groups)
    check_array(values, (n, n), block.title, block.values)
    if np.isinf(values).any() or not np.isfinite(values).any():
        raise ValueError(
            f'{block.title}: array "{block.values}": expected numbers, NaN for groups without '
            f"images; got {'infinity' if np.isinf(values).any() else 'NaN alone'}"
        )
    return values


def tree_of(block: GroupMatrix, arrays: Arrays) -> npt.NDArray[np.floating[Any]]:
    """The dendrogram of the groups that have numbers, shape (n - 1, 4).

    Raises:
        ValueError: It is no linkage of at most as many groups as the block has.
    """
    tree = arrays[block.tree or ""]
    n = len(tree) + 1 if tree.ndim else 0
    check_array(tree, (min(n, len(block.groups)) - 1, 4), block.title, block.tree or "")
    before = n + np.arange(len(tree))[:, None]
    if not (np.isfinite(tree).all() and (tree[:, :2] >= 0).all() and (tree[:, :2] < before).all()):
        raise ValueError(
            f'{block.title}: array "{block.tree}": expected each merge to join groups or earlier '
            "merges"
        )
    return tree


def _figure_rows(block: GroupMatrix, arrays: Arrays) -> Rows:
    """Every ordered pair of groups."""
    values = matrix_of(block, arrays)
    bounds = arrays[block.bounds] if block.bounds else None
    rows: Rows = [("group", "other_group", "estimate", "lower", "upper")]
    for row, one in enumerate(block.groups):
        for column, other in enumerate(block.groups):
            ends_of = (None, None) if bounds is None else bounds[:, row, column].tolist()
            value = float(values[row, column])
            rows.append((level_names(one), level_names(other), value, *ends_of))
    return rows


def _text(block: GroupMatrix) -> BlockText:
    """Say what the heat map shows, and list pairs with their intervals."""
    rows = ascending(_rows(block))
    n_all = len(block.groups) * (len(block.groups) - 1) // 2
    which = f", {len(rows)} of {n_all}: the lowest and the highest" if len(rows) < n_all else ""
    order = "in the order of the dendrogram above" if block.tree else "in their declared order"
    first, last = block.groups[0].label, block.groups[-1].label
    said = lowest_and_highest(
        rows, lambda row: f"{row['group'].label} and {row['other_group'].label}"
    )
    undrawn = (
        f"A dendrogram of {counted(len(block.groups), 'group')} would be illegible here and is "
        "left out. Its tree lies below arrays/ in the run folder, in the file "
        f"{block.undrawn_tree}.npy (scipy's linkage; leaves are numbered in the order of the "
        "groups with numbers in the matrix)."
    )
    pairs = table(
        f"{sentence(block.metric)} at {block.layer}{which}",
        rows,
        (
            Shown(group_heading(block.groups), lambda row: row["group"].label, numeric=False),
            Shown("and", lambda row: row["other_group"].label, numeric=False),
            measured("value"),
        ),
        excerpt=ends(rows, 4),
        note="The 4 lowest and the 4 highest.",
        n_headers=2,
    )
    return BlockText(
        alt=(
            f"Heat map of {block.metric} at {block.layer} between each pair of "
            f"{counted(len(block.groups), 'group')}, from {first} to {last} in both directions. "
            f"{said}"
        ).rstrip(),
        caption=sentence(
            f"Each square is the {block.metric} between two groups at {block.layer}, {order}. "
            "Blank: no images, or too few."
        ),
        notes=(
            *((undrawn,) if block.undrawn_tree is not None else ()),
            *interval_note(estimates_of(rows)),
        ),
        tables=(pairs,) if rows else (),
    )


_READING: Final = (
    "Each square compares two groups; a dark square means that the layer responds to them alike, "
    "a light one that it responds to them differently. In a tree above, groups that join low are "
    "alike."
)
SHAPE = Shape(
    GroupMatrix,
    place=80,
    table="group_pairs",
    about="two groups; all pairs are in figures/",
    columns=("metric", "layer", "group", "other_group", "estimate"),
    rows=_rows,
    text=_text,
    reading=(_READING,),
    in_short=_READING,
    arrays=lambda block: (block.values, *((block.bounds,) if block.bounds else ())),
    figure_rows=_figure_rows,
)
