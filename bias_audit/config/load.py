"""From YAML text to a validated config, or to every problem in it at once."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
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
from bias_audit.config.document import (
    Document,
    override,
    plain_characters,
    read_document,
    read_text,
)
from bias_audit.config.meaning import OF_PATTERNS, output_problems, problems_between
from bias_audit.config.schema import AuditConfig
from bias_audit.config.wording import (
    MISSING,
    Location,
    Problem,
    entries_of,
    part_at,
    problems_in,
    shown,
)
from bias_audit.config.zoo import ZooConfig
from bias_audit.errors import ConfigError, ExtensionError
from bias_audit.files import digest
from bias_audit.remembered import remembered
from bias_audit.software import installed

Config = TypeVar("Config", bound=BaseModel)


def load_config(path: Path, overrides: Sequence[str] = ()) -> AuditConfig:
    """Read and validate the config of an audit; nothing else is opened.

    Overrides are "dotted.key=value" texts that win over the file; values are YAML.

    Raises:
        ConfigError: With every problem, each with its line, what was expected and what came.
    """
    return _load(path, overrides, AuditConfig).read_from(shipped(path))


def parse_config(given: Mapping[str, Any], overrides: Sequence[str] = ()) -> AuditConfig:
    """Validate the config of an audit that is a mapping and no file; as `load_config`.

    Raises:
        ConfigError: With every problem, each with its key.
    """
    document = read_document(json.dumps(given, default=str, ensure_ascii=False))
    document.lines.clear()
    _check(document, overrides, AuditConfig)
    if document.problems:
        raise ConfigError(document.problems, source=str(given.get("name", "config")))
    return AuditConfig.model_validate(document.data)


def load_zoo(path: Path, overrides: Sequence[str] = ()) -> ZooConfig:
    """Read and validate the config of a zoo; as `load_config`, nothing is looked for."""
    return _load(path, overrides, ZooConfig)


def is_zoo_config(path: Path) -> bool:
    """Whether a config, which need not be valid, is of a zoo rather than of one audit."""
    try:
        content = yaml.safe_load(shipped(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return False  # which loading it as an audit's explains
    return isinstance(content, dict) and "datasets" in content


def _load(path: Path, overrides: Sequence[str], model: type[Config]) -> Config:
    source = shipped(path)
    text = read_text(source)
    document = _checked(text, overrides, model)
    plain, odd = plain_characters(text) if document.problems else (text, [])
    if odd:  # is it better without characters that look like others?
        better = _checked(plain, overrides, model)
        if _badness(better) < _badness(document):
            document = better
            document.problems = [*odd, *document.problems]
    if document.problems:
        raise ConfigError(document.problems, source=str(source))
    return model.model_validate(document.data)


def _badness(document: Document) -> tuple[bool, int]:
    return document.data is None, len(document.problems)


def _checked(text: str, overrides: Sequence[str], model: type[BaseModel]) -> Document:
    document = read_document(text)
    _check(document, overrides, model)
    return document


def _check(document: Document, overrides: Sequence[str], model: type[BaseModel]) -> None:
    """Put the overrides into a document, and all that is wrong among its problems."""
    data, is_zoo = document.data, model is ZooConfig
    own, other = ("datasets", "data") if is_zoo else ("data", "datasets")
    if isinstance(data, dict) and other in data and own not in data:
        document.problems = [
            "this is the config of an audit: use `bias-audit run`, or list it in datasets"
            if is_zoo
            else "this is the config of a zoo: use `bias-audit zoo run` and its other verbs"
        ]
    elif data is not None:
        for each in overrides:
            override(document, each)
        known = digest(installed(), model.__name__, repr(data), *overrides)
        if remembered("configs", known, lambda: None):
            document.add(output_problems(data))
            return
        problems = [
            *_misspelt_sections(data, model),
            *_misspelt_kinds(data, is_zoo=is_zoo),
            *problems_in(data, model),
            *_component_problems(data, is_zoo=is_zoo),
            *problems_between(data, is_zoo=is_zoo),
        ]
        document.add(_innermost(problems))
        if not document.problems:  # the same config needs no plugin to be valid again
            remembered("configs", known, lambda: True)


def _innermost(problems: Sequence[Problem]) -> Iterator[Problem]:
    """All but what the analysis says of a layout that the layout itself says of its keys."""
    for location, message in problems:
        is_outer = location[-1:] in {("layout",), ("layouts",)}
        if not (
            is_outer and any(place[:-1][: len(location)] == location for place, _ in problems)
        ):
            yield location, message


def _misspelt_sections(data: dict[str, Any], model: type[BaseModel]) -> Iterator[Problem]:
    """A message for every key that must mean one that is not there, which it is then taken for."""
    for key in [key for key in data if key not in model.model_fields]:
        near = nearest(key, model.model_fields)
        if near and near not in data:
            yield (key,), unknown_name(key, model.model_fields, noun="key")
            data[near] = data.pop(key)


def _misspelt_kinds(data: Any, *, is_zoo: bool) -> Iterator[Problem]:
    """A message for every key that must mean kind, which it is then taken for."""
    for location, component, _ in list(_components(data, is_zoo=is_zoo)):
        named = [key for key in component if isinstance(component[key], str)]
        near = [key for key in named if difflib.get_close_matches(key.lower(), ("kind", "type"))]
        if near and "kind" not in component:
            section = part_at(data, location)
            section["kind"] = section.pop(near[0])
            yield (*location, near[0]), f"unknown key {shown(near[0])}; did you mean 'kind'?"


def _component_problems(data: Any, *, is_zoo: bool) -> Iterator[Problem]:
    """What is wrong with the kinds and the parameters of plugins."""
    for location, component, catalog in _components(data, is_zoo=is_zoo):
        kind = component.get("kind")
        if not isinstance(kind, str):
            continue  # the shape check has said so
        try:
            plugin = catalog.load(kind)
        except (KeyError, ExtensionError) as error:
            yield (*location, "kind"), error.args[0]
            continue
        params = {key: value for key, value in component.items() if key != "kind"}
        is_pattern = "match" in part_at(data, location)
        for place, message in problems_in(params, plugin.params_type):
            if not (is_pattern and message == MISSING):  # what matches brings it
                yield (*location, *place), message


def _components(
    data: Any, *, is_zoo: bool
) -> Iterator[tuple[Location, Mapping[str, Any], Catalog[Any]]]:
    """Every plugin named in a config, with its place and the catalog it must come from."""
    places: list[tuple[Location, Catalog[Any]]] = [(("data",), DATA_SOURCES)]
    if is_zoo:
        n_datasets = len(entries_of(data.get("datasets")))
        places = [(("datasets", index, "data"), DATA_SOURCES) for index in range(n_datasets)]
    for section, catalog in (("backbones", BACKBONE_SOURCES), ("analyses", ANALYSES)):
        for index, item in enumerate(entries_of(data.get(section))):
            places += [((section, index), catalog), ((section, index, "layout"), LAYOUTS)]
            layouts = entries_of(item.get("layouts")) if isinstance(item, dict) else ()
            places += [((section, index, "layouts", i), LAYOUTS) for i in range(len(layouts))]
    if is_zoo:
        places.append((("executor",), EXECUTORS))
    others = OF_PATTERNS if is_zoo else frozenset()
    for location, catalog in places:
        if isinstance(found := part_at(data, location), dict):
            if catalog is BACKBONE_SOURCES:
                found = {key: value for key, value in found.items() if key not in others}
            yield location, found, catalog


def json_schema() -> dict[str, Any]:
    """JSON Schema (draft 2020-12) that accepts what `load_config` accepts."""
    schema, definitions = _plain_schema(AuditConfig)
    for name, catalog in (
        ("data", DATA_SOURCES),
        ("backbones", BACKBONE_SOURCES),
        ("analyses", ANALYSES),
    ):
        _set_choices(schema["properties"][name], _choices(catalog, definitions))
    return schema | {"title": "bias_audit config"}


def zoo_json_schema() -> dict[str, Any]:
    """JSON Schema (draft 2020-12) that accepts what `load_zoo` accepts."""
    schema, definitions = _plain_schema(ZooConfig)
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
    properties = schema["properties"]
    _set_choices(properties["backbones"], backbones)
    _set_choices(properties["analyses"], _choices(ANALYSES, definitions))
    _set_choices(properties["executor"], _choices(EXECUTORS, definitions))
    dataset = definitions["ZooDataset"]["properties"]
    _set_choices(dataset["data"], _choices(DATA_SOURCES, definitions))
    return schema | {"title": "bias_audit zoo config"}


def _plain_schema(model: type[BaseModel]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The schema of a model, and the definitions in it, without that of any plugin."""
    schema = model.model_json_schema()
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    definitions: dict[str, Any] = schema["$defs"]
    definitions.pop("Component", None)
    return schema, definitions


def _set_choices(section: dict[str, Any], choices: list[dict[str, Any]]) -> None:
    if section.get("type") == "array":
        section["items"] = {"oneOf": choices}
    else:
        section.clear()
        section["oneOf"] = choices


def _choices(catalog: Catalog[Any], definitions: dict[str, Any]) -> list[dict[str, Any]]:
    """The schema of each plugin's section; what they refer to joins the definitions."""
    choices = []
    further = (extension.kind for extension in catalog.extensions())
    for kind in dict.fromkeys((*catalog.kinds(), *further)):
        plugin = catalog.load(kind)
        params = plugin.params_type.model_json_schema()
        definitions.update(params.pop("$defs", {}))
        params["properties"] = {"kind": {"const": kind}, **params.get("properties", {})}
        params["required"] = ["kind", *params.get("required", [])]
        choices.append({**params, "title": plugin.title})
    return choices
