"""What a config says about difference maps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from bias_audit.analyses.mapping.differences import comparisons
from bias_audit.config.schema import Strict
from bias_audit.groups import Attribute
from bias_audit.statistics.multiplicity import draws_needed

_FEWEST_DRAWS = 999


class LevelPair(Strict):
    """Two levels of one attribute."""

    attribute: str
    levels: tuple[str, str]


class Differences(Strict):
    """Which difference maps are drawn, and how they are tested."""

    pairs: tuple[LevelPair, ...] = Field(
        default=(),
        description="Pairs of levels to compare, besides every level against the rest.",
    )
    test: Literal["clusters", "max_t", "none"] = Field(
        default="clusters",
        description="Regions of neighbouring units on half of the images, every unit by itself on "
        "all of them, or nothing.",
    )
    permutations: int | None = Field(
        default=None,
        ge=19,
        le=100_000,
        description="Default: as many as the maps of a layer need, at least 999.",
    )
    unit_p: float = Field(
        default=0.01,
        gt=0,
        lt=0.5,
        description="A unit joins a region when its own two-sided p is at most this, and",
    )
    smallest_effect: float = Field(
        default=0.2,
        ge=0,
        description="its difference at least this, in standard deviations within strata.",
    )
    regions_listed: int = Field(default=3, ge=1, le=50, description="Per map, strongest first.")

    @property
    def named(self) -> tuple[tuple[str, str, str], ...]:
        """(attribute, level, other level)."""
        return tuple((pair.attribute, *pair.levels) for pair in self.pairs)


def too_few_permutations(
    asked: Differences, alpha: float, attributes: Sequence[Attribute]
) -> tuple[str, ...]:
    """A message if the permutations asked for can reject no single map under Holm."""
    n_maps = len(comparisons(attributes, asked.named))
    if asked.permutations is None or asked.test == "none":
        return ()
    needed = draws_needed(n_maps, alpha=alpha, method="holm")
    if asked.permutations >= needed:
        return ()
    return (
        f"differences.permutations: {asked.permutations} permutations cannot reject any of "
        f"{n_maps} difference maps under Holm at {alpha:g}; at least {needed} are needed, and "
        "leaving the key out gives enough",
    )


def permutations_of(asked: Differences, n_maps: int, alpha: float) -> int:
    """Permutations to make for the maps of a layer."""
    if asked.permutations is not None:
        return asked.permutations
    return max(_FEWEST_DRAWS, draws_needed(n_maps, alpha=alpha, method="holm"))
