from __future__ import annotations

import csv
import io
from pathlib import Path

import pandas as pd
import pytest

from bias_audit.report.exporting.tables import DataTable, as_csv, as_parquet, tables
from bias_audit.results.audit import AuditResult
from bias_audit.shapes.catalog import shapes
from bias_audit.shapes.difference_map import DifferenceMap
from bias_audit.shapes.group_table import GroupTable
from bias_audit.shapes.layer_curve import LayerCurve
from bias_audit.shapes.shape import COLUMNS, ESTIMATE, columns_of
from bias_audit.statistics.estimate import Estimate
from tests.report.synthetic import HOSTILE, criteria_of, declared, make_audit

NUMBERS = tuple(ESTIMATE)


@pytest.fixture(scope="module")
def result() -> AuditResult:
    made = make_audit(
        backbones=("one", "two"),
        empty=(5,),
        failed=True,
        criteria=criteria_of("age"),
        declarations=declared("said", "AUC stays low"),
    )
    return made.result


@pytest.fixture(scope="module")
def frames(result: AuditResult) -> dict[str, pd.DataFrame]:
    return {t.name: pd.read_parquet(io.BytesIO(as_parquet(t))) for t in tables(result)}


def cells(estimate: Estimate) -> tuple[object, ...]:
    e = estimate
    return (e.value, e.lower, e.upper, e.level, e.n, e.clusters, e.freedom, e.method)


def test_every_shape_has_a_table_of_its_own_and_no_column_is_unused() -> None:
    known = shapes().values()
    assert len({shape.table for shape in known}) == len(known)
    assert {name for shape in known for name in shape.columns} == set(COLUMNS)


BY_UNIT = {"unit_map", "difference_map", "attribution_maps"}
"""Shapes whose figures show units or cells, which are in no table of the exports."""


@pytest.mark.parametrize("name", shapes())
def test_figures_name_their_columns_once_and_as_the_exports_do(name: str) -> None:
    made = make_audit(backbones=("one", "two"))
    shape = shapes()[name]
    blocks = [
        (block, made.arrays.get(analysis.arrays, {}))
        for analysis in (*made.result.subjects[0].analyses, *made.result.together)
        for block in analysis.blocks
        if block.name == name
    ]
    assert blocks
    for block, arrays in blocks:
        names, *rows = shape.data(block, arrays)
        assert rows and len(set(names)) == len(names)
        if name not in BY_UNIT:
            assert set(names) <= set(columns_of(shape.columns))


def test_no_table_is_empty_where_the_audit_has_every_shape(
    frames: dict[str, pd.DataFrame],
) -> None:
    assert [name for name, frame in frames.items() if frame.empty] == ["selftest"]


def test_the_same_tables_with_the_same_columns_whatever_an_audit_holds(
    frames: dict[str, pd.DataFrame], result: AuditResult
) -> None:
    bare = tables(result.model_copy(update={"subjects": (), "verdicts": (), "config": {}}))
    assert [table.name for table in bare] == list(frames)
    for table in bare:
        empty = pd.read_parquet(io.BytesIO(as_parquet(table)))
        assert list(empty.columns) == list(frames[table.name].columns)


def test_curves_read_back_are_the_numbers_of_the_results(
    result: AuditResult, frames: dict[str, pd.DataFrame]
) -> None:
    frame = frames["layer_curves"]
    expected = [
        (subject.backbone.name, block.quantity, curve.target, point.layer, cells(point.estimate))
        for subject in result.subjects
        for analysis in subject.analyses
        for block in analysis.blocks
        if isinstance(block, LayerCurve)
        for curve in block.curves
        for point in curve.points
        if point.estimate is not None
    ]
    rows = frame[(frame["series"] == "estimate") & frame["estimate"].notna()]
    found = [
        (row["backbone"], row["quantity"], row["target"], row["layer"], tuple(row[[*NUMBERS]]))
        for _, row in rows.iterrows()
    ]
    assert found == expected
    assert len(found) > 100


