"""A history keeps what audits found: once, whole, and readable without this package."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from bias_audit.config.schema import Changes
from bias_audit.errors import OutputError
from bias_audit.results.audit import AuditResult
from bias_audit.results.diff import diff
from bias_audit.results.differing.comparables import Audited
from bias_audit.results.history import opening
from bias_audit.results.history.opening import reading_from, writing_to
from bias_audit.results.history.reading import read_history
from bias_audit.results.history.recording import (
    EntryState,
    mark_pruned,
    record_audit,
    record_diff,
    record_folder,
    record_run,
)
from bias_audit.results.history.tables import MIGRATIONS, VERSION
from bias_audit.shapes.layer_curve import LayerCurve
from tests.report.synthetic import criteria_of, make_audit
from tests.report.zoo_history import compared, difference, keep, make_zoo_audit

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "history.md"
NAMES = {"zoo": "z", "dataset": "faces", "entry": "net"}


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "zoo" / "history.sqlite"


@pytest.fixture
def kept(database: Path) -> int:
    """The audit that is in the history: "net"."""
    return keep_net(database)


def keep_net(database: Path, result: AuditResult | None = None, **changes: Any) -> int:
    made = result or make_zoo_audit("net", **changes)
    return keep(database, made, dataset="faces", entry="net")


def ask(database: Path, query: str) -> list[tuple[Any, ...]]:
    """By sqlite3 alone."""
    with closing(sqlite3.connect(database)) as connection:
        return connection.execute(query).fetchall()


def tables(database: Path) -> dict[str, list[tuple[Any, ...]]]:
    """All that is kept, by table."""
    names = ask(database, "SELECT name FROM sqlite_master WHERE type = 'table'")
    return {name: ask(database, f"SELECT * FROM {name}") for (name,) in names}


def test_the_same_audit_is_kept_once(database: Path, kept: int) -> None:
    before = tables(database)
    assert keep_net(database) == kept
    assert tables(database) == before


def test_every_number_of_the_result_is_kept_with_its_interval(database: Path) -> None:
    """Against the result itself, with blocks of every shape, an empty group and a failure."""
    result = make_audit(
        empty=(5,), failed=True, backbones=("one", "two"), criteria=criteria_of("age")
    ).result
    keep(database, result, dataset="faces", entry="both")
    held = tables(database)
    assert [row[3] for row in held["backbones"]] == ["one", "two"]
    assert len(held["verdicts"]) == len(result.verdicts)
    stored = ask(
        database,
        "SELECT b.name, quantity, target, layer, value, lower, upper, level, e.n, lift "
        "FROM estimates e JOIN backbones b ON b.id = e.backbone_id "
        "WHERE group_name IS NULL AND value IS NOT NULL AND quantity IN ('macro_auc', 'bits') "
        "ORDER BY b.position, e.position",
    )
    expected = [
        (s.backbone.name, block.quantity, curve.target, point.layer, e.value, e.lower, e.upper,
         e.level, e.n, point.lift and point.lift.value)
        for s in result.subjects
        for analysis in s.analyses
        for block in analysis.blocks
        if isinstance(block, LayerCurve) and block.quantity in {"macro_auc", "bits"}
        for curve in block.curves
        for point in curve.points
        if (e := point.estimate) is not None
    ]  # fmt: skip
    assert len(expected) > 50
    assert stored == expected
    missing = [row for row in held["estimates"] if row[9] is None]
    assert missing
    assert all(row[-1] for row in missing), "why it was not measured"
    assert held["audits"][0][10] == "failed"


def test_an_audit_that_cannot_be_kept_whole_is_not_kept(database: Path, kept: int) -> None:
    before = tables(database)
    broken = make_zoo_audit("second")
    broken.provenance.fingerprints["weights"] = object()  # type: ignore[assignment]
    with pytest.raises(OutputError, match="cannot be read or written"):
        keep(database, broken, dataset="faces", entry="second")
    assert tables(database) == before


def test_a_killed_writer_leaves_what_was_there(database: Path, kept: int) -> None:
    before = tables(database)
    # With so small a cache, half of the rows reach the file before the process dies.
    script = (
        "import os, signal, sys\nfrom pathlib import Path\n"
        "from bias_audit.results.history.opening import writing_to\n"
        "with writing_to(Path(sys.argv[1])) as connection:\n"
        "    connection.execute('PRAGMA cache_size = 2')\n"
        '    connection.executemany("INSERT INTO runs (zoo, started, seconds, command) '
        "VALUES (?, 'x', 1, ?)\", [('z', 'c' * 500)] * 5000)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(database)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert database.with_name(f"{database.name}-journal").stat().st_size > 0
    assert len(read_history(database).audits) == 1
    assert tables(database) == before
    keep(database, make_zoo_audit("second"), dataset="faces", entry="second")
    assert len(read_history(database).audits) == 2


def test_two_processes_write_at_once(database: Path) -> None:
    script = (
        "import sys\nfrom pathlib import Path\n"
        "from bias_audit.results.history.recording import record_run\n"
        "for i in range(20):\n"
        "    record_run(Path(sys.argv[1]), zoo=sys.argv[2], started=str(i), seconds=1, "
        "command='', states=[])\n"
    )
    both = [
        subprocess.Popen([sys.executable, "-c", script, str(database), name])
        for name in ("one", "two")
    ]
    assert [process.wait(timeout=120) for process in both] == [0, 0]
    zoos = [zoo for (zoo,) in ask(database, "SELECT zoo FROM runs ORDER BY zoo")]
    assert zoos == ["one"] * 20 + ["two"] * 20


def test_a_newer_schema_is_refused_and_left_alone(database: Path, kept: int) -> None:
    ask(database, f"PRAGMA user_version = {VERSION + 1}")
    content = database.read_bytes()
    newer = f"schema version {VERSION} or older, got {VERSION + 1}: a newer release"
    with pytest.raises(OutputError, match=newer):
        read_history(database)
    with pytest.raises(OutputError, match=newer):
        keep_net(database, seed=1)
    assert database.read_bytes() == content


def test_an_older_schema_is_brought_up_to_date(
    database: Path, kept: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = database.read_bytes()
    later = (*MIGRATIONS, "ALTER TABLE audits ADD COLUMN note TEXT NOT NULL DEFAULT 'none';")
    monkeypatch.setattr(opening, "MIGRATIONS", later)
    with reading_from(database) as connection:
        assert connection.execute("SELECT entry, note FROM audits").fetchall() == [("net", "none")]
    assert database.read_bytes() == content, "reading changes nothing"
    with writing_to(database, migrations=later) as connection:
        connection.execute("UPDATE audits SET note = 'kept'")
    assert ask(database, "SELECT entry, note FROM audits") == [("net", "kept")]
    assert ask(database, "PRAGMA user_version") == [(VERSION + 1,)]


def test_a_failed_migration_leaves_the_old_file(database: Path, kept: int) -> None:
    before = tables(database)
    broken = (*MIGRATIONS, "CREATE TABLE added (x);\nALTER TABLE absent ADD COLUMN y;")
    with (
        pytest.raises(OutputError, match="no such table"),
        writing_to(database, migrations=broken),
    ):
        pass
    assert tables(database) == before


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"not a database at all, but long enough" * 50, "cannot be read"), (None, "found no file")],
)
def test_a_damaged_or_missing_file_is_named(
    database: Path, content: bytes | None, said: str
) -> None:
    database.parent.mkdir()
    if content is not None:
        database.write_bytes(content)
    with pytest.raises(OutputError, match=said) as caught:
        read_history(database)
    assert str(database) in str(caught.value)


def test_a_damaged_value_is_named(database: Path, kept: int) -> None:
    with writing_to(database) as connection:
        connection.execute("UPDATE audits SET packages = '{'")
    with pytest.raises(OutputError, match="a value is damaged"):
        read_history(database)


def test_the_database_of_another_program_is_refused(database: Path) -> None:
    database.parent.mkdir()
    ask(database, "CREATE TABLE audits (x)")
    for use in (read_history, keep_net):
        with pytest.raises(OutputError, match="another program"):
            use(database)
    assert tables(database) == {"audits": []}


def test_a_reader_leaves_no_file_beside_it(database: Path, kept: int) -> None:
    read_history(database)
    assert [path.name for path in database.parent.iterdir()] == [database.name]


def test_views_answer_in_plain_sql_and_in_pandas(database: Path) -> None:
    for day, weights in ((1, "a" * 64), (2, "b" * 64)):
        made = make_zoo_audit("net", weights=weights, strength=0.2 + 0.4 * day, seed=day)
        started = {"started": f"2026-03-0{day}T00:00:00+00:00"}
        provenance = made.provenance.model_copy(update=started)
        moved = made.model_copy(update={"provenance": provenance})
        last = keep_net(database, moved)
    where = " WHERE quantity = 'macro_auc' AND target = 'age'"
    with closing(sqlite3.connect(database)) as connection:
        latest, trend, matrix, changed = (
            pd.read_sql(f"SELECT * FROM {view}", connection)
            for view in ("latest_audits", f"trend{where}", "verdict_matrix", "verdict_changes")
        )
    assert latest["id"].tolist() == [last]
    highest = max(
        point.estimate.value
        for block in moved.subjects[0].analyses[0].blocks
        if isinstance(block, LayerCurve) and block.quantity == "macro_auc"
        for point in block.curves[0].points
        if point.estimate
    )
    assert trend["value"].tolist()[1] == highest
    assert (trend["lower"] < trend["value"]).all() and (trend["value"] < trend["upper"]).all()
    assert matrix["outcome"].tolist() == [verdict.outcome for verdict in moved.verdicts]
    assert changed["criterion"].tolist(), "stronger weights move at least one verdict"
    assert (changed["before"] != changed["after"]).all()


def test_folders_are_relative_and_move_with_the_database(database: Path, tmp_path: Path) -> None:
    run = database.parent / "faces" / "net"
    run.mkdir(parents=True)
    record_audit(database, make_zoo_audit("net"), folder=run, audit_sha256="a" * 64, **NAMES)
    shutil.move(database.parent, tmp_path / "elsewhere")
    moved = tmp_path / "elsewhere" / database.name
    (audit,) = read_history(moved).audits
    assert audit.folder == Path("faces/net")
    assert (moved.parent / audit.folder).is_dir()


def test_pruned_audits_keep_their_numbers(database: Path, kept: int) -> None:
    before = tables(database)
    mark_pruned(database, [kept])
    assert tables(database)["estimates"] == before["estimates"]
    assert read_history(database).audits[0].is_pruned
    keep_net(database)
    assert not read_history(database).audits[0].is_pruned, "it was put back"


def test_a_history_is_made_again_from_run_folders(database: Path, tmp_path: Path) -> None:
    made = make_audit(criteria=criteria_of("age"))
    folder = made.write(tmp_path / "run")
    assert record_folder(database, folder, **NAMES) == 1
    again = tmp_path / "zoo" / "again.sqlite"
    digest = hashlib.sha256((folder / "audit.json").read_bytes()).hexdigest()
    record_audit(again, made.result, folder=folder, audit_sha256=digest, **NAMES)
    assert tables(database) == tables(again)
    (folder / "audit.json").unlink()
    with pytest.raises(OutputError, match=r"found no audit\.json"):
        record_folder(database, folder, **NAMES)


def test_a_diff_is_kept_once_and_read_back(database: Path, tmp_path: Path) -> None:
    """As a comparison of two real results writes it in JSON."""
    both = [
        make_zoo_audit("net", weights=weights * 64, strength=strength)
        for weights, strength in (("a", 0.3), ("b", 0.7))
    ]
    before_id, after_id = (keep_net(database, made) for made in both)
    one, other = (Audited(made, str(tmp_path), "0" * 64) for made in both)
    found = diff(one, other, Changes())
    for _ in range(2):
        record_diff(database, before_id, after_id, json.loads(found.model_dump_json()))
    (kept,) = read_history(database).diffs
    assert (kept.before_id, kept.after_id) == (before_id, after_id)
    assert [cause.name for cause in kept.causes] == [cause.name for cause in found.causes]
    assert kept.conclusions == {each.backbone: each.text for each in found.conclusions}
    assert len(found.changes) > 50
    assert len(tables(database)["changes"]) == len(found.changes)
    for row, change in zip(kept.changes, found.changes, strict=True):
        assert (row.outcome, row.layer, row.is_paired, row.difference_estimate.lower) == (
            change.outcome,
            change.layer,
            change.paired,
            change.difference.lower,
        )


def test_runs_and_their_states_are_read_back(database: Path, kept: int) -> None:
    states = [EntryState("faces", "net", "unchanged", "", kept)]
    for zoo, started in (("demo", "2026-02-01T00:00:00"), ("other", "2026-03-01T00:00:00")):
        record_run(database, zoo=zoo, started=started, seconds=2.0, command="c", states=states)
    run = read_history(database, zoo="demo").run
    assert run is not None
    assert (run.zoo, run.states[0].state, run.states[0].audit_id) == ("demo", "unchanged", kept)
    assert read_history(database, zoo="other").audits == ()


def test_the_document_holds_the_schema_of_today_and_its_questions_run(database: Path) -> None:
    blocks = re.findall(r"```sql\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), flags=re.DOTALL)
    *questions, schema = blocks
    assert schema.strip() == MIGRATIONS[-1].strip()
    one, other = (keep_net(database, strength=1.0, weights=name * 64) for name in "ab")
    changes = compared("weights", "a -> b", "net", [difference("worse", 0.05)])
    record_diff(database, one, other, changes)
    assert len(questions) == 5
    for question in questions:
        assert ask(database, question), question
    packages = ask(database, "SELECT packages FROM audits")[0][0]
    assert json.loads(packages)["bias-audit"] == "0.1.0"
    written = ask(database, "SELECT sql FROM sqlite_master WHERE sql IS NOT NULL")
    assert "\n\n".join(f"{text};" for (text,) in written).split() == schema.split()
    described = re.findall(r"CREATE (?:TABLE|VIEW) \w+ .*-- [A-Z].*\.\n", schema)
    assert len(described) == len(re.findall("CREATE (?:TABLE|VIEW)", schema)) == 18
