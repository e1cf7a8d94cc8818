"""Every run holds and prints a self-test of the code that made it."""

from __future__ import annotations

from pathlib import Path

from bias_audit.results.store import read_audit
from bias_audit.selftest.run import code_digest, told, versions


def test_a_run_holds_the_stored_self_test_and_prints_it(finished: Path) -> None:
    run = finished / "runs" / "small"
    found = read_audit(run).selftest
    assert found is not None
    assert found.code == code_digest()
    assert found.versions == versions()
    said = " ".join((finished / "stdout.txt").read_text().split())
    assert f"Self-test of the statistics: {told(found)}, as stored" in said
    page = (run / "report.html").read_text()
    assert 'id="selftest"' in page
    assert all(row.condition in page for row in found.rows)
