"""Small groups are treated by one policy and written down."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from pydantic import ValidationError

from bias_audit.analyses.small_groups import (
    Treatments,
    independent_images,
    treat,
    without_remainders,
)
from bias_audit.arrays import IntArray
from bias_audit.config.schema import SmallGroups
from bias_audit.groups import Group

COUNTS = (40, 10, 9, 5, 4, 1, 0)
GROUPS = tuple(Group((("age", f"{i}"),)) for i in range(len(COUNTS)))


def treated(policy: str, counts: tuple[int, ...] = COUNTS) -> Treatments:
    rule = SmallGroups.model_validate({"policy": policy})
    return treat(GROUPS[: len(counts)], counts, rule, title="Small groups")


@pytest.mark.parametrize(
    ("policy", "small", "tiny"),
    [
        ("shrink", "shrunk", "suppressed"),
        ("suppress", "suppressed", "suppressed"),
        ("pool", "pooled", "pooled"),
    ],
)
def test_every_small_group_has_its_treatment_a_reason_and_one_entry_in_the_ledger(
    policy: str, small: str, tiny: str
) -> None:
    actions = [treatment.action for treatment in treated(policy).by_group]
    assert actions == ["as_is", "as_is", small, small, tiny, tiny, "suppressed"]
    for n, treatment in zip(COUNTS, treated(policy).by_group, strict=True):
        assert (treatment.reason is None) == (treatment.action == "as_is")
        assert not treatment.is_measured or n >= 5
    pooled = treated(policy, (40, 3, 1)).pooled
    assert pooled is None or (pooled.n == 4 and pooled.reason is not None)
    ledger = treated(policy).ledger
    assert [entry.group for entry in ledger.entries] == list(GROUPS[2:])
    assert [entry.n for entry in ledger.entries] == list(COUNTS[2:])
    assert ledger.entries[-1].reason == "no images"
    assert all(entry.effect for entry in ledger.entries)
    assert not treated(policy, (40, 10)).ledger.entries


def test_pooled_groups_are_joined_without_the_empty_ones() -> None:
    pooled = treated("pool").pooled
    assert pooled is not None
    assert pooled.members == (2, 3, 4, 5)
    assert pooled.n == 19 and pooled.reason is None
    assert pooled.group.label == "all groups with fewer than 10 images"
    assert treated("shrink").pooled is None
    assert treated("pool", (40, 10, 0)).pooled is None


def test_images_of_one_cluster_count_once_in_a_group() -> None:
    codes = np.array([0, 0, 0, 2, 2, 2])
    clusters = np.array([7, 7, 8, 7, 9, 9])
    assert independent_images(codes, clusters, 4).tolist() == [2, 0, 2, 0]


def _few_follow(design: npt.NDArray[Any], clusters: IntArray, fewest: int) -> bool:
    """Whether a combination of the columns rests on fewer clusters, by trying all sets of them."""
    rank = np.linalg.matrix_rank(design)
    return any(
        np.linalg.matrix_rank(design[~np.isin(clusters, chosen)]) < rank
        for size in range(1, fewest)
        for chosen in itertools.combinations(np.unique(clusters), size)
    )


@pytest.mark.parametrize("sizes", [[1] * 14, [2] * 10, [1, 1, 1, 2, 3, 4, 5]])
def test_no_combination_of_groups_shown_rests_on_few_clusters(sizes: list[int]) -> None:
    rng, n_needed, n_shown = np.random.default_rng(0), 0, 0
    clusters = np.repeat(np.arange(len(sizes)), sizes)
    for _ in range(30):
        codes = rng.integers(0, 2, (len(clusters), 4))
        codes[:, 0] = rng.random(len(clusters)) < 0.2
        member = np.hstack([codes == 0, codes == 1])
        enough = np.array([len(np.unique(clusters[column])) >= 3 for column in member.T])
        shown = without_remainders(member, enough, clusters, 3)
        n_needed += _few_follow(_design(member[:, enough]), clusters, 3)
        n_shown += int(shown.sum())
        assert not (shown & ~enough).any()
        assert not _few_follow(_design(member[:, shown]), clusters, 3)
    assert n_needed > 3 and n_shown > 40, (n_needed, n_shown)


def _design(member: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return np.hstack([np.ones((len(member), 1)), member])


def test_groups_are_left_out_until_the_rest_is_large_enough() -> None:
    codes = np.repeat(np.arange(4), (3, 8, 20, 30))
    member = codes[:, None] == np.arange(4)
    enough = np.array([False, True, True, True])

    for fewest, n_shown in ((1, 3), (3, 3), (4, 2), (11, 2), (12, 1)):
        shown = without_remainders(member, enough, np.arange(61), fewest)
        assert shown.tolist() == [place >= 4 - n_shown for place in range(4)], fewest


def test_groups_that_are_large_enough_all_stay() -> None:
    codes = np.repeat(np.arange(4), 5)
    member = codes[:, None] == np.arange(4)
    assert without_remainders(member, np.ones(4, bool), np.arange(20), 5).all()


def test_counts_must_fit_and_the_floor_lies_below_the_minimum() -> None:
    with pytest.raises(ValueError, match="expected 2 counts"):
        treat(GROUPS[:2], [3], SmallGroups(), title="t")
    with pytest.raises(ValidationError, match="at most minimum"):
        SmallGroups(minimum=3)
    assert SmallGroups(minimum=3, suppress_below=3).minimum == 3
