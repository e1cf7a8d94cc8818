"""Criteria on real weights: the verdict on the terminal, in the results and in the exit code."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from bias_audit import cli
from bias_audit.results.judge import judge
from bias_audit.results.store import read_audit
from tests.functional.conftest import bias_audit
from tests.report.synthetic import make_audit
from tests.results.judged import criterion, curve, normal, subject

Write = Callable[[dict[str, Any]], Path]
WHY = "chosen to show a verdict"
PASSES = {"name": "decodable", "quantity": "macro_auc", "target": "gender", "at_least": 0.0}
FAILS = {"name": "not decodable", "quantity": "macro_auc", "target": "gender", "at_most": 0.1}
OPEN = {
    "name": "no groups",
    "quantity": "recall",
    "of": "lift",
    "target": "gender",
    "at_most": 1.0,
}


def quick(config: dict[str, Any], *criteria: dict[str, Any]) -> dict[str, Any]:
    """One layer, one analysis, no controls but shuffled labels."""
    config["backbones"][0]["layers"] = ["layer4"]
    config["controls"] = {"random_weights": 0, "image": False, "shuffles": 1}
    config["analyses"] = config["analyses"][:1]
    config["criteria"] = [{"rationale": WHY} | each for each in criteria]
    return config


def test_verdicts_set_the_exit_code(
    tiny: dict[str, Any], write_config: Write, tmp_path: Path
) -> None:
    """The activations are stored by the first run, so the others make no forward pass."""
    cases = (
        ((PASSES,), 0, ["PASS"]),
        ((PASSES, OPEN), 3, ["PASS", "INCONCLUSIVE"]),
        ((OPEN, FAILS, PASSES), 1, ["INCONCLUSIVE", "FAIL", "PASS"]),
    )
    for criteria, code, outcomes in cases:
        config = write_config(quick(tiny, *criteria))
        done = bias_audit("run", config, "--replace", cwd=tmp_path)
        assert done.returncode == code, done.stdout + done.stderr
        result = read_audit(tmp_path / "runs" / "small")
        assert [verdict.outcome for verdict in result.verdicts] == outcomes
        page = (tmp_path / "runs" / "small" / "report.html").read_text()
        for outcome in outcomes:
            assert outcome in done.stdout
            assert outcome in page
        assert WHY in page


def test_a_failed_analysis_comes_before_any_verdict(
    tiny: dict[str, Any], write_config: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bias_audit.analyses.analysis import Analysis
    from bias_audit.audit import plan
    from bias_audit.config.catalog import ANALYSES
    from bias_audit.errors import AnalysisError

    def broken(*_: object) -> None:
        raise AnalysisError("no reason")

    real = ANALYSES.load("linear_probe")
    failing: Analysis[Any] = Analysis(
        title=real.title,
        params_type=real.params_type,
        run=broken,  # type: ignore[arg-type]
        quantities=real.quantities,
    )

    class Patched:
        def load(self, _kind: str) -> Analysis[Any]:
            return failing

    monkeypatch.setattr(plan, "ANALYSES", Patched())
    monkeypatch.chdir(tmp_path)
    config = write_config(quick(tiny, FAILS))
    done = CliRunner().invoke(cli.app, ["run", str(config)])
    assert done.exit_code == 4, done.output
    (verdict,) = read_audit(tmp_path / "runs" / "small").verdicts
    assert verdict.outcome == "INCONCLUSIVE"
    assert "not computed: Linear decodability" in verdict.reason


@pytest.mark.parametrize(
    ("value", "code"), [(0.5, 0), (0.7, 1), (0.6, 3)], ids=["PASS", "FAIL", "INCONCLUSIVE"]
)
def test_each_outcome_has_its_exit_code(value: float, code: int) -> None:
    made = subject(curve([normal(value)]))
    result = make_audit().result.model_copy(
        update={"subjects": (made,), "verdicts": judge([criterion()], [made])}
    )
    assert cli._exit_code(result) == code


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"quantity": "macro_auk"}, "did you mean 'macro_auc'?"),
        ({"target": "gendr"}, "did you mean 'gender'?"),
        ({"layer": "layr4"}, "did you mean 'layer4'?"),
        ({"groups": {"race": "asan"}}, "unknown group of race 'asan'"),
        ({"groups": {"raze": "asian"}}, "did you mean 'race'?"),
        ({"at_least": 0.2}, "exactly one of at_most, at_least and within"),
        ({"at_most": None}, "got none"),
        ({"at_most": None, "within": [0.7, 0.3]}, "the lowest first"),
        ({"rationale": " "}, "rationale"),
        ({"rational": "x"}, "did you mean 'rationale'?"),
        ({"level": 1.0}, "less than 1"),
    ],
)
def test_a_criterion_that_cannot_be_judged_is_refused_before_the_forward_pass(
    tiny: dict[str, Any], write_config: Write, tmp_path: Path, change: Any, expected: str
) -> None:
    config = write_config(quick(tiny, FAILS | change))
    done = CliRunner().invoke(
        cli.app, ["run", str(config), "--set", f"output.folder={tmp_path / 'run'}",
                  "--set", f"output.cache={tmp_path / 'runs' / 'cache'}"],
    )  # fmt: skip
    assert done.exit_code == 2, done.output
    assert expected in done.output.replace("\n", " ")
    assert "Forward pass" not in done.output


def test_a_defect_does_not_look_like_a_failed_criterion(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def defect() -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(cli, "app", defect)
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert caught.value.code == 70
    assert "a bug" in capsys.readouterr().err
