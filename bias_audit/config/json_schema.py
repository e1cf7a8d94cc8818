"""The config's JSON Schema, with the parameters of every plugin, for editors."""

from __future__ import annotations

from typing import Any

from bias_audit.config.catalog import ANALYSES, BACKBONE_SOURCES, DATA_SOURCES, Catalog
from bias_audit.config.schema import AuditConfig


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
        choices = {"oneOf": [_choice(catalog, kind, definitions) for kind in catalog.kinds()]}
        field = schema["properties"][name]
        if field.get("type") == "array":
            field["items"] = choices
        else:
            schema["properties"][name] = choices
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = "bias_audit config"
    return schema


def _choice(catalog: Catalog[Any], kind: str, definitions: dict[str, Any]) -> dict[str, Any]:
    plugin = catalog.load(kind)
    params = plugin.params_type.model_json_schema()
    definitions.update(params.pop("$defs", {}))
    params["properties"] = {"kind": {"const": kind}, **params.get("properties", {})}
    params["required"] = ["kind", *params.get("required", [])]
    params["title"] = plugin.title
    return dict(params)
