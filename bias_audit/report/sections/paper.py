"""What of a backbone's blocks paper shows: those that carry the message, and each note once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from bias_audit.shapes.catalog import shape_of
from bias_audit.shapes.shape import Block


def details(blocks: Iterable[tuple[int, Block]]) -> frozenset[int]:
    """Places of the blocks that paper only lists.

    A block is shown if its analysis says so. Where it does not say (analyses of third parties),
    the first of each shape is. No analysis shows more of one shape than a few.

    Args:
        blocks: In the order in which they are printed, each with the number of its analysis.
    """
    shown: Counter[tuple[int, str]] = Counter()
    listed = set()
    for place, (analysis, block) in enumerate(blocks):
        key, shape = (analysis, block.name), shape_of(block)
        unsaid = shown[key] > 0 and not shape.printed
        is_detail = unsaid if block.detail is None else block.detail
        if is_detail or shown[key] >= shape.most_printed:
            listed.add(place)
        else:
            shown[key] += 1
    return frozenset(listed)


def new_notes(notes: Sequence[str], printed: set[str]) -> tuple[str, ...]:
    """The notes that are not among those printed before; adds them."""
    new = tuple(note for note in notes if note not in printed)
    printed.update(new)
    return new
