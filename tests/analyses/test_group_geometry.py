"""Distances are those planted, small groups are not far, and layers that agree are alike."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.cluster.hierarchy import cut_tree

from bias_audit.analyses.mapping.group_distances import distances
from bias_audit.analyses.mapping.profiles import (
    Profiles,
    Sample,
    bayesian_weights,
    drawn_means,
    noise_of_means,
)
from bias_audit.analyses.methods.group_geometry import PLUGIN, Params
from bias_audit.analyses.targets import finest_target
from bias_audit.errors import AnalysisError
from bias_audit.groups import Attribute
from bias_audit.shapes.catalog import shapes
from bias_audit.shapes.group_matrix import GroupMatrix
from bias_audit.shapes.layer_matrix import LayerMatrix
from tests.analyses.planted import AGE, GENDER, make_subject, planted

FOUR = AGE.__class__("age", ("a", "b", "c", "d"))
QUICK: dict[str, Any] = {"bootstrap_draws": 200, "layers": ("late",)}


def _line(n: int, seed: int, sizes: tuple[int, ...] = (1, 1, 1, 1)) -> Any:
    """Four groups at 0, 1, 3 and 7 along every unit, in standard deviations."""
    rng = np.random.default_rng(seed)
    codes = np.repeat(np.arange(4), [n * size for size in sizes])
    units = rng.standard_normal((len(codes), 30)) + np.array([0.0, 1, 3, 7])[codes][:, None]
    return make_subject(codes[:, None], {"late": units}, (FOUR,), seed=seed)


def _matrix(subject: Any, **changed: Any) -> tuple[GroupMatrix, Any, Any]:
    outcome = PLUGIN.run(subject, Params(**(QUICK | changed)))
    block = outcome.blocks[0]
    assert isinstance(block, GroupMatrix)
    return block, outcome.arrays[block.values], outcome


def test_distances_are_those_planted_with_intervals_that_hold_them() -> None:
    truth = np.abs(np.subtract.outer([0.0, 1, 3, 7], [0.0, 1, 3, 7]))
    block, values, _ = _matrix(_line(200, 0), order="declared")
    np.testing.assert_allclose(values, truth, atol=0.2)
    assert len(block.pairs) == 6
    for pair in block.pairs:
        assert pair.estimate.lower - 0.05 <= truth[pair.one, pair.other]
        assert pair.estimate.upper + 0.05 >= truth[pair.one, pair.other]


def test_small_groups_are_not_far_for_being_small() -> None:
    squares = []
    for seed in range(25):
        rng = np.random.default_rng(seed)
        codes = np.repeat([0, 1, 2], [6, 6, 200])
        subject = make_subject(
            codes[:, None], {"late": rng.standard_normal((212, 40))}, (AGE,), seed=seed
        )
        block, _, _ = _matrix(subject)
        near = [pair.estimate for pair in block.pairs]
        assert sum(estimate.lower == 0 for estimate in near) >= 2
        squares.append(np.mean([estimate.value**2 for estimate in near]))
    # with the noise left in, a pair of groups of six would be at 1/3
    assert np.mean(squares) < 0.06


def test_a_dendrogram_orders_the_groups_and_is_numbered_like_them() -> None:
    subject = _line(100, 1)
    block, values, outcome = _matrix(subject)
    labels = [group.label for group in block.groups]
    assert labels in (["a", "b", "c", "d"], ["d", "c", "b", "a"])
    assert block.tree is not None
    tree = outcome.arrays[block.tree]
    first = tree[0, :2].astype(int)
    assert {labels[i] for i in first} == {"a", "b"}
    assert tree[0, 2] == pytest.approx(values[first[0], first[1]], rel=1e-4)


def test_groups_with_too_few_images_are_blank_and_last() -> None:
    rng = np.random.default_rng(0)
    codes = np.repeat([0, 1, 3], [40, 3, 40])
    subject = make_subject(codes[:, None], {"late": rng.standard_normal((83, 8))}, (FOUR,))
    block, values, _ = _matrix(subject, order="declared")
    assert np.isnan(values[[1, 2]]).all()
    assert np.isfinite(values[np.ix_([0, 3], [0, 3])]).all()
    assert [(pair.one, pair.other) for pair in block.pairs] == [(0, 3)]


def test_layers_that_arrange_groups_alike_are_alike() -> None:
    rng = np.random.default_rng(0)
    codes = np.stack([np.arange(600) % 3, np.arange(600) // 3 % 2], axis=1)
    signal = rng.standard_normal((6, 20))[codes[:, 0] * 2 + codes[:, 1]]
    other = rng.standard_normal((6, 20))[codes[:, 0] * 2 + codes[:, 1]]
    turn = np.linalg.qr(rng.standard_normal((20, 20)))[0]
    layers = {
        "one": signal + rng.standard_normal((600, 20)),
        "turned": (signal + rng.standard_normal((600, 20))) @ turn,
        "other": other + rng.standard_normal((600, 20)),
    }
    outcome = PLUGIN.run(make_subject(codes, layers), Params(bootstrap_draws=200, layers=("one",)))
    block = outcome.blocks[-1]
    assert isinstance(block, LayerMatrix)
    found = {(pair.one, pair.other): pair.estimate for pair in block.pairs}
    assert found["one", "turned"].value > 0.9
    assert found["one", "turned"].lower > found["one", "other"].upper
    assert any("most like turned" in finding.text for finding in outcome.findings)
    assert len(outcome.blocks) == 4


def test_identity_noise_is_no_distance() -> None:
    """Twelve people of forty images each differ strongly; the groups are dealt to people."""
    far = []
    for seed in range(10):
        rng = np.random.default_rng(seed)
        people = np.repeat(np.arange(30), 20)
        codes = rng.permutation(np.arange(30) % 3)[people]
        units = 1.5 * rng.standard_normal((30, 40))[people] + rng.standard_normal((600, 40))
        subject = make_subject(codes[:, None], {"late": units}, (AGE,), clusters=people, seed=seed)
        block, _, _ = _matrix(subject)
        far.append(sum(pair.estimate.lower > 0 for pair in block.pairs))
    assert np.sum(far) <= 3


def test_what_cannot_be_compared_is_explained() -> None:
    subject = planted(60)
    with pytest.raises(AnalysisError, match="lower smallest_group"):
        PLUGIN.run(subject, Params(**(QUICK | {"smallest_group": 50})))
    problems = PLUGIN.problems(
        Params(layers=("lat",), compared_layers=("late", "earyl")),
        subject.faces.table,
        ("early", "late"),
    )
    assert len(problems) == 2


def test_a_tree_of_many_groups_is_kept_and_said_to_be_left_out() -> None:
    n_groups = 45
    many = Attribute("age", tuple(f"group {i}" for i in range(n_groups)))
    codes = np.repeat(np.arange(n_groups), 8)
    rng = np.random.default_rng(0)
    units = rng.standard_normal((len(codes), 20)) + 5 * (codes >= 20)[:, None]
    subject = make_subject(codes[:, None], {"late": units}, (many,))
    block, _, outcome = _matrix(subject)
    assert block.tree is None
    assert block.undrawn_tree is not None
    tree = outcome.arrays[block.undrawn_tree]
    assert tree.shape == (n_groups - 1, 4)
    below = cut_tree(tree, [2])[:, 0]
    assert len(set(below[:20])) == len(set(below[20:])) == 1
    assert below[0] != below[20]
    said = " ".join(shapes()["group_matrix"].text(block).notes)
    assert f"{block.undrawn_tree}.npy" in said


N_UNITS = 8


def _one_apart(seed: int, people: int, images: int, share: float) -> Any:
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


def _parts(subject: Any, seed: int) -> tuple[Profiles, Sample]:
    weights = bayesian_weights(subject.faces.clusters, 100, np.random.default_rng(seed))
    moments = subject.activations.moments("late")
    cells = Profiles.of(finest_target(subject.faces.table), moments)
    return cells, Sample.of(subject, "late", weights)


@pytest.mark.parametrize(("people", "images"), [(5, 1), (12, 1), (12, 6)])
def test_intervals_hold_a_planted_distance_with_few_people(people: int, images: int) -> None:
    held = []
    for seed in range(250):
        found, sample = _parts(_one_apart(seed, people, images, 0.5 if images > 1 else 0.0), seed)
        squares = distances(found, sample, np.arange(2)).squares
        (estimate,) = squares.estimates(np.array([people]), 0.95)
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
    found, sample = _parts(subject, 0)
    noise = noise_of_means(found, sample)
    by_person = sample.units.astype(float).reshape(20, 3, 5).mean(axis=1) / sample.scale
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
    sample = Sample(values, alone, weights, np.ones(40), 4.0)
    drawn = np.concatenate([means[0] for _, means in drawn_means(sample, [alone], np.zeros(40))])
    expected = values.var(axis=0, ddof=1) / 5
    np.testing.assert_allclose(drawn.var(axis=0), expected, rtol=0.08)
    np.testing.assert_allclose(drawn.mean(axis=0), values.mean(axis=0), atol=0.02)
