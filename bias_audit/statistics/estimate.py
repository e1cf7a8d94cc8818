"""The only number a report prints: a value with its interval."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Estimate:
    """A value, the interval that covers it at `level`, and what both rest on."""

    value: float
    lower: float
    upper: float
    level: float
    """Coverage of the interval, such as 0.95."""
    n: int
    """Independent units behind the value: images, or clusters of images of one person."""
    method: str
    """How the interval was made, such as "percentile bootstrap over images, 1000 draws"."""
