"""Every key of every config and plugin, with values that it cannot have."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from pydantic import BaseModel

from bias_audit.config.catalog import (
    ANALYSES,
    BACKBONE_SOURCES,
    DATA_SOURCES,
    EXECUTORS,
    LAYOUTS,
    Catalog,
)
from bias_audit.config.load import load_config, load_zoo
from bias_audit.config.schema import AuditConfig, Criterion
from bias_audit.config.zoo import ZooConfig
from bias_audit.errors import ConfigError
from tests.config.wordings import INTERNALS, PLACE, is_place

AUDIT: dict[str, Any] = {
    "name": "demo",
    "data": {"kind": "parametric"},
    "backbones": [{"kind": "bundled"}],
    "analyses": [{"kind": "linear_probe"}],
}
ZOO: dict[str, Any] = {
    "name": "demo",
    "datasets": [{"name": "faces", "data": {"kind": "parametric"}}],
    "backbones": [{"kind": "bundled"}],
    "analyses": [{"kind": "linear_probe"}],
}
WRONG: tuple[Any, ...] = (
    *(None, 3, -1, float("inf"), float("nan"), 10**200, "x", "1e400", [], {}, [{}], [[1]], True),
    *("long " * 500, {"a": {"b": None}}, b"\xff\x00", ["long " * 500, 3], {"x" * 300: 1}),
)


def sections() -> Iterator[tuple[tuple[str | int, ...], type[BaseModel], bool]]:
    """Every section with its place in a config, its keys, and whether that is of a zoo."""
    yield from (((), model, zoo) for model, zoo in ((AuditConfig, False), (ZooConfig, True)))
    for model, zoo in ((AuditConfig, False), (ZooConfig, True)):
        for place, inner in nested(model):
            yield place, inner, zoo
    yield ("criteria", 0), Criterion, False


def nested(model: type[BaseModel]) -> Iterator[tuple[tuple[str | int, ...], type[BaseModel]]]:
    for name, field in model.model_fields.items():
        place: tuple[str | int, ...] = (name, 0) if "tuple[" in str(field.annotation) else (name,)
        for kind in leaves(field.annotation):
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                yield place, kind
                yield from (((*place, *deep), inner) for deep, inner in nested(kind))


def leaves(annotation: Any) -> Iterator[Any]:
    inner = get_args(annotation)
    yield from (leaf for each in inner for leaf in leaves(each))
    if not inner:
        yield annotation


def plugins() -> Iterator[tuple[Catalog[Any], str]]:
    for catalog in (DATA_SOURCES, BACKBONE_SOURCES, ANALYSES, EXECUTORS, LAYOUTS):
        yield from ((catalog, kind) for kind in catalog.kinds())


def place_in(data: Any, place: tuple[str | int, ...], value: Any) -> None:
    for part, following in pairwise(place):
        empty: Any = [] if isinstance(following, int) else {}
        if not isinstance(data, dict | list):
            return
        if isinstance(data, list):
            data += [{} for _ in range(int(part) + 1 - len(data))]
            data = data[int(part)]
        else:
            data[part] = data.get(part) or empty
            data = data[part]
    if isinstance(data, list):
        data[:] = [value]
    elif isinstance(data, dict):
        data[place[-1]] = value


def check(folder: Path, data: Any, *, zoo: bool) -> None:
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(data, sort_keys=False))
    try:
        (load_zoo if zoo else load_config)(path)
    except ConfigError as error:
        for problem in error.problems:
            assert not INTERNALS.search(problem), problem
            found = PLACE.match(problem)
            assert found, problem
            assert is_place(found["place"].replace("...", ""), data) or "xxx" in problem, problem
            assert not re.search(r"\S{150}", problem), problem
            assert "long " * 20 not in problem, problem
            assert len(problem) < 600, problem


@pytest.mark.parametrize("value", WRONG, ids=lambda value: repr(value)[:20])
def test_sections_in_plain_words(tmp_path: Path, value: Any) -> None:
    for place, model, zoo in sections():
        data = copy.deepcopy(ZOO if zoo else AUDIT)
        if place:
            place_in(data, place, value)
            check(tmp_path, data, zoo=zoo)
        data = copy.deepcopy(ZOO if zoo else AUDIT)
        place_in(data, (*place, "_"), value)
        for name in model.model_fields:
            if (*place, name) != ("name",):
                place_in(data, (*place, name), value)
        check(tmp_path, data, zoo=zoo)


@pytest.mark.parametrize(("catalog", "kind"), list(plugins()), ids=lambda value: str(value)[:40])
def test_plugins_in_plain_words(tmp_path: Path, catalog: Catalog[Any], kind: str) -> None:
    model = catalog.load(kind).params_type
    places: dict[str, tuple[str | int, ...]] = {
        DATA_SOURCES.noun: ("data",),
        BACKBONE_SOURCES.noun: ("backbones", 0),
        ANALYSES.noun: ("analyses", 0),
        EXECUTORS.noun: ("executor",),
        LAYOUTS.noun: ("analyses", 1, "layout"),
    }
    for value in WRONG:
        zoo = catalog is EXECUTORS
        data = copy.deepcopy(ZOO if zoo else AUDIT)
        if catalog is LAYOUTS:
            data["analyses"].append({"kind": "topomap"})
        wrong = dict.fromkeys((*model.model_fields, "_"), value)
        place_in(data, places[catalog.noun], {"kind": kind, **wrong})
        check(tmp_path, data, zoo=zoo)
        for place, inner in nested(model):
            full = (*places[catalog.noun], *place)
            place_in(data, full, dict.fromkeys(inner.model_fields, value))
            check(tmp_path, data, zoo=zoo)


def problems(folder: Path, data: Any, *, zoo: bool = False) -> str:
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(data, sort_keys=False))
    with pytest.raises(ConfigError) as caught:
        (load_zoo if zoo else load_config)(path)
    return "\n".join(caught.value.problems)


def test_forms_of_one_key_are_one_message(tmp_path: Path) -> None:
    told = problems(tmp_path, AUDIT | {"backbones": [{"kind": "bundled", "layers": 3}]})
    assert told == ("line 6: backbones.0.layers: expected 'stages', 'blocks' or a list, got 3")


def test_what_is_wrong_in_one_place_hides_nothing_elsewhere(tmp_path: Path) -> None:
    criterion = {"name": "a", "quantity": "macro_auc", "target": "gender", "at_most": 0.6}
    told = problems(
        tmp_path,
        AUDIT
        | {
            "data": {"kind": "fairface"},
            "analyses": [{"kind": "linear_probe", "folds": 0}, {"kind": "ensemble"}],
            "criteria": [
                {**criterion, "quantity": "macro_acu", "at_least": 0.5},
                {**criterion, "target": "gendr", "rationale": "x", "name": "b"},
                {**criterion, "rationale": "x", "groups": {"race": "Blck"}, "backbones": ["y"]},
            ],
            "output": {"folder": str(tmp_path / "config.yaml" / "x"), "formats": ["doc"]},
            "declarations": {"scenarios": [{"criteria": ["c"]}], "purpose": ""},
        },
    )
    for expected in (
        "data.root: missing",
        "analyses.0.folds: expected a number of at least 3, got 0",
        "analyses.1: expected at least two backbones",
        "criteria.0.rationale: missing",
        "criteria.0: expected exactly one of at_most, at_least and within",
        "criteria.1.target: unknown attribute 'gendr'; did you mean 'gender'?",
        "criteria.0.quantity: unknown quantity 'macro_acu'; did you mean 'macro_auc'?",
        "criteria.2.name: expected a name of its own, got that of another criterion: 'a'",
        "criteria.2.backbones.0: unknown backbone 'y'",
        "output.folder: expected a folder, but",
        "output.formats.0: expected 'html' or 'pdf', got 'doc'",
        "declarations.scenarios.0.criteria: unknown criterion 'c'",
        "declarations.purpose: expected text of at least 1 character, got ''",
    ):
        assert expected in told


def test_attributes_and_levels_are_known_without_files(tmp_path: Path) -> None:
    manifest = {"kind": "manifest", "file": "absent.csv", "attributes": {"tone": ["light", 3]}}
    criterion = {"quantity": "recall", "target": "tone", "at_least": 0, "rationale": "x"}
    told = problems(
        tmp_path,
        AUDIT
        | {
            "data": manifest,
            "analyses": [{"kind": "linear_probe", "targets": ["tune"]}],
            "criteria": [
                {**criterion, "name": "fits", "groups": {"tone": "3"}},
                {**criterion, "name": "level", "groups": {"tone": "lght"}},
                {**criterion, "name": "attribute", "groups": {"hue": "light"}},
                {**criterion, "name": "target", "target": "hue"},
            ],
        },
    )
    assert [line.split(": ")[1] for line in told.splitlines()] == [
        "analyses.0.targets.0",
        "criteria.1.groups.tone",
        "criteria.2.groups",
        "criteria.3.target",
    ]


def test_zoos_are_looked_through_as_well(tmp_path: Path) -> None:
    criterion = {"name": "a", "quantity": "bots", "target": "hue", "at_least": 0, "rationale": "x"}
    told = problems(
        tmp_path,
        ZOO
        | {
            "datasets": [*ZOO["datasets"], {**ZOO["datasets"][0], "criteria": [criterion]}],
            "criteria": [criterion],
            "declarations": {"scenarios": [{"criteria": ["b"]}]},
            "executor": {"kind": "rey"},
        },
        zoo=True,
    )
    for expected in (
        "datasets.1.name: expected a name of its own, got that of another data set",
        "datasets.1.criteria.0.name: expected a name of its own",
        "criteria.0.quantity: unknown quantity 'bots'; did you mean 'bits'?",
        "datasets.1.criteria.0.target: unknown attribute 'hue'",
        "declarations.scenarios.0.criteria: unknown criterion 'b'",
        "executor.kind: unknown executor 'rey'; did you mean 'ray'?",
    ):
        assert expected in told


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b"name: b\xe4r\n", "line 1: expected UTF-8 text"),
        ("name: x\n".encode("utf-16"), "line 1: expected UTF-8 text"),
        (b"name: x\nseed: \x07\n", "line 2: not valid YAML: expected text without control"),
        (b'name: "a\\0b"\nsede: 1\n', "line 1: name: expected text without control characters"),
        (b"name: x\nseed: !!bool x\n", "line 2: seed: expected true or false, got 'x'"),
        (
            b"name: x\nseed: 0x" + b"f" * 5000,
            "line 2: seed: expected a whole number of at most 18",
        ),
        (b'name: x\n"\\ud800": 3\n', "line 2: expected text without control characters"),
    ],
)
def test_files_that_are_no_text(tmp_path: Path, raw: bytes, expected: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_bytes(raw)
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert expected in "\n".join(caught.value.problems)
