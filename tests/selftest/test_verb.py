"""`bias-audit selftest` on the command line."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

import bias_audit.selftest.run
import bias_audit.selftest.trials
from bias_audit import cli
from bias_audit.progress import Silent
from bias_audit.results.selftest import SelfTest
from bias_audit.selftest.run import kept, self_test
from bias_audit.selftest.trials import Sizes

SMALLEST = Sizes((0.95,), 2, 1, 1, ((10, 2),), 2, 2, 1)


@pytest.fixture(scope="module")
def made() -> SelfTest:
    return self_test("quick", seed=3, progress=Silent(), sizes=SMALLEST)


def test_it_prints_the_table_keeps_it_and_exits_0(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(bias_audit.selftest.trials.SIZES, "quick", SMALLEST)
    asked = ["selftest", "--quick", "--seed", "3", "--save", "--cache", str(tmp_path)]
    done = CliRunner().invoke(cli.app, asked, env={"COLUMNS": "140"})
    assert done.exit_code == 0, done.output
    assert "Self-test, quick" in done.output
    assert "UNDECIDED" in done.output
    stored = kept(tmp_path)
    assert stored is not None
    assert (stored.mode, stored.seed) == ("quick", 3)


def test_without_save_nothing_is_kept_and_a_failure_exits_1(
    tmp_path: Path, made: SelfTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = made.rows[0].model_copy(update={"outcome": "NOT OK"})
    broken = made.model_copy(update={"rows": (bad, *made.rows[1:])})
    monkeypatch.setattr(bias_audit.selftest.run, "self_test", lambda *_, **__: broken)
    done = CliRunner().invoke(cli.app, ["selftest", "--cache", str(tmp_path)])
    assert done.exit_code == 1, done.output
    assert "1 NOT OK" in done.output
    assert kept(tmp_path) is None


def test_a_power_curve_needs_a_known_format(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bias_audit.selftest.run.power_curves", lambda *_, **__: ())
    done = CliRunner().invoke(cli.app, ["selftest", "--power", str(tmp_path / "power.txt")])
    assert done.exit_code == 5
    assert "expected a name that ends in .svg or .png" in done.output.replace("\n", " ")
