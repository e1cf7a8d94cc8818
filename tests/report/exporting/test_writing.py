from __future__ import annotations

import json
import re
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from bias_audit.cli import app
from bias_audit.errors import OutputError
from bias_audit.report.exporting.writing import FORMATS, export_run
from bias_audit.results.store import read_audit
from tests.report.synthetic import make_audit

FILES = {"junit.xml", "bom.cdx.json", "tables", "model-cards"}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    made = make_audit(layers=("a", "b", "c"), backbones=("one", "two"))
    return made.write(tmp_path / "run")


def test_all_formats_are_written_beside_the_report_from_the_results_alone(run: Path) -> None:
    for path in (run / "arrays").rglob("*.npy"):
        path.unlink()
    written = export_run(run)
    assert {path.name for path in written} == FILES
    assert {path.name for path in (run / "exports").iterdir()} == FILES
    index = pd.read_csv(run / "exports" / "tables" / "index.csv")
    for ending in ("csv", "parquet"):
        names = {path.stem for path in (run / "exports" / "tables").glob(f"*.{ending}")}
        assert names == {*index["table"], "index"}
    rows = dict(zip(index["table"], index["rows"], strict=True))
    for name, n in rows.items():
        assert len(pd.read_parquet(run / "exports" / "tables" / f"{name}.parquet")) == n


def test_one_format_elsewhere_leaves_the_run_alone(run: Path, tmp_path: Path) -> None:
    outcome = CliRunner().invoke(
        app, ["export", str(run), "--format", "cyclonedx", "--to", str(tmp_path / "out")]
    )
    assert outcome.exit_code == 0
    assert outcome.output == f"Export: {tmp_path / 'out' / 'bom.cdx.json'}\n"
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["bom.cdx.json"]
    assert not (run / "exports").exists()


def test_an_unknown_format_is_told_with_those_there_are(run: Path) -> None:
    outcome = CliRunner().invoke(app, ["export", str(run), "--format", "junits"])
    assert outcome.exit_code == 2
    for name in FORMATS:
        assert name in outcome.stderr
    assert "junits" in outcome.stderr
    assert not (run / "exports").exists()


def test_the_same_run_gives_the_same_bytes(run: Path, tmp_path: Path) -> None:
    export_run(run, to=tmp_path / "one")
    export_run(run, to=tmp_path / "two")
    for path in (p for p in (tmp_path / "one").rglob("*") if p.is_file()):
        other = tmp_path / "two" / path.relative_to(tmp_path / "one")
        assert path.read_bytes() == other.read_bytes()


def test_cards_of_backbones_that_are_gone_are_removed(run: Path) -> None:
    export_run(run)
    cards = run / "exports" / "model-cards"
    assert {path.parent.name for path in cards.glob("*/README.md")} == {"backbone-0", "backbone-1"}
    result = read_audit(run)
    fewer = result.model_copy(update={"subjects": result.subjects[:1]})
    (run / "audit.json").write_text(fewer.model_dump_json())
    export_run(run)
    assert {path.parent.name for path in cards.glob("*/README.md")} == {"backbone-0"}


def test_damaged_declarations_are_told_with_the_run(run: Path) -> None:
    stored = json.loads((run / "audit.json").read_text())
    stored["config"]["declarations"] = {"purposes": "x"}
    (run / "audit.json").write_text(json.dumps(stored))
    with pytest.raises(OutputError, match=rf"(?s){re.escape(str(run))}: .*purposes"):
        export_run(run)


def test_a_folder_without_a_run_is_told(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"no audit\.json"):
        export_run(tmp_path)
