"""Audits of nothing where it is hardest: few and unequal clusters, rare groups, heavy tails.

All have baselines that are as good as the layers, so that the true lift is 0 whatever the layer.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

import numpy as np

from bias_audit.arrays import Float32Array, FloatArray, IntArray
from bias_audit.groups import Attribute
from bias_audit.results.selftest import SelfTestRow
from bias_audit.selftest.checks.null import CRITERIA, criterion_of
from bias_audit.selftest.simulated import (
    ALPHA,
    LEVEL,
    LIKENESS,
    Sample,
    SimulatedBaseline,
    audited,
    is_claimed,
    outcome,
)
from bias_audit.selftest.trials import Sizes, Tolerance, Trials, row, share
from bias_audit.statistics.estimate import allowing_for_choice
from bias_audit.statistics.inference import difference

_LAYERS: Final = ("early", "middle", "late")
_UNITS: Final = 24
_FEW: Final = Tolerance(0, 1.5 * ALPHA)
_FEW_PASS: Final = Tolerance(0, 0.75 * ALPHA)
_COVERED: Final = Tolerance(0.925, 1)
_ANY: Final = Tolerance(0, 1)


@dataclass(frozen=True)
class Condition:
    """Who is shown how often, and how units spread."""

    named: str
    sizes: tuple[int, ...] = ()
    """Images of each person; empty: drawn from a Pareto distribution for 20 people."""
    n_levels: int = 2
    rare: int | None = None
    """People of the first level; default: as many as of the others."""
    tails: float | None = None
    """Degrees of freedom of Student's t; default: Gaussian units."""
    common: float = 0.5
    """Correlation of the noise of one image in two layers."""
    nuisance: float = 0.0
    """By how many standard deviations image quality differs between neighbouring levels."""


CONDITIONS: Final = (
    Condition("12 people with 8 images each", (8,) * 12),
    Condition("20 people with unequal numbers of images (Pareto)"),
    Condition("20 single images", (1,) * 20),
    Condition("10 images of one level, 500 of the other", (1,) * 510, rare=10),
    Condition(
        "seven levels that differ in image quality alone", (1,) * 210, n_levels=7, nuisance=0.5
    ),
    Condition("60 images, units with heavy tails (t, 2 degrees of freedom)", (1,) * 60, tails=2),
    Condition("60 images, nearly equal layers", (1,) * 60, common=0.95),
)


@dataclass(frozen=True)
class Found:
    """What one audit of nothing said."""

    is_claimed: bool
    fails: tuple[bool, ...]
    """Of the criteria that hold."""
    passes: tuple[bool, ...]
    """Whether "lift at most 0" would pass, for each layer."""
    covered: tuple[tuple[str, bool], ...]
    """Kind of interval, and whether it covers."""


def sample_of(condition: Condition, rng: np.random.Generator) -> Sample:
    """Simulated images whose labels mean nothing, with baselines like the layers."""
    if condition.sizes:
        sizes = np.array(condition.sizes, dtype=np.int64)
    else:  # the most of the 20 people have dozens of images
        drawn = 2 * (1 + rng.pareto(1.16, size=20))
        sizes = np.clip(np.round(drawn), 1, 60).astype(np.int64)
    clusters = np.repeat(np.arange(len(sizes)), sizes)
    levels = np.arange(len(sizes)) % condition.n_levels
    if condition.rare is not None:
        levels = (np.arange(len(sizes)) >= condition.rare).astype(np.int64)
    codes = rng.permutation(levels)[clusters]
    quality = rng.standard_normal(len(codes)) + condition.nuisance * codes
    units = partial(_units, condition, clusters, quality, rng)
    shared = units()
    own, rest = np.sqrt(condition.common), np.sqrt(1 - condition.common)
    layers = {name: (own * shared + rest * units()).astype(np.float32) for name in _LAYERS}
    baselines = []
    for seed in (1, 2):
        by_layer = {name: units() for name in _LAYERS}
        name = f"random weights, seed {seed}"
        baselines.append(SimulatedBaseline("random weights", name, True, by_layer))  # noqa: FBT003
    described = quality[:, None].astype(np.float32)
    for kind, values in (("image quality", described), ("pixels", units())):
        baselines.append(SimulatedBaseline(kind, kind, False, {"": values}))  # noqa: FBT003
    attribute = Attribute("nothing", tuple(f"level {k}" for k in range(condition.n_levels)))
    return Sample((attribute,), codes[:, None], clusters, layers, tuple(baselines))


