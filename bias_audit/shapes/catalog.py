"""All shapes, and how a block is read back from results."""

from __future__ import annotations

import functools
import importlib
import pkgutil
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, SerializeAsAny

import bias_audit.shapes as folder
from bias_audit.shapes.shape import Block, Shape


@functools.cache
def shapes() -> Mapping[str, Shape[Any]]:
    """Every module of this folder with a `SHAPE`, by name, in the order of a report."""
    names = (module.name for module in pkgutil.iter_modules(folder.__path__))
    modules = (importlib.import_module(f"{folder.__name__}.{name}") for name in names)
    found: list[Shape[Any]] = [m.SHAPE for m in modules if hasattr(m, "SHAPE")]
    return {shape.name: shape for shape in sorted(found, key=lambda shape: shape.place)}


def shape_of(block: Block) -> Shape[Any]:
    """The shape that a block has."""
    return shapes()[block.name]


def _read(value: object) -> object:
    """A block from its fields.

    Raises:
        ValueError: They name no shape, or do not fit it.
    """
    if not isinstance(value, Mapping):
        return value
    name = str(value.get("block"))
    if name not in shapes():
        raise ValueError(f"expected a block of shape {', '.join(shapes())}, got {name!r}")
    return shapes()[name].block.model_validate(value)


AnyBlock = Annotated[SerializeAsAny[Block], BeforeValidator(_read)]
"""A field that holds a block of any shape."""
