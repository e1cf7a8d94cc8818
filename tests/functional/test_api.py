"""The interface for Python does what the command line does."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import nbclient
import nbformat
import numpy as np
import pytest

import bias_audit
from bias_audit.errors import ConfigError, OutputError
from bias_audit.progress import Silent
from bias_audit.results.diff import parse_diff
from bias_audit.results.numbers import numbers
from tests.functional.conftest import Audit

NOTEBOOK = Path(__file__).resolve().parents[2] / "docs" / "examples" / "python.ipynb"


def test_import_alone_is_light() -> None:
    code = (
        "import sys, bias_audit; dir(bias_audit); bias_audit.run;"
        "heavy = {'torch', 'pandas', 'numpy', 'pydantic', 'matplotlib'} & set(sys.modules);"
        "sys.exit(repr(heavy) if heavy else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_name_that_is_not_there_is_no_attribute() -> None:
    with pytest.raises(AttributeError, match="'no_such'"):
        bias_audit.no_such  # noqa: B018


def test_a_mapping_is_audited_as_its_file_is(tiny: Audit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tiny.folder)
    audit = bias_audit.run(tiny.config, ["seed=3"], progress=Silent())
    assert audit.result.config["seed"] == 3
    assert audit.result.provenance.command == "bias_audit.run"
    assert [path.name for path in audit.reports] == ["report.html"]
    again = bias_audit.open(audit.folder)
    assert again.result.model_dump_json() == audit.result.model_dump_json()
    tiny.config["seed"] = 3
    assert tiny("run").returncode == 0  # the same audit, so that the folder may be used
    assert [*numbers(tiny.result)] == [*numbers(audit.result)]
    frame = bias_audit.numbers(audit)
    assert frame.equals(bias_audit.numbers(audit.folder))
    every = list(numbers(audit.result))
    assert len(frame) == len(every) > 10
    wanted = [np.nan if n.estimate is None else n.estimate.value for n in every]
    np.testing.assert_array_equal(frame["estimate"], wanted)
    assert set(frame["quantity"]) == {number.quantity for number in every}


def test_a_comparison_is_that_of_the_command(finished: Path, tmp_path: Path) -> None:
    (run,) = (finished / "runs").glob("*/audit.json")
    folder = shutil.copytree(run.parent, tmp_path / "run")
    found = bias_audit.diff(bias_audit.open(folder), str(folder), margin=0.1)
    done = subprocess.run(
        [sys.executable, "-m", "bias_audit", "diff", str(folder), str(folder), "--margin", "0.1"],
        check=False, capture_output=True, text=True, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    written = parse_diff((folder / "diff.json").read_bytes(), source="diff.json")
    assert json.loads(found.model_dump_json()) == json.loads(written.model_dump_json())


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (
            {"analyses": [{"kind": "linear_prob"}]},
            "analyses.0.kind: unknown analysis 'linear_prob'",
        ),
        ({"seed": "x"}, "seed: "),
    ],
)
def test_a_mapping_that_is_wrong_has_every_problem_with_its_key(
    tiny: Audit, change: dict[str, Any], expected: str
) -> None:
    with pytest.raises(ConfigError) as raised:
        bias_audit.run(tiny.config | change)
    assert any(problem.startswith(expected) for problem in raised.value.problems)


def test_a_folder_without_an_audit_is_refused(tmp_path: Path) -> None:
    for use in (bias_audit.open, bias_audit.numbers):
        with pytest.raises(OutputError, match="expected a finished run"):
            use(tmp_path)


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # of Jupyter's own libraries
def test_the_notebook_of_the_documentation_runs(tmp_path: Path, stored_self_test: Path) -> None:
    shutil.copytree(stored_self_test, tmp_path / "runs" / "cache")
    notebook = nbformat.read(NOTEBOOK, as_version=4)  # type: ignore[no-untyped-call]
    assert not any(cell.get("outputs") for cell in notebook.cells)
    client = nbclient.NotebookClient(
        notebook, timeout=500, resources={"metadata": {"path": str(tmp_path)}}
    )
    client.execute()
    outputs = [each for cell in notebook.cells for each in cell.get("outputs", ())]
    errors = [each["text"] for each in outputs if each.get("name") == "stderr"]
    assert all("tqdm" in text for text in errors)  # which misses widgets
    shown = "".join(str(cell.get("outputs")) for cell in notebook.cells)
    for words in ("macro_auc", "Open the whole report", "Likely cause", "Counter"):
        assert words in shown, words
    code = "".join(cell.source for cell in notebook.cells)
    assert all(f"bias_audit.{name}(" in code for name in ("run", "open", "diff", "numbers"))


def test_one_text_is_no_row_of_letters(tiny: Audit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tiny.folder)
    with pytest.raises(ConfigError, match="seed") as raised:
        bias_audit.run(tiny.config, "seed=x")
    assert len(raised.value.problems) == 1
    with pytest.raises(TypeError, match=r"expected a path, .* got list"):
        bias_audit.run([tiny.config])  # type: ignore[arg-type]
