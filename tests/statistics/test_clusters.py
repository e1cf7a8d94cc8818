from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bias_audit.statistics.clusters import effective_clusters

sizes = st.lists(st.integers(1, 10_000), min_size=1, max_size=50)


@given(size=st.integers(1, 1_000_000), number=st.integers(1, 200))
def test_equal_clusters_give_their_number(size: int, number: int) -> None:
    assert effective_clusters([size] * number) == pytest.approx(number)


@given(sizes=sizes, scale=st.floats(1e-6, 1e6))
def test_it_lies_between_one_and_the_number_whatever_the_unit(
    sizes: list[int], scale: float
) -> None:
    found = effective_clusters(sizes)
    assert 1 - 1e-9 <= found <= len(sizes) + 1e-9
    assert effective_clusters(np.array(sizes) * scale) == pytest.approx(found)
    assert effective_clusters([*sizes, 0, 0]) == pytest.approx(found)
    assert effective_clusters(sizes * 2) == pytest.approx(2 * found)


def test_it_is_the_degrees_of_freedom_of_a_sum_of_squares() -> None:
    """Satterthwaite: a sum with mean f s and variance 2 f s^2 is s times a chi-square with f."""
    sizes = np.array([12, 5, 5, 2, 1, 1, 1, 1])
    draws = (np.random.default_rng(0).normal(size=(200_000, len(sizes))) * sizes) ** 2
    totals = draws.sum(axis=1)
    assert effective_clusters(sizes) == pytest.approx(
        2 * totals.mean() ** 2 / totals.var(), rel=0.02
    )


@pytest.mark.parametrize("sizes", [[], [0, 0], [1, -1], [1, np.nan], [np.inf]])
def test_no_cluster_has_no_number(sizes: list[float]) -> None:
    with pytest.raises(ValueError, match="expected numbers from 0"):
        effective_clusters(sizes)
