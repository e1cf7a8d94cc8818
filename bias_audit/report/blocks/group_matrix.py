"""A number for every pair of groups, in words."""

from __future__ import annotations

from bias_audit.report.blocks.groups import group_heading
from bias_audit.report.elements import BlockText, Column, Table
from bias_audit.report.numbers import counted, interval, interval_note, sentence
from bias_audit.results.blocks import GroupMatrix, GroupPair


def group_matrix(block: GroupMatrix) -> BlockText:
    """Say what the heat map shows, and list pairs with their intervals."""
    order = "in the order of the dendrogram above" if block.tree else "in their declared order"
    return BlockText(
        alt=_alt(block),
        caption=sentence(
            f"{block.metric} between groups at {block.layer}, {order}. Blank: no "
            "or too few images."
        ),
        notes=(*_undrawn(block), *interval_note(pair.estimate for pair in block.pairs)),
        tables=(_table(block),) if block.pairs else (),
    )


def _undrawn(block: GroupMatrix) -> tuple[str, ...]:
    if block.undrawn_tree is None:
        return ()
    return (
        f"A dendrogram of {counted(len(block.groups), 'group')} could not be read here and is "
        "left out. Its tree lies below arrays/ in the run folder, in the file "
        f"{block.undrawn_tree}.npy (scipy's linkage; leaves are numbered as the groups with "
        "numbers stand in the matrix).",
    )


def _alt(block: GroupMatrix) -> str:
    first, last = block.groups[0].label, block.groups[-1].label
    said = (
        f"Heat map of {block.metric} at {block.layer} between each pair of "
        f"{counted(len(block.groups), 'group')}, from {first} to {last} in both directions."
    )
    if not block.pairs:
        return said
    ranked = sorted(block.pairs, key=lambda pair: pair.estimate.value)
    near, far = (
        f"{_name(block, pair)}, {interval(pair.estimate)}" for pair in (ranked[0], ranked[-1])
    )
    return f"{said} Lowest: {near}. Highest: {far}."


def _name(block: GroupMatrix, pair: GroupPair) -> str:
    return f"{block.groups[pair.one].label} and {block.groups[pair.other].label}"


def _table(block: GroupMatrix) -> Table:
    n_all = len(block.groups) * (len(block.groups) - 1) // 2
    some = len(block.pairs) < n_all
    rows = tuple(
        (block.groups[pair.one].label, block.groups[pair.other].label, interval(pair.estimate))
        for pair in sorted(block.pairs, key=lambda pair: pair.estimate.value)
    )
    heading = group_heading(block.groups)
    which = f", {len(rows)} of {n_all}: the lowest and the highest" if some else ""
    return Table(
        caption=f"{sentence(block.metric)} at {block.layer}{which}",
        columns=(Column(heading), Column("and"), Column("value", numeric=True)),
        rows=rows,
        n_headers=2,
        excerpt=(*rows[:4], *rows[-4:]),
        excerpt_note="The 4 lowest and the 4 highest.",
    )
