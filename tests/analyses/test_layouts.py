"""Layouts repeat, keep like units together, and take whatever a layer holds."""

from __future__ import annotations

from dataclasses import replace

import networkx as nx
import numpy as np
import numpy.typing as npt
import pytest
from minisom import MiniSom
from pydantic import ValidationError
from scipy.sparse.csgraph import connected_components
from scipy.spatial.distance import cdist, pdist
from sklearn.manifold import trustworthiness

from bias_audit.activations.moments import Moments
from bias_audit.analyses.layouts.graph import joined_edges, spring_layout
from bias_audit.analyses.layouts.self_organizing_map import spread
from bias_audit.analyses.mapping.kernels import nearest
from bias_audit.analyses.mapping.layout import (
    SIDE,
    Distance,
    LayoutSettings,
    align_colours,
    align_units,
    comparable,
    pairwise,
    rasters,
    silent_units,
    unit_square,
)
from bias_audit.analyses.mapping.som_and_swarm import nearest_cells, train_map
from bias_audit.analyses.methods import layout_comparison, topomap
from bias_audit.arrays import FloatArray
from bias_audit.config.catalog import LAYOUTS
from bias_audit.selftest.simulated import InMemoryActivations
from bias_audit.shapes.unit_map import UnitMap
from tests.analyses.planted import crossed, make_subject, planted

KINDS = LAYOUTS.kinds()
INFORMED = tuple(kind for kind in KINDS if kind not in {"random", "published"})
DISTANCES: tuple[Distance, ...] = ("cosine", "euclidean", "correlation")


def _placed(kind: str, signatures: FloatArray, distance: Distance, seed: int = 1) -> FloatArray:
    plugin = LAYOUTS.load(kind)
    placed = plugin.place(signatures, distance, np.random.default_rng(seed), plugin.params_type())
    return np.asarray(placed)


@pytest.mark.parametrize("distance", DISTANCES)
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


@pytest.mark.slow
@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize("kind", INFORMED)
def test_like_units_lie_together_for_every_distance(kind: str, distance: Distance) -> None:
    rng = np.random.default_rng(0)
    centres = np.array([[3.0, 0, -3, 1], [-3, 3, 0, 1]])
    kinds = np.arange(40) % 2
    signatures = centres[kinds] + 0.1 * rng.standard_normal((40, 4))
    one, two = (_placed(kind, signatures, distance) for _ in range(2))
    np.testing.assert_array_equal(one, two)
    gaps = cdist(one, one) + 9e9 * np.eye(40)
    # The swarm fills a disc, in which two kinds of units share a border.
    assert (kinds[gaps.argmin(axis=1)] == kinds).mean() > (
        0.8 if kind == "particle_swarm" else 0.95
    )


def test_a_random_layout_knows_nothing_and_the_others_do() -> None:
    rng = np.random.default_rng(0)
    signatures = rng.standard_normal((150, 3)) @ rng.standard_normal((3, 12))
    rows = comparable(signatures, "cosine")
    kept = {
        kind: trustworthiness(rows, _placed(kind, signatures, "cosine"), n_neighbors=10)
        for kind in KINDS
    }
    assert 0.4 < kept.pop("random") < 0.6
    assert min(kept.values()) > 0.75, kept
    one, other = (_placed("random", signatures, "cosine", seed) for seed in (1, 2))
    assert not np.array_equal(one, other)


def _spring_oracle(edges: npt.NDArray[np.uint8], start: FloatArray, iterations: int) -> FloatArray:
    graph = nx.from_numpy_array(edges)
    places = nx.spring_layout(
        graph,
        pos=dict(enumerate(start)),
        iterations=iterations,
        method="force",
        scale=None,
        seed=0,
    )
    return np.array([places[i] for i in range(len(edges))])


def test_springs_are_those_of_networkx() -> None:
    rng = np.random.default_rng(0)
    edges = joined_edges(pairwise(rng.standard_normal((40, 4)), "cosine"), 7.5)
    start = rng.uniform(size=(40, 2))
    ours, theirs = spring_layout(edges, start, 10), _spring_oracle(edges, start, 10)
    np.testing.assert_allclose(ours, theirs, atol=1e-4)
    assert np.abs(ours - start).max() > 0.1


