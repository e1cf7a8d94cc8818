"""Every key with values that it cannot have; no wrong value hides what is wrong elsewhere."""

from __future__ import annotations

import copy
import re
import textwrap
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
from bias_audit.config.schema import AuditConfig
from bias_audit.config.zoo import ZooConfig
from bias_audit.errors import ConfigError
from tests.config.wordings import AUDIT, INTERNALS, PLACE, ZOO, agree, is_place, problems, written

WRONG: tuple[Any, ...] = (
    *(None, 3, -1, float("inf"), float("nan"), 10**200, "x", "1e400", [], {}, [{}], [[1]], True),
    *("long " * 500, {"a": {"b": None}}, b"\xff\x00", ["long " * 500, 3], {"x" * 300: 1}),
)


def sections() -> Iterator[tuple[tuple[str | int, ...], type[BaseModel], bool]]:
    """Every section with its place in a config, its keys, and whether that is of a zoo."""
    for model, zoo in ((AuditConfig, False), (ZooConfig, True)):
        yield (), model, zoo
        yield from ((place, inner, zoo) for place, inner in nested(model))


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
    path = written(folder, data)
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


def test_forms_of_one_key_are_one_message(tmp_path: Path) -> None:
    found = problems(tmp_path, AUDIT | {"backbones": [{"kind": "bundled", "layers": 3}]})
    assert found == ["line 6: backbones.0.layers: expected 'stages', 'blocks' or a list, got 3"]


