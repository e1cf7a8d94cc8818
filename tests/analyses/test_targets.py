"""Targets of few people, or of one who holds most images, are not measured, and it says why."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bias_audit.analyses.methods.linear_probe import PLUGIN, Params
from bias_audit.analyses.probing.probes import ProbeSettings
from bias_audit.analyses.probing.separability import most_separable_layer
from bias_audit.analyses.targets import Target, cluster_weights, measurable
from bias_audit.arrays import IntArray
from bias_audit.errors import AnalysisError
from bias_audit.groups import intersections
from bias_audit.shapes.layer_curve import LayerCurve
from bias_audit.statistics.clusters import effective_clusters
from bias_audit.statistics.influence import macro_auc
from tests.analyses.planted import GENDER, make_subject

FEW = 20


def _target(codes: IntArray) -> Target:
    return Target("gender", intersections([GENDER]), codes)


def _dominated(share: float) -> tuple[IntArray, IntArray]:
    """Codes and clusters of 20 people, of whom the first has this share of the images."""
    n = round(FEW * 2 * share / (1 - share))
    clusters = np.concatenate([np.zeros(n, dtype=np.int64), np.repeat(np.arange(1, FEW), 2)])
    return np.arange(len(clusters)) % 2, clusters


def test_twenty_people_of_whom_one_has_most_images_are_not_measured() -> None:
    codes, clusters = _dominated(0.7)
    assert np.mean(clusters == 0) == pytest.approx(0.7, abs=0.02)
    found = measurable(_target(codes), clusters, 5)
    assert found.not_measured is not None
    assert "come from 20 people or sets of near duplicates" in found.not_measured
    assert "worth 1.0 sets of equal size; an interval needs 10" in found.not_measured
    alike = measurable(_target(np.arange(40) % 2), np.repeat(np.arange(FEW), 2), 5)
    assert alike.not_measured is None


@pytest.mark.parametrize(("n", "is_measured"), [(9, False), (10, True)])
def test_ten_people_alike_are_just_enough(n: int, is_measured: bool) -> None:
    people = np.repeat(np.arange(n), 4)
    found = measurable(_target(np.arange(4 * n) % 2), people, 3)
    assert (found.not_measured is None) == is_measured


def test_the_report_and_the_choice_of_a_layer_give_the_reason() -> None:
    codes, clusters = _dominated(0.7)
    units = np.random.default_rng(0).standard_normal((len(codes), 4))
    subject = make_subject(codes[:, None], {"late": units}, (GENDER,), clusters=clusters)
    outcome = PLUGIN.run(subject, Params())
    block = outcome.blocks[0]
    assert isinstance(block, LayerCurve)
    (curve,) = block.curves
    assert curve.points == ()
    (finding,) = outcome.findings
    assert finding.weight == 0
    for text in (curve.not_measured or "", finding.text):
        assert "worth 1.0 sets of equal size" in text
    with pytest.raises(
        AnalysisError, match=r"no layer can be chosen.*worth 1\.0 sets of equal size"
    ):
        most_separable_layer(subject, ProbeSettings())


@given(st.integers(0, 2**31), st.integers(2, 5), st.integers(3, 40))
def test_weights_by_sizes_are_those_of_the_statistic(seed: int, n_classes: int, n: int) -> None:
    """Known before a probe is fitted: effective clusters do not depend on the scores."""
    rng = np.random.default_rng(seed)
    codes = np.concatenate([np.arange(n_classes), rng.integers(n_classes, size=n)])
    clusters = rng.integers(6, size=len(codes)) * 7
    scores = rng.standard_normal((len(codes), n_classes))
    found = macro_auc(scores, codes, np.zeros(len(codes), dtype=np.int64), clusters)
    assert found is not None
    inverse = np.unique(clusters, return_inverse=True)[1]
    expected = np.bincount(inverse, weights=found.weight)
    weights = cluster_weights(codes, clusters)
    np.testing.assert_allclose(weights / weights.sum(), expected / expected.sum())
    assert effective_clusters(weights) == pytest.approx(effective_clusters(expected))
