"""The only number a report prints: a value with its interval."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Scale = Literal["identity", "logit", "wilson", "paired"]


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
    scale: Scale = "identity"
    """On which the interval is symmetric. "wilson" is Wilson's interval of `value` and `counted`;
    "paired" is a difference of shares, whose interval is at least Tango's of `counted` pairs that
    all agree; "logit" occurs in results of earlier releases."""
    effective: float | None = None
    """Observations that the score interval counts, where not `n`."""
    freedom: float | None = None
    """Degrees of freedom of Student's t behind the interval; None where it is a normal one."""
    clusters: float | None = None
    """Effective number of independent clusters, from their sizes: what unequal clusters are worth
    in clusters of one size; None where it was not found."""
    choice: float = 1.0
    """Share of the error rate that the interval has, because its layer was chosen among several by
    what was measured there: it holds at `level` for the layer chosen; 1 where none was."""

    @property
    def counted(self) -> float:
        """Observations that a score interval counts."""
        return self.n if self.effective is None else self.effective