def test_groups_read_back_are_the_numbers_of_the_results(
    result: AuditResult, frames: dict[str, pd.DataFrame]
) -> None:
    frame = frames["groups"]
    blocks = [
        block
        for subject in result.subjects
        for analysis in subject.analyses
        for block in analysis.blocks
        if isinstance(block, GroupTable)
    ]
    rows = frame
    assert len(rows) == sum(len(block.rows) for block in blocks)
    expected = [cells(r.estimate) if r.estimate else None for b in blocks for r in b.rows]
    found = [
        None if pd.isna(row["estimate"]) else tuple(row[[*NUMBERS]]) for _, row in rows.iterrows()
    ]
    assert found == expected
    missing = rows[rows["estimate"].isna()]
    assert set(missing["reason"]) == {r.reason for b in blocks for r in b.rows if not r.estimate}


def test_regions_and_verdicts_are_all_there(
    result: AuditResult, frames: dict[str, pd.DataFrame]
) -> None:
    regions = [
        region
        for subject in result.subjects
        for analysis in subject.analyses
        for block in analysis.blocks
        if isinstance(block, DifferenceMap)
        for entry in block.differences
        for region in entry.regions
    ]
    assert frames["map_regions"]["region"].notna().sum() == len(regions)
    verdicts = frames["verdicts"]
    assert list(verdicts["outcome"]) == [verdict.outcome for verdict in result.verdicts]
    assert list(verdicts["at_most"].fillna(0)) == [
        v.criterion.margin[1] or 0 for v in result.verdicts
    ]


def test_numbers_are_numbers_and_whole_ones_are_whole(frames: dict[str, pd.DataFrame]) -> None:
    curves = frames["layer_curves"]
    assert curves["estimate"].dtype == "float64"
    assert frames["images"]["used"].dtype == "int64"
    assert set(frames["scenarios"]["hazard"].dropna()) == {"said"}


def test_csv_holds_the_same_numbers_in_full(result: AuditResult) -> None:
    for table in tables(result):
        rows = list(csv.reader(io.StringIO(as_csv(table).decode())))
        assert rows[0] == list(table.columns)
        assert len(rows) == len(table.rows) + 1
        numbers = [p for p, kind in enumerate(table.columns.values()) if kind == "number"]
        for text, row in zip(rows[1:], table.rows, strict=True):
            for place in numbers:
                value = row[place]
                assert (float(text[place]) if text[place] else None) == value


def test_no_text_is_a_formula_to_a_spreadsheet() -> None:
    said = "=cmd()"
    made = make_audit(HOSTILE, layers=("a", "b", "c"), declarations=declared(said))
    for table in tables(made.result):
        text = as_csv(table).decode()
        for row in csv.reader(io.StringIO(text)):
            for cell in row:
                assert not cell.startswith(("=", "@", "\t", "+"))
    scenarios = next(t for t in tables(made.result) if t.name == "scenarios")
    assert "'=cmd()" in as_csv(scenarios).decode()


def test_the_same_table_gives_the_same_bytes(result: AuditResult) -> None:
    for one, other in zip(tables(result), tables(result), strict=True):
        assert as_parquet(one) == as_parquet(other)
        assert as_csv(one) == as_csv(other)


def test_a_cell_of_another_kind_is_refused() -> None:
    table = DataTable("x", "x", {"n": "whole"}, [("many",)])
    with pytest.raises(ValueError, match="many"):
        as_parquet(table)


def test_a_table_read_from_a_file_is_one_that_pandas_knows(tmp_path: Path) -> None:
    table = DataTable("x", "x", {"name": "text", "n": "whole"}, [("a", 1), (None, None)])
    path = tmp_path / "x.parquet"
    path.write_bytes(as_parquet(table))
    frame = pd.read_parquet(path)
    assert frame["name"].isna().tolist() == [False, True]
    assert frame["n"].isna().tolist() == [False, True]
