"""Images of small intersections are in nothing; the ledger counts them and names no file."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from bias_audit.analyses.small_groups import small_intersections, without_small_intersections
from bias_audit.data.faces import Exclusion, Faces
from bias_audit.errors import DataError
from tests.analyses.planted import make_subject


def faces(counts: tuple[int, ...], *, per_person: int = 1) -> Faces:
    """Images by age and gender, in that order."""
    cells = np.repeat(np.arange(6), counts)
    codes = np.stack([cells // 2, cells % 2], axis=1)
    units = np.zeros((len(cells), 2), dtype=np.float32)
    clusters = np.arange(len(cells)) // per_person
    return make_subject(codes, {"late": units}, clusters=clusters).faces


def test_what_is_left_are_whole_intersections_of_enough_images() -> None:
    before = faces((1, 2, 4, 5, 6, 0))
    after = without_small_intersections(before, 5)
    assert np.bincount(after.table.cells, minlength=6).tolist() == [0, 0, 0, 5, 6, 0]
    assert after.sha256 == before.sha256[7:] and len(after.clusters) == 11
    assert after.found.tolist() == before.found.tolist()
    assert not len(small_intersections(after, 5))


def test_images_of_a_person_count_once() -> None:
    before = faces((6, 12, 10, 0, 0, 0), per_person=2)
    assert small_intersections(before, 5).tolist() == [0]
    assert small_intersections(before, 4).tolist() == [0]
    assert not len(small_intersections(before, 3))


def test_nothing_is_left_out_where_nothing_is_small() -> None:
    before = faces((5, 5, 5, 5, 5, 0))
    assert without_small_intersections(before, 5) is before
    few = faces((1, 2, 3, 4, 1, 0))
    assert without_small_intersections(few, 1) is few


def test_the_ledger_counts_images_and_names_no_file() -> None:
    before = faces((2, 5, 5, 0, 0, 0))
    files = [reference.label for reference in before.table.references]
    twins = tuple(
        Exclusion(name, "near duplicate", "of another", effect="kept") for name in files[1:3]
    )
    before = replace(before, table=replace(before.table, exclusions=twins))
    table = without_small_intersections(before, 5).table
    assert table.exclusions[0] == twins[1]
    assert len(table.exclusions) == 3
    for entry in table.exclusions[1:]:
        assert entry.reference == "an image of young / female"
        assert entry.detail == "independent images: 2, fewer than 5"
        assert entry.effect == "left out"
    assert "2 of 12 images, 1 of 6 intersections" in table.notices[-1]


def test_faces_of_small_intersections_alone_are_refused() -> None:
    with pytest.raises(
        DataError, match=r"5 independent images or more.*got at most 4; name fewer"
    ):
        without_small_intersections(faces((1, 2, 3, 4, 0, 0)), 5)