def _units(
    condition: Condition, clusters: IntArray, quality: FloatArray, rng: np.random.Generator
) -> Float32Array:
    """Noise that images of one person share; the first unit shows image quality."""

    def noise(n: int) -> FloatArray:
        size = (n, _UNITS)
        if condition.tails is None:
            return rng.standard_normal(size)
        return np.asarray(rng.standard_t(condition.tails, size))

    found = noise(len(clusters))
    if clusters[-1] + 1 < len(clusters):
        shared = noise(int(clusters[-1]) + 1)[clusters]
        found = np.sqrt(LIKENESS) * shared + np.sqrt(1 - LIKENESS) * found
    if condition.nuisance:
        found[:, 0] = quality + 0.5 * found[:, 0]
    return found.astype(np.float32)


def audit_of_nothing(condition: Condition, rng: np.random.Generator) -> Found | None:
    """What one audit says, and whether it is right; None where it declines to measure."""
    results = audited(sample_of(condition, rng), rng)
    (result,) = results
    known = [comparison for comparison in result.comparisons if comparison is not None]
    if not known:
        return None
    has_signal = condition.nuisance > 0
    null = [name for name in CRITERIA if not (has_signal and "AUC" in name)]
    ends = difference(known[0].probe, known[-1].probe, level=LEVEL)
    intervals = [("difference of layers", ends, 0.0)]
    if not has_signal:
        for comparison in known:
            intervals += [("AUC", comparison.estimate, 0.5), ("lift", comparison.lift, 0.0)]
        if result.best is not None:
            best, choice = result.best, result.choice
            auc, lift = (allowing_for_choice(e, choice) for e in (best.estimate, best.lift))
            intervals += [("AUC of the best layer", auc, 0.5), ("lift at the best layer", lift, 0)]
    return Found(
        is_claimed=is_claimed(results),
        fails=tuple(outcome(results, criterion_of(n, "nothing")) == "FAIL" for n in null),
        passes=() if has_signal else tuple(c.lift.upper < 0 for c in known),
        covered=tuple((kind, e.lower <= truth <= e.upper) for kind, e, truth in intervals),
    )


def rows(sizes: Sizes, trials: Trials) -> Iterator[SelfTestRow]:
    """False claims, verdicts and coverage in every condition; what was not measured is said."""
    for condition in CONDITIONS if sizes.adverse else ():
        one = partial(audit_of_nothing, condition)
        every = trials.run(one, sizes.adverse, "adverse", condition.named)
        made = [found for found in every if found is not None]
        said = f"{condition.named}, four baselines"
        if len(made) < len(every):
            hits = {"not measured": [[found is None] for found in every]}
            yield _row(
                "Audits that decline to measure because people are too few", said, hits, _ANY, 1
            )
        if not made:
            continue
        wrong = {"any claim that an attribute can be read": [[found.is_claimed] for found in made]}
        for name, fails in zip(CRITERIA, zip(*(f.fails for f in made), strict=True), strict=False):
            wrong[f'FAIL of "{name}"'] = [[hit] for hit in fails]
        check = "False claims and false FAIL where there is nothing to find"
        yield _row(check, said, wrong, _FEW, 1.5 * ALPHA)
        if made[0].passes:
            passes = {"lift at most 0": [found.passes for found in made]}
            check = "Wrong PASS where the true lift is at its margin"
            yield _row(check, said, passes, _FEW_PASS, 0.75 * ALPHA)
        covers = {
            kind: [[hit for own, hit in found.covered if own == kind] for found in made]
            for kind in dict.fromkeys(kind for kind, _ in made[0].covered)
        }
        yield _row("95 % intervals cover", said, covers, _COVERED, 0.925)


def _row(
    check: str,
    condition: str,
    hits: Mapping[str, Sequence[Sequence[bool]]],
    tolerance: Tolerance,
    limit: float,
) -> SelfTestRow:
    """One row; the part furthest from what is expected decides."""
    parts = {name: share(np.array(each, dtype=np.float64)) for name, each in hits.items()}
    is_coverage = tolerance.lowest > 0
    pick, side = (min, "at least") if is_coverage else (max, "at most")
    worst = pick(parts.values(), key=lambda estimate: estimate.value)
    expected = f"{side} {100 * limit:.3g} %"
    return row(check, condition, expected, worst, tolerance, parts=parts)
