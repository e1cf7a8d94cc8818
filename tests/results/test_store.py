from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import numpy as np
import pytest

from bias_audit.errors import OutputError
from bias_audit.files import write_text
from bias_audit.results.audit import AuditResult
from bias_audit.results.store import read_array, read_audit, write_arrays, write_audit
from tests.report.synthetic import make_audit


@pytest.fixture
def result() -> AuditResult:
    return make_audit().result


def test_what_is_written_is_read_back(result: AuditResult, tmp_path: Path) -> None:
    write_audit(tmp_path, result)
    assert read_audit(tmp_path) == result


def test_nothing_but_numbers_and_null_is_written(result: AuditResult, tmp_path: Path) -> None:
    write_audit(tmp_path, result)
    text = (tmp_path / "audit.json").read_text()
    json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} in audit.json"))


def test_arrays_come_back_as_they_were(tmp_path: Path) -> None:
    values = np.array([[1.0, np.nan], [2.0, 3.0]])
    write_arrays(tmp_path, "00-00-x", {"values": values})
    np.testing.assert_array_equal(read_array(tmp_path, "00-00-x", "values"), values)


@pytest.mark.parametrize("key", ["../outside", "a/b", "", ".hidden"])
def test_array_names_cannot_leave_the_folder(tmp_path: Path, key: str) -> None:
    with pytest.raises(OutputError, match="array name"):
        write_arrays(tmp_path, "00", {key: np.zeros(1)})
    with pytest.raises(OutputError, match="array name"):
        read_array(tmp_path, "00", key)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("not json", "not readable as JSON"),
        ("[" * 100_000, "not readable as JSON"),
        ("[]", "expected schema_version 3, got None"),
        ('{"schema_version": 1}', "got 1"),
        ('{"schema_version": 3, "name": "x"}', "damaged at"),
    ],
)
def test_a_damaged_result_is_refused(tmp_path: Path, text: str, expected: str) -> None:
    (tmp_path / "audit.json").write_text(text)
    with pytest.raises(OutputError, match=expected):
        read_audit(tmp_path)


def test_a_damaged_array_is_refused(tmp_path: Path) -> None:
    write_arrays(tmp_path, "00", {"values": np.zeros(100)})
    path = tmp_path / "arrays" / "00" / "values.npy"
    path.write_bytes(path.read_bytes()[:150])
    with pytest.raises(OutputError, match="expected an array of this run"):
        read_array(tmp_path, "00", "values")


def test_new_files_follow_the_users_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_text(tmp_path / "a.txt", "x")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a.txt").stat().st_mode) == 0o640


def test_a_failed_write_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import errno

    write_text(tmp_path / "a.txt", "old")

    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match="no space left"):
        write_text(tmp_path / "a.txt", "new")
    assert (tmp_path / "a.txt").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]
