"""All shapes, and how a block is read back from results."""

from __future__ import annotations

import functools
import importlib
import pkgutil
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Union

from pydantic import Field

import bias_audit.shapes as folder
from bias_audit.shapes.shape import COLUMNS, ESTIMATE, Block, Shape


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


def tables_document() -> str:
    """What every table of the exports contains, in Markdown: `docs/tables.md`."""
    lines = [
        "# Tables of an audit",
        "",
        "Each shape in which analyses speak has one table, in `exports/tables/NAME.csv` and",
        "`.parquet`. The CSV file of a figure has the same columns, unless it shows units of a",
        "layer or cells of an image. Every row begins with `backbone`, `analysis` and `block`. A",
        "column means the same in all tables; what is missing is empty. An estimate takes the",
        f"columns `{'`, `'.join(ESTIMATE)}`;",
        "other values with an interval take NAME, NAME_lower and NAME_upper.",
    ]
    for shape in shapes().values():
        lines += ["", f"## {shape.table}", "", f"One row is {shape.about}.", ""]
        lines += [f"- `{name}`: {COLUMNS[name].about}" for name in shape.columns]
    return "\n".join(lines) + "\n"
