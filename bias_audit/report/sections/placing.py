"""Where in a report each block stands."""

from __future__ import annotations

from dataclasses import dataclass

from bias_audit.report.shapes import shapes
from bias_audit.results.audit import AnalysisResult, SubjectResult
from bias_audit.results.blocks import Block


@dataclass(frozen=True)
class PlacedBlock:
    """A block, and where the report prints it."""

    anchor: str
    analysis: AnalysisResult
    block: Block

    @property
    def data_name(self) -> str:
        """Of the file with the figure's data."""
        return f"{self.anchor}-{self.block.block}.csv"


def placed_blocks(subject: SubjectResult, index: int) -> tuple[PlacedBlock, ...]:
    """A backbone's blocks in the order in which they are printed: by shape, then by analysis."""
    order = list(shapes())
    blocks = [(analysis, block) for analysis in subject.analyses for block in analysis.blocks]
    blocks.sort(key=lambda entry: order.index(entry[1].block))
    return tuple(
        PlacedBlock(f"backbone-{index}-{place}", analysis, block)
        for place, (analysis, block) in enumerate(blocks)
    )
