"""A number for every pair of groups, in words."""

from __future__ import annotations

from bias_audit.report.elements import BlockText
from bias_audit.report.numbers import counted, sentence
from bias_audit.results.blocks import GroupMatrix


def group_matrix(block: GroupMatrix) -> BlockText:
    """Say what the heat map shows; its numbers are in the run's arrays."""
    first, last = block.groups[0].label, block.groups[-1].label
    return BlockText(
        alt=(
            f"Heat map of {block.metric} at {block.layer} between each pair of "
            f"{counted(len(block.groups), 'group')}, from {first} to {last} in both directions."
        ),
        caption=sentence(
            f"{block.metric} between groups at {block.layer}, in their declared order. Blank: no "
            "images."
        ),
        notes=(f'The numbers are the array "{block.values}" in the run folder.',),
    )
