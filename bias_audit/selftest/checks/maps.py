"""Groups of few people that differ in no mean: difference maps claim a difference rarely."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from bias_audit.analyses.mapping.comparisons import Differences
from bias_audit.analyses.mapping.labellings import TwoGroups
from bias_audit.analyses.mapping.layout import neighbours
from bias_audit.analyses.mapping.permutation import Threshold, cluster_test, unit_test
from bias_audit.results.selftest import SelfTestPart, SelfTestRow
from bias_audit.selftest.simulated import ALPHA, noise
from bias_audit.selftest.trials import Sizes, Tolerance, Trials, share

PEOPLE = (10, 50)
_SIDE = 6
_DRAWS = 99
_FEW = Tolerance(0, 1.5 * ALPHA)
_TESTS = {"clusters": "regions of neighbouring units", "max_t": "every unit"}


@dataclass(frozen=True)
class Condition:
    """How the smaller group and the larger differ, other than in their means."""

    spreads: tuple[float, float] = (1, 1)
    images: tuple[int, int] = (1, 1)
    """Of each person."""


CONDITIONS = {
    "the 10 vary three times as much": Condition(spreads=(3, 1)),
    "the 50 vary three times as much": Condition(spreads=(1, 3)),
    "the 10 have four images each": Condition(images=(4, 1)),
}


def drawn(condition: Condition, rng: np.random.Generator) -> TwoGroups:
    """Images of both groups, whose neighbouring units are alike."""
    group = np.repeat([0, 1], PEOPLE)
    people = np.repeat(np.arange(len(group)), np.array(condition.images)[group])
    units = noise(people, _SIDE**2, rng).reshape(-1, _SIDE, _SIDE)
    units = units + np.roll(units, 1, axis=1) + np.roll(units, 1, axis=2)
    units *= np.array(condition.spreads)[group[people], None, None]
    n = len(people)
    return TwoGroups(
        units.reshape(n, -1).astype(np.float32),
        images=np.arange(n),
        labels=group[people] == 0,
        strata=np.zeros(n, dtype=np.int64),
        clusters=people,
    )


def is_claimed(rng: np.random.Generator) -> dict[str, tuple[bool, ...]]:
    """Whether the map of each condition shows a difference, by test."""
    axis = np.linspace(0, 1, _SIDE)
    edges = neighbours(np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2))
    default = Differences()
    threshold = Threshold(default.unit_p, default.smallest_effect)
    found = []
    for condition in CONDITIONS.values():
        groups = drawn(condition, rng)
        regions = cluster_test(groups, edges, threshold, n_draws=_DRAWS, rng=rng)
        units, _ = unit_test(groups, edges, alpha=ALPHA, n_draws=_DRAWS, rng=rng)
        found.append((regions.p_value <= ALPHA, units.p_value <= ALPHA))
    return dict(zip(_TESTS, zip(*found, strict=True), strict=True))


def rows(sizes: Sizes, trials: Trials) -> Iterator[SelfTestRow]:
    """False claims of both tests; nothing without maps."""
    if not sizes.maps:
        return
    maps = trials.run(is_claimed, sizes.maps, "maps")
    for test, tested in _TESTS.items():
        hits = np.array([each[test] for each in maps], dtype=np.float64)
        whole = share(hits)
        parts = {name: share(hits[:, i]) for i, name in enumerate(CONDITIONS)}
        yield SelfTestRow(
            check=f"A difference map of groups with equal means shows a difference ({tested})",
            condition=f"{PEOPLE[0]} people against {PEOPLE[1]}, {_SIDE**2} units",
            expected=f"at most {100 * ALPHA:g} % (tolerated: {150 * ALPHA:g} %)",
            scale="share",
            estimate=whole,
            trials=hits.size,
            seconds=0,
            outcome=_FEW.outcome_of_all(whole, parts),
            parts=tuple(SelfTestPart(name=n, estimate=e) for n, e in parts.items()),
        )


def n_trials(sizes: Sizes) -> int:
    """Simulated sets of maps."""
    return sizes.maps
