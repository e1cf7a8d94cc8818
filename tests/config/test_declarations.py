from __future__ import annotations

import re
from datetime import date
from pathlib import Path

import pytest

from bias_audit.audit.provenance import config_sha256
from bias_audit.config.load import load_config
from bias_audit.errors import ConfigError

ROOT = Path(__file__).resolve().parents[2]
PLAIN = """\
name: demo
data: {kind: parametric}
backbones: [{kind: bundled}]
analyses: [{kind: linear_probe}]
criteria:
  - {name: gender is hidden, quantity: macro_auc, target: gender, at_most: 0.6, rationale: why}
"""
DECLARED = """\
declarations:
  responsible_person: A. Person, auditor
  regulations:
    - {name: EU AI Act, version: Regulation (EU) 2024/1689, date: 2024-07-12}
    - {name: IEEE 7003, date: "2024-12-01"}
  scenarios:
    - {group: women over 60, threshold: 0.6, criteria: [gender is hidden]}
    - {}
"""


def load(folder: Path, text: str) -> None:
    path = folder / "audit.yaml"
    path.write_text(text)
    load_config(path)


def test_everything_may_be_left_out(tmp_path: Path) -> None:
    path = tmp_path / "audit.yaml"
    path.write_text(PLAIN)
    assert load_config(path).declarations is None
    path.write_text(PLAIN + "declarations: {}\n")
    declared = load_config(path).declarations
    assert declared is not None
    assert not any(getattr(declared, name) for name in type(declared).model_fields)


def test_what_is_declared_is_kept_as_said(tmp_path: Path) -> None:
    path = tmp_path / "audit.yaml"
    path.write_text(PLAIN + DECLARED)
    declared = load_config(path).declarations
    assert declared is not None
    assert declared.responsible_person == "A. Person, auditor"
    assert [entry.date for entry in declared.regulations] == [date(2024, 7, 12), date(2024, 12, 1)]
    assert declared.scenarios[0].criteria == ("gender is hidden",)
    assert declared.scenarios[0].threshold == "0.6"
    assert declared.purpose is None


def test_declarations_leave_the_fingerprint_of_an_audit_alone(tmp_path: Path) -> None:
    path = tmp_path / "audit.yaml"
    path.write_text(PLAIN)
    before = load_config(path)
    path.write_text(PLAIN + DECLARED)
    assert config_sha256(load_config(path)) == config_sha256(before)
    assert config_sha256(load_config(path, ["seed=3"])) != config_sha256(before)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("  purposes: x", "declarations.purposes: unknown key .* did you mean 'purpose'"),
        ("  purpose: ' '", "declarations.purpose: .* at least 1 character"),
        ("  scenarios: [{metrics: x}]", r"scenarios.0.metrics: .* did you mean 'metric'"),
        ("  regulations: [{version: x}]", r"regulations.0.name: missing"),
        ("  regulations: [{name: x, date: 2024}]", "expected a date such as 2024-07-12"),
        ("  regulations: [{name: x, date: last year}]", r"regulations.0.date: .*'last year'"),
        (
            "  scenarios: [{}, {criteria: [gendr is hidden]}]",
            r"scenarios.1.criteria: unknown criterion 'gendr is hidden'; did you mean 'gender is "
            r"hidden'\?",
        ),
    ],
)
def test_what_cannot_be_meant_is_told_with_its_line(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(ConfigError, match=rf"line \d+: .*{told}"):
        load(tmp_path, f"{PLAIN}declarations:\n{text}\n")


def test_a_scenario_cannot_name_criteria_where_there_are_none(tmp_path: Path) -> None:
    plain = PLAIN.split("criteria:", maxsplit=1)[0]
    text = f"{plain}declarations: {{scenarios: [{{criteria: [x]}}]}}\n"
    with pytest.raises(ConfigError, match="the config declares no criteria"):
        load(tmp_path, text)


def test_the_shipped_example_holds_once_its_marks_are_taken_away(tmp_path: Path) -> None:
    text = (ROOT / "audit_configs" / "fairface_resnet50.yaml").read_text(encoding="utf-8")
    keys = r"# (criteria|declarations|  .*|    .*|      .*)$"
    path = tmp_path / "example.yaml"
    path.write_text(
        re.sub(keys, lambda line: line.group()[2:], text, flags=re.MULTILINE)
        .replace("# criteria:", "criteria:")
        .replace("# declarations:", "declarations:")
    )
    config = load_config(path)
    assert config.criteria
    assert config.declarations is not None
    assert config.declarations.scenarios[0].criteria
    unfilled = [
        n for n in type(config.declarations).model_fields if not getattr(config.declarations, n)
    ]
    assert unfilled == []
