"""Where nothing is planted, little is claimed: permuted labels, with and without clusters."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np

from bias_audit.arrays import FloatArray
from bias_audit.config.schema import Criterion
from bias_audit.groups import Attribute
from bias_audit.results.selftest import SelfTestRow
from bias_audit.selftest.simulated import ALPHA, Design, Sample, audited, draw, is_claimed, outcome
from bias_audit.selftest.trials import Sizes, Tolerance, Trials, share
from bias_audit.statistics.multiplicity import adjusted, is_rejected

CLUSTER_SIZES = {"single images": 1, "clusters of 3": 3}
_PER_LEVEL = 30
_HIDDEN = {"early": 1.0, "middle": 1.5, "late": 2.0}
_SECOND = Attribute("second", ("a", "b"))
_FEW = Tolerance(0, 1.5 * ALPHA)
_EXPECTED = f"at most {100 * ALPHA:g} % (tolerated: {150 * ALPHA:g} %)"
_WHY = "Nothing is planted, so that any FAIL is a false alarm."
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
    """Audit two attributes whose labels were dealt to clusters at random."""
    return audit_of_nothing(_permuted(cluster_size, rng), rng)


def audit_of_nothing(sample: Sample, rng: np.random.Generator) -> NullAudit:
    """Audit a sample whose labels mean nothing, so that every claim and every FAIL is false."""
    results = audited(sample, rng)
    targets = [result.probed.target.name for result in results]
    return NullAudit(
        is_claimed(results),
        {
            name: tuple(
                outcome(results, criterion_of(name, target)) == "FAIL" for target in targets
            )
            for name in CRITERIA
        },
    )


def _permuted(cluster_size: int, rng: np.random.Generator) -> Sample:
    """Units that hold an attribute nobody asks about; what is asked about is permuted."""
    drawn = draw(Design(_PER_LEVEL, _HIDDEN, cluster_size=cluster_size), rng)
    n_clusters = len(drawn.codes) // cluster_size
    first = rng.permutation(drawn.codes[::cluster_size, 0])[drawn.clusters]
    second = rng.permutation(np.arange(n_clusters) % 2)[drawn.clusters]
    codes = np.stack([first, second], axis=1).astype(np.int64)
    return Sample((*drawn.attributes, _SECOND), codes, drawn.clusters, drawn.by_layer)


def criterion_of(name: str, target: str) -> Criterion:
    """One of the criteria that nothing should fail, about a target."""
    return Criterion.model_validate(
        {
            "name": name,
            "quantity": "macro_auc",
            "target": target,
            "rationale": _WHY,
            **CRITERIA[name],
        }
    )


def false_share(rng: np.random.Generator) -> float:
    """Share of false ones among the layers that Benjamini-Hochberg rejects; 0 of none."""
    layers = {"null a": 0.0, "null b": 0.0, "null c": 0.0, "planted a": 1.0, "planted b": 1.5}
    (result,) = audited(draw(Design(_PER_LEVEL, layers), rng), rng)
    names, p_values = [], []
    for layer, point in zip(layers, result.curve.points, strict=True):
        names.append(layer)
        p_values.append(None if point.p_value is None else max(point.p_value, float(_SMALLEST_P)))
    kept = [
        name
        for name, p in zip(names, adjusted(p_values, "benjamini_hochberg"), strict=True)
        if is_rejected(p, alpha=ALPHA)
    ]
    return sum(name.startswith("null") for name in kept) / max(1, len(kept))


def rows(sizes: Sizes, trials: Trials) -> Iterator[SelfTestRow]:
    """Claims, verdicts and discoveries."""
    for condition, size in CLUSTER_SIZES.items():
        audits = trials.run(partial(null_audit, size), sizes.null, "null", condition)
        said = f"labels permuted, two targets at three layers, 90 images, {condition}"
        claimed = np.array([float(audit.is_claimed) for audit in audits])
        yield _row("Any false claim of decodability in an audit", said, claimed)
        for name in CRITERIA:
            failed = np.array([audit.fails[name] for audit in audits], dtype=np.float64)
            yield _row(f'False FAIL of the criterion "{name}"', said, failed)
    shares = np.array(trials.run(false_share, sizes.mixed, "mixed"))
    yield _row(
        "False discoveries among those by Benjamini-Hochberg",
        "three of five layers hold nothing, 90 images",
        shares,
    )


def n_trials(sizes: Sizes) -> int:
    """Of all checks."""
    return sizes.null * len(CLUSTER_SIZES) + sizes.mixed


def _row(check: str, condition: str, hits: FloatArray) -> SelfTestRow:
    found = share(hits)
    return SelfTestRow(
        check=check,
        condition=condition,
        expected=_EXPECTED,
        scale="share",
        estimate=found,
        trials=hits.size,
        seconds=0,
        outcome=_FEW.outcome(found),
    )
