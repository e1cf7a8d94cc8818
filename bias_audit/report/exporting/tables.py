"""Every table of a report in long form, as CSV and parquet: one file each, whatever it holds."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from bias_audit.report.csv_text import csv_text
from bias_audit.report.sections.verdicts import AT_POWER
from bias_audit.results.audit import AuditResult, declarations_of
from bias_audit.results.verdict import Verdict
from bias_audit.shapes.catalog import shapes
from bias_audit.shapes.shape import (
    ESTIMATE,
    Cell,
    Shape,
    cells_of,
    columns_of,
    estimate_cells,
    level_names,
)

_ARROW: Final = {"text": pa.string(), "whole": pa.int64(), "number": pa.float64()}
_SCENARIO: Final = ("group", "hazard", "metric", "threshold", "mitigation", "review_trigger")
Row = tuple[Cell, ...]


@dataclass(frozen=True)
class DataTable:
    """Rows of one kind, from every backbone; written even where there are none."""

    name: str
    """Of its files, without the ending; the same in every release of one schema."""
    about: str
    """One row is what, in a sentence."""
    columns: Mapping[str, str]
    """By kind: text, whole or number."""
    rows: Sequence[Row]


def as_csv(table: DataTable) -> bytes:
    """UTF-8, the columns' names first, numbers in full; no text is a formula to a spreadsheet."""
    return csv_text([tuple(table.columns), *table.rows], digits=None).encode()


def as_parquet(table: DataTable) -> bytes:
    """Typed columns; what is missing is null. The same table gives the same bytes.

    Raises:
        ValueError: A cell is not of its column's kind.
    """
    schema = pa.schema([(name, _ARROW[kind]) for name, kind in table.columns.items()])
    cells = zip(*table.rows, strict=True) if table.rows else [()] * len(table.columns)
    arrays = [_array(values, field.type) for values, field in zip(cells, schema, strict=True)]
    stream = io.BytesIO()
    pq.write_table(pa.table(arrays, schema=schema), stream)
    return stream.getvalue()


def _array(values: Sequence[str | float | None], kind: pa.DataType) -> pa.Array:
    """As `pyarrow.array`, which loads pandas first."""
    known = [value for value in values if value is not None]
    text, whole = pa.types.is_string(kind), pa.types.is_integer(kind)
    fit = str if text else Integral if whole else Real
    if any(not isinstance(value, fit) or isinstance(value, bool) for value in known):
        raise ValueError(f"expected values of type {kind}, got {known[:5]}")
    is_known = np.array([value is not None for value in values], dtype=bool)
    if text:
        parts = [b"" if value is None else str(value).encode() for value in values]
        ends = np.cumsum([0, *map(len, parts)], dtype=np.int32)
        buffers = [ends, b"".join(parts)]
    else:
        filled = [0 if value is None else value for value in values]
        buffers = [np.array(filled, dtype=np.int64 if whole else np.float64)]
    packed = np.packbits(is_known, bitorder="little")
    everything = [None if is_known.all() else packed, *buffers]
    return pa.Array.from_buffers(
        kind, len(values), [None if each is None else pa.py_buffer(each) for each in everything]
    )


def index(found: tuple[DataTable, ...]) -> DataTable:
    """What each table holds: its files, rows and columns."""
    return DataTable(
        "index",
        "a table of this folder",
        {"table": "text", "rows": "whole", "one_row_is": "text", "columns": "text"},
        [(t.name, len(t.rows), t.about, ", ".join(t.columns)) for t in found],
    )


