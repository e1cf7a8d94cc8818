"""The numbers behind every figure are in CSV files that a spreadsheet cannot run."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest

from bias_audit.errors import OutputError
from bias_audit.report.csv_text import csv_text
from bias_audit.report.render import render
from bias_audit.report.sections.blocks import backbone_anchor, shown_blocks, write_figure_data
from bias_audit.results.audit import AuditResult
from bias_audit.results.store import read_array, read_audit
from tests.report.synthetic import HOSTILE, make_audit


def _written(folder: Path, result: AuditResult) -> dict[str, list[list[str]]]:
    return {
        path.name: list(csv.reader(path.read_text(encoding="utf-8").splitlines()))
        for path in write_figure_data(result, folder)
    }


def test_every_figure_of_a_block_names_its_file_and_the_file_exists(
    two_backbones: Path, two_backbones_page: str, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(two_backbones, tmp_path / "run"))
    result = read_audit(folder)
    files = _written(folder, result)
    chapters = [
        shown_blocks(s.analyses, backbone_anchor(place), folder)
        for place, s in enumerate(result.subjects)
    ]
    figures = [block for chapter in chapters for block in chapter if block.figure]
    assert len(figures) > 20
    for block in figures:
        assert block.figure is not None
        name = f"{block.anchor}-{block.shape}.csv"
        assert block.figure.data == f"figures/{name}"
        assert f"figures/{name}" in two_backbones_page
        assert len(files[name]) > 1
        assert len({len(row) for row in files[name]}) == 1


@pytest.mark.parametrize("name", ["unit_map", "difference_map", "group_matrix"])
def test_arrays_come_back_from_the_files(name: str, tmp_path: Path) -> None:
    made = make_audit(empty=(1,))
    made.write(tmp_path)
    analysis, block = next(
        (a, b) for a in made.result.subjects[0].analyses for b in a.blocks if b.name == name
    )
    files = _written(tmp_path, made.result)
    rows = next(rows for file, rows in files.items() if file.endswith(f"-{name}.csv"))
    values = read_array(tmp_path, analysis.arrays, getattr(block, "values"))  # noqa: B009
    columns = np.array([[float(cell or "nan") for cell in row[2:]] for row in rows[1:]])
    if name == "group_matrix":
        np.testing.assert_allclose(columns[:, 0], values.ravel(), rtol=1e-6)
    else:
        np.testing.assert_allclose(columns[:, 1 : 1 + len(values)], values.T, rtol=1e-6)


def test_no_cell_is_a_formula_and_what_is_missing_is_empty(tmp_path: Path) -> None:
    assert csv_text([("=1+1", -1.5, None), ("@x", float("nan"), 3)]) == "'=1+1,-1.5,\n'@x,,3\n"
    made = make_audit(HOSTILE, per_cell=9)
    made.write(tmp_path)
    for rows in _written(tmp_path, made.result).values():
        for cell in (cell for row in rows for cell in row):
            assert not cell.startswith(("=", "@", "\t")), cell


def test_files_of_figures_that_are_gone_are_removed_and_others_are_left(tmp_path: Path) -> None:
    made = make_audit()
    made.write(tmp_path)
    folder = tmp_path / "figures"
    folder.mkdir()
    (folder / "backbone-9-9-unit_map.csv").write_text("old")
    (folder / "notes.csv").write_text("mine")
    render(tmp_path, formats=())
    assert not (folder / "backbone-9-9-unit_map.csv").exists()
    assert (folder / "notes.csv").read_text() == "mine"
    assert len(list(folder.glob("backbone-0-*.csv"))) > 10


def test_arrays_that_do_not_fit_are_an_error_of_the_run(tmp_path: Path) -> None:
    made = make_audit()
    made.arrays["00-topomap"]["values"] = np.zeros((2, 3))
    made.write(tmp_path)
    with pytest.raises(OutputError, match="expected values of shape"):
        render(tmp_path, formats=("html",))
