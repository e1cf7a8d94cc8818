"""Small groups are treated by one policy and written down."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError

from bias_audit.analyses.small_groups import Treatments, independent_images, treat
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
def test_every_group_has_its_treatment_and_every_other_than_usual_a_reason(
    policy: str, small: str, tiny: str
) -> None:
    actions = [treatment.action for treatment in treated(policy).by_group]
    assert actions == ["as_is", "as_is", small, small, tiny, tiny, "suppressed"]
    for treatment in treated(policy).by_group:
        assert (treatment.reason is None) == (treatment.action == "as_is")


@pytest.mark.parametrize("policy", ["shrink", "suppress", "pool"])
def test_no_value_rests_on_fewer_images_than_the_floor(policy: str) -> None:
    result = treated(policy)
    for n, treatment in zip(COUNTS, result.by_group, strict=True):
        assert not treatment.is_measured or n >= 5
    pooled = treated(policy, (40, 3, 1)).pooled
    assert pooled is None or (pooled.n == 4 and pooled.reason is not None)


@pytest.mark.parametrize("policy", ["shrink", "suppress", "pool"])
def test_the_ledger_holds_each_small_group_once(policy: str) -> None:
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


def test_counts_must_fit_and_the_floor_lies_below_the_minimum() -> None:
    with pytest.raises(ValueError, match="expected 2 counts"):
        treat(GROUPS[:2], [3], SmallGroups(), title="t")
    with pytest.raises(ValidationError, match="at most minimum"):
        SmallGroups(minimum=3)
    assert SmallGroups(minimum=3, suppress_below=3).minimum == 3
