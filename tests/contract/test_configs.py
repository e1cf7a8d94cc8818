"""Every shipped config, and every plugin, keeps its promises."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from pydantic import BaseModel

from bias_audit.audit.plan import make_plan
from bias_audit.config.catalog import (
    ANALYSES,
    BACKBONE_SOURCES,
    DATA_SOURCES,
    EXECUTORS,
    LAYOUTS,
    Catalog,
)
from bias_audit.config.load import json_schema, load_config, load_zoo, zoo_json_schema

ROOT = Path(__file__).resolve().parents[2]
ZOOS = sorted((ROOT / "audit_configs").glob("zoo*.yaml"))
CONFIGS = sorted(set((ROOT / "audit_configs").glob("*.yaml")) - set(ZOOS))
PLUGINS = [
    (catalog, kind)
    for catalog in (DATA_SOURCES, BACKBONE_SOURCES, ANALYSES, LAYOUTS, EXECUTORS)
    for kind in catalog.kinds()
]


@cache
def of_configs() -> jsonschema.Draft202012Validator:
    return _checked(json_schema())


@cache
def of_zoos() -> jsonschema.Draft202012Validator:
    return _checked(zoo_json_schema())


def _checked(schema: dict[str, Any]) -> jsonschema.Draft202012Validator:
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def test_the_promised_configs_ship() -> None:
    names = {path.stem for path in CONFIGS}
    assert names >= {"quickstart", "fairface_resnet50", "utkface_resnet50", "krug_stober_2025"}


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_shipped_config_is_valid(path: Path) -> None:
    config = load_config(path)
    assert config.name == path.stem
    assert make_plan(config).analyses


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_shipped_config_fits_the_json_schema(path: Path) -> None:
    of_configs().validate(yaml.safe_load(path.read_text()))


@pytest.mark.parametrize("path", ZOOS, ids=lambda path: path.stem)
def test_shipped_zoo_is_valid_and_fits_its_json_schema(path: Path) -> None:
    assert load_zoo(path).name == path.stem
    of_zoos().validate(yaml.safe_load(path.read_text()))


def test_the_zoos_json_schema_refuses_what_the_loader_refuses() -> None:
    config = yaml.safe_load(ZOOS[0].read_text())
    config["backbones"] = [{"kind": "checkpoint", "file": "x"}]  # neither a pattern nor complete
    with pytest.raises(jsonschema.ValidationError):
        of_zoos().validate(config)


def test_json_schema_refuses_what_the_loader_refuses() -> None:
    config = yaml.safe_load((ROOT / "audit_configs" / "quickstart.yaml").read_text())
    config["backbones"][0]["layer"] = "stages"
    with pytest.raises(jsonschema.ValidationError):
        of_configs().validate(config)


def test_the_published_design_has_three_backbones_and_126_intersections() -> None:
    config = load_config(ROOT / "audit_configs" / "krug_stober_2025.yaml")
    assert len(config.backbones) == 3
    assert config.sampling.max_per_intersection == 128
    assert config.data.params["padding"] == "0.25"


@pytest.mark.parametrize(("catalog", "kind"), PLUGINS, ids=[kind for _, kind in PLUGINS])
def test_plugin_has_a_title_and_described_frozen_parameters(
    catalog: Catalog[Any], kind: str
) -> None:
    plugin = catalog.load(kind)
    assert plugin.title
    assert issubclass(plugin.params_type, BaseModel)
    assert plugin.params_type.model_config.get("frozen")
    assert plugin.params_type.model_config.get("extra") == "forbid"


def test_unknown_kind_names_the_nearest() -> None:
    with pytest.raises(KeyError, match="did you mean 'checkpoint'"):
        BACKBONE_SOURCES.load("checkpnt")
