"""Images that are alike beyond chance are joined; images of different people are not."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from bias_audit.activations.likeness import Likeness, activation_vectors, likeness
from bias_audit.selftest.simulated import InMemoryActivations

LIMIT = 0.02


def _activations(*layers: npt.NDArray[np.floating]) -> InMemoryActivations:
    values = {f"layer{i}": layer.astype(np.float32) for i, layer in enumerate(layers)}
    return InMemoryActivations(values, np.zeros(len(layers[0]), dtype=np.int64), 1)


def _renditions(
    n_people: int, each: int, noise: float, rng: np.random.Generator
) -> tuple[npt.NDArray[np.int64], InMemoryActivations]:
    people = np.repeat(np.arange(n_people), each)
    layers = [rng.standard_normal((n_people, 48))[people] for _ in range(2)]
    return people, _activations(*(x + noise * rng.standard_normal(x.shape) for x in layers))


def _n_clusters(activations: InMemoryActivations) -> int:
    found = likeness(activation_vectors(activations))
    return len(np.unique(found.clusters(np.arange(found.n_images), LIMIT)))


@pytest.mark.parametrize("each", [2, 4, 8])
def test_renditions_of_one_face_are_joined(each: int) -> None:
    people, activations = _renditions(45, each, 0.3, np.random.default_rng(each))
    found = likeness(activation_vectors(activations))
    clusters = found.clusters(np.arange(len(people)), LIMIT)
    together = clusters[:, None] == clusters
    same = people[:, None] == people
    off = ~np.eye(len(people), dtype=bool)
    assert together[same & off].mean() > 0.9
    assert together[~same].mean() < 0.003


@pytest.mark.parametrize("n", [100, 400, 1500])
def test_different_people_stay_single_also_in_groups(n: int) -> None:
    """Groups share a direction, as ages do; that is no likeness of two of their members."""
    rng = np.random.default_rng(n)
    groups = 3 * rng.standard_normal((8, 48))[rng.integers(8, size=n)]
    layers = (rng.standard_normal((n, 48)) + groups, rng.standard_normal((n, 600)))
    assert _n_clusters(_activations(*layers)) > 0.93 * n


def test_units_of_any_scale_and_dead_units_change_nothing() -> None:
    rng = np.random.default_rng(0)
    units = rng.standard_normal((120, 20))
    scaled = np.column_stack([units * 10.0 ** rng.integers(-3, 4, 20) + 5, np.full((120, 3), 7.0)])
    plain = likeness(activation_vectors(_activations(units)))
    other = likeness(activation_vectors(_activations(scaled)))
    np.testing.assert_allclose(other.expected, plain.expected, rtol=0.02)
    first, same = (set(map(tuple, found.pairs[:50].tolist())) for found in (plain, other))
    assert len(first & same) >= 49  # the fiftieth may change places with the next


def test_layers_without_finite_or_varying_numbers_are_left_out() -> None:
    rng = np.random.default_rng(0)
    good, broken = rng.standard_normal((60, 12)), np.full((60, 5), np.nan)
    alone = activation_vectors(_activations(good))
    assert np.abs(np.corrcoef(alone.T) - np.eye(alone.shape[1])).max() < 1e-3
    assert activation_vectors(_activations(broken, np.ones((60, 4)))).shape == (60, 0)
    assert not len(likeness(np.zeros((60, 0), dtype=np.float32)).pairs)
    assert np.isfinite(activation_vectors(_activations(good, broken))).all()


def test_neighbours_are_those_of_all_pairs_whatever_the_blocks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    vectors = np.random.default_rng(1).standard_normal((200, 8)).astype(np.float32)
    whole = likeness(vectors)
    monkeypatch.setattr("bias_audit.activations.likeness._ROWS", 7)
    pieces = likeness(vectors)
    one, other = (np.unique(found.pairs, axis=0) for found in (whole, pieces))
    np.testing.assert_array_equal(one, other)  # rounding may exchange nearly equal ones
    np.testing.assert_allclose(whole.expected, pieces.expected, rtol=1e-3)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    similar = unit @ unit.T - 2 * np.eye(200)
    nearest = {tuple(sorted((i, int(similar[i].argmax())))) for i in range(200)}
    assert nearest <= set(map(tuple, whole.pairs.tolist()))


def test_known_clusters_are_kept_and_known_people_never_joined() -> None:
    alike = Likeness(6, np.array([[0, 1], [2, 3], [4, 5]]), np.array([0.001, 0.002, 0.5]))
    clusters = alike.clusters(np.array([9, 8, 7, 6, 9, 5]), LIMIT)
    np.testing.assert_array_equal(clusters, [0, 0, 1, 1, 0, 2])
    half = alike.without_known(("a", "b", "c", "", "", ""))
    np.testing.assert_array_equal(half.pairs, [[2, 3], [4, 5]])
    assert half.digest != alike.digest


@pytest.mark.parametrize("most", [1, 2, 4])
def test_merging_keeps_clusters_whole_and_within_the_limit(most: int) -> None:
    found = likeness(np.random.default_rng(2).standard_normal((300, 10)).astype(np.float32))
    clusters = np.arange(300) // 2
    merged = found.merged(clusters, most)
    inside = [np.unique(clusters[merged == number]).size for number in np.unique(merged)]
    assert max(inside) == most
    assert np.mean(inside) > 0.7 * most
    assert (merged[::2] == merged[1::2]).all()
