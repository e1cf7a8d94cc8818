"""A sentence that an analysis may say in the summary, with the numbers it rests on."""

from __future__ import annotations

from typing import Literal

from bias_audit.shapes.shape import Frozen
from bias_audit.statistics.estimate import Estimate

Question = Literal["encoded", "groups", "maps", "used", "where", "training", "together"]
"""Questions of a reader, in the order of the report: what can be read, for which groups, what
groups look like in a layer, whether the backbone uses it, where it looks, what changes over
training, and what all backbones show together."""
ClaimResult = Literal["agrees", "disagrees", "inconclusive", "not examined"]


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
    """Which question of page one it answers; None: none directly."""
    claim: str | None = None
    """The published claim that it examines, in words; None where it examines none."""
    result: ClaimResult | None = None
    """What these data say of that claim."""
    is_warning: bool = False
    """Whether it goes before all other answers to its question, as a possible shortcut does."""
    evidence: str | None = None
    """Quantity or shape of the block that it is about, where its estimates are not in there as
    they are; None: the block with most of them."""
