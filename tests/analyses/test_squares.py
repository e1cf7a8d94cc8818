"""Squared distances of group means have the noise of few clusters, and intervals that hold it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from bias_audit.analyses.mapping.group_distances import distances
from bias_audit.analyses.mapping.profiles import (
    MeanDraws,
    bayesian_weights,
    noise_of_means,
    pooled_deviation,
    pooled_freedom,
    profiles,
)
from bias_audit.analyses.targets import targets_of
from tests.analyses.planted import GENDER, make_subject

N_UNITS = 8


def _two_groups(seed: int, people: int, images: int, share: float) -> Any:
    """Two groups one standard deviation apart, the second of a hundred people.

    Args:
        seed: Of everything.
        people: In the first group.
        images: Most of a person; each has one at least.
        share: Of the variance that lies between people.
    """
    rng = np.random.default_rng(seed)
    of_person = rng.integers(1, images + 1, people + 100)
    who = np.repeat(np.arange(people + 100), of_person)
    codes = (who >= people).astype(np.int64)
    units = np.sqrt(share) * rng.standard_normal((people + 100, N_UNITS))[who] + np.sqrt(
        1 - share
    ) * rng.standard_normal((len(who), N_UNITS))
    return make_subject(
        codes[:, None], {"late": units + codes[:, None]}, (GENDER,), clusters=who, seed=seed
    )


def _parts(subject: Any) -> tuple[Any, Any, Any, Any, float]:
    (target,) = targets_of(subject.faces.table, ("gender",))
    moments = subject.activations.moments("late")
    clusters = subject.faces.clusters
    return (
        profiles(subject, "late", target),
        pooled_deviation(moments),
        subject.activations.units("late"),
        clusters,
        pooled_freedom(moments, clusters),
    )


@pytest.mark.parametrize(("people", "images"), [(5, 1), (12, 1), (12, 6)])
def test_intervals_hold_a_planted_distance_with_few_people(people: int, images: int) -> None:
    held = []
    for seed in range(250):
        found, scale, units, clusters, freedom = _parts(
            _two_groups(seed, people, images, 0.5 if images > 1 else 0.0)
        )
        weights = bayesian_weights(clusters, 100, np.random.default_rng(seed))
        (estimate,) = distances(
            found,
            scale,
            units,
            clusters=clusters,
            scale_freedom=freedom,
            kept=np.arange(2),
            weights=weights,
        ).squares.estimates(np.array([people]), 0.95)
        assert estimate is not None
        held.append(estimate.lower <= 1 <= estimate.upper)
    assert 0.92 <= np.mean(held) <= 0.995


def test_noise_is_that_of_the_means_of_alike_clusters() -> None:
    rng = np.random.default_rng(0)
    who = np.repeat(np.arange(20), 3)
    codes = (who >= 8).astype(np.int64)
    subject = make_subject(
        codes[:, None], {"late": rng.standard_normal((60, 5))}, (GENDER,), clusters=who
    )
    found, scale, units, clusters, freedom = _parts(subject)
    noise = noise_of_means(found, scale, units, clusters, freedom)
    by_person = units.astype(float).reshape(20, 3, 5).mean(axis=1) / scale
    expected = [
        by_person[own].var(axis=0, ddof=1).mean() / len(by_person[own])
        for own in (slice(0, 8), slice(8, 20))
    ]
    np.testing.assert_allclose(noise.variance, expected, rtol=1e-5)
    np.testing.assert_allclose(noise.freedom, [7, 11])
    total, together = noise.of(np.array([[1.0, -1.0], [1.0, 0.0]]))
    np.testing.assert_allclose(total, [sum(expected), expected[0]], rtol=1e-5)
    assert together[1] == pytest.approx(7)
    assert 11 < together[0] <= 18


def test_draws_of_five_images_spread_as_far_as_their_mean_does() -> None:
    values = np.random.default_rng(0).standard_normal((5, 40)).astype(np.float32)
    alone = np.arange(5)
    weights = bayesian_weights(alone, 20_000, np.random.default_rng(1))
    draws = MeanDraws(values, (alone,), weights, alone, np.zeros(40), np.ones(40))
    drawn = np.concatenate([means[0] for _, means in draws.blocks()])
    expected = values.var(axis=0, ddof=1) / 5
    np.testing.assert_allclose(drawn.var(axis=0), expected, rtol=0.08)
    np.testing.assert_allclose(drawn.mean(axis=0), values.mean(axis=0), atol=0.02)
