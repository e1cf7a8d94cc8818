from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from bias_audit.activations.moments import Moments


@given(
    n=st.integers(1, 60),
    n_groups=st.integers(1, 7),
    batch=st.integers(1, 13),
    offset=st.sampled_from([0.0, 1e4]),
    seed=st.integers(0, 1000),
)
def test_batches_give_the_moments_of_the_whole(
    n: int, n_groups: int, batch: int, offset: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    values = rng.standard_normal((n, 3, 2)) + offset
    groups = rng.integers(n_groups, size=n)
    moments = Moments.empty(n_groups, (3, 2))
    for first in range(0, n, batch):
        moments.update(values[first : first + batch], groups[first : first + batch])
    for group in range(n_groups):
        members = values[groups == group]
        assert moments.count[group] == len(members)
        if len(members):
            np.testing.assert_allclose(moments.mean[group], members.mean(axis=0), rtol=1e-12)
            np.testing.assert_allclose(
                moments.m2[group], ((members - members.mean(axis=0)) ** 2).sum(axis=0), atol=1e-6
            )


def test_merged_cells_are_the_marginal_group() -> None:
    rng = np.random.default_rng(1)
    values, cells = rng.standard_normal((40, 5)), rng.integers(6, size=40)
    moments = Moments.empty(6, (5,))
    moments.update(values, cells)
    members = [np.array([0, 2, 4]), np.array([1, 3, 5]), np.array([], dtype=np.int64)]
    merged = moments.merged(members)
    for index, cell in enumerate(members[:2]):
        rows = values[np.isin(cells, cell)]
        np.testing.assert_allclose(merged.mean[index], rows.mean(axis=0))
        np.testing.assert_allclose(merged.m2[index], rows.var(axis=0) * len(rows))
    assert merged.count[2] == 0
