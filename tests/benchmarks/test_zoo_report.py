"""How long a large history takes to become a page, and how large the page is.

Seconds depend on the machine and on what else it does, so they are printed; size does not.
"""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from bias_audit.report.zoo.page import write_zoo_report
from bias_audit.results.history.reading import read_history
from tests.report.zoo_history import make_history

_MEBIBYTE = 2**20


@pytest.mark.benchmark
def test_a_history_of_a_thousand_audits(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """20 backbones x 2 datasets x 25 dates; 17 layers x 3 targets x 3 quantities, with costs."""
    database = tmp_path / "history.sqlite"
    names = [f"backbone_{number:02d}.in1k" for number in range(20)]
    began = time.monotonic()
    make_history(database, entries=names, dates=25)
    kept = time.monotonic() - began
    began = time.monotonic()
    assert len(read_history(database).audits) == 1000
    read = time.monotonic() - began
    began = time.monotonic()
    page = write_zoo_report(database, tmp_path / "zoo.html")
    written = time.monotonic() - began
    size, disk = page.stat().st_size / _MEBIBYTE, database.stat().st_size / _MEBIBYTE
    with capsys.disabled():
        lines = (
            f"1,000 audits made up and kept in {kept:.1f} s, {disk:.1f} MiB on disk",
            f"read in {read:.1f} s; page of {size:.2f} MiB read and written in {written:.1f} s",
        )
        print("", *lines, sep="\n")  # noqa: T201
    assert size <= 5
