"""Layouts repeat, the swarm is its formula, rasters are 0 outside, maps show what was planted."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError
from scipy.spatial.distance import cdist

from bias_audit.analyses.mapping import particle_swarm
from bias_audit.analyses.mapping.layout import Distance, pairwise, silent_units, unit_square
from bias_audit.analyses.mapping.particle_swarm import refine, swarm
from bias_audit.analyses.mapping.raster import SIDE, rasters
from bias_audit.analyses.methods.topomap import PLUGIN, Params
from bias_audit.config.catalog import LAYOUTS
from bias_audit.errors import AnalysisError
from bias_audit.results.blocks import UnitMap
from tests.analyses.planted import AGE, make_subject, planted

PCA = Params.model_validate({"layout": {"kind": "pca"}, "layers": ["late"], "refine_steps": 20})


def _transcribed(places: np.ndarray, steps: int, distances: np.ndarray | None) -> np.ndarray:
    """The published update, pair by pair."""
    places = places.copy()
    for time in np.linspace(-3, 6, steps):
        weight = (np.tanh(time) + 1) / 2
        moves = np.zeros_like(places)
        for i in range(len(places)):
            for j in range(len(places)):
                d = max(0.01, float(np.linalg.norm(places[i] - places[j])))
                local = 1.5 / (d + 1) ** 3 - 15 * np.exp(-d / 2)
                pull = 0.0
                if distances is not None:
                    far = distances[i, j]
                    pull = 1.5 * (1 - (far / distances.max()) ** 3) - 0.5 * np.exp(-far / 2)
                force = (weight * local + (1 - weight) * pull) / 2
                moves[i] += (places[j] - places[i]) * force
        places += moves / len(places)
    return places


@pytest.mark.parametrize("with_distances", [False, True])
def test_swarm_is_the_published_update(
    with_distances: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(particle_swarm, "_BLOCK", 7)
    rng = np.random.default_rng(0)
    places = rng.normal(0, 3, size=(30, 2))
    far = pairwise(rng.standard_normal((30, 5)), "cosine") if with_distances else None
    np.testing.assert_allclose(
        swarm(places, 25, far), _transcribed(places, 25, far), rtol=1e-3, atol=1e-3
    )


def test_refinement_spreads_units_and_repeats() -> None:
    rng = np.random.default_rng(0)
    clumps = np.repeat(rng.normal(0, 100, size=(5, 2)), 20, axis=0)
    one, two = (refine(clumps, 100, np.random.default_rng(1)) for _ in range(2))
    np.testing.assert_array_equal(one, two)

    def nearest(places: np.ndarray) -> float:
        gaps = cdist(places, places) + 9e9 * np.eye(len(places))
        return float(np.median(gaps.min(axis=1)) / np.ptp(places))

    assert nearest(one) > 5 * nearest(refine(clumps, 0, np.random.default_rng(1)))


@pytest.mark.parametrize("distance", ["cosine", "euclidean", "correlation"])
def test_distances_are_scipys(distance: Distance) -> None:
    signatures = np.random.default_rng(0).standard_normal((20, 6))
    np.testing.assert_allclose(
        pairwise(signatures, distance), cdist(signatures, signatures, distance), atol=1e-5
    )


def test_silent_units_are_found_and_equally_far() -> None:
    signatures = np.random.default_rng(0).standard_normal((9, 4))
    signatures[2], signatures[5] = 0, 1e-12
    np.testing.assert_array_equal(np.flatnonzero(silent_units(signatures)), [2, 5])
    far = pairwise(signatures, "cosine")
    assert far[2, 5] == 0
    assert (np.delete(far[2], [2, 5]) == 1).all()


@pytest.mark.parametrize("kind", LAYOUTS.kinds())
@pytest.mark.parametrize("n_units", [4, 40])
def test_layouts_are_deterministic_and_keep_like_units_together(kind: str, n_units: int) -> None:
    rng = np.random.default_rng(0)
    centres = np.array([[3.0, 0, -3], [-3, 3, 0]])
    kinds = np.arange(n_units) % 2
    signatures = centres[kinds] + 0.1 * rng.standard_normal((n_units, 3))
    plugin = LAYOUTS.load(kind)
    params = plugin.params_type()
    one, two = (
        plugin.place(signatures, "cosine", np.random.default_rng(1), params) for _ in range(2)
    )
    np.testing.assert_array_equal(one, two)
    assert one.shape == (n_units, 2)
    assert np.isfinite(one).all()
    if n_units == 40:
        gaps = cdist(one, one) + 9e9 * np.eye(n_units)
        assert (kinds[gaps.argmin(axis=1)] == kinds).all()


def test_raster_is_linear_inside_and_zero_outside() -> None:
    rng = np.random.default_rng(0)
    angles = rng.uniform(0, 2 * np.pi, 60)
    places = unit_square(np.stack([np.cos(angles), np.sin(angles)], axis=1))
    plane = 2 * places[:, 0] - places[:, 1] + 5
    drawn = rasters(places, np.stack([plane, np.full(60, np.nan), -plane]))
    assert drawn.shape == (3, SIDE, SIDE)
    assert drawn[0, 0, 0] == drawn[0, 0, -1] == drawn[0, -1, 0] == drawn[0, -1, -1] == 0
    assert np.isnan(drawn[1]).all()
    axis = np.linspace(0, 1, SIDE)
    expected = 2 * axis[None, :] - axis[:, None] + 5  # row 0 is y = 0
    inside = drawn[0] != 0
    assert 0.5 < inside.mean() < 0.9
    np.testing.assert_allclose(drawn[0][inside], expected[inside], atol=1e-5)
    np.testing.assert_array_equal(drawn[2], -drawn[0])


def test_maps_of_one_layer_share_places_and_colours() -> None:
    subject = planted(n=240, n_units=30)
    outcome = PLUGIN.run(subject, PCA)
    marginal, cells = outcome.blocks
    assert isinstance(marginal, UnitMap)
    assert isinstance(cells, UnitMap)
    assert marginal.positions == cells.positions
    assert marginal.limit == cells.limit > 0
    assert [group.label for group in marginal.groups] == [
        "young",
        "middle",
        "old",
        "female",
        "male",
    ]
    assert cells.counts == (40,) * 6
    values = outcome.arrays[marginal.values]
    # Contrasts of an attribute sum to zero, and age was planted in units 0, 1, 2.
    np.testing.assert_allclose(values[:3].sum(axis=0), 0, atol=1e-5)
    assert [int(values[level].argmax()) for level in range(3)] == [0, 1, 2]
    places = outcome.arrays[marginal.positions]
    assert (places.min(axis=0) == 0).all()
    assert (places.max(axis=0) == 1).all()
    again = PLUGIN.run(subject, PCA)
    for key, array in outcome.arrays.items():
        np.testing.assert_array_equal(array, again.arrays[key])


def test_empty_groups_and_silent_units_are_kept_and_counted() -> None:
    rng = np.random.default_rng(0)
    codes = np.stack([np.repeat([0, 1], 30), np.arange(60) % 2], axis=1)
    units = rng.standard_normal((60, 8))
    units[:, 5] = 0
    outcome = PLUGIN.run(make_subject(codes, {"late": units}), PCA)
    marginal, cells = outcome.blocks
    assert isinstance(marginal, UnitMap)
    assert isinstance(cells, UnitMap)
    assert cells.n_silent == 1
    assert marginal.counts == (30, 30, 0, 30, 30)
    assert np.isnan(outcome.arrays[marginal.rasters][2]).all()
    assert np.isfinite(outcome.arrays[cells.rasters][:4]).all()
    assert any("1 of 8 units" in limit for limit in outcome.limits)


def test_default_map_of_one_attribute() -> None:
    codes = (np.arange(90) % 3)[:, None]
    rng = np.random.default_rng(0)
    units = rng.standard_normal((90, 20)) + np.eye(3, 20)[codes[:, 0]]
    outcome = PLUGIN.run(make_subject(codes, {"late": units}, (AGE,)), Params())
    (block,) = outcome.blocks
    assert isinstance(block, UnitMap)
    assert block.layout == "UMAP (cosine), refined by 100 steps of particle swarm"


def test_what_cannot_be_drawn_is_explained() -> None:
    codes = (np.arange(30) % 3)[:, None]
    with pytest.raises(AnalysisError, match="nothing to draw"):
        PLUGIN.run(make_subject(codes, {"late": np.ones((30, 6))}, (AGE,)), PCA)
    with pytest.raises(AnalysisError, match="4 units"):
        PLUGIN.run(make_subject(codes, {"late": np.eye(3)[codes[:, 0]]}, (AGE,)), PCA)


def test_layout_is_checked_when_the_config_is() -> None:
    with pytest.raises(ValidationError, match="did you mean 'umap'"):
        Params.model_validate({"layout": {"kind": "umpa"}})
    with pytest.raises(ValidationError, match="n_neighbours"):
        Params.model_validate({"layout": {"kind": "umap", "n_neighbours": 5}})
    with pytest.raises(ValidationError, match="distance"):
        Params.model_validate({"distance": "manhattan"})
