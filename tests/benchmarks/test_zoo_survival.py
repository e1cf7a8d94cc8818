"""Runs of a zoo killed at random, at least 50 times: where, and whether anything was lost."""

from __future__ import annotations

import random
import shutil
import time
from pathlib import Path

import pytest

from tests.functional import kills
from tests.functional.conftest import stored_self_test  # noqa: F401  a fixture
from tests.functional.kills import Trials

_KILLS = 50

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(0)]


def test_killed_fifty_times(
    tmp_path: Path,
    stored_self_test: Path,  # noqa: F811
    capsys: pytest.CaptureFixture[str],
) -> None:
    began, trials = time.monotonic(), Trials()
    with kills.forks() as run:
        kills.prepare(tmp_path, stored_self_test, run)
        bench = kills.opened(tmp_path, run)
        while trials.kills < _KILLS:
            home = tmp_path / "trial"
            kills.trial(bench, home, random.Random(1000 + trials.ends), trials)
            shutil.rmtree(home)
            places = ", ".join(f"{name} {n}" for name, n in trials.places.most_common())
            with capsys.disabled():
                seconds = time.monotonic() - began
                told = f"{trials.kills} kills, {trials.ends} ends with equal results"
                print(f"\n{told}, {seconds:.0f} s: {places}", end="")  # noqa: T201
