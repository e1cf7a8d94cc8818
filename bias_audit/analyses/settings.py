"""Settings that several analyses have, each with its bounds and its words."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

Coverage = Annotated[float, Field(gt=0.5, lt=1, description="Coverage of the intervals.")]
BootstrapDraws = Annotated[
    int, Field(ge=100, le=100_000, description="Draws behind each interval.")
]
OneLayer = Annotated[
    str | None, Field(description="Default: the layer at which intersections separate best.")
]
