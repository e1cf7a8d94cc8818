"""Intervals of over-confidence and of the calibration error cover what was planted."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from bias_audit.arrays import BoolArray, FloatArray, IntArray
from bias_audit.statistics.bootstrap import cluster_weights
from bias_audit.statistics.calibration import calibration_error, over_confidence
from bias_audit.statistics.estimate import Estimate
from bias_audit.statistics.inference import estimate, measured

BINS = 5


@dataclass(frozen=True)
class Faces:
    confidence: np.ndarray
    is_right: np.ndarray
    clusters: np.ndarray

    def gap(self) -> Estimate:
        found = over_confidence(self.confidence, self.is_right, self.clusters)
        n = len(np.unique(self.clusters))
        return estimate(measured(found, self.clusters, n_clusters=n, is_share=False), level=0.95)

    def error(self, rng: np.random.Generator, draws: int = 300) -> Estimate:
        weights = cluster_weights(self.clusters, draws, rng)
        found = calibration_error(
            self.confidence, self.is_right, self.clusters, weights, n_bins=BINS, level=0.95
        )
        assert found is not None
        return found


def _drawn(n: int, gap: float, rng: np.random.Generator, *, of_each: int = 1) -> Faces:
    """Confidence that is too high by so much; half of a person's images err alike."""
    people = n // of_each
    clusters = np.repeat(np.arange(people), of_each)
    confidence = np.repeat(rng.uniform(0.5, 0.99, people), of_each)
    shared, own = rng.random(people)[clusters], rng.random(n)
    chance = np.where(rng.random(people)[clusters] < 0.5, shared, own)
    return Faces(confidence, chance < confidence - gap, clusters)


@pytest.mark.parametrize(("n", "gap", "of_each"), [(60, 0.25, 1), (120, 0.0, 1), (160, 0.25, 2)])
def test_intervals_of_over_confidence_cover(n: int, gap: float, of_each: int) -> None:
    rng = np.random.default_rng(n)
    found = [_drawn(n, gap, rng, of_each=of_each).gap() for _ in range(2000)]
    covered = np.mean([each.lower <= gap <= each.upper for each in found])
    assert 0.93 <= covered <= 0.97
    assert np.mean([each.value for each in found]) == pytest.approx(gap, abs=0.006)


@pytest.mark.parametrize(("n", "of_each"), [(60, 1), (160, 2)])
def test_intervals_of_the_calibration_error_cover(n: int, of_each: int) -> None:
    rng = np.random.default_rng(n)
    found = [_drawn(n, 0.25, rng, of_each=of_each).error(rng) for _ in range(500)]
    covered = np.mean([each.lower <= 0.25 <= each.upper for each in found])
    assert 0.92 <= covered <= 0.98
    assert np.mean([each.value**2 for each in found]) == pytest.approx(0.25**2, abs=0.01)


def test_a_calibrated_network_has_no_error_in_small_groups() -> None:
    rng = np.random.default_rng(1)
    faces = [_drawn(60, 0.0, rng) for _ in range(300)]
    errors = [each.error(rng) for each in faces]
    assert np.mean([each.lower == 0 for each in errors]) >= 0.95
    # the naive error, without what chance gives, is far from 0
    naive = [np.sqrt(np.mean([(c - r).mean() ** 2 for c, r in _bins(each)])) for each in faces]
    assert np.mean(naive) > 0.1
    assert np.median([each.value for each in errors]) < 0.08


def _bins(faces: Faces) -> list[tuple[np.ndarray, np.ndarray]]:
    order = np.array_split(np.argsort(faces.confidence), BINS)
    return [(faces.confidence[own], faces.is_right[own]) for own in order]


def test_errors_in_both_directions_cancel_in_one_measure_alone() -> None:
    confidence = np.repeat([0.6, 0.9], [400, 600])
    is_right = np.concatenate([np.arange(400) % 4 > 0, np.arange(600) % 5 > 0])
    faces = Faces(confidence, is_right, np.arange(1000))
    assert faces.gap().value == pytest.approx(0)
    found = faces.error(np.random.default_rng(0))
    assert found.value == pytest.approx(np.sqrt(0.4 * 0.15**2 + 0.6 * 0.1**2), abs=0.005)
    assert found.lower > 0.08


def test_a_group_without_errors_may_err() -> None:
    faces = Faces(np.full(40, 0.999), np.ones(40, dtype=np.bool_), np.arange(40))
    assert faces.gap().upper > 0.05


def _error(confidence: FloatArray, is_right: BoolArray, clusters: IntArray) -> Estimate | None:
    weights = cluster_weights(clusters, 100, np.random.default_rng(0))
    return calibration_error(confidence, is_right, clusters, weights, n_bins=BINS, level=0.95)


def test_bins_of_too_few_people_have_no_calibration_error() -> None:
    confidence = np.linspace(0.4, 0.9, 19)
    assert _error(confidence, confidence > 0.6, np.arange(19)) is None
    many = np.linspace(0.4, 0.9, 40)
    assert _error(many, many > 0.6, np.arange(40)) is not None
    assert _error(many, many > 0.6, np.minimum(np.arange(40), 33)) is None  # one in the last bin
    empty = np.empty(0)
    assert _error(empty, empty > 0, empty.astype(np.int64)) is None


def test_a_bin_without_errors_may_have_some() -> None:
    found = _error(np.full(30, 0.999), np.ones(30, dtype=np.bool_), np.arange(30))
    assert found is not None and found.value < 0.01
    assert found.upper > 0.1


def test_images_of_the_same_confidence_share_a_bin_in_any_order() -> None:
    confidence = np.full(200, 0.9)
    is_right = np.arange(200) < 140
    mixed = np.random.default_rng(1).permutation(is_right)
    one, other = (_error(confidence, right, np.arange(200)) for right in (is_right, mixed))
    assert one is not None and other is not None
    assert one.value == pytest.approx(other.value) == pytest.approx(0.2, abs=0.01)
