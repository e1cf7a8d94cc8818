"""The probes agree with scikit-learn's logistic regression on the same folds."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from sklearn.linear_model import LogisticRegression

from bias_audit.analyses.probing.probes import ProbeSettings, ProbeSpec, probe
from bias_audit.analyses.targets import targets_of
from bias_audit.results.selftest import SelfTestRow
from bias_audit.selftest.simulated import Design, draw, subject_of
from bias_audit.selftest.trials import Sizes, Tolerance, Trials, largest
from bias_audit.statistics.influence import macro_auc

_PER_LEVEL = 60
_AGREES = Tolerance(0, 0.005)


def disagreement(rng: np.random.Generator) -> float:
    """Absolute difference of the macro AUC of one simulated audit by both."""
    sample = draw(Design(_PER_LEVEL, {"layer": float(rng.uniform(0, 2))}), rng)
    subject = subject_of(sample, rng)
    (target,) = targets_of(subject.faces.table)
    found = probe(subject, ProbeSpec(target, "layer", ProbeSettings()))
    scores, units = found.scores, sample.by_layer["layer"].astype(np.float64)
    units = (units - units.mean(axis=0)) / units.std(axis=0)
    other = np.empty(scores.probabilities.shape)
    for fold, strength in enumerate(found.strengths):
        inside = scores.folds == fold
        regression = LogisticRegression(C=float(strength), tol=1e-8, max_iter=10_000)
        regression.fit(units[~inside], scores.codes[~inside])
        other[inside] = regression.predict_proba(units[inside])
    one = macro_auc(scores.probabilities, scores.codes, scores.folds)
    two = macro_auc(other, scores.codes, scores.folds)
    if one is None or two is None:
        raise ValueError("expected images of every group in some fold")
    return abs(one.value - two.value)


def rows(sizes: Sizes, trials: Trials) -> Iterator[SelfTestRow]:
    """The largest difference."""
    found = largest(np.array(trials.run(disagreement, sizes.engine, "engine")))
    yield SelfTestRow(
        check="Macro AUC of the probes against scikit-learn's, largest difference",
        condition=f"same folds and C, three groups of {_PER_LEVEL}, no to strong signal",
        expected="0 (at most 0.005)",
        scale="number",
        estimate=found,
        trials=sizes.engine,
        seconds=0,
        outcome=_AGREES.outcome(found),
    )


def n_trials(sizes: Sizes) -> int:
    """Simulated audits."""
    return sizes.engine
