"""The only number a report prints: a value with its interval."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


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
    """How the interval was made, such as "cluster bootstrap over images"."""
    scale: Literal["identity", "logit", "wilson"] = "identity"
    """On which the interval is symmetric; "wilson" is Wilson's interval of `value` and `n`."""
    effective: float | None = None
    """Observations that Wilson's interval counts, where fewer than `n` because the predictions
    behind a share depend on each other."""

    @property
    def counted(self) -> float:
        """Observations that Wilson's interval counts."""
        return self.n if self.effective is None else self.effective
