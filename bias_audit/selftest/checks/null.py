"""Where nothing is planted, little is claimed: permuted labels, and maps of equal means."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np

from bias_audit.analyses.mapping.comparisons import Differences
from bias_audit.analyses.mapping.labellings import TwoGroups
from bias_audit.analyses.mapping.layout import neighbours
from bias_audit.analyses.mapping.permutation import Threshold, cluster_test, unit_test
from bias_audit.arrays import FloatArray
from bias_audit.config.schema import Criterion
from bias_audit.groups import Attribute
from bias_audit.results.selftest import SelfTestRow
from bias_audit.selftest.simulated import (
    ALPHA,
    Design,
    Sample,
    audited,
    draw,
    is_claimed,
    noise,
    outcome,
)
from bias_audit.selftest.trials import Sizes, Tolerance, Trials, row, share
from bias_audit.statistics.multiplicity import adjusted, is_rejected

CLUSTER_SIZES = {"single images": 1, "clusters of 3": 3}
_PER_LEVEL = 30
_HIDDEN = {"early": 1.0, "middle": 1.5, "late": 2.0}
_FEW = Tolerance(0, 1.5 * ALPHA)
_EXPECTED = f"at most {100 * ALPHA:g} % (tolerated: {150 * ALPHA:g} %)"
_WHY = "Nothing is planted, so any FAIL is a false alarm."
_SMALLEST_P = np.finfo(np.float64).tiny
"""For p-values too small for a float, which the adjustment refuses as 0."""
CRITERIA = {
    "lift at most 0": {"of": "lift", "at_most": 0.0},
    "macro AUC at most 0.5": {"of": "estimate", "at_most": 0.5},
}


@dataclass(frozen=True)
class NullAudit:
    """What one audit of permuted labels claimed."""

    is_claimed: bool
    fails: dict[str, tuple[bool, ...]]
    """By criterion, one for each target."""


def null_audit(cluster_size: int, rng: np.random.Generator) -> NullAudit:
    """Audit two attributes whose labels were dealt to clusters at random.

    The units hold another attribute, which no claim is about.
    """
    drawn = draw(Design(_PER_LEVEL, _HIDDEN, cluster_size=cluster_size), rng)
    n_clusters = len(drawn.codes) // cluster_size
    first = rng.permutation(drawn.codes[::cluster_size, 0])[drawn.clusters]
    second = rng.permutation(np.arange(n_clusters) % 2)[drawn.clusters]
    codes = np.stack([first, second], axis=1).astype(np.int64)
    attributes = (*drawn.attributes, Attribute("second", ("a", "b")))
    return audit_of_nothing(Sample(attributes, codes, drawn.clusters, drawn.by_layer), rng)


def audit_of_nothing(sample: Sample, rng: np.random.Generator) -> NullAudit:
    """Audit a sample whose labels mean nothing, so that every claim and every FAIL is false."""
    results = audited(sample, rng)
    targets = [result.probed.target.name for result in results]
    fails = {
        name: tuple(outcome(results, criterion_of(name, each)) == "FAIL" for each in targets)
        for name in CRITERIA
    }
    return NullAudit(is_claimed(results), fails)


def criterion_of(name: str, target: str) -> Criterion:
    """One of the criteria that nothing should fail, about a target."""
    about = {"name": name, "quantity": "macro_auc", "target": target, "rationale": _WHY}
    return Criterion.model_validate(about | CRITERIA[name])


def false_share(rng: np.random.Generator) -> float:
    """Share of false ones among the layers that Benjamini-Hochberg rejects; 0 of none."""
    layers = {"null a": 0.0, "null b": 0.0, "null c": 0.0, "planted a": 1.0, "planted b": 1.5}
    (result,) = audited(draw(Design(_PER_LEVEL, layers), rng), rng)
    p_values = [
        None if point.p_value is None else max(point.p_value, float(_SMALLEST_P))
        for point in result.curve.points
    ]
    kept = [
        name
        for name, p in zip(layers, adjusted(p_values, "benjamini_hochberg"), strict=True)
        if is_rejected(p, alpha=ALPHA)
    ]
    return sum(name.startswith("null") for name in kept) / max(1, len(kept))


def rows(sizes: Sizes, trials: Trials) -> Iterator[SelfTestRow]:
    """Claims, verdicts and discoveries."""
    for condition, size in CLUSTER_SIZES.items():
        audits = trials.run(partial(null_audit, size), sizes.null, "null", condition)
        said = f"labels permuted, two targets at three layers, 90 images, {condition}"
        claimed = np.array([float(audit.is_claimed) for audit in audits])
        yield _row("False claims that an attribute can be read, per audit", said, claimed)
        for name in CRITERIA:
            failed = np.array([audit.fails[name] for audit in audits], dtype=np.float64)
            yield _row(f'False FAIL of the criterion "{name}"', said, failed)
    shares = np.array(trials.run(false_share, sizes.mixed, "mixed"))
    yield _row(
        "Share of false discoveries under Benjamini-Hochberg",
        "no signal in three of five layers, 90 images",
        shares,
    )


def _row(check: str, condition: str, hits: FloatArray) -> SelfTestRow:
    return row(check, condition, _EXPECTED, share(hits), _FEW)


PEOPLE = (10, 50)
_SIDE = 6
_DRAWS = 99
_TESTS = {"clusters": "regions of neighbouring units", "max_t": "every unit"}


@dataclass(frozen=True)
class Groups:
    """How the smaller group and the larger differ, other than in their means."""

    spreads: tuple[float, float] = (1, 1)
    images: tuple[int, int] = (1, 1)
    """Of each person."""


GROUPS = {
    "the 10 vary three times as much": Groups(spreads=(3, 1)),
    "the 50 vary three times as much": Groups(spreads=(1, 3)),
    "the 10 have four images each": Groups(images=(4, 1)),
}


def drawn(groups: Groups, rng: np.random.Generator) -> TwoGroups:
    """Images of both groups, whose neighbouring units are alike."""
    group = np.repeat([0, 1], PEOPLE)
    people = np.repeat(np.arange(len(group)), np.array(groups.images)[group])
    units = noise(people, _SIDE**2, rng).reshape(-1, _SIDE, _SIDE)
    units = units + np.roll(units, 1, axis=1) + np.roll(units, 1, axis=2)
    units *= np.array(groups.spreads)[group[people], None, None]
    n = len(people)
    return TwoGroups(
        units.reshape(n, -1).astype(np.float32),
        images=np.arange(n),
        labels=group[people] == 0,
        strata=np.zeros(n, dtype=np.int64),
        clusters=people,
    )


def maps_claim(rng: np.random.Generator) -> dict[str, tuple[bool, ...]]:
    """Whether the map of each groups shows a difference, by test."""
    axis = np.linspace(0, 1, _SIDE)
    edges = neighbours(np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2))
    default = Differences()
    threshold = Threshold(default.unit_p, default.smallest_effect)
    found = []
    for groups in GROUPS.values():
        two = drawn(groups, rng)
        regions = cluster_test(two, edges, threshold, n_draws=_DRAWS, rng=rng)
        units, _ = unit_test(two, edges, alpha=ALPHA, n_draws=_DRAWS, rng=rng)
        found.append((regions.p_value <= ALPHA, units.p_value <= ALPHA))
    return dict(zip(_TESTS, zip(*found, strict=True), strict=True))


def map_rows(sizes: Sizes, trials: Trials) -> Iterator[SelfTestRow]:
    """False claims of both tests; nothing without maps."""
    if not sizes.maps:
        return
    maps = trials.run(maps_claim, sizes.maps, "maps")
    for test, tested in _TESTS.items():
        hits = np.array([each[test] for each in maps], dtype=np.float64)
        yield row(
            f"A difference map of groups with equal means shows a difference ({tested})",
            f"{PEOPLE[0]} people against {PEOPLE[1]}, {_SIDE**2} units",
            _EXPECTED,
            share(hits),
            _FEW,
            parts={name: share(hits[:, i]) for i, name in enumerate(GROUPS)},
        )
