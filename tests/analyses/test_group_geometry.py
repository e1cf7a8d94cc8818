"""Distances are those planted, small groups are not far, and layers that agree are alike."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from bias_audit.report.shapes import shapes
from scipy.cluster.hierarchy import cut_tree

from bias_audit.analyses.methods.group_geometry import PLUGIN, Params
from bias_audit.errors import AnalysisError
from bias_audit.groups import Attribute
from bias_audit.results.blocks import GroupMatrix, LayerMatrix
from tests.analyses.planted import AGE, make_subject, planted

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
