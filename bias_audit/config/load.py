"""From YAML text to a validated config, or to every problem in it at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from bias_audit.config.catalog import (
    ANALYSES,
    BACKBONE_SOURCES,
    DATA_SOURCES,
    EXECUTORS,
    LAYOUTS,
    Catalog,
    unknown_name,
)
from bias_audit.config.document import Document, Location, override, read_document, shortened
from bias_audit.config.schema import AuditConfig
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
    return _load(path, overrides, AuditConfig, _components)


def load_zoo(path: Path, overrides: Sequence[str] = ()) -> ZooConfig:
    """Read and validate the config of a zoo; as `load_config`, nothing is looked for."""
    return _load(path, overrides, ZooConfig, _zoo_components)


def _load(
    path: Path,
    overrides: Sequence[str],
    model: type[Config],
    components: Callable[[Any], Components],
) -> Config:
    document = read_document(path)
    if not document.problems:
        for text in overrides:
            override(document, text)
    problems = document.problems
    if not problems:
        problems = [
            *_shape_problems(document, model),
            *_component_problems(document, components(document.data)),
        ]
    if problems:
        raise ConfigError([*problems, *_other_kind(document, model)], source=str(path))
    return model.model_validate(document.data)


def _other_kind(document: Document, model: type[BaseModel]) -> Iterator[str]:
    """A hint for those who give the config of a zoo to an audit, or the reverse."""
    is_zoo = isinstance(document.data, dict) and "datasets" in document.data
    if is_zoo and model is AuditConfig:
        yield "this is the config of a zoo: use `bias-audit zoo run` and its other verbs"
    if model is ZooConfig and isinstance(document.data, dict) and "data" in document.data:
        yield "this is the config of an audit: use `bias-audit run`, or list its data in datasets"


def _shape_problems(document: Document, model: type[BaseModel]) -> Iterator[str]:
    try:
        model.model_validate(document.data)
    except ValidationError as error:
        for detail in error.errors():
            yield _explain(document, detail, detail["loc"], model)


def _component_problems(document: Document, components: Components) -> Iterator[str]:
    for location, component, catalog in components:
        kind = component.get("kind")
        if not isinstance(kind, str):
            continue  # the shape check has said so
        try:
            plugin = catalog.load(kind)
        except KeyError as error:
            yield f"{document.where((*location, 'kind'))}: {error.args[0]}"
            continue
        params = {key: value for key, value in component.items() if key != "kind"}
        try:
            plugin.params_type.model_validate(params)
        except ValidationError as error:
            for detail in error.errors():
                if detail["type"] == "missing" and _is_pattern(document.data, location):
                    continue  # what matches brings it
                full = (*location, *detail["loc"])
                yield _explain(document, detail, full, plugin.params_type, inner=detail["loc"])


def _is_pattern(data: Any, location: Location) -> bool:
    """Whether a component of a zoo stands for all backbones that match."""
    for part in location:
        data = data[part]
    return "match" in data


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


def _explain(
    document: Document,
    detail: ErrorDetails,
    location: Location,
    model: type[BaseModel],
    *,
    inner: Location | None = None,
) -> str:
    where = document.where(location)
    if detail["type"] == "extra_forbidden":
        known = _keys_at(model, (inner if inner is not None else location)[:-1])
        return f"{where}: {unknown_name(str(location[-1]), known, noun='key')}"
    if detail["type"] == "missing":
        return f"{where}: missing; this key is required"
    got = shortened(repr(detail["input"]))
    message = detail["msg"].removeprefix("Value error, ")
    return f"{where}: {message[0].lower()}{message[1:]}; got {got}"


def _keys_at(model: type[BaseModel], location: Location) -> list[str]:
    """Keys of the (nested) model that a location leads to."""
    current: Any = model
    for part in location:
        current = _without_none(current)
        if isinstance(part, int):
            current = next(iter(get_args(current)), None)
            continue
        fields = getattr(current, "model_fields", {})
        if part in fields:
            current = fields[part].annotation
    return list(getattr(_without_none(current), "model_fields", {}))


def _without_none(annotation: Any) -> Any:
    """The type of a section that may be left out."""
    if type(None) not in get_args(annotation):
        return annotation
    return next(kind for kind in get_args(annotation) if kind is not type(None))