MANIFEST = "data: {kind: manifest, file: x.csv, attributes: {gender: [f, m]}"
CRITERION = "criteria: [{name: a, quantity: recall, target: gender, rationale: x"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            f"""
            {MANIFEST}, delimitr: ;}}
            analyses: [{{kind: linear_probe, targets: [sex]}}]
            backbones: [{{kind: bundled, layers: [bn2], layerz: x}}]
            {CRITERION}, at_least: 0.5, target: sexx, groups: {{gender: female}}, backbones: [y]}}]
            """.replace("target: gender, ", ""),
            """
            data.delimitr: unknown key 'delimitr' (known
            backbones.0.layerz: unknown key
            analyses.0.targets.0: 'sex'
            criteria.0.target: 'sexx'
            criteria.0.groups.gender: 'female'
            criteria.0.backbones.0: 'y'
            """,
        ),
        (
            f"""
            {MANIFEST.replace("[f, m]", "3")}}}
            {CRITERION.replace("gender", "sexx")}, at_least: 0.5}}]
            """,
            "data.attributes.gender: expected a list",
        ),
        (
            f"{MANIFEST.replace('[f, m]', '{levels: [f, m], severall: true}')}}}",
            "data.attributes.gender.severall: did you mean 'several'?",
        ),
        (
            "small_groups: {minimum: 3, suppress_below: 9, policy: shrinkk}",
            """
            small_groups.policy: did you mean 'shrink'?
            small_groups: expected suppress_below to be at most minimum (3), got 9
            """,
        ),
        (
            "small_groups: {minimum: 3, suppress_below: few}",
            "small_groups.suppress_below: expected a whole number",
        ),
        (
            "small_groups: {minimum: 3}",
            "small_groups: expected suppress_below to be at most minimum (3), got 5",
        ),
        (
            f"{CRITERION}, within: [0.7, 0.2], level: 95}}]",
            """
            criteria.0.within: the lowest first
            criteria.0.level: less than 1, got 95
            """,
        ),
        (
            f"{CRITERION}, at_least: half, at_most: null}}]",
            "criteria.0.at_least: expected a number, got 'half'",
        ),
        (
            f"""
            {MANIFEST}}}
            {CRITERION}, at_least: 0.5, groups: {{agee: 3, gender: x, hue: y}}}}]
            """,
            """
            criteria.0.groups.agee: expected text, got 3
            criteria.0.groups: unknown attribute 'hue'
            criteria.0.groups.gender: 'x'
            """,
        ),
        (
            "backbones: [{kynd: bundled, layers: [bn2], nme: x}]",
            """
            backbones.0.kynd: unknown key 'kynd'; did you mean 'kind'?
            backbones.0.nme: unknown key 'nme'; did you mean 'name'?
            """,
        ),
        ("data: {kynd: 3}", "data.kind: missing"),
        ("data: {Type: parametric}", "data.Type: did you mean 'kind'?"),
        (
            "sampling: {max_per_intersection: true, near_duplicates: true}",
            "sampling.max_per_intersection: expected a whole number, got true",
        ),
        (
            "analyses: [{kind: linear_probe, folds: false}]",
            "analyses.0.folds: at least 3, got false",
        ),
        (
            """
            data: parametric
            analyses: [linear_probe]
            output: {formats: pdf}
            """,
            """
            data: expected a section of keys, got 'parametric'; write {kind: parametric}
            analyses.0: got 'linear_probe'; write - kind: linear_probe
            output.formats: expected a list, got 'pdf'; write [pdf]
            """,
        ),
        (
            """
            data: [{kind: parametric}]
            backbones: {kind: bundled}
            """,
            """
            data: leave out the hyphen
            backbones: begin each of its entries with a
            """,
        ),
        (
            f"""
            {CRITERION.replace("gender", "x").capitalize()}, at_least: 0.5}}]
            small-groups: {{minimum: x}}
            """,
            """
            Criteria: did you mean 'criteria'?
            small-groups: did you mean 'small_groups'?
            criteria.0.target: unknown attribute 'x'
            small_groups.minimum: expected a whole number, got 'x'
            """,
        ),
        (
            f"{MANIFEST}}}".replace("file: x.csv", "File: 3"),
            """
            data.File: did you mean 'file'?
            data.file: expected a path, got 3
            """,
        ),
        (
            f"{MANIFEST}, binned: [agee], split: train}}",
            """
            data.binned: expected one of the attributes gender, got 'agee'
            data.split: expected split_column beside it
            """,
        ),
        (
            "backbones: ['kind:bundled']",
            "backbones.0: write a space after the colon: kind: bundled",
        ),
        (
            f"""
            data: {{kind: fairface}}
            analyses: [{{kind: linear_probe, folds: 0}}, {{kind: ensemble}}]
            criteria:
            - {{name: a, quantity: macro_acu, target: gender, at_most: 0.6, at_least: 0.5}}
            - {{name: b, quantity: macro_auc, target: gendr, at_most: 0.6, rationale: x}}
            - {{name: a, quantity: macro_auc, target: gender, at_most: 0.6, rationale: x,
               groups: {{race: Blck}}, backbones: [y]}}
            output: {{folder: {__file__}/x, formats: [doc]}}
            declarations: {{scenarios: [{{criteria: [c]}}], purpose: ''}}
            """,
            """
            data.root: missing
            analyses.0.folds: expected a number of at least 3, got 0
            analyses.1: expected at least two backbones
            criteria.0.rationale: missing
            criteria.0: expected exactly one of at_most, at_least and within
            criteria.0.quantity: unknown quantity 'macro_acu'; did you mean 'macro_auc'?
            criteria.1.target: unknown attribute 'gendr'; did you mean 'gender'?
            criteria.2.name: expected a unique name, got that of another criterion: 'a'
            criteria.2.groups.race: unknown group of race 'Blck'; did you mean 'Black'?
            criteria.2.backbones.0: unknown backbone 'y'
            output.folder: expected a folder, but
            output.formats.0: expected 'html' or 'pdf', got 'doc'
            declarations.scenarios.0.criteria: unknown criterion 'c'
            declarations.purpose: expected text of at least 1 character, got ''
            """,
        ),
        (
            """
            data: {kind: manifest, file: absent.csv, attributes: {tone: [light, 3]}}
            analyses: [{kind: linear_probe, targets: [tune]}]
            criteria:
            - {name: a, quantity: recall, target: tone, at_least: 0, rationale: x,
               groups: {tone: "3"}}
            - {name: b, quantity: recall, target: tone, at_least: 0, rationale: x,
               groups: {tone: lght, hue: light}}
            - {name: c, quantity: recall, target: hue, at_least: 0, rationale: x}
            """,
            """
            analyses.0.targets.0: unknown attribute 'tune'
            criteria.1.groups.tone: 'lght'
            criteria.1.groups: unknown attribute 'hue'
            criteria.2.target: unknown attribute 'hue'
            """,
        ),
    ],
)
def test_what_is_wrong_is_said_and_nothing_else(tmp_path: Path, text: str, expected: str) -> None:
    agree(problems(tmp_path, AUDIT | yaml.safe_load(textwrap.dedent(text))), expected)


def test_zoos_are_looked_through_as_well(tmp_path: Path) -> None:
    criterion = {"name": "a", "quantity": "bots", "target": "hue", "at_least": 0, "rationale": "x"}
    zoo = ZOO | {
        "datasets": [*ZOO["datasets"], {**ZOO["datasets"][0], "criteria": [criterion]}],
        "criteria": [criterion],
        "declarations": {"scenarios": [{"criteria": ["b"]}]},
        "executor": {"kind": "rey"},
    }
    expected = """
        datasets.1.name: expected a unique name, got that of another data set
        datasets.1.criteria.0.name: expected a unique name
        datasets.1.criteria.0.quantity: unknown quantity 'bots'
        datasets.1.criteria.0.target: unknown attribute 'hue'
        criteria.0.quantity: unknown quantity 'bots'; did you mean 'bits'?
        criteria.0.target: unknown attribute 'hue'
        declarations.scenarios.0.criteria: unknown criterion 'b'
        executor.kind: unknown executor 'rey'; did you mean 'ray'?
    """
    agree(problems(tmp_path, zoo, zoo=True), expected)
