"""How many simulated audits the full and the quick self-test make."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

Mode = Literal["full", "quick"]


@dataclass(frozen=True)
class Sizes:
    """Trials of each check."""

    effects: tuple[float, ...]
    """Population AUC of the best direction, ascending; the last is strong."""
    planted: int
    """Audits with a planted attribute, per effect."""
    null: int
    """Audits of permuted labels, per condition."""
    mixed: int
    """Audits of which half of the layers hold the attribute."""
    coverage: tuple[tuple[int, int], ...]
    """Images per group, and audits of that size with and without clusters."""
    training_sets: int
    """Behind each population value."""
    accuracy: int
    """Large audits whose AUC is compared with a closed form."""
    engine: int
    """Audits that are fitted by scikit-learn too."""
    adverse: int = 0
    """Audits of nothing with baselines, in each adverse condition."""
    deciding: int = 0
    """Repetitions with the number of images that a criterion names."""
    maps: int = 0
    """Difference maps of groups that do not differ, per condition; of few, one chance claim would
    be beyond what is tolerated."""


FULL: Final = Sizes(
    effects=(0.6, 0.7, 0.8, 0.95),
    planted=60,
    null=200,
    mixed=120,
    coverage=((10, 200), (30, 200), (100, 120), (300, 40)),
    training_sets=40,
    accuracy=16,
    engine=8,
    adverse=400,
    deciding=2000,
    maps=300,
)
QUICK: Final = Sizes(
    effects=(0.95,),
    planted=10,
    null=10,
    mixed=8,
    coverage=((30, 15),),
    training_sets=10,
    accuracy=4,
    engine=2,
    adverse=0,
    deciding=100,
)
SIZES: Final[dict[Mode, Sizes]] = {"full": FULL, "quick": QUICK}
