"""What of a backbone's blocks paper shows: those that carry the message, and each note once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final

from bias_audit.results.blocks import Block, GroupTable

_ALWAYS: Final = {"test_families", "group_ledger", "method_comparison"}
"""Shown unless their analysis says otherwise: small tables that nothing else repeats."""
_MOST: Final = {"unit_map": 2, "difference_map": 2, "group_profiles": 2, "layer_curve": 3}
_MOST_OF_A_SHAPE: Final = 7
_FEW_ROWS, _MANY_ROWS = 14, 40


def details(blocks: Iterable[tuple[int, Block]]) -> frozenset[int]:
    """Places of the blocks that paper only lists.

    A block is shown if its analysis says so. Where it does not say (results of releases that did
    not ask, and analyses of third parties), the first of each shape is. No analysis shows more of
    one shape than a few.

    Args:
        blocks: In the order in which they are printed, each with the number of its analysis.
    """
    shown: Counter[tuple[int, str]] = Counter()
    listed = set()
    for place, (analysis, block) in enumerate(blocks):
        key = analysis, block.block
        unsaid = shown[key] > 0 and block.block not in _ALWAYS
        is_detail = unsaid if block.detail is None else block.detail
        if is_detail or shown[key] >= _MOST.get(block.block, _MOST_OF_A_SHAPE):
            listed.add(place)
        else:
            shown[key] += 1
    return frozenset(listed)


def is_drawn(block: Block) -> bool:
    """Whether the figure says more on paper than the table below it."""
    if isinstance(block, GroupTable):
        return _FEW_ROWS < len(block.rows) <= _MANY_ROWS
    return True


def new_notes(notes: Sequence[str], printed: set[str]) -> tuple[str, ...]:
    """The notes that are not among those printed before; adds them."""
    new = tuple(note for note in notes if note not in printed)
    printed.update(new)
    return new
