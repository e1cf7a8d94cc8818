"""The recipes for schedules do what they say, as far as one machine can tell."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.functional import tiny_zoo

DOCS = Path(__file__).parents[2] / "docs"
RECIPES = DOCS / "recipes"
SERVED = "/srv/audits"
BARE = {"HOME": "/root", "LOGNAME": "root", "PATH": "/usr/bin:/bin", "SHELL": "/bin/sh"}
"""What cron gives to its commands."""


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, stored_self_test: Path) -> Path:
    """What the recipes expect in their folder: a zoo's config, and the command."""
    folder = tmp_path_factory.mktemp("served")
    tiny_zoo.make(folder, {**tiny_zoo.WITHOUT_REPORTS, "changes": {}})
    shutil.copytree(stored_self_test, folder / "runs" / "cache")
    command = folder / ".venv" / "bin" / "bias-audit"
    command.parent.mkdir(parents=True)
    root = Path(__file__).parents[2]
    command.write_text(
        f'#!/bin/sh\nexport PYTHONPATH="{root}" OMP_NUM_THREADS=1\n'
        f'exec "{sys.executable}" -m bias_audit.cli "$@"\n'
    )
    command.chmod(0o755)
    return folder


def _cron() -> tuple[list[str], str]:
    """Fields of time, and the command as cron passes it to the shell."""
    lines = (RECIPES / "crontab").read_text().splitlines()
    (line,) = (each for each in lines if each and not re.match(r"#|[A-Z]+=", each))
    *fields, command = line.split(maxsplit=5)
    assert "%" not in command  # cron would turn it into a line break
    return fields, command


def test_the_line_of_cron_names_a_time() -> None:
    fields, _ = _cron()
    lowest, highest = (0, 0, 1, 1, 0), (59, 23, 31, 12, 7)
    for field, low, high in zip(fields, lowest, highest, strict=True):
        assert field == "*" or low <= int(field) <= high


def test_the_line_of_cron_audits_and_mails_only_what_needs_a_look(served: Path) -> None:
    _, command = _cron()
    command = command.replace(SERVED, str(served))
    quiet = _shell(command)
    assert (quiet.returncode, quiet.stdout + quiet.stderr) == (0, "")
    assert "Zoo tiny: PASS" in (served / "summary.txt").read_text()
    config = (served / "zoo.yaml").read_text()
    (served / "zoo.yaml").write_text(config.replace("at_least: 0.01", "at_least: 0.999"))
    loud = _shell(command)
    (served / "zoo.yaml").write_text(config)
    assert loud.returncode == 1, loud.stdout
    assert loud.stdout.startswith("Exit code 1; see zoo.log.")
    assert "Zoo tiny: FAIL" in loud.stdout


def _shell(command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["/bin/sh", "-c", command], env=BARE, cwd="/", capture_output=True, text=True, check=False
    )


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd's own check")
def test_the_units_of_systemd_are_valid(served: Path, tmp_path: Path) -> None:
    units = []
    for name in ("bias-audit-zoo.service", "bias-audit-zoo.timer"):
        units.append(tmp_path / name)
        units[-1].write_text((RECIPES / name).read_text().replace(SERVED, str(served)))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *map(str, units)],
        capture_output=True,
        text=True,
        check=False,
    )
    about_ours = [line for line in done.stderr.splitlines() if "bias-audit-zoo" in line]
    assert about_ours == []
    when = _value(units[1], "OnCalendar")
    assert subprocess.run(["systemd-analyze", "calendar", when], check=False).returncode == 0


def test_the_service_runs_the_command_of_the_other_recipes() -> None:
    _, cron = _cron()
    service = RECIPES / "bias-audit-zoo.service"
    command = _value(service, "ExecStart").removeprefix(f"{_value(service, 'WorkingDirectory')}/")
    assert command in cron


def _value(unit: Path, key: str) -> str:
    (value,) = re.findall(rf"^{key}=(.*)$", unit.read_text(), re.MULTILINE)
    return str(value)


def test_the_workflow_fits_githubs_schema() -> None:
    done = subprocess.run(
        [
            *(sys.executable, "-m", "check_jsonschema"),
            *("--builtin-schema", "vendor.github-workflows"),
            str(RECIPES / "github-workflow.yml"),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


def test_the_steps_of_the_workflow_run(served: Path) -> None:
    workflow: dict[str, Any] = yaml.safe_load((RECIPES / "github-workflow.yml").read_text())
    steps = [step for step in workflow["jobs"]["audit"]["steps"] if "run" in step]
    assert steps.pop(0) == {"name": "Install", "run": "pip install bias-audit"}
    shown = served / "step_summary.md"
    for step in steps:
        done = subprocess.run(
            ["bash", "-e", "-c", step["run"]],
            cwd=served,
            env={
                **BARE,
                "PATH": f"{served}/.venv/bin:{BARE['PATH']}",
                "GITHUB_STEP_SUMMARY": str(shown),
            },
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
    assert "Zoo tiny: PASS" in shown.read_text()
    for pattern in _kept(workflow):
        if not pattern.startswith("!") and not pattern.endswith(".pdf"):
            assert list(served.glob(pattern)), pattern


def _kept(workflow: dict[str, Any]) -> list[str]:
    for step in workflow["jobs"]["audit"]["steps"]:
        if step.get("name") == "Keep the report":
            return str(step["with"]["path"]).split()
    raise AssertionError


def test_what_keeps_the_state_and_the_report_runs_after_a_failed_gate() -> None:
    workflow: dict[str, Any] = yaml.safe_load((RECIPES / "github-workflow.yml").read_text())
    steps = workflow["jobs"]["audit"]["steps"]
    gate = next(i for i, step in enumerate(steps) if "zoo run" in step.get("run", ""))
    assert all(step.get("if") == "always()" for step in steps[gate + 1 :])
    assert "continue-on-error" not in steps[gate]


def test_every_recipe_is_described() -> None:
    text = (DOCS / "scheduling.md").read_text()
    for path in RECIPES.iterdir():
        assert path.name in text or path.suffix in text, path.name
