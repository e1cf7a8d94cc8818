from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from bias_audit.groups import (
    Attribute,
    Group,
    changed_attributes,
    intersection_codes,
    intersections,
)

AGE = Attribute("age", ("young", "old"))
RACE = Attribute("race", ("a", "b", "c"))
GENDER = Attribute("gender", ("f", "m"))


def test_intersections_hold_every_declared_cell_once() -> None:
    cells = intersections([AGE, RACE, GENDER])
    assert len(cells) == len(set(cells)) == 12
    assert cells[0].label == "young / a / f"
    assert cells[1].label == "young / a / m"


@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 2), st.integers(0, 1)), min_size=1))
def test_a_code_names_the_cell_of_its_levels(rows: list[tuple[int, int, int]]) -> None:
    attributes = [AGE, RACE, GENDER]
    cells = intersections(attributes)
    codes = intersection_codes(np.array(rows), attributes)
    for row, code in zip(rows, codes, strict=True):
        expected = tuple(
            (a.name, a.levels[level]) for a, level in zip(attributes, row, strict=True)
        )
        assert cells[code].levels == expected


def test_changed_attributes_are_those_that_differ() -> None:
    one = Group((("age", "old"), ("gender", "f")))
    other = Group((("age", "old"), ("gender", "m")))
    assert changed_attributes(one, other) == ("gender",)
    assert changed_attributes(one, one) == ()
