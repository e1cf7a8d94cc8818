"""Probes agree with plain scikit-learn, do not leak, repeat, and resume."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from bias_audit.analyses import probes
from bias_audit.analyses.probes import (
    ProbeSettings,
    ProbeSpec,
    out_of_fold_scores,
    shuffle_within_folds,
)
from bias_audit.analyses.separability import AUC, most_separable_layer
from bias_audit.analyses.targets import finest_target, measurable, targets_of
from bias_audit.data.sampling import stratified_folds
from bias_audit.errors import AnalysisError
from tests.analyses.planted import AGE, GENDER, FakeCache, make_subject, planted

SETTINGS = ProbeSettings()


@pytest.mark.parametrize("c", [0.01, 1.0])
@pytest.mark.parametrize("name", ["age", "intersection"])
def test_auc_is_that_of_plain_sklearn(name: str, c: float) -> None:
    subject = planted(n=300, n_units=40, strength=0.4)
    (target,) = targets_of(subject.faces.table, [name])
    settings = ProbeSettings(regularisation=c)
    scores = out_of_fold_scores(subject, ProbeSpec(target, "late", settings))
    folds = stratified_folds(
        target.codes, subject.faces.clusters, 5, subject.rng("folds", target.name)
    )
    units = np.asarray(subject.activations.units("late"), dtype=np.float64)
    expected = np.zeros_like(scores.probabilities, dtype=np.float64)
    for fold in range(5):
        test = folds == fold
        model = make_pipeline(StandardScaler(), LogisticRegression(C=c, max_iter=10_000, tol=1e-6))
        model.fit(units[~test], target.codes[~test])
        expected[test] = model.predict_proba(units[test])
    columns = range(expected.shape[1])
    plain = np.mean([roc_auc_score(target.codes == k, expected[:, k]) for k in columns])
    assert AUC.value(scores) == pytest.approx(plain, abs=0.005)
    np.testing.assert_allclose(scores.probabilities.sum(axis=1), 1, atol=1e-5)


def test_an_image_never_helps_to_predict_its_twin() -> None:
    """Twins have unique features and random labels: only a leak predicts them."""
    rng = np.random.default_rng(0)
    codes = np.repeat(rng.integers(2, size=(80, 1)), 2, axis=0)
    units = np.repeat(rng.standard_normal((80, 200)), 2, axis=0)
    clusters = np.repeat(np.arange(80), 2)
    settings = ProbeSettings(regularisation=1.0)
    aucs = []
    for groups in (clusters, np.arange(160)):
        subject = make_subject(codes, {"late": units}, (GENDER,), clusters=groups)
        spec = ProbeSpec(finest_target(subject.faces.table), "late", settings)
        value = AUC.value(out_of_fold_scores(subject, spec))
        assert value is not None
        aucs.append(value)
    assert aucs[0] < 0.65
    assert aucs[1] > 0.9  # the leak is there to be found where clusters are not declared


def test_shuffling_keeps_the_counts_of_every_fold() -> None:
    rng = np.random.default_rng(0)
    codes, folds = rng.integers(4, size=200), rng.integers(5, size=200)
    shuffled = shuffle_within_folds(codes, folds, np.arange(200), np.random.default_rng(1))
    for fold in range(5):
        here = folds == fold
        np.testing.assert_array_equal(np.bincount(shuffled[here]), np.bincount(codes[here]))
    assert 0.1 < (shuffled == codes).mean() < 0.4


def test_shuffling_mostly_moves_whole_clusters() -> None:
    clusters = np.repeat(np.arange(60), 3)
    codes = np.repeat(np.arange(60) % 2, 3)
    shuffled = shuffle_within_folds(codes, clusters % 3, clusters, np.random.default_rng(1))
    together = [len(set(shuffled[clusters == cluster])) == 1 for cluster in range(60)]
    assert all(together)
    assert (shuffled != codes).any()


def test_an_interrupted_run_resumes_with_the_same_numbers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cache = FakeCache()
    subject = planted(cache=cache)
    spec = ProbeSpec(finest_target(subject.faces.table), "late", SETTINGS, shuffled=True)
    first = out_of_fold_scores(subject, spec)
    fresh = out_of_fold_scores(dataclasses.replace(subject, cache=FakeCache()), spec)
    np.testing.assert_array_equal(first.probabilities, fresh.probabilities)
    monkeypatch.setattr(probes, "_fit", lambda *_: pytest.fail("fitted again"))
    again = out_of_fold_scores(subject, spec)
    np.testing.assert_array_equal(first.probabilities, again.probabilities)
    np.testing.assert_array_equal(first.codes, again.codes)
    assert cache.puts == 1


def test_the_cache_tells_probes_apart() -> None:
    cache = FakeCache()
    subject = planted(cache=cache)
    for target in targets_of(subject.faces.table):
        for layer in subject.activations.layers:
            for shuffled in (False, True):
                out_of_fold_scores(subject, ProbeSpec(target, layer, SETTINGS, shuffled=shuffled))
    other = ProbeSettings(folds=4)
    out_of_fold_scores(subject, ProbeSpec(finest_target(subject.faces.table), "late", other))
    out_of_fold_scores(
        dataclasses.replace(subject, seed=1),
        ProbeSpec(finest_target(subject.faces.table), "late", SETTINGS),
    )
    assert cache.puts == 3 * 2 * 2 + 2


def test_small_levels_are_left_out_with_a_reason() -> None:
    rng = np.random.default_rng(0)
    codes = np.stack([np.repeat([0, 1, 2], [40, 40, 3]), rng.integers(2, size=83)], axis=1)
    subject = make_subject(codes, {"late": rng.standard_normal((83, 5))})
    (age,) = targets_of(subject.faces.table, ["age"])
    part = measurable(age, subject.faces.clusters, 5)
    assert part.reasons == {2: "3 images, fewer than the 5 folds"}
    scores = out_of_fold_scores(subject, ProbeSpec(age, "late", SETTINGS))
    assert scores.probabilities.shape == (80, 2)
    np.testing.assert_array_equal(part.images, np.arange(80))
    lumped = measurable(age, np.minimum(np.arange(83), 3), 5)
    assert lumped.not_measured is not None
    assert "clusters" in lumped.reasons[1]


def test_one_attribute_is_its_own_intersection() -> None:
    codes = (np.arange(60) % 3)[:, None]
    subject = make_subject(codes, {"late": np.eye(3)[codes[:, 0]]}, (AGE,))
    assert [target.name for target in targets_of(subject.faces.table)] == ["age"]
    assert finest_target(subject.faces.table).name == "age"
    assert most_separable_layer(subject, SETTINGS)[0] == "late"


def test_layer_falls_back_to_the_mean_of_attributes() -> None:
    """Each intersection has 4 images, each attribute plenty."""
    subject = planted(n=24, strength=3)
    layer, said = most_separable_layer(subject, SETTINGS)
    assert layer == "late"
    assert "mean" in said


def test_bad_names_and_bad_numbers_are_explained() -> None:
    subject = planted()
    with pytest.raises(AnalysisError, match="did you mean 'gender'"):
        targets_of(subject.faces.table, ["gendre"])
    broken = np.ones((360, 4))
    broken[7, 2] = np.inf
    subject = make_subject(subject.faces.table.codes, {"late": broken})
    with pytest.raises(AnalysisError, match="finite"):
        out_of_fold_scores(
            subject, ProbeSpec(finest_target(subject.faces.table), "late", SETTINGS)
        )
    with pytest.raises(AnalysisError, match="no layer can be chosen"):
        most_separable_layer(planted(n=6), SETTINGS)


def test_fits_that_stop_early_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probes, "_MAX_ITERATIONS", 2)
    subject = planted()
    spec = ProbeSpec(finest_target(subject.faces.table), "late", SETTINGS)
    assert out_of_fold_scores(subject, spec).not_converged == 5
