"""Ranks left open hold the true ranks; groups are those that an oracle finds."""

from __future__ import annotations

import itertools

import networkx as nx
import numpy as np
import pytest

from bias_audit.statistics.comparison import groups_alike, standings
from bias_audit.statistics.estimate import Estimate

Z = 1.959963984540054


def made(value: float, error: float) -> Estimate:
    return Estimate(value, value - Z * error, value + Z * error, 0.95, 100, "made")


def test_values_far_apart_have_their_rank_and_equal_ones_leave_all_open() -> None:
    far = standings([made(value, 0.01) for value in (0.5, 0.9, 0.7)], alpha=0.05)
    assert [(each.best, each.worst, each.alike) for each in far] == [
        (3, 3, ()),
        (1, 1, ()),
        (2, 2, ()),
    ]
    equal = standings([made(0.7, 0.01)] * 3, alpha=0.05)
    assert [(each.best, each.worst) for each in equal] == [(1, 3)] * 3
    assert groups_alike(equal) == ((0, 1, 2),)
    assert groups_alike(far) == ((0,), (1,), (2,))


@pytest.mark.parametrize("spread", [0.0, 0.5, 3.0])
def test_all_ranks_are_covered_as_often_as_promised(spread: float) -> None:
    """Independent normal errors, true values equal, near and far; a tie may take either rank."""
    rng = np.random.default_rng(3)
    truth = np.arange(6) * spread * 0.01
    missed = 0
    for _ in range(400):
        errors = rng.uniform(0.005, 0.02, len(truth))
        found = standings(
            [
                made(value, error)
                for value, error in zip(truth + rng.normal(0, errors), errors, strict=True)
            ],
            alpha=0.05,
        )
        # The best and the worst rank that a value can truly claim.
        best = [1 + int((truth > value).sum()) for value in truth]
        worst = [int((truth >= value).sum()) for value in truth]
        missed += any(
            each.best > b or each.worst < w for each, b, w in zip(found, best, worst, strict=True)
        )
    assert missed / 400 <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 400)


def test_ranks_agree_with_the_pairs_told_apart() -> None:
    rng = np.random.default_rng(0)
    values = rng.uniform(0.5, 0.9, 12)
    found = standings([made(value, 0.02) for value in values], alpha=0.05)
    for i, each in enumerate(found):
        apart = [j for j in range(12) if j != i and j not in each.alike]
        assert each.best == 1 + sum(values[j] > values[i] for j in apart)
        assert each.worst == 12 - sum(values[j] < values[i] for j in apart)
        assert all(i in found[j].alike for j in each.alike), "alike is mutual"


def test_a_choice_among_layers_widens_and_never_narrows() -> None:
    pair = [made(0.70, 0.01), made(0.7325, 0.01)]
    assert standings(pair, alpha=0.05)[0].alike == ()
    assert standings(pair, alpha=0.05, choices=[17, 17])[0].alike == (1,)


def test_an_interval_that_is_wider_on_one_side_counts_with_that_side() -> None:
    high = Estimate(0.99, 0.90, 0.995, 0.95, 50, "made", scale="logit")
    assert standings([high, made(0.92, 0.001)], alpha=0.05)[0].alike == (1,), "below it is wide"
    assert standings([high, made(1.02, 0.001)], alpha=0.05)[0].alike == (), "above it is narrow"


@pytest.mark.parametrize("seed", range(8))
def test_groups_are_the_maximal_cliques_of_what_is_not_told_apart(seed: int) -> None:
    """Errors of very different size make groups that are no runs of neighbours."""
    rng = np.random.default_rng(seed)
    made_up = [
        made(v, e) for v, e in zip(rng.uniform(0, 1, 12), rng.uniform(0.01, 0.2, 12), strict=True)
    ]
    found = standings(made_up, alpha=0.05)
    graph = nx.Graph(
        (i, j) for i, j in itertools.combinations(range(12), 2) if j in found[i].alike
    )
    graph.add_nodes_from(range(12))
    assert groups_alike(found) == tuple(sorted(tuple(sorted(c)) for c in nx.find_cliques(graph)))


def test_one_value_alone_is_first_and_last() -> None:
    (only,) = standings([made(0.5, 0.1)], alpha=0.05)
    assert (only.best, only.worst, only.alike) == (1, 1, ())
