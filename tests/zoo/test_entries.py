"""From the config of a zoo to its entries."""

from __future__ import annotations

from pathlib import Path

import pytest
import timm

from bias_audit.config.load import load_config, load_zoo
from bias_audit.errors import ConfigError
from bias_audit.zoo.entries import chosen_entries, entries, safe_name
from tests.zoo.conftest import Zoo

CONFIGS = Path(__file__).resolve().parents[2] / "audit_configs"


def test_a_pattern_is_every_pretrained_tag_of_timm_that_matches() -> None:
    zoo = load_zoo(CONFIGS / "zoo.yaml")
    found = {entry.label for entry in entries(zoo)}
    tags = {name for name in timm.list_pretrained("resnet*_in1k") if "resnetv2" not in name}
    assert found == tags
    assert len(entries(zoo)) == 2 * len(tags)


def test_a_pattern_of_files_is_every_file(zoo: Zoo) -> None:
    assert [entry.key for entry in entries(zoo.load())] == [("faces", "one"), ("faces", "two")]
    zoo.settings["backbones"][0]["leave_out"] = ["two*"]
    assert [entry.label for entry in entries(zoo.load())] == ["one"]


@pytest.mark.parametrize(
    ("backbone", "message"),
    [
        ({"match": "/nowhere/*"}, "match: expected at least one checkpoint file, got none"),
        ({"leave_out": ["*"]}, "leave_out: all 2 that match"),
    ],
)
def test_a_pattern_that_gives_nothing_is_refused(
    zoo: Zoo, backbone: dict[str, object], message: str
) -> None:
    zoo.settings["backbones"][0] |= backbone
    with pytest.raises(ConfigError, match=message):
        entries(zoo.load())


def test_one_label_for_two_backbones_is_refused(zoo: Zoo) -> None:
    zoo.settings["backbones"] *= 2
    with pytest.raises(ConfigError, match=r"2 times 'one'.*\n.*2 times 'two'"):
        entries(zoo.load())


def test_criteria_go_to_the_backbones_and_data_sets_they_name(zoo: Zoo) -> None:
    criterion = {"quantity": "macro_auc", "target": "age", "at_most": 0.9, "rationale": "a test"}
    zoo.settings["criteria"] = [criterion | {"name": "all"}]
    zoo.settings["criteria"] += [criterion | {"name": "of one", "backbones": ["one"]}]
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
    told = str(caught.value)
    for part in ("'manifest'", "'folds'", "label for a single backbone only", "'ray'", "line "):
        assert part in told


def test_the_wrong_kind_of_config_is_told(zoo: Zoo) -> None:
    zoo.load()
    with pytest.raises(ConfigError, match="use `bias-audit zoo run`"):
        load_config(zoo.config)
    with pytest.raises(ConfigError, match="use `bias-audit run`"):
        load_zoo(CONFIGS / "quickstart.yaml")


def test_entries_can_be_chosen(zoo: Zoo) -> None:
    everything = entries(zoo.load())
    for pattern in ("two", "t*", "faces/two"):
        (found,) = chosen_entries(everything, [pattern], source="tiny")
        assert found.label == "two"
    with pytest.raises(ConfigError, match="did you mean 'one'"):
        chosen_entries(everything, ["on"], source="tiny")


@pytest.mark.parametrize("text", ["a/b", "../x", "ü", "x" * 300, ".hidden", "-x"])
def test_any_label_is_a_safe_file_name_of_its_own(text: str) -> None:
    name = safe_name(text)
    assert name != safe_name(f"{text}.")
    assert len(name) <= 64
    assert not set(name) - set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")
    assert name[0].isalnum()
