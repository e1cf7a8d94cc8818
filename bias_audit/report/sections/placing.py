"""Where in a report each block stands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from bias_audit.results.audit import AnalysisResult
from bias_audit.shapes.catalog import shape_of
from bias_audit.shapes.shape import Block

TOGETHER: Final = "together"
"""Anchor of the section about all backbones together."""


@dataclass(frozen=True)
class PlacedBlock:
    """A block, and where the report prints it."""

    anchor: str
    analysis: AnalysisResult
    block: Block

    @property
    def data_name(self) -> str:
        """Of the file with the figure's data."""
        return f"{self.anchor}-{self.block.name}.csv"


def backbone_anchor(index: int) -> str:
    """Of the section about a backbone, by its place in the audit."""
    return f"backbone-{index}"


def placed_blocks(analyses: Sequence[AnalysisResult], anchor: str) -> tuple[PlacedBlock, ...]:
    """A section's blocks in the order in which they are printed: of a backbone by shape."""
    blocks = [(analysis, block) for analysis in analyses for block in analysis.blocks]
    if anchor != TOGETHER:
        blocks.sort(key=lambda entry: shape_of(entry[1]).place)
    return tuple(
        PlacedBlock(f"{anchor}-{place}", analysis, block)
        for place, (analysis, block) in enumerate(blocks)
    )
