"""Probes agree with plain scikit-learn, do not leak, repeat, and resume."""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt
import pytest

from bias_audit.analyses.probing import probes
from bias_audit.analyses.probing.probes import (
    ProbeSettings,
    ProbeSpec,
    counts_in_folds,
    dealt,
    out_of_fold_scores,
    probe,
    shuffle_within_folds,
)
from bias_audit.analyses.probing.separability import (
    AUC,
    BALANCED_ACCURACY,
    chosen_layer,
    most_separable_layer,
)
from bias_audit.analyses.targets import Measurable, Target, finest_target, measurable, targets_of
from bias_audit.data.sampling import stratified_folds
from bias_audit.errors import AnalysisError
from bias_audit.groups import intersections
from tests.analyses.planted import AGE, GENDER, FakeCache, make_subject, planted

SETTINGS = ProbeSettings()


def test_an_image_never_helps_to_predict_its_twin() -> None:
    """Twins have unique features and random labels: only a leak predicts them."""
    rng = np.random.default_rng(0)
    codes = np.repeat(rng.integers(2, size=(80, 1)), 2, axis=0)
    units = np.repeat(rng.standard_normal((80, 200)), 2, axis=0)
    clusters = np.repeat(np.arange(80), 2)
    settings = ProbeSettings(shrinkage=0.1)
    aucs = []
    for groups in (clusters, np.arange(160)):
        subject = make_subject(codes, {"late": units}, (GENDER,), clusters=groups)
        spec = ProbeSpec(finest_target(subject.faces.table), "late", settings)
        statistic = AUC.of(out_of_fold_scores(subject, spec), groups)
        assert statistic is not None
        aucs.append(statistic.value)
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


def test_an_interrupted_run_resumes_with_the_same_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    cache = FakeCache()
    subject = planted(cache=cache)
    spec = ProbeSpec(finest_target(subject.faces.table), "late", SETTINGS)
    first = probe(subject, spec)
    fresh = probe(dataclasses.replace(subject, cache=FakeCache()), spec)
    monkeypatch.setattr(probes, "cross_fit", lambda *_, **__: pytest.fail("fitted again"))
    again = probe(subject, spec)
    assert len(first.shuffled) == subject.shuffles
    for other in (fresh, again):
        for one, two in zip(
            (first.scores, *first.shuffled), (other.scores, *other.shuffled), strict=True
        ):
            np.testing.assert_array_equal(one.probabilities, two.probabilities)
            np.testing.assert_array_equal(one.codes, two.codes)
            assert one.dependence == two.dependence
    assert cache.puts == 1


