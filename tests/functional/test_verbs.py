"""Every verb of the command line, on real weights, and the exit codes of `run`."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest

from bias_audit.config.load import load_config
from bias_audit.results.store import read_array, read_audit
from bias_audit.selftest.run import code_digest, summary_line, versions
from bias_audit.shapes.layer_curve import LayerCurve
from bias_audit.shapes.unit_map import UnitMap
from tests.functional.conftest import Audit, bias_audit


def test_run_writes_results_that_fit_their_schema_and_reports(finished: Path) -> None:
    run = finished / "runs" / "small"
    written = {path.name for path in run.iterdir()}
    assert written >= {"audit.json", "report.html", "config.yaml", "exclusions.csv", "exports"}
    assert "report.html" in (finished / "stdout.txt").read_text()
    assert load_config(run / "config.yaml").name == "small"
    schema = json.loads(bias_audit("schema", "results", cwd=finished).stdout)
    jsonschema.validate(json.loads((run / "audit.json").read_text()), schema)
    result = read_audit(run)
    assert result.failed == ()
    kinds = {block.name for a in result.subjects[0].analyses for block in a.blocks}
    assert kinds >= {"layer_curve", "group_table", "confusions", "unit_map", "group_profiles"}


def test_results_hold_aggregates_only(finished: Path) -> None:
    run = finished / "runs" / "small"
    n_images = read_audit(run).data.n_images
    for path in (run / "arrays").rglob("*.npy"):
        assert n_images not in np.load(path).shape, path
    text = (run / "audit.json").read_text() + (run / "report.html").read_text()
    assert "child-african-female" not in text


@pytest.mark.slow
def test_the_planted_attributes_are_found(small: Audit) -> None:
    """The renders differ by age, phenotype and gender by construction."""
    assert small("run").returncode == 0
    probed, *_, mapped = small.result.subjects[0].analyses
    curves = [b for b in probed.blocks if isinstance(b, LayerCurve)]
    (curve,) = (block for block in curves if "AUC" in block.metric)
    for series in curve.curves:
        last = series.points[-1]
        assert last.estimate is not None
        assert last.estimate.lower > 0.6, series.target
        shuffled = next(c for c in last.controls if c.name == "shuffled labels")
        assert shuffled.estimate.lower < 0.6, series.target
    for block in mapped.blocks:
        if isinstance(block, UnitMap):
            rasters = read_array(small.run, mapped.arrays, block.rasters)
            assert rasters.shape == (len(block.groups), 100, 100)
            assert np.abs(np.nan_to_num(rasters)).max() > 0


def test_a_run_holds_the_stored_self_test_and_prints_it(finished: Path) -> None:
    found = read_audit(finished / "runs" / "small").selftest
    assert found is not None
    assert (found.code, found.versions) == (code_digest(), versions())
    said = " ".join((finished / "stdout.txt").read_text().split())
    assert f"Self-test of the statistics: {summary_line(found)}, as stored" in said
    page = (finished / "runs" / "small" / "report.html").read_text()
    assert 'id="selftest"' in page
    assert all(row.condition in page for row in found.rows)


def test_render_needs_the_run_folder_alone(finished: Path, tmp_path: Path) -> None:
    page = tmp_path / "moved" / "report.html"
    shutil.copytree(finished / "runs" / "small", page.parent)
    before = page.read_bytes()
    page.unlink()
    done = bias_audit("render", "moved", "--format", "html", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert page.read_bytes() == before


def test_a_second_run_makes_no_forward_pass_and_gives_the_same_numbers(
    finished: Path, tmp_path: Path
) -> None:
    run = tmp_path / "again" / "runs" / "small"
    shutil.copytree(finished, tmp_path / "again")
    first = read_audit(run).subjects[0].analyses
    (run / ".state.json").unlink()  # else the run is left as it is
    done = bias_audit("run", "audit.yaml", cwd=tmp_path / "again")
    assert done.returncode == 0, done.stderr
    assert "no forward pass" in done.stdout
    second = read_audit(run).subjects[0].analyses
    assert [a.blocks for a in first] == [a.blocks for a in second]
    kept = {path.name for path in (run / "arrays").iterdir()}
    assert len(kept) == 2 and kept <= {a.arrays for a in second}


@pytest.mark.parametrize(
    ("verb", "lines"),
    [
        ("check", ["the config is valid", "forward passes about", "MB"]),
        ("data check", ["Exclusion ledger", "renders"]),
        ("layers", ["blocks.5  (192 units)", "  conv_head\n"]),
    ],
)
def test_looks_compute_nothing(small: Audit, verb: str, lines: list[str]) -> None:
    done = small(verb)
    assert done.returncode == 0, done.stderr
    assert all(line in done.stdout for line in lines), done.stdout
    assert verb != "data check" or done.stdout.count("   30      7\n") == 24  # intersections
    assert not small.run.exists()


@pytest.mark.parametrize("verb", [["--help"], ["run", "--help"], ["data", "--help"]])
def test_help(verb: list[str], tmp_path: Path) -> None:
    done = bias_audit(*verb, cwd=tmp_path)
    assert done.returncode == 0
    assert "Usage" in done.stdout


@pytest.mark.parametrize("module", ["bias_audit", "bias_audit.cli"])
def test_the_package_is_a_program(module: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", module, "check", "nothing.yaml"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "nothing.yaml: 1 problem" in done.stderr


WHY = "chosen to show a verdict"
PASSES = {"name": "decodable", "quantity": "macro_auc", "target": "gender", "at_least": 0.0}
FAILS = {"name": "not decodable", "quantity": "macro_auc", "target": "gender", "at_most": 0.1}
OPEN = {"name": "no groups", "quantity": "recall", "of": "lift", "target": "gender", "at_most": 1}


def test_verdicts_set_the_exit_code(tiny: Audit) -> None:
    """The activations are stored by the first run, so the others make no forward pass."""
    tiny.config["backbones"][0]["layers"] = ["layer4"]
    tiny.config["controls"] = {"random_weights": 0, "image": False, "shuffles": 1}
    tiny.config["analyses"] = tiny.config["analyses"][:1]
    cases: tuple[tuple[tuple[dict[str, Any], ...], int, list[str]], ...] = (
        ((PASSES,), 0, ["PASS"]),
        ((PASSES, OPEN), 3, ["PASS", "INCONCLUSIVE"]),
        ((OPEN, FAILS, PASSES), 1, ["INCONCLUSIVE", "FAIL", "PASS"]),
    )
    for criteria, code, outcomes in cases:
        tiny.config["criteria"] = [{"rationale": WHY} | each for each in criteria]
        done = tiny("run", "--replace")
        assert done.returncode == code, done.stdout + done.stderr
        assert [verdict.outcome for verdict in tiny.result.verdicts] == outcomes
        page = (tiny.run / "report.html").read_text()
        assert WHY in page
        assert all(outcome in done.stdout and outcome in page for outcome in outcomes)


def test_a_failed_analysis_comes_before_any_verdict(tiny: Audit) -> None:
    tiny.config["analyses"] = [
        {"kind": "linear_probe", "folds": 3},
        {"kind": "confusions", "folds": 20},
    ]
    accurate = {"name": "accurate", "quantity": "validation_accuracy", "at_least": 0.0}
    tiny.config["criteria"] = [
        {"rationale": WHY, "target": "gender"} | each for each in (FAILS, accurate)
    ]
    done = tiny("run")
    assert done.returncode == 4, done.stdout + done.stderr
    assert "Attention: could not be computed" in done.stdout
    result = tiny.result
    assert [analysis.status for analysis in result.subjects[0].analyses] == ["done", "failed"]
    assert [verdict.outcome for verdict in result.verdicts] == ["FAIL", "INCONCLUSIVE"]
    assert "not computed" in result.verdicts[1].reason
    assert "could not be computed" in (tiny.run / "report.html").read_text()