def test_the_graph_joins_the_nearest_pairs_and_components_by_their_nearest() -> None:
    rng = np.random.default_rng(0)
    clumps = np.array([[0.0, 0], [100, 0], [210, 0]])
    points = np.repeat(clumps, 20, axis=0) + rng.standard_normal((60, 2))
    distances = cdist(points, points).astype(np.float32)
    edges = joined_edges(distances, 30)
    np.testing.assert_array_equal(edges, edges.T)
    assert not edges.diagonal().any()
    assert connected_components(edges, directed=False)[0] == 1
    near = pdist(points) <= np.percentile(pdist(points), 30)
    between = np.add.outer(np.arange(60) // 20, np.arange(60) // 20 * 10)
    across = np.argwhere(np.triu(edges) & (between % 11 != 0))
    assert edges.sum() / 2 == near.sum() + len(across)
    # A tree of three clumps has two edges; the far pair of clumps is not joined directly.
    assert sorted((i // 20, j // 20) for i, j in across.tolist()) == [(0, 1), (1, 2)]
    for i, j in across.tolist():
        block = distances[i // 20 * 20 : i // 20 * 20 + 20, j // 20 * 20 : j // 20 * 20 + 20]
        assert distances[i, j] == block.min()


def test_the_map_is_that_of_minisom() -> None:
    rng = np.random.default_rng(0)
    rows, side = rng.standard_normal((50, 6)), 8
    oracle = MiniSom(side, side, 6, sigma=1.0, learning_rate=0.5, random_seed=0)
    start = oracle.get_weights().copy()
    oracle.train(rows, 500)
    weights = train_map(rows, start, np.tile(np.arange(50), 10), sigma=1.0, rate=0.5)
    np.testing.assert_allclose(weights, oracle.get_weights(), atol=1e-4)
    assert np.abs(weights - start).max() > 0.5
    np.testing.assert_array_equal(
        nearest_cells(rows, oracle.get_weights()), [oracle.winner(row) for row in rows]
    )


@pytest.mark.parametrize("odd", [0.0, 1e25, np.inf, np.nan])
@pytest.mark.parametrize("of", ["some cells", "all cells", "the row"])
def test_the_nearest_cell_is_numpys_whatever_the_numbers(odd: float, of: str) -> None:
    """Squares of 1e25 are infinite; with no finite distance, the first cell is named."""
    rng = np.random.default_rng(0)
    for n_dimensions in (1, 3, 8, 17):
        weights = rng.standard_normal((5, 6, n_dimensions)).astype(np.float32)
        row = rng.standard_normal(n_dimensions).astype(np.float32)
        if of == "the row":
            row += np.float32(odd)
        else:
            weights[:, : 3 if of == "some cells" else 6] += np.float32(odd)
        with np.errstate(over="ignore"):
            square = ((weights - row) ** 2).sum(axis=2)
        expected = np.where(np.isnan(square), np.inf, square).argmin()
        assert nearest(row, weights) == divmod(int(expected), 6)


def test_units_that_share_a_cell_lie_on_a_circle_about_it() -> None:
    cells = np.array([[0, 0], [2, 1], [0, 0], [3, 3], [0, 0]])
    places = spread(cells)
    np.testing.assert_array_equal(places[[1, 3]], [[2, 1], [3, 3]])
    shared = places[[0, 2, 4]]
    np.testing.assert_allclose(np.linalg.norm(shared, axis=1), 0.2)
    np.testing.assert_allclose(shared.mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(pdist(shared), 0.2 * np.sqrt(3))


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


TURNS = [(0.0, 1), (0.7, 1), (2.5, 1), (0.0, -1), (1.9, -1)]


def _turn(angle: float, mirror: int) -> np.ndarray:
    cosine, sine = np.cos(angle), np.sin(angle)
    return np.array([[cosine, sine], [-sine, cosine]]) @ np.diag([mirror, 1])


def _disc(n: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    angle, radius = rng.uniform(0, 2 * np.pi, n), 0.5 * np.sqrt(rng.random(n))
    return 0.5 + np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)


def _colours(places: np.ndarray) -> np.ndarray:
    """Three groups that differ in different corners, so that no turn but one fits."""
    x, y = (places - 0.5).T
    return np.stack([x + 0.3 * y, np.exp(-((x - 0.2) ** 2 + (y - 0.25) ** 2) / 0.02), x * y])


@pytest.mark.parametrize(("angle", "mirror"), TURNS)
def test_a_turned_layout_of_the_same_units_is_turned_back(angle: float, mirror: int) -> None:
    reference = _disc(50, 0)
    turned = (reference - 0.5) @ _turn(angle, mirror) + 3.0
    np.testing.assert_allclose(align_units(turned, reference), reference, atol=1e-12)


@pytest.mark.parametrize(("angle", "mirror"), TURNS)
def test_a_layout_of_other_units_is_turned_by_its_colours(angle: float, mirror: int) -> None:
    reference, straight = _disc(400, 0), _disc(300, 1)
    turned = (straight - 0.5) @ _turn(angle, mirror) + 0.5
    found = align_colours(turned, _colours(straight), reference, _colours(reference))
    # Turns are tried in steps of one degree, which at the rim are 0.0087.
    assert np.abs(found - straight).max() < 0.05
    np.testing.assert_allclose(pdist(found), pdist(turned))


def test_groups_without_images_play_no_part() -> None:
    places, values = _disc(100, 3), _colours(_disc(100, 3))
    with_empty = np.concatenate([values, np.full((1, 100), np.nan)])
    found = align_colours(places, with_empty, places, with_empty)
    np.testing.assert_allclose(found, places, atol=1e-12)


def test_layouts_that_cannot_be_compared_are_refused() -> None:
    places = _disc(10, 0)
    with pytest.raises(ValueError, match="same units"):
        align_units(places, places[:5])
    with pytest.raises(ValueError, match="same groups"):
        align_colours(places, np.ones((2, 10)), places, np.ones((3, 10)))


def test_further_layers_of_a_topographic_map_are_turned_like_the_first() -> None:
    """Two layers respond alike, their units in another order: only places tell them apart."""
    late = planted(n=240, n_units=40).activations.units("late")
    other = late[:, np.random.default_rng(0).permutation(40)]
    subject = make_subject(crossed(240), {"early": other, "late": late})
    drawn = {}
    for align in (True, False):
        params = topomap.PLUGIN.params_type.model_validate(
            {
                "layers": ["early", "late"],
                "layout": {"kind": "random"},
                "differences": {"test": "none"},
                "align": align,
            }
        )
        outcome = topomap.PLUGIN.run(subject, params)
        drawn[align] = [outcome.arrays[f"layer{i}-marginal-rasters"][:3] for i in (0, 1)]
        assert any("is turned" in sentence for sentence in outcome.method) == align
    np.testing.assert_array_equal(drawn[True][0], drawn[False][0])
    aligned, plain = (float((one * two).sum()) for one, two in (drawn[True], drawn[False]))
    assert aligned > plain


def test_the_published_layout_reads_all_positions_that_differ() -> None:
    rng = np.random.default_rng(0)
    maps = rng.standard_normal((90, 5, 4)).astype(np.float32)
    maps[:, :, 3] *= 1e-3  # no contrast above the threshold
    groups = np.arange(90) % 3
    moments = Moments.empty(4, (5, 4))  # the last group is empty
    moments.update(maps, groups)
    plugin = LAYOUTS.load("published")
    means = np.stack([maps[groups == group].mean(axis=0) for group in range(3)])
    contrasts = means - means.mean(axis=0)
    assert np.abs(contrasts[:, :, 3]).max() < 0.01
    expected = contrasts[:, :, :3].transpose(1, 0, 2).reshape(5, 9)
    rows = plugin.signatures(moments, plugin.params_type())
    np.testing.assert_allclose(rows, expected, atol=1e-6)


def test_the_published_layout_brings_its_settings() -> None:
    assert LayoutSettings.model_validate({"layout": {"kind": "published"}}).refine_steps == 0
    with pytest.raises(ValidationError, match="layout published has euclidean, got cosine"):
        LayoutSettings.model_validate({"layout": {"kind": "published"}, "distance": "cosine"})
    with pytest.raises(ValidationError, match="leave it out"):
        layout_comparison.Params.model_validate({"layouts": [{"kind": "published"}]})


def test_maps_of_the_published_layout_show_the_mean_over_positions() -> None:
    made = planted(120)
    rng = np.random.default_rng(0)
    units = made.activations.units("late")
    maps = units[:, :, None] + rng.standard_normal((*units.shape, 4)).astype(np.float32)
    assert isinstance(made.activations, InMemoryActivations)
    made = replace(made, activations=replace(made.activations, maps={"late": maps}))
    given = {"layers": ["late"], "layout": {"kind": "published"}, "differences": {"test": "none"}}
    outcome = topomap.PLUGIN.run(made, topomap.Params.model_validate(given))
    block = next(block for block in outcome.blocks if isinstance(block, UnitMap))
    means = maps.mean(axis=2, dtype=np.float64)
    cells = np.stack([means[made.faces.table.cells == c].mean(axis=0) for c in range(6)])
    np.testing.assert_allclose(outcome.arrays[block.values], cells - cells.mean(axis=0), atol=1e-4)
    places = outcome.arrays[block.positions]
    assert (
        places.min() == 0
        and places.max() == 1
        and "as published" in block.layout
        and block.title.endswith("laid out as published")
    )
