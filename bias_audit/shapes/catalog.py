"""All shapes, and how a block is read back from results."""

from __future__ import annotations

import functools
import importlib
import pkgutil
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Union

from pydantic import Field

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


if TYPE_CHECKING:
    AnyBlock = Block
else:
    # A union over the folder: pydantic reads each block by its name, and documents them all.
    AnyBlock = Annotated[
        Union[tuple(shape.block for shape in shapes().values())],  # noqa: UP007
        Field(discriminator="block"),
    ]
