"""How blocks are drawn: one module of this folder for each shape that is, under its name."""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from matplotlib.figure import Figure

from bias_audit.report.figures.style import Palette
from bias_audit.shapes.catalog import shapes
from bias_audit.shapes.shape import Arrays


@dataclass(frozen=True)
class Drawing:
    """One shape, drawn."""

    draw: Callable[[Any, Arrays, Palette], Figure]
    """From a block, the arrays of `arrays`, and the colours of the audit's attributes."""
    form: Literal["svg", "png"] = "svg"
    arrays: Callable[[Any], tuple[str, ...]] = lambda _: ()
    """Keys of the arrays that are drawn."""
    keys: Callable[[Any], str] = lambda _: "layer"
    """What the keys of the figure's marks are: "layer", or the attributes of groups."""
    is_landscape: Callable[[Any], bool] = lambda _: False
    """Whether paper gives it a page of its own, turned to the side."""


@functools.cache
def drawing_of(shape: str) -> Drawing | None:
    """How blocks of a shape are drawn; None where it is text and tables alone."""
    name = f"{__package__}.{shape}"
    if shape not in shapes() or importlib.util.find_spec(name) is None:
        return None
    found: Drawing = importlib.import_module(name).DRAWING
    return found
