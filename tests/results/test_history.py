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
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from bias_audit.config.schema import Changes
from bias_audit.errors import OutputError
from bias_audit.results.diff import diff
from bias_audit.results.differing.comparables import Audited
from bias_audit.results.history import opening, rows
from bias_audit.results.history.opening import reading_from, writing_to
from bias_audit.results.history.reading import read_history
from bias_audit.results.history.recording import (
    EntryState,
    RunFolder,
    mark_pruned,
    rebuild,
    record_audit,
    record_diff,
    record_run,
)
from bias_audit.results.history.schema import MIGRATIONS, VERSION
from bias_audit.shapes.layer_curve import LayerCurve
from tests.report.synthetic import criteria_of, make_audit
from tests.report.zoo_history import compared, difference, keep, make_zoo_audit

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "history.md"


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "zoo" / "history.sqlite"


def tables(database: Path) -> dict[str, list[tuple[Any, ...]]]:
    """All that is kept, by table; by sqlite3 alone."""
    connection = sqlite3.connect(database)
    try:
        names = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        return {
            name: connection.execute(f"SELECT * FROM {name}").fetchall()
            for (name,) in names.fetchall()
        }
    finally:
        connection.close()


def test_the_same_audit_is_kept_once(database: Path) -> None:
    result = make_zoo_audit("net")
    first = keep(database, result, dataset="faces", entry="net")
    before = tables(database)
    assert keep(database, result, dataset="faces", entry="net") == first
    assert tables(database) == before


def test_every_number_of_the_result_is_kept_with_its_interval(database: Path) -> None:
    """Against the result itself, with blocks of every shape, an empty group and a failure."""
    result = make_audit(
        empty=(5,), failed=True, backbones=("one", "two"), criteria=criteria_of("age")
    ).result
    keep(database, result, dataset="faces", entry="both")
    kept = tables(database)
    assert [row[3] for row in kept["backbones"]] == ["one", "two"]
    assert len(kept["verdicts"]) == len(result.verdicts)
    with sqlite3.connect(database) as connection:
        stored = connection.execute(
            "SELECT b.name, quantity, target, layer, value, lower, upper, level, e.n, lift "
            "FROM estimates e JOIN backbones b ON b.id = e.backbone_id "
            "WHERE group_name IS NULL AND value IS NOT NULL AND quantity IN ('macro_auc', 'bits') "
            "ORDER BY b.position, e.position"
        ).fetchall()
    told = [
        (
            s.backbone.name,
            block.quantity,
            curve.target,
            point.layer,
            e.value,
            e.lower,
            e.upper,
            e.level,
            e.n,
            point.lift and point.lift.value,
        )
        for s in result.subjects
        for analysis in s.analyses
        for block in analysis.blocks
        if isinstance(block, LayerCurve) and block.quantity in {"macro_auc", "bits"}
        for curve in block.curves
        for point in curve.points
        if (e := point.estimate) is not None
    ]
    assert len(told) > 50
    assert stored == told
    missing = [row for row in kept["estimates"] if row[9] is None]
    assert missing
    assert all(row[-1] for row in missing), "why it was not measured"
    assert kept["audits"][0][10] == "failed"


