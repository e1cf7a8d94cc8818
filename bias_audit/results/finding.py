"""A sentence that an analysis may say in the summary, with the numbers it rests on."""

from __future__ import annotations

from typing import Literal

from bias_audit.shapes.shape import Frozen
from bias_audit.statistics.estimate import Estimate

Question = Literal["encoded", "groups", "used", "where"]
"""What a reader with five minutes asks: what is linearly decodable, which groups stand out,
whether the backbone's own decisions use it, and which part of an image they look at."""


class Finding(Frozen):
    """One sentence the summary may print, with the numbers it rests on."""

    text: str
    """A sentence of plain text; it contains its own intervals."""
    weight: float
    """How surely it is decided, for ordering; 0: undecided. It has no unit, so findings of all
    analyses compare: how many times the reach of the deciding interval the value lies from no
    effect, minus 1; see `bias_audit.statistics.sureness`."""
    estimates: dict[str, Estimate] = {}
    question: Question | None = None
    """Which question of the summary it answers; None: none directly."""
    is_warning: bool = False
    """Whether it goes before all other answers to its question, as a possible shortcut does."""
    evidence: str | None = None
    """Quantity or shape of the block that it is about, where its estimates are not in there as
    they are; None: the block with most of them."""
