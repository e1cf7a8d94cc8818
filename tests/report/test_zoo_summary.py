"""A run in a few lines: the outcome first, nothing that chat or mail takes for markup."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import pytest

from bias_audit.errors import OutputError
from bias_audit.report.zoo.summary import MOST_LINES, plain, summary_text, write_summary
from bias_audit.results.history.recording import EntryState, record_run
from tests.report.zoo_history import START, keep, make_history, make_zoo_audit


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("zoo") / "history.sqlite"
    make_history(path, entries=[f"net_{letter}" for letter in "abcdefghij"], dates=3)
    return path


def test_the_outcome_is_first_and_all_of_it_is_short(database: Path, tmp_path: Path) -> None:
    text = summary_text(database, report=tmp_path / "zoo.html")
    lines = text.splitlines()
    assert lines[0].startswith("**Zoo demo: failed** (")
    assert len(lines) <= MOST_LINES
    assert all(len(line) <= 300 for line in lines)
    for word in (
        "19 audited, 1 failed, 2 stale",
        "weights not found",
        "Likely cause: weights",
        "Cost:",
        "zoo.html",
    ):
        assert word in text


def test_a_run_with_nothing_new_says_so(tmp_path: Path) -> None:
    database = tmp_path / "history.sqlite"
    number = keep(database, make_zoo_audit("net", strength=0.2), dataset="faces", entry="net")
    states = [EntryState("faces", "net", "unchanged", "", number)]
    record_run(
        database, zoo="demo", started=START.isoformat(), seconds=1.4, command="c", states=states
    )
    text = summary_text(database)
    assert "1 unchanged" in text
    assert "Nothing failed" in text
    assert "no audit was repeated" in text


def test_a_change_is_told_by_the_run_that_found_it_and_by_no_later_one(tmp_path: Path) -> None:
    database = tmp_path / "history.sqlite"
    make_history(database, entries=["a", "b", "c"], datasets=["faces"], dates=2)
    assert "Worse than before: c on faces" in summary_text(database)
    later = (START + timedelta(days=100)).isoformat()
    states = [
        EntryState("faces", name, "unchanged", "", 2 * i + 2) for i, name in enumerate("abc")
    ]
    record_run(database, zoo="demo", started=later, seconds=1, command="c", states=states)
    text = summary_text(database)
    assert "Worse than before" not in text and "Verdict changed" not in text
    assert "Nothing failed" in text


def test_an_older_run_can_be_told(database: Path) -> None:
    first = record_run(
        database,
        zoo="demo",
        started="2025-01-01T00:00:00+00:00",
        seconds=9,
        command="c",
        states=[],
    )
    assert "1 January 2025" in summary_text(database, first)
    assert "1 January 2025" not in summary_text(database)
    with pytest.raises(OutputError, match="expected a run with id 999"):
        summary_text(database, 999)


def test_json_holds_the_same(database: Path, tmp_path: Path) -> None:
    data = json.loads(write_summary(database, tmp_path / "s.json").read_text())
    text = write_summary(database, tmp_path / "s.md").read_text()
    assert data["outcome"] == "failed"
    assert data["states"] == {"audited": 19, "failed": 1, "stale": 2}
    assert data["notices"][0]["kind"] == "failed"
    assert all(plain(notice["subject"]) in text for notice in data["notices"][:5])


def test_names_are_no_markup_and_no_mention() -> None:
    told = plain("<!channel> @everyone [x](http://evil.example) `rm` **bold**\nnext")
    assert "\n" not in told
    assert not set("<>`*@") & set(told)
    assert plain("a" * 500) == "a" * 279 + "…"