def test_an_audit_that_cannot_be_kept_whole_is_not_kept(
    database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep(database, make_zoo_audit("first"), dataset="faces", entry="first")
    before = tables(database)

    def breaks(_: object) -> rows.Row:
        raise RuntimeError("in the middle")

    monkeypatch.setattr(rows, "cost_row", breaks)
    with pytest.raises(RuntimeError, match="in the middle"):
        keep(database, make_zoo_audit("second"), dataset="faces", entry="second")
    assert tables(database) == before


def test_a_killed_writer_leaves_what_was_there(database: Path) -> None:
    keep(database, make_zoo_audit("first"), dataset="faces", entry="first")
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
    kept = tables(database)["runs"]
    assert sorted(row[1] for row in kept) == ["one"] * 20 + ["two"] * 20


def test_a_newer_schema_is_refused_and_left_alone(database: Path) -> None:
    keep(database, make_zoo_audit("net"), dataset="faces", entry="net")
    connection = sqlite3.connect(database)
    connection.execute(f"PRAGMA user_version = {VERSION + 1}")
    connection.close()
    content = database.read_bytes()
    told = f"schema version {VERSION} or older, got {VERSION + 1}"
    with pytest.raises(OutputError, match=told):
        read_history(database)
    with pytest.raises(OutputError, match="newer release"):
        keep(database, make_zoo_audit("other"), dataset="faces", entry="other")
    assert database.read_bytes() == content


def test_an_older_schema_is_brought_up_to_date(
    database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep(database, make_zoo_audit("net"), dataset="faces", entry="net")
    content = database.read_bytes()
    later = (*MIGRATIONS, "ALTER TABLE audits ADD COLUMN note TEXT NOT NULL DEFAULT 'none';")
    monkeypatch.setattr(opening, "MIGRATIONS", later)
    with reading_from(database) as connection:
        assert connection.execute("SELECT entry, note FROM audits").fetchall() == [("net", "none")]
    assert database.read_bytes() == content, "reading changes nothing"
    with writing_to(database, migrations=later) as connection:
        connection.execute("UPDATE audits SET note = 'kept'")
    with sqlite3.connect(database) as connection:
        assert connection.execute("SELECT entry, note FROM audits").fetchall() == [("net", "kept")]
        assert connection.execute("PRAGMA user_version").fetchone() == (VERSION + 1,)


def test_a_failed_migration_leaves_the_old_file(database: Path) -> None:
    keep(database, make_zoo_audit("net"), dataset="faces", entry="net")
    before = tables(database)
    broken = (*MIGRATIONS, "CREATE TABLE added (x);\nALTER TABLE absent ADD COLUMN y;")
    with (
        pytest.raises(OutputError, match="no such table"),
        writing_to(database, migrations=broken),
    ):
        pass
    assert tables(database) == before


@pytest.mark.parametrize(
    ("content", "told"),
    [(b"not a database at all, but long enough" * 50, "cannot be read"), (None, "found no file")],
)
def test_a_damaged_or_missing_file_is_named(
    database: Path, content: bytes | None, told: str
) -> None:
    database.parent.mkdir()
    if content is not None:
        database.write_bytes(content)
    with pytest.raises(OutputError, match=told) as caught:
        read_history(database)
    assert str(database) in str(caught.value)


def test_the_database_of_another_program_is_refused(database: Path) -> None:
    database.parent.mkdir()
    connection = sqlite3.connect(database)
    connection.execute("CREATE TABLE audits (x)")
    connection.commit()
    connection.close()
    for use in (
        lambda: read_history(database),
        lambda: keep(database, make_zoo_audit("n"), dataset="d", entry="n"),
    ):
        with pytest.raises(OutputError, match="another program"):
            use()
    assert list(tables(database)) == ["audits"]


def test_a_reader_leaves_no_file_beside_it(database: Path) -> None:
    keep(database, make_zoo_audit("net"), dataset="faces", entry="net")
    read_history(database)
    assert [path.name for path in database.parent.iterdir()] == [database.name]


def test_views_answer_in_plain_sql_and_in_pandas(database: Path) -> None:
    for day, weights in ((1, "a" * 64), (2, "b" * 64)):
        made = make_zoo_audit("net", weights=weights, strength=0.2 + 0.4 * day, seed=day)
        moved = made.model_copy(
            update={
                "provenance": made.provenance.model_copy(
                    update={"started": f"2026-03-0{day}T00:00:00+00:00"}
                )
            }
        )
        last = keep(database, moved, dataset="faces", entry="net")
    with sqlite3.connect(database) as connection:
        latest = pd.read_sql("SELECT * FROM latest_audits", connection)
        trend = pd.read_sql(
            "SELECT * FROM trend WHERE quantity = 'macro_auc' AND target = 'age'", connection
        )
        matrix = pd.read_sql("SELECT * FROM verdict_matrix", connection)
        changed = pd.read_sql("SELECT * FROM verdict_changes", connection)
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
    made = make_zoo_audit("net")
    record_audit(
        database,
        made,
        zoo="z",
        dataset="faces",
        entry="net",
        folder=run,
        fingerprint={},
        audit_sha256="a" * 64,
    )
    shutil.move(database.parent, tmp_path / "elsewhere")
    moved = tmp_path / "elsewhere" / database.name
    (audit,) = read_history(moved).audits
    assert audit.folder == "faces/net"
    assert (moved.parent / audit.folder).is_dir()


def test_pruned_audits_keep_their_numbers(database: Path) -> None:
    number = keep(database, make_zoo_audit("net"), dataset="faces", entry="net")
    before = tables(database)
    mark_pruned(database, [number])
    after = tables(database)
    assert after["estimates"] == before["estimates"]
    assert read_history(database).audits[0].is_pruned
    keep(database, make_zoo_audit("net"), dataset="faces", entry="net")
    assert not read_history(database).audits[0].is_pruned, "it was put back"


def test_a_history_is_rebuilt_from_run_folders(database: Path, tmp_path: Path) -> None:
    folder = make_audit(criteria=criteria_of("age")).write(tmp_path / "run")
    (number,) = rebuild(database, [RunFolder(folder, "z", "faces", "net")])
    again = tmp_path / "zoo" / "again.sqlite"
    made = make_audit(criteria=criteria_of("age")).result
    digest = hashlib.sha256((folder / "audit.json").read_bytes()).hexdigest()
    record_audit(
        again,
        made,
        zoo="z",
        dataset="faces",
        entry="net",
        folder=folder,
        fingerprint={},
        audit_sha256=digest,
    )
    assert number == 1
    assert tables(database) == tables(again)
    (tmp_path / "run" / "audit.json").unlink()
    with pytest.raises(OutputError, match=r"found no audit\.json"):
        rebuild(database, [RunFolder(folder, "z", "faces", "net")])


def test_a_diff_is_kept_once_and_read_back(database: Path, tmp_path: Path) -> None:
    """As a comparison of two real results writes it in JSON."""
    ids, audited = [], []
    for weights in ("a", "b"):
        made = make_zoo_audit("net", weights=weights * 64, strength=0.3 + 0.4 * (weights == "b"))
        ids.append(keep(database, made, dataset="faces", entry="net"))
        audited.append(Audited(made, str(tmp_path), "0" * 64))
    found = diff(audited[0], audited[1], Changes())
    for _ in range(2):
        record_diff(database, ids[0], ids[1], json.loads(found.model_dump_json()))
    (kept,) = read_history(database).diffs
    assert [kept.before_id, kept.after_id] == ids
    assert [cause.name for cause in kept.causes] == [cause.name for cause in found.causes]
    assert kept.conclusions == {each.backbone: each.text for each in found.conclusions}
    assert len(kept.changes) == len(found.changes) > 50
    for one, other in zip(kept.changes, found.changes, strict=True):
        assert (one.outcome, one.layer, one.is_paired) == (
            other.outcome,
            other.layer,
            other.paired,
        )
        assert one.difference.lower == other.difference.lower
    assert len(tables(database)["changes"]) == len(found.changes)


def test_runs_and_their_states_are_read_back(database: Path) -> None:
    number = keep(database, make_zoo_audit("net"), dataset="faces", entry="net")
    for zoo, started in (
        ("demo", "2026-02-01T00:00:00+00:00"),
        ("other", "2026-03-01T00:00:00+00:00"),
    ):
        states = [EntryState("faces", "net", "unchanged", "", number)]
        record_run(database, zoo=zoo, started=started, seconds=2.0, command="c", states=states)
    run = read_history(database, zoo="demo").run
    assert run is not None
    assert (run.zoo, run.states[0].state, run.states[0].audit_id) == ("demo", "unchanged", number)
    assert read_history(database, zoo="other").audits == ()


def test_the_document_holds_the_schema_of_today_and_its_questions_run(database: Path) -> None:
    blocks = re.findall(r"```sql\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), flags=re.DOTALL)
    *questions, schema = blocks
    assert schema.strip() == MIGRATIONS[-1].strip()
    one = keep(database, make_zoo_audit("net", strength=1.0), dataset="faces", entry="net")
    other = keep(
        database,
        make_zoo_audit("net", strength=1.0, weights="b" * 64),
        dataset="faces",
        entry="net",
    )
    record_diff(
        database, one, other, compared("weights", "a -> b", "net", [difference("worse", 0.05)])
    )
    assert len(questions) == 5
    with sqlite3.connect(database) as connection:
        for question in questions:
            assert connection.execute(question).fetchall(), question
        written = connection.execute(
            "SELECT sql FROM sqlite_master WHERE sql IS NOT NULL"
        ).fetchall()
    assert "\n\n".join(f"{text};" for (text,) in written).split() == schema.split()


def test_every_table_and_view_says_what_it_holds() -> None:
    made = re.findall(r"CREATE (TABLE|VIEW) (\w+) (.*)\n", MIGRATIONS[0])
    assert len(made) == 18
    for _, name, rest in made:
        assert re.search(r"-- [A-Z].*\.$", rest), name


def test_json_columns_hold_json(database: Path) -> None:
    keep(database, make_zoo_audit("net"), dataset="faces", entry="net")
    with sqlite3.connect(database) as connection:
        packages, hardware = connection.execute("SELECT packages, hardware FROM audits").fetchone()
    assert json.loads(packages)["bias-audit"] == "0.1.0"
    assert json.loads(hardware) == {"device": "cpu"}
