"""Every verb of the command line, on real weights."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest

from bias_audit.results.store import read_array, read_audit
from tests.functional.conftest import bias_audit


def test_run_writes_results_and_reports(finished: Path) -> None:
    run = finished / "runs" / "small"
    assert {"audit.json", "report.html", "report.pdf", "config.yaml", "exclusions.csv"} <= {
        path.name for path in run.iterdir()
    }
    assert "report.html" in (finished / "stdout.txt").read_text()
    result = read_audit(run)
    assert result.failed == ()
    kinds = {block.block for a in result.subjects[0].analyses for block in a.blocks}
    assert kinds >= {"layer_curve", "group_table", "confusions", "unit_map", "group_profiles"}


def test_results_hold_aggregates_only(finished: Path) -> None:
    run = finished / "runs" / "small"
    result = read_audit(run)
    n_images = result.data.n_images
    for path in (run / "arrays").rglob("*.npy"):
        assert n_images not in np.load(path).shape, path
    text = (run / "audit.json").read_text() + (run / "report.html").read_text()
    assert "child-african-female-0" not in text


def test_the_planted_attributes_are_found(finished: Path) -> None:
    """The renders differ by age, phenotype and gender by construction."""
    result = read_audit(finished / "runs" / "small")
    curve = next(
        block
        for block in result.subjects[0].analyses[0].blocks
        if block.block == "layer_curve" and "AUC" in block.metric
    )
    for series in curve.curves:
        last = series.points[-1]
        assert last.estimate is not None
        assert last.estimate.lower > 0.6, series.target
        shuffled = next(c for c in last.controls if c.name == "shuffled labels")
        assert shuffled.estimate.lower < 0.6, series.target


def test_maps_share_one_layout_and_scale(finished: Path) -> None:
    run = finished / "runs" / "small"
    analysis = read_audit(run).subjects[0].analyses[3]
    maps = [block for block in analysis.blocks if block.block == "unit_map"]
    assert len({(block.limit, block.positions) for block in maps}) == 1
    for block in maps:
        rasters = read_array(run, analysis.arrays, block.rasters)
        assert rasters.shape == (len(block.groups), 100, 100)
        assert np.abs(np.nan_to_num(rasters)).max() > 0


def test_render_needs_the_run_folder_alone(finished: Path, tmp_path: Path) -> None:
    shutil.copytree(finished / "runs" / "small", tmp_path / "moved")
    before = (tmp_path / "moved" / "report.html").read_bytes()
    (tmp_path / "moved" / "report.html").unlink()
    done = bias_audit("render", "moved", "--format", "html", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "moved" / "report.html").read_bytes() == before


def test_a_second_run_makes_no_forward_pass_and_gives_the_same_numbers(
    tiny_finished: Path, tmp_path: Path
) -> None:
    shutil.copytree(tiny_finished, tmp_path / "again")
    first = read_audit(tmp_path / "again" / "runs" / "small")
    done = bias_audit("run", "audit.yaml", cwd=tmp_path / "again")
    assert done.returncode == 0, done.stderr
    assert "no forward pass" in done.stdout
    second = read_audit(tmp_path / "again" / "runs" / "small")
    assert [a.blocks for a in first.subjects[0].analyses] == [
        a.blocks for a in second.subjects[0].analyses
    ]
    kept = {path.name for path in (tmp_path / "again" / "runs" / "small" / "arrays").iterdir()}
    assert kept == {a.arrays for a in second.subjects[0].analyses if a.arrays} & kept
    assert len(kept) == 2


def test_check_estimates_time_and_disk(
    small: dict[str, Any], write_config: Callable[[dict[str, Any]], Path], tmp_path: Path
) -> None:
    done = bias_audit("check", write_config(small), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "the config is valid" in done.stdout
    assert "forward passes about" in done.stdout
    assert "MB" in done.stdout
    assert not (tmp_path / "runs" / "small").exists()


def test_data_check_counts_every_intersection(
    small: dict[str, Any], write_config: Callable[[dict[str, Any]], Path], tmp_path: Path
) -> None:
    done = bias_audit("data", "check", write_config(small), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    rows = [line for line in done.stdout.splitlines() if line.endswith("   30      7")]
    assert len(rows) == 24
    assert "Exclusion ledger" in done.stdout
    assert "renders" in done.stdout


def test_schema_is_json(tmp_path: Path) -> None:
    done = bias_audit("schema", cwd=tmp_path)
    assert json.loads(done.stdout)["title"] == "bias_audit config"


def test_results_fit_their_schema(finished: Path) -> None:
    schema = json.loads(bias_audit("schema", "results", cwd=finished).stdout)
    jsonschema.validate(json.loads((finished / "runs/small/audit.json").read_text()), schema)


def test_layers_lists_what_could_be_named(
    small: dict[str, Any], write_config: Callable[[dict[str, Any]], Path], tmp_path: Path
) -> None:
    done = bias_audit("layers", write_config(small), cwd=tmp_path)
    assert "blocks.5  (192 units)" in done.stdout
    assert "  conv_head" in done.stdout.splitlines()


@pytest.mark.parametrize("verb", [["--help"], ["run", "--help"], ["data", "--help"]])
def test_help(verb: list[str], tmp_path: Path) -> None:
    done = bias_audit(*verb, cwd=tmp_path)
    assert done.returncode == 0
    assert "Usage" in done.stdout
