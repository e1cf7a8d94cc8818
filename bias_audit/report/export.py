"""The data behind the figures of a report, as CSV files beside it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from bias_audit.files import write_text
from bias_audit.report.csv_text import csv_text
from bias_audit.report.sections.drawing import figure_data
from bias_audit.report.sections.placing import TOGETHER, backbone_anchor, placed_blocks
from bias_audit.results.audit import AuditResult
from bias_audit.shapes.catalog import shape_of
from bias_audit.shapes.shape import Rows

FOLDER: Final = "figures"


def write_figure_data(result: AuditResult, folder: Path) -> tuple[Path, ...]:
    """Write `figures/ANCHOR.csv` for every figure of the report that shows a block.

    Files of figures that the result no longer has are removed.

    Args:
        result: What the audit found.
        folder: The run folder.

    Raises:
        OutputError: An array is missing or damaged, or the disk refuses.
        ValueError: An array does not belong to its block.
    """
    written = []
    for name, rows in _tables(result, folder):
        path = folder / FOLDER / name
        write_text(path, csv_text(rows))
        written.append(path)
    for section in ("backbone", TOGETHER):
        for path in (folder / FOLDER).glob(f"{section}-*.csv"):
            if path not in written:
                path.unlink()
    return tuple(written)


def _tables(result: AuditResult, folder: Path) -> Iterator[tuple[str, Rows]]:
    sections = [(backbone_anchor(i), s.analyses) for i, s in enumerate(result.subjects)]
    for anchor, analyses in [*sections, (TOGETHER, result.together)]:
        for placed in placed_blocks(analyses, anchor):
            if shape_of(placed.block).text(placed.block).alt is not None:
                yield placed.data_name, figure_data(placed, folder)
