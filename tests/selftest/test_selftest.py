"""The self-test tells a sound audit from a broken one, is kept, and is printed."""

from __future__ import annotations

import csv
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import markupsafe
import numpy as np
import pytest
from scipy.stats import norm
from typer.testing import CliRunner

import bias_audit.analyses.probing.separability
import bias_audit.selftest.run
import bias_audit.selftest.trials
from bias_audit import cli
from bias_audit.progress import Silent, Step
from bias_audit.report.audit_page import audit_page
from bias_audit.report.figures.power_curve import write_power_curve
from bias_audit.report.page import html
from bias_audit.report.sections.method import selftest
from bias_audit.results.selftest import PowerCurve, PowerPoint, SelfTest
from bias_audit.selftest.checks import coverage, null, planted
from bias_audit.selftest.run import keep, kept, kept_or_quick, self_test
from bias_audit.selftest.simulated import LIKENESS, Design, draw
from bias_audit.selftest.trials import Mode, Sizes, Tolerance, Trials, share, started
from tests.once import once
from tests.report.synthetic import make_audit

TINY = Sizes(
    effects=(0.95,),
    planted=3,
    null=2,
    mixed=2,
    coverage=((10, 4),),
    training_sets=2,
    accuracy=2,
    engine=1,
    adverse=2,
    deciding=40,
)


class Counting(Silent):
    total = n = 0

    def step(self, title: str, *, total: int, unit: str) -> AbstractContextManager[Step]:  # noqa: ARG002
        self.total = total
        return nullcontext(self)

    def advance(self, count: int = 1) -> None:
        self.n += count

    resume = advance


def trials(seed: int = 0) -> Trials:
    return Trials(seed, Counting())


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> SelfTest:
    def make(folder: Path) -> None:
        counting, sizes = Counting(), replace(TINY, maps=1)
        made = self_test("quick", seed=7, progress=counting, sizes=sizes)
        assert counting.n == counting.total  # what the progress bar ends at
        (folder / "made.json").write_text(made.model_dump_json())

    folder = once(tmp_path_factory, "tiny_self_test", make)
    return SelfTest.model_validate_json((folder / "made.json").read_text())


def test_the_table_is_complete(found: SelfTest) -> None:
    checks = " / ".join(row.check for row in found.rows)
    for asked in (
        "planted attribute can be read",
        "minus its known value",
        "False claims that",
        'criterion "lift at most 0"',
        'criterion "macro AUC at most 0.5"',
        "Benjamini-Hochberg",
        "Intervals of macro AUC cover",
        "difference of two layers cover",
        "recall of a group cover",
        "out of fold and on fresh images",
        "scikit-learn",
        "False claims and false FAIL",
        "Wrong PASS",
        "makes a criterion conclusive",
        "difference map of groups with equal means",
    ):
        assert asked in checks
    for row in found.rows:
        assert row.trials > 0 and row.seconds >= 0 and row.expected
        assert row.estimate.lower <= row.estimate.value <= row.estimate.upper
    assert {"bias-audit", "numpy", "torch", "scipy", "scikit-learn"} <= set(found.versions)
    conditions = [r.condition for r in found.rows if r.check == "Intervals of macro AUC cover"]
    assert conditions == [f"three groups of 10, {clusters}" for clusters in coverage.CLUSTERS]


def test_nothing_fails_and_the_engine_agrees(found: SelfTest) -> None:
    assert found.not_ok == ()
    engine = found.rows[-1]
    assert engine.outcome == "OK" and engine.estimate.value <= 0.005


def test_numbers_depend_on_the_seed_and_on_it_alone(found: SelfTest) -> None:
    same, other = (list(planted.rows(TINY, trials(seed)))[1].estimate for seed in (7, 2))
    assert same == found.rows[1].estimate
    assert other != same


@pytest.mark.slow
def test_processes_do_not_change_the_numbers(found: SelfTest) -> None:
    with started(2) as executor:
        again = list(planted.rows(TINY, Trials(7, Counting(), executor)))
    assert [r.estimate for r in again] == [r.estimate for r in found.rows[: len(again)]]


