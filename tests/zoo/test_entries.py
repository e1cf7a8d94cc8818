"""From the config of a zoo to its entries."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import timm

from bias_audit.config.load import load_config, load_zoo
from bias_audit.errors import ConfigError
from bias_audit.files import safe_name
from bias_audit.zoo.entries import chosen_entries, entries
from tests.zoo.conftest import Zoo

CONFIGS = Path(__file__).resolve().parents[2] / "audit_configs"


def test_a_pattern_is_every_pretrained_tag_of_timm_that_matches() -> None:
    found = [entry.label for entry in entries(load_zoo(CONFIGS / "zoo.yaml"))]
    tags = {name for name in timm.list_pretrained("resnet*_in1k") if "resnetv2" not in name}
    assert sorted(found) == sorted(2 * list(tags))  # on two data sets


def test_a_pattern_of_files_is_every_file_and_entries_can_be_chosen(zoo: Zoo) -> None:
    everything = entries(zoo.load())
    assert [entry.key for entry in everything] == [("faces", "one"), ("faces", "two")]
    for pattern in ("two", "t*", "faces/two"):
        assert chosen_entries(everything, [pattern], source="tiny") == everything[1:]
    with pytest.raises(ConfigError, match="did you mean 'one'"):
        chosen_entries(everything, ["on"], source="tiny")
    zoo.settings["backbones"][0]["leave_out"] = ["two*"]
    assert [entry.label for entry in entries(zoo.load())] == ["one"]


@pytest.mark.parametrize(
    ("backbone", "n", "message"),
    [
        ({"match": "/nowhere/*"}, 1, "match: expected at least one checkpoint file, got none"),
        ({"leave_out": ["*"]}, 1, "leave_out: all 2 that match"),
        ({}, 2, r"2 times 'one'.*\n.*2 times 'two'"),
    ],
)
def test_a_pattern_that_gives_nothing_or_a_label_twice_is_refused(
    zoo: Zoo, backbone: dict[str, object], n: int, message: str
) -> None:
    zoo.settings["backbones"][0] |= backbone
    zoo.settings["backbones"] *= n
    with pytest.raises(ConfigError, match=message):
        entries(zoo.load())


def test_criteria_go_to_the_backbones_and_data_sets_they_name(zoo: Zoo) -> None:
    criterion = {"quantity": "macro_auc", "target": "age", "at_most": 0.9, "rationale": "a test"}
    zoo.settings["criteria"] = [
        criterion | {"name": "all"},
        criterion | {"name": "of one", "backbones": ["one"]},
    ]
    zoo.settings["datasets"][0]["criteria"] = [criterion | {"name": "of faces"}]
    found = {e.label: [c.name for c in e.config.criteria] for e in entries(zoo.load())}
    assert found == {"one": ["all", "of one", "of faces"], "two": ["all", "of faces"]}


def test_every_problem_of_a_config_is_told_with_its_line(zoo: Zoo) -> None:
    zoo.settings["backbones"] = [{"kind": "checkpoint", "match": "*", "label": "x"}]
    zoo.settings["datasets"][0]["data"]["kind"] = "manifests"
    zoo.settings["analyses"][0]["fold"] = 3
    zoo.settings["executor"] = {"kind": "rey"}
    with pytest.raises(ConfigError) as caught:
        zoo.load()
    for part in ("'manifest'", "'folds'", "label for a single backbone only", "'ray'", "line "):
        assert part in str(caught.value)


def test_the_wrong_kind_of_config_is_told(zoo: Zoo) -> None:
    zoo.load()
    with pytest.raises(ConfigError, match="use `bias-audit zoo run`"):
        load_config(zoo.config)
    with pytest.raises(ConfigError, match="use `bias-audit run`"):
        load_zoo(CONFIGS / "quickstart.yaml")


@pytest.mark.parametrize("text", ["a/b", "../x", "ü", "x" * 300, ".hidden", "-x"])
def test_any_label_is_a_safe_file_name_of_its_own(text: str) -> None:
    name = safe_name(text)
    assert name != safe_name(f"{text}.")
    assert len(name) <= 64 and re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name)
