"""Clusters follow what organises a layer, nothing where nothing does, and are those published."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import pytest
from scipy.cluster.hierarchy import cut_tree, fcluster, linkage
from scipy.spatial.distance import cdist
from sklearn.metrics import adjusted_rand_score

from bias_audit.analyses.clustering import distances as module
from bias_audit.analyses.clustering.distances import (
    adjusted_rand,
    cut,
    distances,
    mean_distances,
    relative_entropies,
    tree_of,
)
from bias_audit.analyses.clustering.layer import groups_of, most_stable, redrawn
from bias_audit.analyses.clustering.summary import mirrored
from bias_audit.analyses.methods.group_clusters import PLUGIN, Params
from bias_audit.config.schema import Multiplicity
from bias_audit.errors import AnalysisError
from bias_audit.groups import Attribute
from bias_audit.selftest.simulated import InMemoryActivations
from bias_audit.shapes.group_clusters import GroupClusters
from bias_audit.shapes.layer_curve import LayerCurve
from bias_audit.shapes.measures import Measures
from tests.analyses.planted import FakeCache, make_subject, of_type

AGE = Attribute("age", ("a", "b", "c", "d"))
RACE = Attribute("race", ("u", "v", "w", "x"))
GENDER = Attribute("gender", ("f", "m"))
ALL = (AGE, RACE, GENDER)
SHAPE = tuple(len(attribute.levels) for attribute in ALL)
QUICK: dict[str, Any] = {"bootstrap_draws": 100, "permutations": 59, "splits": 4}


def _subject(
    effects: dict[str, tuple[float, float, float]],
    *,
    per_group: int = 8,
    people: int = 1,
    seed: int = 0,
    **options: Any,
) -> Any:
    """Layers in which age, race and gender move images along directions of their own.

    Args:
        effects: Of each attribute, by layer, in standard deviations of a unit times the root of
            the number of units.
        per_group: People.
        people: Images of each.
        seed: Of everything.
        options: Of `make_subject`.
    """
    rng = np.random.default_rng(seed)
    cells = np.repeat(np.arange(np.prod(SHAPE)), per_group * people)
    codes = np.stack(np.unravel_index(cells, SHAPE), axis=1)
    clusters = np.arange(len(cells)) // people
    layers = {}
    for layer, sizes in effects.items():
        units = rng.standard_normal((len(cells), 30))
        for place, size in enumerate(sizes):
            directions = rng.standard_normal((SHAPE[place], 30)) / np.sqrt(30)
            units += size * directions[codes[:, place]]
        layers[layer] = units
    return make_subject(codes, layers, ALL, clusters=clusters, seed=seed, **options)


def _curve(outcome: Any) -> dict[tuple[str, str], Any]:
    (block,) = of_type(outcome.blocks, LayerCurve)
    return {(curve.target, point.layer): point for curve in block.curves for point in curve.points}


def test_distances_are_euclidean_whatever_the_origin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_BLOCK_VALUES", 200)  # several blocks of units
    rng = np.random.default_rng(0)
    values = (100 + rng.standard_normal((40, 7, 3))).astype(np.float32)
    images = np.arange(0, 40, 2)
    found = distances(values, images, np.arange(20))
    flat = values[images].reshape(20, -1).astype(np.float64)
    np.testing.assert_allclose(found, cdist(flat, flat), atol=2e-3)
    together = distances(values, images, np.arange(20) // 2)
    assert (together[np.arange(0, 20, 2), np.arange(1, 20, 2)] == 0).all()
    values[4, 0, 0] = np.nan
    with pytest.raises(ValueError, match="finite"):
        distances(values, images, np.arange(20))


@pytest.mark.parametrize("is_weighted", [False, True])
def test_mean_distances_are_those_of_single_pairs_of_people(is_weighted: bool) -> None:
    rng = np.random.default_rng(1)
    clusters = np.array([0, 0, 1, 2, 3, 3, 4, 5, 6, 6, 7, 8])
    groups = np.array([0, 0, 0, 0, 1, 1, 1, 1, 2, 0, 2, 2])  # a person in two groups
    values = rng.standard_normal((12, 5)).astype(np.float32)
    weights = rng.exponential(size=9)[clusters].astype(np.float32) if is_weighted else None
    apart = distances(values, np.arange(12), clusters)
    found = mean_distances(apart, groups, clusters, 3, weights)
    w = np.ones(12) if weights is None else weights.astype(np.float64)
    for g, h in product(range(3), repeat=2):
        pairs = [
            (w[i] * w[j], float(np.linalg.norm(values[i] - values[j])))
            for i, j in product(range(12), repeat=2)
            if groups[i] == g and groups[j] == h and clusters[i] != clusters[j]
        ]
        expected = sum(a * b for a, b in pairs) / sum(a for a, _ in pairs)
        assert found[g, h] == pytest.approx(expected, rel=1e-4)


def test_copies_of_images_do_not_bring_a_group_nearer_to_itself() -> None:
    rng = np.random.default_rng(2)
    values = rng.standard_normal((20, 6)).astype(np.float32)
    groups = np.arange(20) % 2
    once = mean_distances(
        distances(values, np.arange(20), np.arange(20)), groups, np.arange(20), 2
    )
    twice = np.repeat(np.arange(20), 2)
    copied = distances(values[twice], np.arange(40), twice)
    np.testing.assert_allclose(mean_distances(copied, groups[twice], twice, 2), once, rtol=1e-5)


def test_a_group_of_one_person_has_the_mean_within_itself() -> None:
    values = np.random.default_rng(3).standard_normal((5, 4)).astype(np.float32)
    clusters = np.array([0, 0, 1, 2, 3])
    groups = np.array([0, 0, 1, 1, 1])
    found = mean_distances(distances(values, np.arange(5), clusters), groups, clusters, 2)
    others = [found[0, 1], found[1, 0], found[1, 1]]
    assert found[0, 0] == pytest.approx(np.mean(others))


@pytest.mark.parametrize(("size", "n_levels"), [(2, 2), (3, 4), (5, 3), (6, 4), (7, 2)])
def test_relative_entropy_is_0_at_the_least_and_1_at_the_largest(size: int, n_levels: int) -> None:
    """Over every cluster of a size that there can be."""
    raw, relative = [], []
    for levels in product(range(n_levels), repeat=size):
        shares = np.bincount(levels, minlength=n_levels) / size
        known = shares[shares > 0]
        raw.append(float((known * np.log(known * n_levels)).sum()))
        clusters = np.zeros(size, dtype=np.int64)
        found = relative_entropies(clusters, np.array(levels)[:, None], [n_levels])
        relative.append(float(found[0, 0]))
    least, largest = min(raw), max(raw)
    np.testing.assert_allclose(relative, (np.array(raw) - least) / (largest - least), atol=1e-9)
    assert min(relative) == pytest.approx(0, abs=1e-9)
    assert max(relative) == pytest.approx(1)


def test_a_single_group_has_no_relative_entropy() -> None:
    clusters, levels = np.array([0, 1, 1]), np.array([[0], [0], [1]])
    found = relative_entropies(clusters, levels, [2])
    assert np.isnan(found[0, 0])
    assert found[1, 0] == pytest.approx(0)


def test_the_adjusted_rand_index_is_scikit_learns() -> None:
    rng = np.random.default_rng(4)
    for n in (2, 3, 10, 60):
        one, other = rng.integers(0, max(2, n // 3), (2, n))
        assert adjusted_rand(one, other) == pytest.approx(adjusted_rand_score(one, other))
    alone = np.zeros(5, dtype=np.int64)
    assert adjusted_rand(alone, alone) == 1
    assert adjusted_rand(np.arange(5), np.arange(5)) == 1


def test_of_numbers_of_clusters_that_agree_alike_the_largest_is_used() -> None:
    stability = np.array([[0.9, 1.0], [1.0, 0.9], [0.3, 0.5]])
    assert most_stable(stability) == 1
    assert most_stable(stability[[0, 2]]) == 0


def test_an_interval_reaches_as_far_to_both_sides() -> None:
    found = mirrored(0.6, np.linspace(0.2, 0.5, 101), level=0.9, n=7, within=(0.0, 1.0))
    assert found.lower == pytest.approx(0.215)
    assert found.upper == pytest.approx(0.985)
    assert mirrored(0.9, np.linspace(0.2, 0.5, 9), level=0.9, n=7, within=(0.0, 1.0)).upper == 1


def _published(values: np.ndarray[Any, Any], codes: np.ndarray[Any, Any]) -> list[float]:
    """The recipe of the paper, written plainly: ten clusters, means over four groups or more."""
    groups = [np.flatnonzero((codes == levels).all(axis=1)) for levels in np.ndindex(*SHAPE)]
    n = len(groups)
    matrix = np.empty((n, n))
    for g, h in product(range(n), repeat=2):
        apart = cdist(values[groups[g]], values[groups[h]])
        own = ~np.eye(len(apart), dtype=bool) if g == h else np.ones(apart.shape, dtype=bool)
        matrix[g, h] = apart[own].mean()
    similarity = 1 - matrix / matrix.max()
    clusters = fcluster(linkage(similarity, "complete", "euclidean"), 10, "maxclust")
    levels = np.array([*np.ndindex(*SHAPE)])
    by_attribute = []
    for place, n_levels in enumerate(SHAPE):
        found = []
        for cluster in np.unique(clusters):
            own = levels[clusters == cluster, place]
            if len(own) > 3:
                p = np.bincount(own, minlength=n_levels) / len(own)
                kl = sum(x * np.log(x * n_levels) for x in p if x > 0)
                most_even = [len(part) for part in np.array_split(own, n_levels)]
                q = np.array(most_even) / len(own)
                least = sum(x * np.log(x * n_levels) for x in q if x > 0)
                found.append((kl - least) / (np.log(n_levels) - least))
        by_attribute.append(float(np.mean(found)))
    return by_attribute


def test_the_published_recipe_gives_the_same_numbers() -> None:
    subject = _subject({"early": (3.0, 2.0, 1.0), "late": (1.0, 2.0, 3.0)}, seed=5)
    outcome = PLUGIN.run(subject, Params(clusters=10, smallest_cluster=4, **QUICK))
    points = _curve(outcome)
    for layer in ("early", "late"):
        expected = _published(
            subject.activations.units(layer).astype(float), subject.faces.table.codes
        )
        found = [points[attribute.name, layer].estimate.value for attribute in ALL]
        np.testing.assert_allclose(found, expected, atol=1e-6)
    (block,) = of_type(outcome.blocks, GroupClusters)
    assert len(block.clusters) == 10
    sums = [sum(e or 0 for e in cluster.entropies) for cluster in block.clusters]
    assert sums == sorted(sums, reverse=True)


def test_the_attribute_that_organises_each_layer_is_found() -> None:
    layers = {
        "one": (5.0, 1.0, 0.5),
        "two": (5.0, 1.0, 0.5),
        "three": (0.0, 0.0, 0.0),
        "four": (1.0, 5.0, 0.5),
    }
    outcome = PLUGIN.run(_subject(layers, per_group=12), Params(**QUICK))
    points = _curve(outcome)
    for layer, name in (("one", "age"), ("two", "age"), ("four", "race")):
        assert points[name, layer].estimate.value > 0.9
        assert points[name, layer].adjusted_p <= 0.05
        assert points[name, layer].lift.lower > 0
        assert points["gender", layer].adjusted_p > 0.05
    assert all(points[a.name, "three"].estimate is None for a in ALL)
    first = outcome.findings[0].text
    assert "follow age from one to two; race at four; for gender, no significant" in first
    second = outcome.findings[1].text
    assert second.startswith("From one to two, age leads; at four, race leads; elsewhere none")
    assert outcome.findings[0].weight > 0
    assert "At 3 of 4 layers" in outcome.findings[2].text
    (by_layer,) = of_type(outcome.blocks, Measures)
    standings = {entry.name: entry.standing for entry in by_layer.entries}
    assert standings["one"].startswith("4, p")
    assert standings["three"].startswith("none, p")
    alike = {entry.name: entry.values[1] for entry in by_layer.entries}
    assert alike["one"] is not None
    assert alike["one"].value > 0.9


def test_clusters_hold_the_groups_that_share_a_level() -> None:
    outcome = PLUGIN.run(_subject({"one": (5.0, 0.5, 0.0)}, per_group=12), Params(**QUICK))
    (block,) = of_type(outcome.blocks, GroupClusters)
    assert [len(cluster.groups) for cluster in block.clusters] == [8, 8, 8, 8]
    for cluster in block.clusters:
        assert len({dict(group.levels)["age"] for group in cluster.groups}) == 1
        assert cluster.entropies == pytest.approx((1, 0, 0))


def test_random_labels_have_no_clusters_and_p_values_that_are_rarely_small() -> None:
    stability, entropy = [], []
    for seed in range(24):
        subject = _subject({"one": (0.0, 0.0, 0.0)}, per_group=5, seed=seed)
        outcome = PLUGIN.run(
            subject,
            Params(clusters=6, bootstrap_draws=100, permutations=19, splits=2, layers=("one",)),
        )
        points = _curve(outcome)
        entropy += [points[a.name, "one"].p_value for a in ALL]
        (by_layer,) = of_type(outcome.blocks, Measures)
        stability.append(float(by_layer.entries[0].standing.split("= ")[1]))
    for found in (np.array(stability), np.array(entropy)):
        assert np.mean(found <= 0.1) <= 0.25
        assert 0.35 <= np.mean(found) <= 0.65


def test_an_attribute_that_plays_no_part_is_rarely_said_to_where_another_does() -> None:
    found = []
    for seed in range(16):
        subject = _subject({"one": (3.0, 0.0, 0.0)}, per_group=5, seed=seed)
        outcome = PLUGIN.run(
            subject, Params(clusters=7, bootstrap_draws=100, permutations=19, splits=2)
        )
        points = _curve(outcome)
        found += [points[name, "one"].p_value for name in ("race", "gender")]
        assert points["age", "one"].p_value == pytest.approx(0.05)
    assert np.mean(np.array(found) <= 0.1) <= 0.25


def test_an_image_of_every_person_is_drawn_before_a_second_one() -> None:
    subject = _subject({"one": (1.0, 1.0, 1.0)}, per_group=6, people=3)
    groups = groups_of(subject, smallest=5, most=10, rng=np.random.default_rng(0))
    assert groups is not None
    assert (np.bincount(groups.of_image) == 10).all()
    per_person = np.bincount(groups.clusters)
    assert per_person.min() == 1 and per_person.max() == 2


def test_an_attribute_of_which_one_level_occurs_takes_no_part() -> None:
    subject = _subject({"one": (1.0, 1.0, 1.0)}, per_group=6)
    table = subject.faces.table
    alone = table.only(np.flatnonzero(table.codes[:, 2] == 0))
    rows = np.flatnonzero(table.codes[:, 2] == 0)
    faces = replace(subject.faces, table=alone, clusters=subject.faces.clusters[rows])
    by_layer = {"one": subject.activations.units("one")[rows]}
    activations = InMemoryActivations(by_layer, alone.cells, alone.n_cells)
    found = PLUGIN.run(
        replace(subject, faces=faces, activations=activations), Params(clusters=4, **QUICK)
    )
    curves = next(block for block in found.blocks if isinstance(block, LayerCurve))
    assert [curve.target for curve in curves.curves] == [a.name for a in table.attributes[:2]]
    assert any("takes no part" in limit for limit in found.limits)


def test_a_layer_of_equal_activations_is_named() -> None:
    subject = _subject({"one": (1.0, 1.0, 1.0)}, per_group=6)
    table = subject.faces.table
    flat = {"one": np.ones((len(table), 5), dtype=np.float32)}
    activations = InMemoryActivations(flat, table.cells, table.n_cells)
    with pytest.raises(AnalysisError, match="layer one: all images have the same activations"):
        PLUGIN.run(replace(subject, activations=activations), Params(clusters=4, **QUICK))


def test_people_with_many_images_are_redrawn_whole() -> None:
    subject = _subject({"one": (1.0, 1.0, 1.0)}, per_group=6, people=3)
    groups = groups_of(subject, smallest=5, most=18, rng=np.random.default_rng(0))
    assert groups is not None
    assert (np.bincount(groups.clusters) == 3).all()
    again = redrawn(subject, groups, draws=10, splits=3, permutations=5)
    for half in (*again.halves, *again.shuffled_halves.reshape(-1, len(groups.images))):
        by_person = half.reshape(-1, 3)
        assert (by_person == by_person[:, :1]).all()
    for labels, halves in zip(again.shuffled, again.shuffled_halves, strict=True):
        for half in halves:
            # every group keeps its people in each half
            kept = np.bincount(2 * labels + half, minlength=2 * len(groups.kept))
            own = np.bincount(2 * groups.of_image + again.halves[0], minlength=len(kept))
            assert kept.min() >= own.min() > 0
    for place, shuffles in enumerate(again.within):
        others = np.delete(groups.levels, place, axis=1)
        for labels in shuffles:
            assert (others[labels] == others[groups.of_image]).all()
            assert (labels != groups.of_image).any()


def test_positions_are_used_where_they_were_recorded() -> None:
    subject = _subject({"one": (0.0, 0.0, 0.0), "two": (0.0, 0.0, 0.0)}, per_group=8)
    rng = np.random.default_rng(0)
    directions = rng.standard_normal((4, 30))
    age = subject.faces.table.codes[:, 0]
    # Opposite at two positions: the mean over positions knows nothing of age.
    maps = np.stack([directions[age], -directions[age]], axis=2) * 2
    maps = (maps + rng.standard_normal(maps.shape)).astype(np.float32)
    activations = subject.activations
    assert isinstance(activations, InMemoryActivations)
    recorded = replace(subject, activations=replace(activations, maps={"two": maps}))
    outcome = PLUGIN.run(recorded, Params(clusters=4, **QUICK))
    points = _curve(outcome)
    assert points["age", "two"].estimate.value == pytest.approx(1)
    assert points["age", "one"].estimate.value < 0.5
    assert "at one, where none were recorded, the mean over positions" in outcome.method[0]


def test_layers_are_kept_one_by_one() -> None:
    cache = FakeCache()
    subject = _subject({"one": (3.0, 0.0, 0.0), "two": (0.0, 3.0, 0.0)}, cache=cache)
    first = PLUGIN.run(subject, Params(**QUICK))
    puts = cache.puts
    assert puts == 2
    assert PLUGIN.run(subject, Params(**QUICK)).findings == first.findings
    assert cache.puts == puts
    PLUGIN.run(subject, Params(**(QUICK | {"splits": 3})))
    assert cache.puts == puts + 2


def test_small_groups_are_named_and_in_no_cluster() -> None:
    subject = _subject({"one": (3.0, 0.0, 0.0)})
    few = subject.faces.table.cells != 0
    few[:3] = True
    codes = subject.faces.table.codes[few]
    units = subject.activations.units("one")[few]
    smaller = make_subject(codes, {"one": units}, ALL)
    outcome = PLUGIN.run(smaller, Params(**QUICK))
    assert "1 of 32 groups" in outcome.limits[0]
    assert "a / u / f" in outcome.limits[0]
    (block,) = of_type(outcome.blocks, GroupClusters)
    assert sum(len(cluster.groups) for cluster in block.clusters) == 31


def test_what_cannot_be_clustered_is_explained() -> None:
    subject = _subject({"one": (1.0, 0.0, 0.0)}, per_group=6)
    table = subject.faces.table
    with pytest.raises(AnalysisError, match="lower clusters or smallest_group"):
        PLUGIN.run(subject, Params(smallest_group=7, **QUICK))
    problems = PLUGIN.problems(Params(layers=("on",), clusters=32), table, ("one",))
    assert len(problems) == 2
    assert "32 clusters and 32 intersections" in problems[1]
    assert PLUGIN.problems(Params(clusters=31), table, None) == ()
    nan = subject.activations.units("one").copy()
    nan[0, 0] = np.nan
    broken = make_subject(table.codes, {"one": nan}, ALL)
    with pytest.raises(AnalysisError, match="layer one: expected finite"):
        PLUGIN.run(broken, Params(**QUICK))
    alone = make_subject(table.codes[:, :1], {"one": subject.activations.units("one")}, (AGE,))
    outcome = PLUGIN.run(alone, Params(**QUICK))
    assert not outcome.blocks
    assert "needs two" in outcome.limits[0]


def test_more_distances_than_memory_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bias_audit.analyses.methods.group_clusters.MOST_IMAGES", 150)
    table = _subject({"one": (0.0, 0.0, 0.0)}, per_group=6).faces.table
    (problem,) = PLUGIN.problems(Params(), table, None)
    assert "set images_per_group: 4" in problem
    assert PLUGIN.problems(Params(images_per_group=4), table, None) == ()


def test_too_few_draws_for_the_error_rate_are_refused() -> None:
    plan = Multiplicity(alpha=0.002)
    (problem,) = PLUGIN.too_few_draws(Params(), plan, ALL)
    assert "permutations: 199 draws cannot" in problem
    assert "at least 499" in problem
    assert PLUGIN.too_few_draws(Params(permutations=499), plan, ALL) == ()


def test_a_tree_is_cut_as_scipy_cuts_it() -> None:
    values = np.random.default_rng(0).standard_normal((12, 3))
    tree, counts = tree_of(cdist(values, values)), [1, 2, 5, 11, 12]
    for own, count in zip(cut(tree, counts), counts, strict=True):
        assert adjusted_rand_score(own, cut_tree(tree, [count])[:, 0]) == 1
        assert len(np.unique(own)) == own.max() + 1 == count