def test_the_cache_tells_probes_apart() -> None:
    cache = FakeCache()
    subject = planted(cache=cache)
    for target in targets_of(subject.faces.table):
        for layer in subject.activations.layers:
            for control in (None, _Noise("one", by_layer=True), _Noise("two", by_layer=False)):
                out_of_fold_scores(subject, ProbeSpec(target, layer, SETTINGS, control))
    other = ProbeSettings(folds=4)
    out_of_fold_scores(subject, ProbeSpec(finest_target(subject.faces.table), "late", other))
    out_of_fold_scores(
        dataclasses.replace(subject, seed=1),
        ProbeSpec(finest_target(subject.faces.table), "late", SETTINGS),
    )
    # The control that is the same at every layer is fitted once for both.
    assert cache.puts == 3 * (2 + 2 + 1) + 2


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
    rng = np.random.default_rng(0)
    codes = np.stack([np.arange(24) % 3, np.arange(24) // 3 % 2], axis=1)
    known = np.concatenate([np.eye(3)[codes[:, 0]], np.eye(2)[codes[:, 1]]], axis=1)
    noise = rng.standard_normal((24, 5))
    subject = make_subject(codes, {"early": noise, "late": 3 * known + 0.1 * noise})
    layer, said, _ = most_separable_layer(subject, SETTINGS)
    assert layer == "late"
    assert "averaged" in said


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
    with pytest.raises(AnalysisError, match="did you mean 'late'"):
        chosen_layer(planted(), "latte", SETTINGS)
    with pytest.raises(AnalysisError, match="no layer can be chosen"):
        most_separable_layer(planted(n=6), SETTINGS)


def test_scores_depend_on_the_training_images_only_where_there_is_nothing_to_learn() -> None:
    null, clear = (
        probe(subject, ProbeSpec(target, "late", SETTINGS)).scores.dependence
        for subject in [planted(n=900, strength=0), planted(n=900, strength=2)]
        for target in targets_of(subject.faces.table, ["age"])
    )
    assert null > 0.7
    assert clear < 0.4


@dataclasses.dataclass(frozen=True)
class _Noise:
    """A control made of noise."""

    name: str
    by_layer: bool
    kind: str = "noise"

    @property
    def fingerprint(self) -> str:
        return self.name

    def units(self, layer: str) -> npt.NDArray[np.float32]:
        return np.random.default_rng(len(layer)).standard_normal((360, 5)).astype(np.float32)


def test_shuffling_keeps_the_answers_of_a_face_together() -> None:
    rng = np.random.default_rng(5)
    pictures = np.repeat(np.arange(150), 1 + np.arange(150) % 2)
    codes = np.concatenate([rng.choice(4, 1 + p % 2, replace=False) for p in range(150)])
    folds = (np.arange(150) // 2 % 5)[pictures]
    shuffled = shuffle_within_folds(codes, folds, pictures, rng, pictures)
    for picture in range(150):
        own = shuffled[pictures == picture]
        assert len(set(own)) == len(own)
    for fold in range(5):
        inside = folds == fold
        np.testing.assert_array_equal(
            np.bincount(shuffled[inside], minlength=4), np.bincount(codes[inside], minlength=4)
        )
    assert (shuffled != codes).mean() > 0.4


def test_guessing_is_right_as_often_as_faces_have_answers() -> None:
    part = Measurable(
        np.arange(6),
        np.arange(3),
        np.array([0, 1, 1, 2, 0, 2]),
        {},
        None,
        np.array([0, 0, 1, 1, 2, 3]),  # faces of 0 and 1, of 1 and 2, of 0, of 2
    )
    third = np.full(3, 1 / 3)
    np.testing.assert_allclose(part.recall_by_chance(third), [1 / 2, 2 / 3, 1 / 2])
    assert BALANCED_ACCURACY.chance(part) == pytest.approx(5 / 9)
    alone = dataclasses.replace(part, pictures=None)
    assert BALANCED_ACCURACY.chance(alone) == pytest.approx(1 / 3)


def test_a_face_counts_once_in_a_level_whatever_else_it_answered() -> None:
    target = Target("sex", (), np.array([0, 0, 0, 1, 1]), np.array([0, 0, 1, 2, 2]))
    groups = intersections([GENDER])
    part = measurable(dataclasses.replace(target, groups=groups), np.array([0, 0, 1, 2, 2]), 1)
    np.testing.assert_array_equal(part.images, [0, 2, 3])


def test_every_level_is_in_every_fold_also_beside_frequent_ones() -> None:
    """People of two answers go where the rare one is rarest."""
    rng = np.random.default_rng(6)
    for _ in range(20):
        frequent = np.arange(40)
        clusters = np.concatenate([frequent, np.repeat(np.arange(40, 45), 2)])
        codes = np.concatenate([np.zeros(40, dtype=np.int64), np.tile([0, 1], 5)])
        folds = stratified_folds(codes, clusters, 5, rng)
        assert counts_in_folds(codes, clusters, folds)[:, 1].tolist() == [1] * 5


def test_people_with_most_of_the_images_are_refused_with_a_reason() -> None:
    target = Target("age", intersections([GENDER]), np.repeat([0, 1], [30, 6]))
    clusters = np.concatenate([np.arange(30), np.repeat([0], 6)])
    part = Measurable(np.arange(36), np.arange(2), target.codes, {}, None)
    with pytest.raises(AnalysisError, match="every group in each of 5 folds"):
        dealt(target, part, clusters, 5, np.random.default_rng(0))
