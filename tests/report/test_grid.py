from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from bias_audit.groups import Attribute, intersections
from bias_audit.report.grid import arranged

SIZES = st.lists(st.integers(1, 4), min_size=1, max_size=4)


def _attributes(sizes: list[int]) -> tuple[Attribute, ...]:
    return tuple(
        Attribute(f"a{place}", tuple(f"{place}.{level}" for level in range(size)))
        for place, size in enumerate(sizes)
    )


@given(SIZES)
def test_every_group_has_one_place_that_spells_its_levels(sizes: list[int]) -> None:
    groups = intersections(_attributes(sizes))
    grid = arranged(groups)
    assert grid is not None
    assert len(grid.places) == len(groups)
    inner = [a.name for a in (*grid.blocks, *grid.rows, grid.columns)]
    for block in grid.block_levels:
        for row in grid.row_levels:
            for column in grid.columns.levels:
                levels = dict(zip(inner, (*block, *row, column), strict=True))
                assert levels == dict(groups[grid.places[block, row, column]].levels)


@given(SIZES)
def test_attributes_with_more_levels_lie_further_in(sizes: list[int]) -> None:
    grid = arranged(intersections(_attributes(sizes)))
    assert grid is not None
    outward = [grid.columns, *grid.rows, *grid.blocks]
    counts = [len(attribute.levels) for attribute in outward]
    assert counts[:2] == sorted(sizes, reverse=True)[:2]
    assert len(outward) == len(sizes)


def test_groups_that_are_not_all_combinations_have_no_grid() -> None:
    assert arranged(intersections(_attributes([3, 2]))[:-1]) is None
