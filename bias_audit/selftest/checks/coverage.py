"""95 % intervals cover the values that the procedure has in the population."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from bias_audit.analyses.probing.decodability import decodability, probe_targets
from bias_audit.analyses.probing.probes import ProbeSettings
from bias_audit.analyses.probing.recalls import recall_table
from bias_audit.analyses.probing.separability import AUC
from bias_audit.analyses.targets import targets_of
from bias_audit.results.selftest import SelfTestRow
from bias_audit.selftest.simulated import (
    LEVEL,
    Design,
    Population,
    draw,
    one_training_set,
    subject_of,
)
from bias_audit.selftest.trials import Sizes, Tolerance, Trials, row, share
from bias_audit.statistics.bootstrap import mean_over_repetitions
from bias_audit.statistics.estimate import Estimate
from bias_audit.statistics.inference import difference

SIGNALS = {"null": 0.0, "moderate": 1.0, "strong": 2.5}
CLUSTERS = {
    "single images": (1, 0.0),
    "clusters of 2": (2, 0.0),
    "clusters of 2, one in three in two groups": (2, 1 / 3),
}
"""Images per cluster, and the share of clusters whose images belong to two groups."""
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
        size, several = CLUSTERS[self.clusters]
        return Design(self.per_group, SIGNALS, cluster_size=size, several=several)

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


def intervals_of(condition: Condition, rng: np.random.Generator) -> Intervals:
    """The intervals of one simulated audit."""
    sample = draw(condition.design, rng)
    subject = subject_of(sample, int(rng.integers(2**31)))
    probed = probe_targets(subject, targets_of(subject.faces.table), ProbeSettings())
    ((result,),) = decodability(subject, probed, AUC, level=LEVEL)
    recall = {}
    for layer in SIGNALS:
        table, *_ = recall_table(subject, probed[0], probed[0].at(layer), LEVEL)
        recall[layer] = tuple(row.estimate for row in table.rows if row.estimate is not None)
    pairs = zip(SIGNALS, result.comparisons, strict=True)
    measured = {layer: comparison for layer, comparison in pairs if comparison is not None}
    if len(measured) < len(SIGNALS):
        raise ValueError(f"expected an AUC at {', '.join(SIGNALS)}, got {', '.join(measured)}")
    return Intervals(
        {layer: comparison.estimate for layer, comparison in measured.items()},
        difference(measured["strong"].probe, measured["moderate"].probe, level=LEVEL),
        recall,
    )


def rows(sizes: Sizes, trials: Trials) -> Iterator[SelfTestRow]:
    """Intervals of macro AUC, of differences and of recall; and whether values are off."""
    everything = []
    for per_group, n in sizes.coverage:
        for clusters in CLUSTERS:
            condition = Condition(per_group, clusters)
            audits = trials.run(partial(intervals_of, condition), n, "coverage", condition.named)
            truth = _truth(condition, sizes.training_sets, trials)
            everything.append((condition, audits, truth))
            aucs = {s: [[(a.auc[s], truth[s].auc)] for a in audits] for s in SIGNALS}
            yield _row("Intervals of macro AUC cover", condition, aucs)
    for condition, audits, truth in everything:
        gain = truth["strong"].auc - truth["moderate"].auc
        gains = {"strong minus moderate": [[(audit.gain, gain)] for audit in audits]}
        yield _row("Intervals of the difference of two layers cover", condition, gains)
    for condition, audits, truth in everything:
        if any(audits[0].recall.values()):
            recalls = {
                s: [[(e, truth[s].recall) for e in audit.recall[s]] for audit in audits]
                for s in SIGNALS
            }
            yield _row("Intervals of the recall of a group cover", condition, recalls)
    # Of all conditions; on permuted labels an AUC off one half would be a leak.
    biases = {}
    for s in SIGNALS:
        off = [a.auc[s].value - truth[s].auc for _, audits, truth in everything for a in audits]
        biases[s] = mean_over_repetitions(np.array(off), level=LEVEL)
    yield row(
        "Largest difference between macro AUC out of fold and on fresh images",
        "all conditions of the intervals above",
        "0 (within 0.01)",
        max(biases.values(), key=lambda estimate: abs(estimate.value)),
        _UNBIASED,
        parts=biases,
        scale="number",
    )


def _truth(condition: Condition, training_sets: int, trials: Trials) -> dict[str, Population]:
    """What the intervals should cover, by signal."""
    design = condition.design
    truth = {}
    if not design.several:  # fresh labels are independent of the scores
        truth["null"] = Population(0.5, 1 / design.n_levels)
    for signal in SIGNALS:
        if signal not in truth:
            one = partial(one_training_set, condition.design, signal, _FRESH)
            found = trials.run(one, training_sets, "population", condition.named, signal)
            aucs, recalls = [each.auc for each in found], [each.recall for each in found]
            truth[signal] = Population(float(np.mean(aucs)), float(np.mean(recalls)))
    return truth


def _row(
    check: str,
    condition: Condition,
    found: Mapping[str, Sequence[Sequence[tuple[Estimate, float]]]],
) -> SelfTestRow:
    """Whether intervals cover the truth, by part, audit and interval."""
    hits = {
        name: np.array(
            [[float(e.lower <= truth <= e.upper) for e, truth in audit] for audit in audits]
        )
        for name, audits in found.items()
    }
    whole = share(np.concatenate(list(hits.values()), axis=1))
    parts = {name: share(each) for name, each in hits.items()}
    return row(check, condition.named, _EXPECTED, whole, _COVERED, parts=parts)
