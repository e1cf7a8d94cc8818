"""The config's JSON Schema, with the parameters of every plugin, for editors."""

from __future__ import annotations

from typing import Any

from bias_audit.config.catalog import (
    ANALYSES,
    BACKBONE_SOURCES,
    DATA_SOURCES,
    EXECUTORS,
    Catalog,
)
from bias_audit.config.schema import AuditConfig
from bias_audit.config.zoo import ZooConfig


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
