"""What single images contribute is kept whole, private and by content; damage is noticed."""

from __future__ import annotations

import stat
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from bias_audit.results.contributions import (
    FOLDER,
    Contributions,
    MeasureKey,
    has_contributions,
    read_contributions,
    write_contributions,
)
from bias_audit.results.differing.comparables import comparables
from bias_audit.statistics.inference import Measured
from tests.results.reaudits import activations, audited, face, labels, seen

KEY = MeasureKey("recall", 'g"><img>', "layer 4", (("age", "=cmd()"), ("race", "\u05d0")))


@pytest.fixture
def entry() -> Contributions:
    influence = np.array([0.125, -0.25, 0.5, 0.0, 1e-3])
    measure = Measured(
        0.5,
        influence,
        3,
        np.array([0.25, 0.5, 0.25]),
        "clusters of images",
        trials=2.5,
        seed_freedom=1.0,
        choice=0.5,
        offset=0.125,
    )
    return Contributions(
        images=tuple(face(i) for i in range(4)),
        labels=("a", "b", "a", "b"),
        clusters=np.array([0, 1, 1, 2]),
        n_clusters=3,
        seeds=("one", "two"),
        measures={KEY: measure, MeasureKey("bits", "age", "l", of="lift"): measure},
    )


def test_what_is_written_is_read_back(entry: Contributions, tmp_path: Path) -> None:
    found = read_contributions(tmp_path, write_contributions(tmp_path, entry))
    assert found is not None
    assert (found.images, found.labels, found.seeds) == (entry.images, entry.labels, entry.seeds)
    assert found.clusters.tolist() == entry.clusters.tolist()
    assert list(found.measures) == list(entry.measures)
    one, other = found.measures[KEY], entry.measures[KEY]
    for field in fields(Measured):
        stored, given = getattr(one, field.name), getattr(other, field.name)
        expected = np.float32(given) if field.name == "influence" else given
        np.testing.assert_array_equal(stored, expected, err_msg=field.name)


def test_the_same_content_has_one_name_and_one_file(entry: Contributions, tmp_path: Path) -> None:
    names = {write_contributions(tmp_path, entry) for _ in range(2)}
    assert len(names) == 1
    assert len(list((tmp_path / FOLDER).iterdir())) == 1


def test_only_the_owner_may_look(entry: Contributions, tmp_path: Path) -> None:
    write_contributions(tmp_path, entry)
    assert stat.S_IMODE((tmp_path / FOLDER).stat().st_mode) == 0o700


@pytest.mark.parametrize("damage", ["cut", "changed", "gone", "replaced"])
def test_a_damaged_entry_is_none_and_is_written_anew(
    entry: Contributions, tmp_path: Path, damage: str
) -> None:
    name = write_contributions(tmp_path, entry)
    (path,) = (tmp_path / FOLDER).iterdir()
    content = bytearray(path.read_bytes())
    if damage == "cut":
        path.write_bytes(content[:100])
    elif damage == "changed":
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    elif damage == "gone":
        path.unlink()
    else:
        path.write_bytes(b"not an entry")
    assert read_contributions(tmp_path, name) is None
    assert not has_contributions(tmp_path, name)
    assert write_contributions(tmp_path, entry) == name
    assert read_contributions(tmp_path, name) is not None


@pytest.mark.parametrize("name", ["", "../../etc/passwd", "A" * 32, "0" * 31])
def test_a_name_that_is_no_digest_is_not_looked_for(tmp_path: Path, name: str) -> None:
    assert read_contributions(tmp_path, name) is None


def test_every_measure_has_the_value_of_its_block(tmp_path: Path) -> None:
    """What is compared image by image is what the report prints."""
    codes = labels(180)
    subject = seen(codes, activations(codes, {"l": 1.0}))
    found = audited(subject, tmp_path, groups=True)
    compared = comparables(found, found.result.subjects[0])
    for (_, _, key), number in compared.items():
        assert number.measured is not None, key
        assert number.measured.value == pytest.approx(number.estimate.value), key
    quantities = {key.quantity for _, _, key in compared}
    assert quantities == {
        "macro_auc",
        "balanced_accuracy",
        "bits",
        "recall",
        "within_auc",
        "cell_auc",
    }
    assert {key.of for _, _, key in compared} == {"estimate", "lift"}
    assert sum(len(entry.measures) for entry in found.contributions.values()) == len(compared)
