"""From YAML text to a validated config, or to every problem in it at once."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel

from bias_audit.config.catalog import (
    ANALYSES,
    BACKBONE_SOURCES,
    DATA_SOURCES,
    EXECUTORS,
    LAYOUTS,
    Catalog,
    nearest,
    shipped,
    unknown_name,
)
from bias_audit.config.document import Document, override, read_document, read_text
from bias_audit.config.meaning import audit_problems, zoo_problems
from bias_audit.config.mistakes import part_at, plain_characters, problems_in
from bias_audit.config.schema import AuditConfig
from bias_audit.config.wording import MISSING, Location, Problem, shown
from bias_audit.config.zoo import ZooConfig
from bias_audit.errors import ConfigError

Config = TypeVar("Config", bound=BaseModel)
Components = Iterator[tuple[Location, Mapping[str, Any], Catalog[Any]]]


def load_config(path: Path, overrides: Sequence[str] = ()) -> AuditConfig:
    """Read and validate the config of an audit; nothing else is opened.

    Args:
        path: A YAML file.
        overrides: "dotted.key=value" texts that win over the file; values are YAML.

    Raises:
        ConfigError: With every problem, each with its line, what was expected and what came.
    """
    config = _load(path, overrides, AuditConfig, _components, audit_problems)
    return config.read_from(shipped(path))


def load_zoo(path: Path, overrides: Sequence[str] = ()) -> ZooConfig:
    """Read and validate the config of a zoo; as `load_config`, nothing is looked for."""
    return _load(path, overrides, ZooConfig, _zoo_components, zoo_problems)


def _load(
    path: Path,
    overrides: Sequence[str],
    model: type[Config],
    components: Callable[[Any], Components],
    together: Callable[[Any], Iterator[Problem]],
) -> Config:
    source = shipped(path)
    text = read_text(source)

    def checked(text: str) -> Document:
        return _checked(read_document(text), overrides, model, components, together)

    document = checked(text)
    plain, odd = plain_characters(text) if document.problems else (text, [])
    if odd and _badness(better := checked(plain)) < _badness(document):
        document = better
        document.problems = [*odd, *document.problems]
    if document.problems:
        raise ConfigError(document.problems, source=str(source))
    return model.model_validate(document.data)


def _badness(document: Document) -> tuple[bool, int]:
    return document.data is None, len(document.problems)


def _checked(
    document: Document,
    overrides: Sequence[str],
    model: type[BaseModel],
    components: Callable[[Any], Components],
    together: Callable[[Any], Iterator[Problem]],
) -> Document:
    """The document with the overrides in it, and with all that is wrong among its problems."""
    if other := _other_kind(document, model):
        document.problems = other
    elif document.data is not None:
        for text in overrides:
            override(document, text)
        problems = [
            *_misspelt_sections(document.data, model),
            *_misspelt_kinds(document.data, components),
            *_shape_problems(document.data, model),
            *_component_problems(document.data, components(document.data)),
            *together(document.data),
        ]
        document.add(_innermost(problems))
    return document


def _innermost(problems: Sequence[Problem]) -> Iterator[Problem]:
    """All but what the analysis says of a layout that the layout itself says of its keys."""
    for location, message in problems:
        outer = location[-1:] in {("layout",), ("layouts",)}
        size = len(location)
        if not (outer and any(o[:size] == location and len(o) > size for o, _ in problems)):
            yield location, message


def _other_kind(document: Document, model: type[BaseModel]) -> list[str]:
    """What to do with the config of a zoo that is given to an audit, or the reverse."""
    keys = document.data if isinstance(document.data, dict) else {}
    if model is AuditConfig and "datasets" in keys and "data" not in keys:
        return ["this is the config of a zoo: use `bias-audit zoo run` and its other verbs"]
    if model is ZooConfig and "data" in keys and "datasets" not in keys:
        return ["this is the config of an audit: use `bias-audit run`, or list it in datasets"]
    return []


def _shape_problems(data: Any, model: type[BaseModel], place: Location = ()) -> Iterator[Problem]:
    """What is wrong in a section by itself, with its place in the config."""
    for location, message in problems_in(data, model):
        yield (*place, *location), message


def _misspelt_sections(data: dict[str, Any], model: type[BaseModel]) -> Iterator[Problem]:
    """A message for every key that must mean one that is not there, which it is then taken for."""
    for key in [key for key in data if key not in model.model_fields]:
        near = nearest(key, model.model_fields)
        if near and near not in data:
            yield (key,), unknown_name(key, model.model_fields, noun="key")
            data[near] = data.pop(key)


def _misspelt_kinds(data: Any, components: Callable[[Any], Components]) -> Iterator[Problem]:
    """A message for every key that must mean kind, which it is then taken for."""
    for location, component, _ in list(components(data)):
        named = [key for key in component if isinstance(component[key], str)]
        near = [key for key in named if difflib.get_close_matches(key.lower(), ("kind", "type"))]
        if near and "kind" not in component:
            section = part_at(data, location)
            section["kind"] = section.pop(near[0])
            yield (*location, near[0]), f"unknown key {shown(near[0])}; did you mean 'kind'?"


def _component_problems(data: Any, components: Components) -> Iterator[Problem]:
    for location, component, catalog in components:
        kind = component.get("kind")
        if not isinstance(kind, str):
            continue  # the shape check has said so
        try:
            plugin = catalog.load(kind)
        except KeyError as error:
            yield (*location, "kind"), error.args[0]
            continue
        params = {key: value for key, value in component.items() if key != "kind"}
        is_pattern = "match" in part_at(data, location)
        for place, message in _shape_problems(params, plugin.params_type, location):
            if not (is_pattern and message == MISSING):  # what matches brings it
                yield place, message


def _components(data: Any) -> Components:
    """Every plugin named in the config of an audit, with the catalog it must come from."""
    if isinstance(data.get("data"), dict):
        yield ("data",), data["data"], DATA_SOURCES
    yield from _listed_components(data)


def _zoo_components(data: Any) -> Components:
    """Every plugin named in the config of a zoo."""
    datasets = data.get("datasets")
    for index, item in enumerate(datasets if isinstance(datasets, list) else ()):
        if isinstance(item, dict) and isinstance(item.get("data"), dict):
            yield ("datasets", index, "data"), item["data"], DATA_SOURCES
    for location, component, catalog in _listed_components(data):
        zoos = {"match", "leave_out", "label"} if catalog is BACKBONE_SOURCES else set()
        yield location, {k: v for k, v in component.items() if k not in zoos}, catalog
    if isinstance(data.get("executor"), dict):
        yield ("executor",), data["executor"], EXECUTORS


def _listed_components(data: Any) -> Components:
    for section, catalog in (("backbones", BACKBONE_SOURCES), ("analyses", ANALYSES)):
        items = data.get(section)
        for index, item in enumerate(items if isinstance(items, list) else ()):
            if not isinstance(item, dict):
                continue
            yield (section, index), item, catalog
            if isinstance(item.get("layout"), dict):
                yield (section, index, "layout"), item["layout"], LAYOUTS
            several = item.get("layouts")
            for place, layout in enumerate(several if isinstance(several, list) else ()):
                if isinstance(layout, dict):
                    yield (section, index, "layouts", place), layout, LAYOUTS


def json_schema() -> dict[str, Any]:
    """JSON Schema (draft 2020-12) that accepts what `load_config` accepts."""
    schema = AuditConfig.model_json_schema()
    definitions: dict[str, Any] = schema["$defs"]
    definitions.pop("Component", None)
    for name, catalog in (
        ("data", DATA_SOURCES),
        ("backbones", BACKBONE_SOURCES),
        ("analyses", ANALYSES),
    ):
        _set_choices(schema["properties"], name, _choices(catalog, definitions))
    return _titled(schema, "bias_audit config")


def zoo_json_schema() -> dict[str, Any]:
    """JSON Schema (draft 2020-12) that accepts what `load_zoo` accepts."""
    schema = ZooConfig.model_json_schema()
    definitions: dict[str, Any] = schema["$defs"]
    definitions.pop("Component", None)
    own = definitions.pop("ZooBackbone")["properties"]
    own.pop("kind")
    backbones = [
        {
            **choice,
            "properties": {**choice["properties"], **own},
            "required": ["kind"],
            "anyOf": [{"required": ["match"]}, {"required": choice["required"]}],
        }
        for choice in _choices(BACKBONE_SOURCES, definitions)
    ]
    for place, name, choices in (
        (schema, "backbones", backbones),
        (schema, "analyses", _choices(ANALYSES, definitions)),
        (schema, "executor", _choices(EXECUTORS, definitions)),
        (definitions["ZooDataset"], "data", _choices(DATA_SOURCES, definitions)),
    ):
        _set_choices(place["properties"], name, choices)
    return _titled(schema, "bias_audit zoo config")


def _titled(schema: dict[str, Any], title: str) -> dict[str, Any]:
    return {**schema, "$schema": "https://json-schema.org/draft/2020-12/schema", "title": title}


def _set_choices(properties: dict[str, Any], name: str, choices: list[dict[str, Any]]) -> None:
    if properties[name].get("type") == "array":
        properties[name]["items"] = {"oneOf": choices}
    else:
        properties[name] = {"oneOf": choices}


def _choices(catalog: Catalog[Any], definitions: dict[str, Any]) -> list[dict[str, Any]]:
    return [_choice(catalog, kind, definitions) for kind in catalog.kinds()]


def _choice(catalog: Catalog[Any], kind: str, definitions: dict[str, Any]) -> dict[str, Any]:
    plugin = catalog.load(kind)
    params = plugin.params_type.model_json_schema()
    definitions.update(params.pop("$defs", {}))
    params["properties"] = {"kind": {"const": kind}, **params.get("properties", {})}
    params["required"] = ["kind", *params.get("required", [])]
    params["title"] = plugin.title
    return dict(params)
