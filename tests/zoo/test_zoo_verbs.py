"""Every verb of `bias-audit zoo`, as its users type it."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.functional.conftest import bias_audit
from tests.zoo.conftest import Zoo

CRITERION: dict[str, Any] = {
    "name": "age hardly decodable",
    "quantity": "macro_auc",
    "target": "age",
    "layer": "last",
    "rationale": "a test",
}


def verb(zoo: Zoo, name: str, *options: str) -> subprocess.CompletedProcess[str]:
    zoo.load()
    return bias_audit("zoo", name, "zoo.yaml", *options, cwd=zoo.folder)


@pytest.mark.slow
def test_a_new_zoo_from_plan_to_report(zoo_with_pages: Zoo) -> None:
    zoo, out = zoo_with_pages, zoo_with_pages.folder / "out"
    zoo.settings["criteria"] = [CRITERION | {"at_most": 0.99}]
    planned = verb(zoo, "plan")
    assert planned.returncode == 0, planned.stderr
    assert "timed now, without the weights" in planned.stdout
    done = verb(zoo, "run", "--summary-file", "summary.json")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Zoo tiny: PASS" in done.stdout
    assert json.loads((zoo.folder / "summary.json").read_text())["states"] == {"audited": 2}
    assert "age hardly decodable" in (out / "zoo.html").read_text()
    assert "2 fresh" in verb(zoo, "status").stdout
    assert "0 of 2 audits to make" in verb(zoo, "plan").stdout

    zoo.change_weights("two")
    told = verb(zoo, "status").stdout
    assert "weights: the weights changed" in told
    assert "1 fresh, 1 stale" in told
    planned = verb(zoo, "plan")
    for part in ("1 of 2 audits to make", "forward pass", "measured 20"):
        assert part in planned.stdout
    assert verb(zoo, "run").returncode == 0
    assert len(list(out.rglob("diff.html"))) == 1
    assert len(list(out.rglob("report.html"))) == 3

    (out / "zoo.html").unlink()
    for place in ("zoo.yaml", "out", "out/history.sqlite"):
        again = bias_audit("zoo", "report", place, "--to", "again.html", cwd=zoo.folder)
        assert again.returncode == 0, again.stderr
        assert "age hardly decodable" in (zoo.folder / "again.html").read_text()


@pytest.mark.slow
def test_exit_codes_are_gates(zoo: Zoo) -> None:
    zoo.settings["criteria"] = [CRITERION | {"at_most": 0.05}]
    assert verb(zoo, "run").returncode == 1
    assert verb(zoo, "run").returncode == 1  # nothing is new, and it still fails
    # One image more or less decides: as wide as the interval, so neither side is clear.
    zoo.settings["criteria"] = [CRITERION | {"within": [0.499, 0.5]}]
    zoo.settings["analyses"] = [{"kind": "linear_probe", "folds": 3, "shrinkage": 1.0}]
    assert verb(zoo, "run").returncode == 3
    zoo.settings["policy"] = {"inconclusive": "passes"}
    assert verb(zoo, "run").returncode == 0
    zoo.weights("one").write_bytes(b"")
    assert verb(zoo, "run").returncode == 4
    assert verb(zoo, "run", "--only", "nothing").returncode == 2
    assert verb(zoo, "run", "--executor", "elsewhere").returncode == 2


def test_a_log_collector_gets_one_object_a_line_of_the_chosen_entries(zoo: Zoo) -> None:
    for name in ("plan", "run", "status"):
        done = verb(zoo, name, "--log-format", "json", "--only", "one")
        lines = [json.loads(line) for line in done.stdout.splitlines()]
        assert all(line.keys() >= {"time", "level", "event"} for line in lines)
        assert lines[-1]["event"] == "result"
    assert [line["state"] for line in lines if line["event"] == "standing"] == ["fresh"]
    assert "1 fresh, 1 new" in verb(zoo, "status").stdout
    assert [path.name for path in (zoo.folder / "out" / "audits" / "faces").iterdir()] == ["one"]


def test_a_report_of_no_history_says_what_was_expected(tmp_path: Path) -> None:
    missing = bias_audit("zoo", "report", "nowhere", cwd=tmp_path)
    assert missing.returncode == 5
    assert "expected a history of audits" in missing.stderr
