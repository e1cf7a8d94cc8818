"""A result that rests on few images does not leave, whichever analysis made it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from bias_audit.audit.analysing import refuse_few, refuse_small_intersections
from bias_audit.errors import AnalysisError
from bias_audit.groups import Group
from bias_audit.shapes.group_table import GroupRow, GroupTable
from bias_audit.shapes.unit_map import UnitMap
from bias_audit.statistics.estimate import Estimate
from tests.analyses.planted import make_subject

YOUNG = Group((("age", "young"),))
MAP = UnitMap(
    title="Levels",
    layer="late",
    layout="PCA",
    n_units=3,
    n_silent=0,
    groups=(YOUNG, YOUNG),
    counts=(7, 0),
    limit=1.0,
    positions="positions",
    values="values",
    rasters="rasters",
)


def _table(n: int) -> GroupTable:
    estimate = Estimate(0.5, 0.4, 0.6, level=0.95, n=n, method="none")
    return GroupTable(
        title="Recall",
        quantity="recall",
        metric="recall",
        layer="late",
        target="age",
        chance=None,
        rows=(
            GroupRow(group=YOUNG, n=40, estimate=estimate),
            GroupRow(group=YOUNG, n=1, estimate=None, reason="1 image"),
        ),
    )


def test_a_value_or_a_map_of_few_images_is_refused_by_name() -> None:
    refuse_few((_table(5), MAP), (), 5)
    refuse_few((_table(1), MAP.model_copy(update={"counts": (1, 1)})), (), 1)
    with pytest.raises(AnalysisError, match=r"group_table 'Recall': expected .* got one of 4"):
        refuse_few((MAP, _table(4)), (), 5)
    with pytest.raises(AnalysisError, match=r"unit_map 'Levels': expected .* got one of 7"):
        refuse_few((MAP,), (), 8)


def test_images_that_should_have_been_left_out_are_refused() -> None:
    codes = np.array([[0, 0]] * 5 + [[1, 0]] * 4)
    faces = make_subject(codes, {"late": np.zeros((9, 2))}).faces
    refuse_small_intersections(faces, 4)
    with pytest.raises(AnalysisError, match="5 independent images or more, got 1 with fewer"):
        refuse_small_intersections(faces, 5)
    pairs = replace(faces, clusters=np.arange(9) // 2)
    with pytest.raises(AnalysisError, match="got 2 with fewer"):
        refuse_small_intersections(pairs, 4)
