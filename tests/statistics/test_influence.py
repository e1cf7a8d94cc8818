"""Influences against derivatives and bootstraps; their intervals cover."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm, t
from sklearn.metrics import balanced_accuracy_score, f1_score, roc_auc_score

from bias_audit.arrays import FloatArray, IntArray
from bias_audit.statistics.bootstrap import cluster_weights
from bias_audit.statistics.clusters import effective_clusters
from bias_audit.statistics.inference import (
    Measured,
    by_cluster,
    correlation_estimate,
    difference,
    estimate,
    measured,
)
from bias_audit.statistics.influence import (
    Statistic,
    auc,
    average,
    balanced_accuracy,
    bits,
    class_f1,
    class_recall,
    macro_auc,
    pearson,
)


def _by_sklearn(scores: FloatArray, codes: IntArray) -> float:
    classes = [c for c in range(scores.shape[1]) if 0 < (codes == c).sum() < len(codes)]
    if scores.shape[1] == 2:
        return float(roc_auc_score(codes, scores[:, 1] - scores[:, 0]))
    return float(np.mean([roc_auc_score(codes == c, scores[:, c]) for c in classes]))


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 2**31),
    n=st.integers(4, 60),
    n_classes=st.integers(2, 6),
    n_values=st.sampled_from([1, 2, 3, 1000]),
)
def test_auc_of_one_probe_is_sklearns_with_ties_and_missing_classes(
    seed: int, n: int, n_classes: int, n_values: int
) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.integers(n_values, size=(n, n_classes)).astype(np.float64)
    codes = rng.integers(n_classes, size=n)
    found = macro_auc(scores, codes, np.zeros(n, dtype=np.int64))
    if len(np.unique(codes)) < 2:
        assert found is None
        return
    assert found is not None
    assert found.value == pytest.approx(_by_sklearn(scores, codes), abs=1e-12)


def test_auc_of_several_probes_compares_images_of_one_only() -> None:
    rng = np.random.default_rng(1)
    folds, member = rng.integers(3, size=90), rng.random(90) < 0.3
    scores = rng.standard_normal(90) + member
    found = auc(
        scores + 100 * folds, member, folds
    )  # what one probe calls large, another does not
    assert found is not None
    parts = [roc_auc_score(member[folds == f], scores[folds == f]) for f in range(3)]
    pairs = [member[folds == f].sum() * (~member[folds == f]).sum() for f in range(3)]
    assert found.value == pytest.approx(np.average(parts, weights=pairs))


def test_balanced_accuracy_is_sklearns_and_that_of_nothing_is_none() -> None:
    codes, predicted = np.random.default_rng(0).integers(4, size=(2, 80))
    found = balanced_accuracy(predicted, codes, 4)
    assert found is not None
    assert found.value == pytest.approx(balanced_accuracy_score(codes, predicted))
    empty = np.empty(0, dtype=np.int64)
    assert balanced_accuracy(empty, empty, 3) is None
    assert class_recall(codes, codes, 9) is None


def _derivative(value: Callable[[FloatArray], float], n: int) -> FloatArray:
    """Of a statistic of weighted images, by the weight of each image."""
    step = 1e-4 * np.eye(n)
    return np.array([(value(1 + e) - value(1 - e)) / 2e-4 for e in step])


def test_influences_are_derivatives() -> None:
    """But for the root of n / (n - 1) of each class, as a sample's variance has it.

    Those of an AUC are a little smaller as a whole, because single pairs count once.
    """
    rng = np.random.default_rng(2)
    n, member = 40, np.arange(40) % 4 == 0
    scores = rng.integers(20, size=n).astype(np.float64) + 6 * member
    found = auc(scores, member, np.zeros(n, dtype=np.int64))
    assert found is not None
    slopes = _derivative(lambda w: float(roc_auc_score(member, scores, sample_weight=w)), n)
    factor = np.sqrt(np.where(member, 10 / 9, 30 / 29))
    ratio = np.linalg.norm(found.influence) / np.linalg.norm(slopes * factor)
    assert 0.9 < ratio < 1
    np.testing.assert_allclose(found.influence, ratio * slopes * factor, atol=1e-7)
    values = rng.random(n)
    slopes = _derivative(lambda w: float(np.average(values, weights=w)), n)
    np.testing.assert_allclose(average(values).influence, slopes * np.sqrt(40 / 39), atol=1e-7)
    assert average(values).value == pytest.approx(values.mean())


def test_class_f1_is_sklearns_and_its_influences_are_derivatives() -> None:
    codes, predicted = np.random.default_rng(5).integers(3, size=(2, 50))
    found = class_f1(predicted, codes, 1)
    assert found is not None
    assert found.value == pytest.approx(f1_score(codes == 1, predicted == 1))
    slopes = _derivative(
        lambda w: float(f1_score(codes == 1, predicted == 1, sample_weight=w)), 50
    )
    np.testing.assert_allclose(found.influence, slopes * np.sqrt(50 / 49), atol=1e-7)


def test_bits_of_the_base_rates_are_none_and_of_certainty_the_entropy() -> None:
    codes, folds = np.repeat([0, 1], 40), np.arange(80) % 4
    base = bits(np.full((80, 2), 0.5), codes, folds)
    sure = bits(np.eye(2)[codes], codes, folds)
    assert base is not None and sure is not None
    assert (base.value, sure.value) == pytest.approx((0, 1))


@pytest.mark.parametrize(("truth", "size"), [(0.5, 1), (0.5, 2), (0.8, 2), (0.8, 4)])
def test_squared_influences_of_an_auc_of_small_folds_are_its_variance(
    truth: float, size: int
) -> None:
    """Independent scores in ten folds of few against as few: no pair is counted twice."""
    rng, n_folds = np.random.default_rng(11), 10
    shift = np.sqrt(2) * norm.ppf(truth)
    members, others = rng.standard_normal((2, 20_000, n_folds, size))
    wins = (members + shift)[..., :, None] > others[..., None, :]
    folds = np.repeat(np.arange(n_folds), 2 * size)
    member = np.tile(np.repeat([True, False], size), n_folds)
    variances = []
    for _ in range(600):
        found = auc(rng.standard_normal(len(folds)) + shift * member, member, folds)
        assert found is not None
        variances.append((found.influence**2).sum())
    assert np.mean(variances) == pytest.approx(wins.mean(axis=(1, 2, 3)).var(), rel=0.1)


@pytest.mark.parametrize("n_clusters", [5, 20])
def test_squared_influences_of_unequal_clusters_are_the_variance_of_a_mean(
    n_clusters: int,
) -> None:
    """Images of a cluster are alike; its share of all images leaves no spread uncounted."""
    rng = np.random.default_rng(12)
    clusters = np.repeat(np.arange(n_clusters), 1 + np.arange(n_clusters) % 4)
    values, variances = [], []
    for _ in range(3000):
        found = average(rng.random(n_clusters)[clusters], clusters)
        values.append(found.value)
        summed = by_cluster(found.influence, clusters, n_clusters)
        variances.append((summed**2).sum())
    assert np.mean(variances) == pytest.approx(np.var(values), rel=0.1)


@pytest.mark.parametrize("size", [1, 3])
def test_errors_are_those_of_a_bootstrap_over_clusters(size: int) -> None:
    """Within a tenth: 2000 draws know a deviation to 1.6 %, the rest is of order 1 / n."""
    rng = np.random.default_rng(3)
    n = 240
    clusters = np.arange(n) // size
    codes = clusters % 2
    scores = codes + rng.standard_normal(n // size)[clusters] + 0.5 * rng.standard_normal(n)
    right = scores > 0.5
    found = auc(scores, codes == 1, np.zeros(n, dtype=np.int64))
    assert found is not None
    weights = cluster_weights(clusters, 2000, rng).astype(np.float64)
    ones, others = weights[:, codes == 1], weights[:, codes == 0]
    wins = (scores[codes == 1, None] > scores[codes == 0]).astype(np.float64)
    aucs = ((ones @ wins) * others).sum(axis=1) / (ones.sum(axis=1) * others.sum(axis=1))
    shares = weights @ right / weights.sum(axis=1)
    for statistic, draws in ((found, aucs), (average(right), shares)):
        influence = by_cluster(statistic.influence, clusters, n // size)
        error = float(np.sqrt((influence**2).sum()))
        assert error == pytest.approx(np.std(draws), rel=0.1)


def _measured(statistic: Statistic, *, widened: float = 1.0) -> Measured:
    n = len(statistic.influence)
    return measured(statistic, np.arange(n), n_clusters=n, widened=widened)


def test_interval_of_an_auc_covers_the_truth() -> None:
    truth, hits, trials = float(norm.cdf(1 / np.sqrt(2))), 0, 200
    for seed in range(trials):
        codes = np.repeat([0, 1], 50)
        score = np.random.default_rng(seed).normal(codes, 1)
        found = auc(score, codes == 1, np.zeros(100, dtype=np.int64))
        assert found is not None
        interval = estimate(_measured(found), level=0.95)
        assert interval.lower < found.value < interval.upper
        hits += interval.lower <= truth <= interval.upper
    # 0.95 less three binomial standard errors.
    assert hits / trials >= 0.904


@pytest.mark.parametrize("n", [12, 150])
@pytest.mark.parametrize("truth", [0.3, 0.9])
def test_interval_of_a_mean_covers_the_truth(n: int, truth: float) -> None:
    rng, hits, trials = np.random.default_rng(n), 0, 400
    for _ in range(trials):
        interval = estimate(_measured(average(rng.random(n) < truth)), level=0.95)
        assert 0 <= interval.lower < interval.upper <= 1
        hits += interval.lower <= truth <= interval.upper
    # 0.95 less three binomial standard errors.
    assert hits / trials >= 0.917


def test_difference_is_paired() -> None:
    """Of a number with itself nothing varies; of opposite ones twice as much."""
    values = np.random.default_rng(4).random(50)
    one, other = _measured(average(values)), _measured(average(1 - values))
    same, opposite = one - one, one - other
    assert same.standard_error == 0
    assert opposite.standard_error == pytest.approx(2 * one.standard_error)
    found = difference(one, other, level=0.95)
    assert found.upper - found.lower == pytest.approx(4 * t.ppf(0.975, 49) * one.standard_error)


def _correlation(x: np.ndarray, y: np.ndarray, people: np.ndarray) -> Measured:
    found = pearson(x, y)
    assert found is not None
    return measured(found, people, n_clusters=int(people.max()) + 1, is_share=False)


def test_a_correlation_is_numpys_and_its_influence_the_derivative() -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal(50)
    y = 0.5 * x + rng.standard_normal(50)
    found = pearson(x, y)
    assert found is not None
    assert found.value == pytest.approx(np.corrcoef(x, y)[0, 1])
    assert found.influence.sum() == pytest.approx(0, abs=1e-12)
    # The influence of an image is what a little more weight on it changes.
    weights = np.ones(50)
    weights[7] += 1e-5
    moved = np.cov(x, y, aweights=weights, bias=True)
    value = moved[0, 1] / np.sqrt(moved[0, 0] * moved[1, 1])
    shrink = np.sqrt(50 / 49)
    assert (value - found.value) / 1e-5 == pytest.approx(found.influence[7] / shrink, rel=1e-3)


@pytest.mark.parametrize(("slope", "per_person"), [(0.0, 1), (0.0, 4), (1.0, 1), (1.0, 4)])
def test_intervals_of_correlations_cover(slope: float, per_person: int) -> None:
    rng = np.random.default_rng(1)
    truth = slope / np.sqrt(slope**2 + 1)
    people = np.repeat(np.arange(60), per_person)
    hits = 0
    for _ in range(300):
        x = rng.standard_normal(60)
        y = slope * x + rng.standard_normal(60)
        estimate = correlation_estimate(_correlation(x[people], y[people], people), level=0.95)
        hits += estimate.lower <= truth <= estimate.upper
    assert 0.90 <= hits / 300 <= 0.99


def test_bounds_of_correlations_stay_within_one() -> None:
    x = np.arange(6.0)
    estimate = correlation_estimate(_correlation(x, 2 * x, np.arange(6)), level=0.95)
    assert -1 <= estimate.lower <= estimate.value <= estimate.upper <= 1
    assert estimate.value == pytest.approx(1)


def test_constant_numbers_have_no_correlation() -> None:
    rng = np.random.default_rng(0)
    assert pearson(np.full(20, 3.0), rng.standard_normal(20)) is None
    assert pearson(np.arange(2.0), np.arange(2.0)) is None


sizes = st.lists(st.integers(1, 10_000), min_size=1, max_size=50)


@given(size=st.integers(1, 1_000_000), number=st.integers(1, 200))
def test_equal_clusters_give_their_number(size: int, number: int) -> None:
    assert effective_clusters([size] * number) == pytest.approx(number)


@given(sizes=sizes, scale=st.floats(1e-6, 1e6))
def test_it_lies_between_one_and_the_number_whatever_the_unit(
    sizes: list[int], scale: float
) -> None:
    found = effective_clusters(sizes)
    assert 1 - 1e-9 <= found <= len(sizes) + 1e-9
    assert effective_clusters(np.array(sizes) * scale) == pytest.approx(found)
    assert effective_clusters([*sizes, 0, 0]) == pytest.approx(found)
    assert effective_clusters(sizes * 2) == pytest.approx(2 * found)


def test_it_is_the_degrees_of_freedom_of_a_sum_of_squares() -> None:
    """Satterthwaite: a sum with mean f s and variance 2 f s^2 is s times a chi-square with f."""
    sizes = np.array([12, 5, 5, 2, 1, 1, 1, 1])
    draws = (np.random.default_rng(0).normal(size=(200_000, len(sizes))) * sizes) ** 2
    totals = draws.sum(axis=1)
    assert effective_clusters(sizes) == pytest.approx(
        2 * totals.mean() ** 2 / totals.var(), rel=0.02
    )


@pytest.mark.parametrize("sizes", [[], [0, 0], [1, -1], [1, np.nan], [np.inf]])
def test_no_cluster_has_no_number(sizes: list[float]) -> None:
    with pytest.raises(ValueError, match="expected numbers from 0"):
        effective_clusters(sizes)


def overlapping(n: int, rng: np.random.Generator) -> tuple[IntArray, IntArray]:
    """Images with one answer of three, a third of them with two: image and code of each row."""
    first = rng.integers(0, 3, n)
    pictures = np.repeat(np.arange(n), 1 + (rng.random(n) < 1 / 3))
    is_second = np.diff(pictures, prepend=-1) == 0
    return pictures, (first[pictures] + is_second) % 3


def test_a_face_is_never_compared_with_a_group_that_it_is_in() -> None:
    rng = np.random.default_rng(0)
    pictures, codes = overlapping(60, rng)
    values = rng.random((60, 3)).round(1)[pictures]
    folds = np.zeros(len(codes), dtype=np.int64)
    aucs = []
    for label in range(3):
        inside = np.isin(pictures, pictures[codes == label])
        members, others = values[codes == label, label], values[~inside, label]
        above = (members[:, None] > others) + (members[:, None] == others) / 2
        aucs.append(above.mean())
    found = macro_auc(values, codes, folds, pictures, pictures)
    assert found is not None
    assert found.value == pytest.approx(np.mean(aucs))
    # without images of several rows, nothing changes
    alone = np.arange(len(codes))
    same, plain = macro_auc(values, codes, folds, None, alone), macro_auc(values, codes, folds)
    assert same is not None
    assert plain is not None
    assert (same.value, same.influence.tolist()) == (plain.value, plain.influence.tolist())


def test_of_two_overlapping_groups_both_count() -> None:
    rng = np.random.default_rng(1)
    pictures = np.repeat(np.arange(40), [1, 2] * 20)
    codes = np.where(np.diff(pictures, prepend=-1) == 0, 1, pictures // 2 % 2)
    values = rng.random((40, 2))[pictures]
    folds = np.zeros(len(codes), dtype=np.int64)
    found = macro_auc(values, codes, folds, pictures, pictures)
    score = values[:, 1] - values[:, 0]
    parts = [
        auc(sign * score, codes == label, folds, pictures, pictures)
        for label, sign in ((0, -1), (1, 1))
    ]
    assert found is not None
    assert found.value == pytest.approx(np.mean([part.value for part in parts if part]))


def test_intervals_of_overlapping_groups_cover() -> None:
    rng = np.random.default_rng(2)
    n_audits, hits, truth = 400, 0, norm.cdf(1 / np.sqrt(2))
    for _ in range(n_audits):
        people = np.repeat(np.arange(60), 2)  # two images each, much alike
        pictures, codes = overlapping(60, rng)
        rows = np.concatenate([np.flatnonzero(pictures == p) for p in people])
        images = np.repeat(np.arange(120), np.bincount(pictures)[people])
        person, codes = pictures[rows], codes[rows]
        noise = rng.standard_normal((60, 3))[people] + rng.standard_normal((120, 3)) / 3
        values = (noise / np.sqrt(1 + 1 / 9))[images]
        for label in range(3):  # a face has the mark of each of its groups
            values[np.isin(images, images[codes == label]), label] += 1
        folds = np.zeros(len(codes), dtype=np.int64)
        statistic = macro_auc(values, codes, folds, person, images)
        assert statistic is not None
        found = estimate(measured(statistic, person, n_clusters=60), level=0.95)
        hits += found.lower <= truth <= found.upper
    assert 0.93 <= hits / n_audits <= 0.985
