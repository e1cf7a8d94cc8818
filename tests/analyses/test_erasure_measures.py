"""Splits are shared where no target loses by it; measures compare what one probe has scored."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import t as student

from bias_audit.analyses.analysis import Head, Subject
from bias_audit.analyses.erasing import leace
from bias_audit.analyses.erasing.erasure import ErasedTarget, Sampling, agreements, measures_of
from bias_audit.analyses.erasing.leace import (
    Moments,
    Whitening,
    split_by_intersection,
    split_for,
    whitened,
)
from bias_audit.analyses.methods.erasure import PLUGIN, Params
from bias_audit.analyses.probing.probes import counts_in_folds
from bias_audit.analyses.targets import measurable, targets_of
from bias_audit.groups import Attribute
from bias_audit.shapes.group_table import GroupTable
from bias_audit.statistics.estimate import agreeing_pairs, quantile
from tests.analyses.planted import AGE, GENDER, make_subject

LEVEL = 0.95


def _subject(codes: np.ndarray, attributes: tuple[Attribute, ...] = (AGE, GENDER)) -> Subject:
    rng = np.random.default_rng(0)
    inputs = rng.standard_normal((len(codes), 6)).astype(np.float32)
    weight = rng.standard_normal((4, 6)).astype(np.float32)
    head = Head("fc", weight, np.zeros(4, np.float32), inputs, inputs[:20])
    return replace(make_subject(codes, {"late": inputs}, attributes), head=head)


def _crossed(n: int) -> np.ndarray:
    return np.stack([np.arange(n) % 3, np.arange(n) // 3 % 2], axis=1)


# Splits.


def test_clusters_of_levels_in_folds_by_hand() -> None:
    codes, folds = np.array([0, 0, 0, 1, 1, 1, 1]), np.array([0, 0, 1, 0, 0, 0, 1])
    assert counts_in_folds(codes, np.arange(7), folds).tolist() == [[2, 3], [1, 1]]
    assert counts_in_folds(codes[:6], np.arange(6), folds[:6]).tolist() == [[2, 3], [1, 0]]
    # The two images of level 0 in fold 0 are of one person.
    few = counts_in_folds(codes[[0, 1, 3, 4]], np.array([5, 5, 6, 7]), np.zeros(4, int))
    assert few.tolist() == [[1, 2]]


def test_targets_that_suit_one_split_are_whitened_once(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []

    def counted(moments: Moments) -> Whitening:
        sizes.append(moments.n)
        return whitened(moments)

    monkeypatch.setattr(leace, "whitened", counted)
    outcome = PLUGIN.run(_subject(_crossed(120)), Params(draws=2))
    tables = [block for block in outcome.blocks if isinstance(block, GroupTable)]
    assert {table.target for table in tables} == {"age", "gender"}
    # Each of five folds left out once, then all images for the reference images.
    assert sizes == [96] * 5 + [120]


def test_no_level_is_rarer_in_a_fold_than_in_a_split_of_its_own() -> None:
    attributes = (AGE, Attribute("gender", (*GENDER.levels, "other")))
    shared, own = 0, 0
    for seed in range(30):
        codes = _crossed(120)
        codes[np.random.default_rng(seed).permutation(120)[:6], 1] = 2
        subject = replace(_subject(codes, attributes), seed=seed)
        assert subject.head is not None
        by_cell = split_by_intersection(subject, subject.head, 5)
        for target in targets_of(subject.faces.table, ("age", "gender")):
            part = measurable(target, subject.faces.clusters, 5)
            split = split_for(subject, subject.head, target, part, by_cell)
            # Dealing 6 images of the rarest gender, or 40 of an age, leaves at least:
            expected = 1 if target.name == "gender" else 5
            assert counts_in_folds(part.codes, part.images, split.folds).min() >= expected
            shared += split is by_cell
            own += split is not by_cell
    assert shared > 30
    assert own > 0


def test_where_levels_are_left_out_the_split_has_only_the_others() -> None:
    codes = _crossed(120)
    codes[:2, 1] = 2
    subject = _subject(codes, (AGE, Attribute("gender", (*GENDER.levels, "other"))))
    assert subject.head is not None
    (target,) = targets_of(subject.faces.table, ("gender",))
    part = measurable(target, subject.faces.clusters, 5)
    by_cell = split_by_intersection(subject, subject.head, 5)
    split = split_for(subject, subject.head, target, part, by_cell)
    np.testing.assert_array_equal(split.images, np.arange(2, 120))
    assert len(split.folds) == 118


# Measures.


def _erased(rng: np.random.Generator, shift: float) -> ErasedTarget:
    """Scores of 200 images of two levels; `shift` is what later probes add to all they score."""
    subject = _subject(_crossed(200))
    target = targets_of(subject.faces.table, ("gender",))[0]
    part = measurable(target, subject.faces.clusters, 5)
    folds, new_folds = np.arange(200) // 6 % 5, np.arange(200) // 30 % 3
    scores = part.codes + rng.standard_normal((4, 200))

    def two_columns(column: np.ndarray) -> np.ndarray:
        return np.stack([-column, column], axis=1)

    by_fold, by_probe = scores + shift * folds, scores + shift * (folds + 7 * new_folds)
    kept = rng.random((3, 200)) < 0.5
    return ErasedTarget(
        target,
        part,
        folds,
        two_columns(by_fold[0]),
        two_columns(by_fold[1]),
        kept,
        kept.astype(np.float64),
        variance=np.zeros(3),
        new_before=two_columns(by_probe[2]),
        new_erased=two_columns(by_probe[3]),
        new_folds=new_folds,
    )


def test_images_of_different_probes_are_never_compared() -> None:
    """What a probe adds to all its scores changes no AUC; compared with others it would."""
    plain, shifted = (
        measures_of(_erased(np.random.default_rng(1), shift), np.arange(200), level=LEVEL).values
        for shift in (0.0, 8.0)
    )
    names = [name for name in plain if "auc" in name]
    assert len(names) == 6
    for name in names:
        assert shifted[name].value == pytest.approx(plain[name].value)
        assert shifted[name].lower == pytest.approx(plain[name].lower)


def test_drops_are_paired_and_probes_within_folds_widened_by_their_own_folds() -> None:
    erased = _erased(np.random.default_rng(2), 0.0)
    same = replace(erased, erased=erased.before)
    drop = measures_of(same, np.arange(200), level=LEVEL).values["erased_auc_drop"]
    assert drop.value == 0
    half = agreeing_pairs(drop.counted, quantile(LEVEL, drop.freedom))
    assert (drop.lower, drop.upper) == pytest.approx((-half, half))
    assert half < 0.1
    # The same two probes per fold, numbered as if they were of two or of four folds: fewer folds
    # overlap more, by variances of 3 and of 7 / 3.
    counted = []
    for renumbered in (np.arange(200) % 2, np.arange(200) % 2 * 3):
        found = measures_of(
            replace(erased, new_folds=renumbered), np.arange(200), level=LEVEL
        ).values["refitted_head_auc"]
        counted.append(found.counted)
    assert counted[1] / counted[0] == pytest.approx(3 / (7 / 3), rel=0.01)


def _sampling(n: int) -> Sampling:
    return Sampling.of(np.arange(n), np.arange(n), None, LEVEL)


def test_excess_holds_the_images_and_the_draws() -> None:
    rng = np.random.default_rng(3)
    agreement = (rng.random((9, 500)) < np.linspace(0.6, 0.8, 9)[:, None]).astype(np.float64)
    found = agreements(agreement, _sampling(500))
    means = agreement.mean(axis=1)
    paired = agreement[1:].mean(axis=0) - agreement[0]
    by_images = paired.var(ddof=1) / 500
    by_draws = means[1:].var(ddof=1) * (1 + 1 / 8)
    # Satterthwaite's freedom of a sum of variances
    freedom = (by_images + by_draws) ** 2 / (by_images**2 / 499 + by_draws**2 / 7)
    assert found.excess.value == pytest.approx(means[1:].mean() - means[0])
    half = (found.excess.upper - found.excess.lower) / 2
    assert half == pytest.approx(
        student.ppf(0.975, freedom) * np.sqrt(by_images + by_draws), rel=1e-3
    )
    assert "spread of the random directions" in found.excess.method
    assert found.random.lower < means[1:].mean() < found.random.upper


def test_agreement_of_all_images_is_no_point_and_differs_from_none() -> None:
    agreement = np.concatenate([np.ones((1, 60)), np.zeros((4, 60))])
    found = agreements(agreement, _sampling(60))
    assert (found.attribute.value, found.random.value) == (1, 0)
    assert 0.93 < found.attribute.lower < 1
    assert 0 < found.random.upper < 0.07
    assert -1 == found.excess.value < found.excess.upper < -0.8
