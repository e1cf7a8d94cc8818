"""95 % intervals cover the values that the procedure has in the population."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from bias_audit.analyses.probing.decodability import (
    Comparison,
    Decodability,
    decodability,
    probe_targets,
)
from bias_audit.analyses.probing.probes import ProbeSettings
from bias_audit.analyses.probing.recalls import recall_table
from bias_audit.analyses.probing.separability import AUC
from bias_audit.analyses.targets import targets_of
from bias_audit.arrays import FloatArray
from bias_audit.results.selftest import SelfTestPart, SelfTestRow
from bias_audit.selftest.simulated import (
    LEVEL,
    Design,
    Population,
    draw,
    one_training_set,
    subject_of,
)
from bias_audit.selftest.trials import Sizes, Tolerance, Trials, mean, share
from bias_audit.statistics.estimate import Estimate
from bias_audit.statistics.inference import difference

SIGNALS = {"null": 0.0, "moderate": 1.0, "strong": 2.5}
CLUSTER_SIZES = {"single images": 1, "clusters of 2": 2}
_FRESH = 300
_COVERED = Tolerance(0.925, 1)
_EXPECTED = "95 % (at least 92.5 %)"
_UNBIASED = Tolerance(-0.01, 0.01)


@dataclass(frozen=True)
class Condition:
    """A size of audits."""

    per_group: int
    clusters: str

    @property
    def design(self) -> Design:
        """Three layers, from no signal to a strong one."""
        return Design(self.per_group, SIGNALS, cluster_size=CLUSTER_SIZES[self.clusters])

    @property
    def named(self) -> str:
        """For a row."""
        return f"three groups of {self.per_group}, {self.clusters}"


@dataclass(frozen=True)
class Intervals:
    """Those of one simulated audit."""

    auc: dict[str, Estimate]
    """By signal."""
    gain: Estimate
    """AUC at the strong layer minus that at the moderate one."""
    recall: dict[str, tuple[Estimate, ...]]
    """By signal, one for each group; empty where groups are too small to be measured."""


@dataclass(frozen=True)
class Audits:
    """Those of one condition, and what their intervals should cover."""

    condition: Condition
    intervals: tuple[Intervals, ...]
    truth: dict[str, Population]
    """By signal."""


def intervals_of(condition: Condition, rng: np.random.Generator) -> Intervals:
    """The intervals of one simulated audit."""
    sample = draw(condition.design, rng)
    subject = subject_of(sample, rng)
    targets = targets_of(subject.faces.table)
    probed = probe_targets(subject, targets, ProbeSettings())
    (result,) = decodability(subject, probed, AUC, level=LEVEL)
    recall = {}
    for layer, found in zip(SIGNALS, probed[0].probes, strict=True):
        table, *_ = recall_table(subject, probed[0], found, LEVEL)
        recall[layer] = tuple(row.estimate for row in table.rows if row.estimate is not None)
    measured = _measured(result)
    return Intervals(
        {layer: comparison.estimate for layer, comparison in measured.items()},
        difference(measured["strong"].probe, measured["moderate"].probe, level=LEVEL),
        recall,
    )


def _measured(result: Decodability) -> dict[str, Comparison]:
    pairs = zip(SIGNALS, result.comparisons, strict=True)
    found = {layer: comparison for layer, comparison in pairs if comparison is not None}
    if len(found) < len(SIGNALS):
        raise ValueError(f"expected an AUC at {', '.join(SIGNALS)}, got {', '.join(found)}")
    return found


def rows(sizes: Sizes, trials: Trials) -> Iterator[SelfTestRow]:
    """Intervals of macro AUC, of differences and of recall; and whether values are off."""
    everything = []
    for per_group, n in sizes.coverage:
        for clusters in CLUSTER_SIZES:
            audits = _audits(Condition(per_group, clusters), n, sizes.training_sets, trials)
            everything.append(audits)
            yield _auc_row(audits)
    for audits in everything:
        yield _gain_row(audits)
    for audits in everything:
        if any(audits.intervals[0].recall.values()):
            yield _recall_row(audits)
    yield _bias_row(everything)


def n_trials(sizes: Sizes) -> int:
    """Of all checks."""
    with_signal = sum(separation > 0 for separation in SIGNALS.values())
    each = len(CLUSTER_SIZES)
    return each * sum(n + with_signal * sizes.training_sets for _, n in sizes.coverage)


def _audits(condition: Condition, n: int, training_sets: int, trials: Trials) -> Audits:
    intervals = trials.run(partial(intervals_of, condition), n, "coverage", condition.named)
    n_levels = condition.design.n_levels
    truth = {"null": Population(0.5, 1 / n_levels)}  # fresh labels are independent of the scores
    for signal, separation in SIGNALS.items():
        if separation > 0:
            one = partial(one_training_set, condition.design, signal, _FRESH)
            found = trials.run(one, training_sets, "population", condition.named, signal)
            truth[signal] = Population(
                float(np.mean([each.auc for each in found])),
                float(np.mean([each.recall for each in found])),
            )
    return Audits(condition, tuple(intervals), truth)


def _covers(estimates: Sequence[Estimate], truth: float) -> list[float]:
    return [float(e.lower <= truth <= e.upper) for e in estimates]


def _auc_row(audits: Audits) -> SelfTestRow:
    hits = {
        signal: np.array(
            [_covers([i.auc[signal]], audits.truth[signal].auc) for i in audits.intervals]
        )
        for signal in SIGNALS
    }
    return _row("Intervals of macro AUC cover", audits.condition, hits)


def _gain_row(audits: Audits) -> SelfTestRow:
    truth = audits.truth["strong"].auc - audits.truth["moderate"].auc
    hits = np.array([_covers([i.gain], truth) for i in audits.intervals])
    check = "Intervals of the difference of two layers cover"
    return _row(check, audits.condition, {"strong minus moderate": hits})


def _recall_row(audits: Audits) -> SelfTestRow:
    hits = {
        signal: np.array(
            [_covers(i.recall[signal], audits.truth[signal].recall) for i in audits.intervals]
        )
        for signal in SIGNALS
    }
    return _row("Intervals of the recall of a group cover", audits.condition, hits)


def _row(check: str, condition: Condition, hits: Mapping[str, FloatArray]) -> SelfTestRow:
    whole = share(np.concatenate(list(hits.values()), axis=1))
    parts = {name: share(each) for name, each in hits.items()}
    return SelfTestRow(
        check=check,
        condition=condition.named,
        expected=_EXPECTED,
        scale="share",
        estimate=whole,
        trials=whole.n,
        seconds=0,
        outcome=_COVERED.outcome_of_all(whole, parts),
        parts=tuple(SelfTestPart(name=n, estimate=e) for n, e in parts.items())
        if len(parts) > 1
        else (),
    )


def _bias_row(everything: Sequence[Audits]) -> SelfTestRow:
    """Audits of all conditions; on permuted labels an AUC off one half would be a leak."""
    by_signal = {
        signal: mean(
            np.array(
                [
                    i.auc[signal].value - a.truth[signal].auc
                    for a in everything
                    for i in a.intervals
                ]
            )
        )
        for signal in SIGNALS
    }
    worst = max(by_signal.values(), key=lambda estimate: abs(estimate.value))
    return SelfTestRow(
        check="Macro AUC out of fold, minus that on fresh images: the largest",
        condition="all conditions of the intervals above",
        expected="0 (within 0.01)",
        scale="number",
        estimate=worst,
        trials=worst.n,
        seconds=0,
        outcome=_UNBIASED.outcome_of_all(worst, by_signal),
        parts=tuple(SelfTestPart(name=n, estimate=e) for n, e in by_signal.items()),
    )
