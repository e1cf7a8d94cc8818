"""The swarm is its formula, takes little memory, and spreads units."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numba
import numpy as np
import numpy.typing as npt
import pytest
from scipy.spatial.distance import cdist

from bias_audit.analyses.mapping.kernels import add_forces, compiled
from bias_audit.analyses.mapping.layout import pairwise
from bias_audit.analyses.mapping.som_and_swarm import refine, swarm


def transcribed(
    places: npt.NDArray[np.float64], steps: int, distances: npt.NDArray[np.float64] | None
) -> npt.NDArray[np.float64]:
    """The published update, over an array of all differences."""
    pull = 0.0 if distances is None else _published_pull(distances)
    for time in np.linspace(-3, 6, steps):
        weight = (np.tanh(time) + 1) / 2
        differences = places[None] - places[:, None]
        d = np.maximum(0.01, np.sqrt((differences**2).sum(axis=-1)))
        local = 1.5 / (d + 1) ** 3 - 15 * np.exp(-d / 2)
        force = (weight * local + (1 - weight) * pull) / 2
        places = places + (differences * force[..., None]).mean(axis=1)
    return places


def _published_pull(far: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.asarray(1.5 * (1 - (far / far.max()) ** 3) - 0.5 * np.exp(-far / 2))


@pytest.mark.parametrize("with_distances", [False, True])
def test_swarm_is_the_published_update(with_distances: bool) -> None:
    rng = np.random.default_rng(0)
    places = rng.normal(0, 3, size=(30, 2))
    far = pairwise(rng.standard_normal((30, 5)), "cosine") if with_distances else None
    expected = transcribed(places, 25, None if far is None else far.astype(np.float64))
    np.testing.assert_allclose(swarm(places, 25, far), expected, rtol=1e-4, atol=1e-4)


def test_the_full_swarm_survives_its_contraction() -> None:
    """Units come within 1e-15 of each other before they part; the shape must not be lost.

    The formula alone loses it unless the units lie about 0, where numbers are finest.
    """
    rng = np.random.default_rng(0)
    far = pairwise(rng.standard_normal((60, 3)) @ rng.standard_normal((3, 12)), "cosine")
    places = rng.uniform(size=(60, 2))
    centre = places.mean(axis=0)
    expected = transcribed(places - centre, 1000, far.astype(np.float64)) + centre
    assert np.ptp(expected) > 50
    np.testing.assert_allclose(swarm(places, 1000, far), expected, atol=0.001)


@pytest.mark.parametrize(("kind", "bound"), [(np.float64, 1e-8), (np.float32, 5e-5)])
def test_the_force_is_exact_to_its_bound(kind: type[np.floating], bound: float) -> None:
    x = np.concatenate([[0.0, 0.001], np.geomspace(0.01, 500, 400)])
    for i in range(1, len(x)):
        total = np.empty((2, 2), dtype=kind)
        pair = np.array([0, x[i]], dtype=kind)
        add_forces(pair, np.zeros(2, dtype=kind), 1.0, np.zeros((0, 0), dtype=np.float32), total)
        d = max(float(pair[1]), 0.01)
        expected = 1.5 / (d + 1) ** 3 - 15 * np.exp(-d / 2)
        assert abs(total[0, 0] / pair[1] - expected) < bound
        assert total[0, 1] == -total[0, 0]


@pytest.mark.parametrize("steps", [1000, 10_000])
def test_any_number_of_steps_stays_finite(steps: int) -> None:
    """Units that all attract contract, units that all repel fly apart, for ever longer."""
    start = np.random.default_rng(0).uniform(size=(6, 2))
    attract = np.full((6, 6), 0.01, dtype=np.float32)
    attract[0, 1] = attract[1, 0] = 1
    for distances in (attract, (1 - np.eye(6)).astype(np.float32)):
        assert np.isfinite(swarm(start, steps, distances)).all()


def test_refinement_spreads_units_and_repeats() -> None:
    rng = np.random.default_rng(0)
    clumps = np.repeat(rng.normal(0, 100, size=(5, 2)), 20, axis=0)
    one, two = (refine(clumps, 100, np.random.default_rng(1)) for _ in range(2))
    np.testing.assert_array_equal(one, two)

    def nearest(places: npt.NDArray[np.float64]) -> float:
        gaps = cdist(places, places) + 9e9 * np.eye(len(places))
        return float(np.median(gaps.min(axis=1)) / np.ptp(places))

    assert nearest(one) > 5 * nearest(refine(clumps, 0, np.random.default_rng(1)))


def test_memory_does_not_grow_with_pairs() -> None:
    n_units = 4096
    start = np.random.default_rng(0).standard_normal((n_units, 2))
    swarm(start[:4], 1)  # compiled before memory is counted
    tracemalloc.start()
    refine(start, 1, np.random.default_rng(0))
    refined = tracemalloc.get_traced_memory()[1]
    distances = np.ones((n_units, n_units), dtype=np.float32)
    tracemalloc.reset_peak()
    before = tracemalloc.get_traced_memory()[0]
    swarm(start, 1, distances)
    full = tracemalloc.get_traced_memory()[1] - before
    tracemalloc.stop()
    assert refined < 100 * 8 * n_units
    assert full < 4 * distances.nbytes  # differences alone, in doubles, would take as much


def test_loops_compile_where_no_machine_code_can_be_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    njit, asked = numba.njit, []

    def without_cache(function: Any, *, cache: bool = False, **options: Any) -> Any:
        asked.append(cache)
        if cache:
            raise RuntimeError("cannot cache function: no locator available")
        return njit(function, **options)

    monkeypatch.setattr(numba, "njit", without_cache)

    def double(values: npt.NDArray[np.float64]) -> None:
        for i in range(len(values)):
            values[i] *= 2

    values = np.arange(3.0)
    compiled(double)(values)
    np.testing.assert_array_equal(values, [0, 2, 4])
    assert asked == [True, False]
