"""Layouts as configs name them: a kind and its parameters."""

from __future__ import annotations

from typing import Any

import numpy as np
from pydantic import ValidationError

from bias_audit.analyses.mapping.layout import Distance, Layout
from bias_audit.arrays import FloatArray
from bias_audit.config.catalog import LAYOUTS
from bias_audit.config.schema import Component
from bias_audit.config.wording import dotted, problems_of


def known_layout(layout: Component) -> Component:
    """The layout itself, for a validator.

    Raises:
        ValueError: There is no such layout, or it has no such parameters.
    """
    try:
        plugin = LAYOUTS.load(layout.kind)
    except KeyError as error:
        raise ValueError(error.args[0]) from error
    try:
        plugin.params_type.model_validate(layout.params)
    except ValidationError as error:
        problems = problems_of(error, layout.params, plugin.params_type)
        told = "; ".join(f"{dotted(place)}: {message}" for place, message in problems)
        raise ValueError(f"layout {layout.kind}: {told}") from error
    return layout


def place(
    layout: Component, signatures: FloatArray, distance: Distance, rng: np.random.Generator
) -> FloatArray:
    """Positions in the layout's own scale, shape (n_units, 2)."""
    plugin: Layout[Any] = LAYOUTS.load(layout.kind)
    params = plugin.params_type.model_validate(layout.params)
    return plugin.place(signatures, distance, rng, params)


def layout_name(layout: Component, distance: Distance, refine_steps: int) -> str:
    """Such as "UMAP (cosine), refined by 100 steps of particle swarm"."""
    name = f"{LAYOUTS.load(layout.kind).title} ({distance})"
    if refine_steps:
        name += f", refined by {refine_steps} steps of particle swarm"
    return name
