"""What the README promises exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from bias_audit.audit.plan import make_plan
from bias_audit.config.load import load_config, load_zoo

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_verbs_are_those_of_the_command_line() -> None:
    documented = set(re.findall(r"`bias-audit ([a-z]+(?: [a-z]+)?)", README))
    assert documented == {
        "check",
        "data check",
        "diff",
        "export",
        "layers",
        "render",
        "run",
        "schema",
        "selftest",
        "verify",
        "zoo plan",
        "zoo prune",
        "zoo report",
        "zoo run",
        "zoo status",
    }


def test_shipped_configs_are_named() -> None:
    for path in (ROOT / "audit_configs").glob("*.yaml"):
        assert f"`{path.stem}`" in README


def test_links_and_pictures_exist() -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", README):
        assert (ROOT / target).exists(), target


@pytest.mark.parametrize("text", re.findall(r"```yaml\n(.*?)```", README, flags=re.DOTALL))
def test_example_configs_are_valid(text: str, tmp_path: Path) -> None:
    path = tmp_path / "example.yaml"
    path.write_text(text)
    given = yaml.safe_load(text)
    assert given["name"]
    if "datasets" in given:
        assert load_zoo(path).datasets
    else:
        assert make_plan(load_config(path)).backbones


def test_exit_codes_are_those_of_the_errors() -> None:
    from bias_audit import cli, errors

    for error in (errors.ConfigError, errors.DataError, errors.BackboneError):
        assert error.exit_code == 2
    assert errors.OutputError.exit_code == 5
    told = re.search(r"\*\*Exit codes:\*\* (.*?)\n\n", README, flags=re.DOTALL)
    assert told is not None
    codes = set(re.findall(r"(?:^|; )(\d+) ", told.group(1).replace("\n", " ")))
    constants = {str(value) for name, value in vars(cli).items() if name.startswith("EXIT_")}
    assert codes == {"0", "2", "5", *constants}
    assert constants == {"1", "3", "4", "70", "130"}
    for code in codes - {"70"}:
        assert re.search(rf"\b{code} ", cli.app.info.epilog or ""), code
