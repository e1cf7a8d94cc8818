from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bias_audit.groups import Attribute, intersections
from bias_audit.report.grid import column_choices, grid_by_columns, trailing_columns

SIZES = st.lists(st.integers(1, 4), min_size=1, max_size=4)


def _attributes(sizes: list[int]) -> tuple[Attribute, ...]:
    return tuple(
        Attribute(f"a{place}", tuple(f"{place}.{level}" for level in range(size)))
        for place, size in enumerate(sizes)
    )


@given(SIZES)
def test_every_group_has_one_place_that_spells_its_levels(sizes: list[int]) -> None:
    attributes = _attributes(sizes)
    groups = intersections(attributes)
    for columns in column_choices(groups):
        grid = grid_by_columns(groups, columns)
        assert grid is not None
        assert len(grid.rows) * len(grid.columns) == len(groups)
        order = [a.name for a in (*grid.row_attributes, *grid.column_attributes)]
        for row in grid.rows:
            for column in grid.columns:
                levels = dict(zip(order, (*row, *column), strict=True))
                assert levels == dict(groups[grid.places[row, column]].levels)


def test_groups_that_are_not_all_combinations_have_no_grid() -> None:
    groups = intersections(_attributes([3, 2]))
    assert grid_by_columns(groups[:-1], ("a1",)) is None


@given(SIZES, st.integers(1, 20))
def test_trailing_columns_fit(sizes: list[int], most: int) -> None:
    attributes = _attributes(sizes)
    chosen = trailing_columns(attributes, most)
    width = 1
    for attribute in attributes:
        width *= len(attribute.levels) if attribute.name in chosen else 1
    assert width <= most
    assert attributes[0].name not in chosen


def test_as_many_trailing_attributes_as_fit_are_columns() -> None:
    assert trailing_columns(_attributes([9, 7, 2]), 14) == ("a1", "a2")
    assert trailing_columns(_attributes([9, 7, 2]), 13) == ("a2",)


@pytest.mark.parametrize("sizes", [[5], [1]])
def test_a_single_attribute_becomes_columns(sizes: list[int]) -> None:
    assert list(column_choices(intersections(_attributes(sizes)))) == [("a0",)]