def tables(result: AuditResult) -> tuple[DataTable, ...]:
    """All tables, in the order of the index; one without rows says that there is nothing.

    Raises:
        ValueError: The declarations in the result are damaged.
    """
    analyses = [(name, analysis) for name, group in result.analysed for analysis in group]
    data, selftest = result.data, result.selftest.rows if result.selftest else ()
    return (
        _verdicts(result.verdicts),
        DataTable(
            "scenarios",
            "a bias scenario as the config declares it",
            {"scenario": "whole", **dict.fromkeys((*_SCENARIO, "criteria"), "text")},
            [
                (number, *(getattr(each, name) for name in _SCENARIO), "; ".join(each.criteria))
                for number, each in enumerate(declarations_of(result).scenarios, start=1)
            ],
        ),
        DataTable(
            "images",
            "an intersection: images found, and used",
            {"group": "text", "found": "whole", "used": "whole"},
            [(level_names(cell.group), cell.found, cell.used) for cell in data.cells],
        ),
        DataTable(
            "exclusions",
            "a reason for which images were left out or treated specially",
            {"reason": "text", "effect": "text", "images": "whole"},
            [(entry.reason, entry.effect, entry.count) for entry in data.exclusions],
        ),
        DataTable(
            "layers",
            "a layer audited, depth counted from the input",
            {"backbone": "text", "depth": "whole", "layer": "text", "units": "whole"},
            [
                (subject.backbone.name, place, layer.name, layer.n_units)
                for subject in result.subjects
                for place, layer in enumerate(subject.backbone.layers)
            ],
        ),
        DataTable(
            "analyses",
            "an analysis of a backbone: done or failed, and its families of tests",
            dict.fromkeys(("backbone", "kind", "analysis", "status", "error"), "text")
            | {"families": "whole", "seconds": "number"},
            [
                (name, a.kind, a.title, a.status, a.error, a.families, a.seconds)
                for name, a in analyses
            ],
        ),
        DataTable(
            "findings",
            "a sentence of the summary; weight 0: inconclusive",
            dict.fromkeys(("backbone", "analysis", "finding"), "text") | {"weight": "number"},
            [
                (name, a.title, found.text, found.weight)
                for name, a in analyses
                for found in a.findings
            ],
        ),
        *(_of_shape(shape, result) for shape in shapes().values()),
        DataTable(
            "selftest",
            "a check of the audit's own code",
            dict.fromkeys(("check", "simulated", "expected", "outcome"), "text")
            | {"trials": "whole"}
            | ESTIMATE,
            [
                (
                    *(row.check, row.condition, row.expected, row.outcome, row.trials),
                    *estimate_cells(row.estimate),
                )
                for row in selftest
            ],
        ),
    )


def _of_shape(shape: Shape[Any], result: AuditResult) -> DataTable:
    def rows() -> Iterator[Row]:
        for name, analyses in result.analysed:
            for analysis in analyses:
                for block in analysis.blocks:
                    if block.name == shape.name:
                        origin = (name, analysis.title, block.title)
                        for row in shape.rows(block):
                            yield (*origin, *cells_of(shape.columns, row))

    origin = dict.fromkeys(("backbone", "analysis", "block"), "text")
    return DataTable(shape.table, shape.about, origin | columns_of(shape.columns), [*rows()])


def _verdicts(verdicts: Sequence[Verdict]) -> DataTable:
    def row(verdict: Verdict) -> Row:
        criterion, deciding = verdict.criterion, verdict.deciding
        return (
            criterion.name, verdict.backbone, verdict.outcome, verdict.reason,
            criterion.quantity, criterion.of, criterion.target, criterion.layer,
            *criterion.margin,
            deciding.layer if deciding else None,
            level_names(deciding.group) if deciding and deciding.group else None,
            *estimate_cells(deciding.estimate if deciding else None),
            verdict.n_examined, verdict.n_pass, verdict.n_fail, verdict.n_undecided,
            verdict.n_missing, verdict.detectable, verdict.n_to_decide, criterion.rationale,
        )  # fmt: skip

    said = ("criterion", "backbone", "outcome", "why", "quantity", "of", "target", "layers")
    return DataTable(
        "verdicts",
        "a criterion on a backbone, and what decides; detectable distance and images to decide "
        f"{AT_POWER}",
        dict.fromkeys(said, "text")
        | dict.fromkeys(("at_least", "at_most"), "number")
        | dict.fromkeys(("deciding_layer", "deciding_group"), "text")
        | ESTIMATE
        | dict.fromkeys(("examined", "within", "beyond", "undecided", "missing"), "whole")
        | {"detectable": "number", "images_to_decide": "whole", "rationale": "text"},
        [*map(row, verdicts)],
    )
