"""Refits measure how much numbers move by chance, and change no number themselves."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from bias_audit.analyses.methods.linear_probe import PLUGIN
from bias_audit.analyses.probing.decodability import refit_noise
from bias_audit.analyses.probing.probes import (
    ProbeSettings,
    ProbeSpec,
    is_scored,
    probe_and_refits,
)
from bias_audit.analyses.probing.separability import AUC
from bias_audit.analyses.targets import targets_of
from bias_audit.shapes.layer_curve import LayerCurve
from tests.analyses.planted import FakeCache, planted

CHEAP = ProbeSettings(folds=3, shrinkage=0.3)


def _curves(refits: int) -> LayerCurve:
    params = PLUGIN.params_type.model_validate({"folds": 3, "shrinkage": 0.3})
    block = PLUGIN.run(replace(planted(n=180), refits=refits), params).blocks[0]
    assert isinstance(block, LayerCurve)
    return block


def test_estimates_are_what_they_are_without_refits() -> None:
    bare, refitted = _curves(0), _curves(2)
    for one, other in zip(bare.curves, refitted.curves, strict=True):
        assert one.points == other.points
        assert one.noise is None
        assert other.noise is not None
        assert (other.noise.refits, other.noise.layers) == (2, 2)
        assert 0 < other.noise.sd < 0.1


def test_noise_is_the_spread_over_folds_pooled_over_layers() -> None:
    subject = replace(planted(n=180), refits=3)
    (target,) = targets_of(subject.faces.table, ["age"])
    variances = []
    for layer in subject.activations.layers:
        found, refits = probe_and_refits(subject, ProbeSpec(target, layer, CHEAP))
        assert len(refits) == 3
        folds = [scores.folds.tobytes() for scores in (found.scores, *refits)]
        assert len(set(folds)) == 4
        own = np.arange(180)
        values = [AUC.of(scores, own) for scores in (found.scores, *refits)]
        variances.append(np.var([v.value for v in values if v is not None], ddof=1))
    params = PLUGIN.params_type.model_validate({"folds": 3, "shrinkage": 0.3, "targets": ["age"]})
    block = PLUGIN.run(subject, params).blocks[0]
    assert isinstance(block, LayerCurve)
    (curve,) = block.curves
    assert curve.noise is not None
    assert curve.noise.sd == pytest.approx(np.sqrt(np.mean(variances)))


def test_nothing_refitted_has_no_noise() -> None:
    assert refit_noise([]) is None


def test_refits_are_kept_beside_the_probe() -> None:
    """Probes that were fitted without refits stay, and only the refits are added."""
    cache = FakeCache()
    subject = planted(n=90, cache=cache)
    (target,) = targets_of(subject.faces.table, ["age"])
    spec = ProbeSpec(target, "late", CHEAP)
    probe_and_refits(subject, spec)
    assert cache.puts == 1
    with_refits = replace(subject, refits=2)
    assert not is_scored(with_refits, spec, with_refits=True)
    assert is_scored(with_refits, spec)
    for _ in range(2):
        probe_and_refits(with_refits, spec)
    assert cache.puts == 2
    assert is_scored(with_refits, spec, with_refits=True)
