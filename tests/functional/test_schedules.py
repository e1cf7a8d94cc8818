"""The recipes for schedules do what they say, as far as one machine can tell."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.functional import tiny_zoo

ROOT = Path(__file__).parents[2]
RECIPES = ROOT / "docs" / "recipes"
WORKFLOW = RECIPES / "github-workflow.yml"
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
    command.write_text(
        f'#!/bin/sh\nexport PYTHONPATH="{ROOT}" OMP_NUM_THREADS=1\n'
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


@pytest.mark.slow
def test_the_line_of_cron_audits_and_mails_only_what_needs_a_look(served: Path) -> None:
    _, command = _cron()
    command = command.replace(SERVED, str(served))
    quiet = _ended("/bin/sh", "-c", command, env=BARE)
    assert (quiet.returncode, quiet.stdout + quiet.stderr) == (0, "")
    assert "Zoo tiny: PASS" in (served / "summary.txt").read_text()
    config = (served / "zoo.yaml").read_text()
    (served / "zoo.yaml").write_text(config.replace("at_least: 0.01", "at_least: 0.999"))
    loud = _ended("/bin/sh", "-c", command, env=BARE)
    (served / "zoo.yaml").write_text(config)
    assert loud.returncode == 1, loud.stdout
    assert loud.stdout.startswith("Exit code 1; see zoo.log.")
    assert "Zoo tiny: FAIL" in loud.stdout


def _ended(
    *command: str, env: Mapping[str, str] = os.environ, cwd: Path = Path("/")
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, env=env, cwd=cwd, capture_output=True, text=True, check=False)


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd's own check")
def test_the_units_of_systemd_are_valid(served: Path, tmp_path: Path) -> None:
    units = []
    for name in ("bias-audit-zoo.service", "bias-audit-zoo.timer"):
        units.append(tmp_path / name)
        units[-1].write_text((RECIPES / name).read_text().replace(SERVED, str(served)))
    done = _ended("systemd-analyze", "verify", "--man=no", *map(str, units))
    about_ours = [line for line in done.stderr.splitlines() if "bias-audit-zoo" in line]
    assert about_ours == []
    when = _value(units[1], "OnCalendar")
    assert _ended("systemd-analyze", "calendar", when).returncode == 0


def test_the_service_runs_the_command_of_the_other_recipes() -> None:
    _, cron = _cron()
    service = RECIPES / "bias-audit-zoo.service"
    command = _value(service, "ExecStart").removeprefix(f"{_value(service, 'WorkingDirectory')}/")
    assert command in cron


def _value(unit: Path, key: str) -> str:
    (value,) = re.findall(rf"^{key}=(.*)$", unit.read_text(), re.MULTILINE)
    return str(value)


def test_workflows_fit_githubs_schema() -> None:
    schema = ("--builtin-schema", "vendor.github-workflows")
    files = (WORKFLOW, *(ROOT / ".github" / "workflows").glob("*.yml"))
    done = _ended(sys.executable, "-m", "check_jsonschema", *schema, *map(str, files))
    assert done.returncode == 0, done.stdout


def _steps() -> list[dict[str, Any]]:
    return list(yaml.safe_load(WORKFLOW.read_text())["jobs"]["audit"]["steps"])


@pytest.mark.slow
def test_the_steps_of_the_workflow_run(served: Path) -> None:
    steps = [step for step in _steps() if "run" in step]
    assert steps.pop(0) == {"name": "Install", "run": "pip install bias-audit"}
    shown = served / "step_summary.md"
    path = f"{served}/.venv/bin:{BARE['PATH']}"
    env = {**BARE, "PATH": path, "GITHUB_STEP_SUMMARY": str(shown)}
    for step in steps:
        done = _ended("bash", "-e", "-c", step["run"], env=env, cwd=served)
        assert done.returncode == 0, done.stdout + done.stderr
    assert "Zoo tiny: PASS" in shown.read_text()
    (kept,) = (step for step in _steps() if step.get("name") == "Keep the report")
    for pattern in kept["with"]["path"].split():
        if not pattern.startswith("!") and not pattern.endswith(".pdf"):
            assert list(served.glob(pattern)), pattern


def test_what_keeps_the_state_and_the_report_runs_after_a_failed_gate() -> None:
    steps = _steps()
    gate = next(i for i, step in enumerate(steps) if "zoo run" in step.get("run", ""))
    assert all(step.get("if") == "always()" for step in steps[gate + 1 :])
    assert "continue-on-error" not in steps[gate]


def test_every_recipe_is_described() -> None:
    text = (RECIPES.parent / "scheduling.md").read_text()
    for path in RECIPES.iterdir():
        assert path.name in text or path.suffix in text, path.name