@pytest.mark.slow
def test_too_narrow_intervals_are_not_ok(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = replace(TINY, coverage=((30, 12),), training_sets=3)
    monkeypatch.setattr(bias_audit.analyses.probing.separability, "widening", lambda *_: 0.3)
    rows = list(coverage.rows(sizes, trials()))
    aucs = [row for row in rows if row.check == "Intervals of macro AUC cover"]
    assert {row.outcome for row in aucs} == {"NOT OK"}


@pytest.mark.slow
def test_claims_without_a_threshold_are_not_ok(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bias_audit.analyses.probing.separability, "widening", lambda *_: 0.3)
    rows = list(null.rows(replace(TINY, null=6, mixed=1), trials()))
    claimed = [row for row in rows if row.check.startswith("False claims that")]
    assert {row.outcome for row in claimed} == {"NOT OK"}


@pytest.mark.slow
def test_difference_maps_that_claim_too_much_are_not_ok(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = replace(TINY, maps=20)
    assert {row.outcome for row in null.map_rows(sizes, trials())} == {"UNDECIDED"}
    monkeypatch.setattr(null, "ALPHA", 0.4)
    assert {row.outcome for row in null.map_rows(sizes, trials())} == {"NOT OK"}
    assert not list(null.map_rows(TINY, trials()))


def test_a_planted_direction_has_the_auc_that_is_said() -> None:
    rng = np.random.default_rng(0)
    effect = planted.Effect(0.8, 4000)
    sample = draw(effect.design, rng)
    score = sample.by_layer["late"] @ np.array([-1, 1] + [0] * 22)
    first, second = score[sample.codes[:, 0] == 0], score[sample.codes[:, 0] == 1]
    below = np.searchsorted(np.sort(first), second).mean() / len(first)
    assert below == pytest.approx(0.8, abs=0.02)
    assert norm.cdf(planted.separation_of(0.8)) == pytest.approx(0.8)


def test_images_of_a_cluster_are_alike_and_others_are_not() -> None:
    sample = draw(Design(400, {"layer": 0.0}, cluster_size=2), np.random.default_rng(0))
    units = sample.by_layer["layer"]
    twins = np.corrcoef(units[::2].ravel(), units[1::2].ravel())[0, 1]
    strangers = np.corrcoef(units[:-2:2].ravel(), units[2::2].ravel())[0, 1]
    assert twins == pytest.approx(LIKENESS, abs=0.02)
    assert abs(strangers) < 0.02
    assert units.std() == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize(("hits", "outcome"), [(95, "OK"), (60, "NOT OK"), (88, "UNDECIDED")])
def test_outcomes_follow_the_monte_carlo_interval(hits: int, outcome: str) -> None:
    found, good = share(np.array([1.0] * hits + [0.0] * (100 - hits))), share(np.ones(200))
    tolerance = Tolerance(0.85, 1)
    assert tolerance.outcome(found) == outcome
    # a part beyond makes the whole not OK
    of_all = tolerance.outcome_of_all(good, {"good": good, "found": found})
    assert of_all == ("NOT OK" if outcome == "NOT OK" else "OK")


def test_dependent_numbers_of_one_audit_count_for_less() -> None:
    each = np.array([1.0] * 80 + [0.0] * 20)
    alike = share(np.repeat(each[:, None], 3, axis=1))
    assert (alike.lower, alike.upper) == pytest.approx(
        (share(each).lower, share(each).upper), abs=1e-2
    )
    assert alike.n == 300


def test_a_kept_self_test_is_used_again(
    found: SelfTest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Mode] = []

    def tiny(mode: Mode, **_: object) -> SelfTest:
        made.append(mode)
        return found

    monkeypatch.setattr(bias_audit.selftest.run, "self_test", tiny)
    assert kept(tmp_path) is None
    assert kept_or_quick(tmp_path, Silent()) == found
    assert kept_or_quick(tmp_path, Silent()) == found
    assert made == ["quick"]
    full = found.model_copy(update={"mode": "full"})
    path = keep(tmp_path, full)
    assert kept_or_quick(tmp_path, Silent()) == full
    path.write_bytes(path.read_bytes()[:100])
    assert kept(tmp_path) == found  # what is damaged is not used
    monkeypatch.setattr(bias_audit.selftest.run, "versions", lambda: {"numpy": "of tomorrow"})
    assert kept(tmp_path) is None


def _page(found: SelfTest | None, folder: Path) -> str:
    result = make_audit().result
    bare = tuple(s.model_copy(update={"analyses": ()}) for s in result.subjects)
    result = result.model_copy(update={"selftest": found, "subjects": bare})
    return html(audit_page(result, folder), medium="screen")


def test_the_report_prints_every_check_and_says_first_what_is_not_ok(
    found: SelfTest, tmp_path: Path
) -> None:
    page = _page(found, tmp_path)
    assert page.index('id="method"') < page.index('id="selftest"') < page.index('id="provenance"')
    for cells in selftest(found).table.rows:
        assert str(markupsafe.escape(cells[0])) in page
    assert "The self-test failed" not in page
    bad = found.rows[0].model_copy(update={"outcome": "NOT OK"})
    page = _page(found.model_copy(update={"rows": (bad, *found.rows[1:])}), tmp_path)
    assert page.index("The self-test failed") < page.index('id="claims"')
    assert page.count("The self-test failed") == 2
    assert 'id="selftest"' not in _page(None, tmp_path)


@pytest.mark.parametrize("form", ["svg", "png"])
def test_the_power_curve_is_drawn(form: str, tmp_path: Path) -> None:
    points = tuple(
        PowerPoint(auc=auc, claimed=share((np.arange(20) < 20 * (2 * auc - 1)).astype(float)))
        for auc in (0.5, 0.7, 0.9)
    )
    path = tmp_path / f"power.{form}"
    data = write_power_curve(path, (PowerCurve(per_group=30, points=points),))
    assert data == tmp_path / "power.csv"
    rows = list(csv.DictReader(data.read_text().splitlines()))
    assert [(float(row["auc"]), float(row["estimate"])) for row in rows] == [
        (point.auc, point.claimed.value) for point in points
    ]
    assert path.stat().st_size > 1000


def _verb(*arguments: str) -> Any:
    return CliRunner().invoke(cli.app, ["selftest", *arguments], env={"COLUMNS": "140"})


def test_the_verb_prints_the_table_keeps_it_and_exits_0(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    smallest = Sizes((0.95,), 2, 1, 1, ((10, 2),), 2, 2, 1)
    monkeypatch.setitem(bias_audit.selftest.trials.SIZES, "quick", smallest)
    done = _verb("--quick", "--seed", "8", "--save", "--cache", str(tmp_path))
    assert done.exit_code == 0, done.output
    assert "Self-test, quick" in done.output
    assert "UNDECIDED" in done.output
    stored = kept(tmp_path)
    assert stored is not None
    assert (stored.mode, stored.seed) == ("quick", 8)


def test_without_save_nothing_is_kept_and_a_failure_exits_1(
    found: SelfTest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = found.rows[0].model_copy(update={"outcome": "NOT OK"})
    broken = found.model_copy(update={"rows": (bad, *found.rows[1:])})
    monkeypatch.setattr(bias_audit.selftest.run, "self_test", lambda *_, **__: broken)
    done = _verb("--cache", str(tmp_path))
    assert done.exit_code == 1, done.output
    assert "1 NOT OK" in done.output
    assert kept(tmp_path) is None


def test_a_power_curve_needs_a_known_format(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bias_audit.selftest.run.power_curves", lambda *_, **__: ())
    done = _verb("--power", str(tmp_path / "power.txt"))
    assert done.exit_code == 5
    assert "expected a name that ends in .svg or .png" in done.output.replace("\n", " ")
