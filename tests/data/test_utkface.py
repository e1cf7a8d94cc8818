from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from bias_audit.data.sources.utkface import PLUGIN, Params
from bias_audit.errors import DataError

TIME = "20170116174525125"


def folder_of(tmp_path: Path, *names: str) -> Path:
    for name in names:
        (tmp_path / name).write_bytes(b"never opened")
    return tmp_path


def test_real_names_are_read_and_exactly_five_are_malformed(shared: Path) -> None:
    table = PLUGIN.read(Params(root=shared / "data/utkface"))
    assert len(table) == 1723
    assert [entry.reason for entry in table.exclusions] == ["malformed name"] * 5
    assert all("expected age_gender_race_time" in entry.detail for entry in table.exclusions)
    assert (np.bincount(table.cells, minlength=90) > 0).all()


def test_codes_follow_the_names(tmp_path: Path) -> None:
    root = folder_of(tmp_path, f"116_1_4_{TIME}.jpg", f"9_0_0_{TIME}.jpg.chip.jpg")
    table = PLUGIN.read(Params(root=root))
    assert table.codes.tolist() == [[8, 4, 1], [1, 0, 0]]
    assert [attribute.levels for attribute in table.attributes[1:]] == [
        ("White", "Black", "Asian", "Indian", "Others"),
        ("Male", "Female"),
    ]


@pytest.mark.parametrize(
    ("name", "reason", "detail"),
    [
        (f"39_1_{TIME}.jpg.chip.jpg", "malformed name", "expected age_gender_race_time"),
        (f"24_0_1_{TIME} .jpg.chip.jpg", "malformed name", "expected age_gender_race_time"),
        (f"55_0_0_{TIME}jpg.chip.jpg", "malformed name", "expected age_gender_race_time"),
        ("face.png", "malformed name", "expected age_gender_race_time"),
        (f"20_2_0_{TIME}.jpg", "unknown label", "expected gender 0 or 1"),
        (f"20_0_5_{TIME}.jpg", "unknown label", "expected race 0 to 4"),
        (f"117_0_0_{TIME}.jpg", "age out of range", "expected an age 0 to 116, got 117"),
    ],
)
def test_bad_names_are_left_out_with_what_was_expected(
    tmp_path: Path, name: str, reason: str, detail: str
) -> None:
    table = PLUGIN.read(Params(root=folder_of(tmp_path, f"20_0_0_{TIME}.jpg", name)))
    assert len(table) == 1
    (entry,) = table.exclusions
    assert (entry.reference, entry.reason) == (name, reason)
    assert detail in entry.detail


def test_declared_bins_and_ages_outside_of_them(tmp_path: Path) -> None:
    root = folder_of(tmp_path, *(f"{age}_0_0_{TIME}.jpg" for age in (17, 18, 64, 65, 90)))
    table = PLUGIN.read(Params(root=root, ages=("18-64", "65+")))
    assert table.codes[:, 0].tolist() == [0, 0, 1, 1]
    assert [entry.reason for entry in table.exclusions] == ["age in no bin"]


@pytest.mark.parametrize("ages", [["18-64", "60+"], ["65+", "0-64"], ["adult"], []])
def test_bins_that_overlap_or_are_none(ages: list[str]) -> None:
    with pytest.raises(ValidationError):
        Params.model_validate({"root": ".", "ages": ages})


def test_other_files_are_ignored_aloud(tmp_path: Path) -> None:
    root = folder_of(tmp_path, f"20_0_0_{TIME}.jpg", "readme.txt")
    assert PLUGIN.read(Params(root=root)).notices == ("1 other files in the folder were ignored",)


def test_a_folder_above_the_images_names_the_right_one(tmp_path: Path) -> None:
    (tmp_path / "UTKFace").mkdir()
    folder_of(tmp_path / "UTKFace", f"20_0_0_{TIME}.jpg")
    with pytest.raises(DataError, match=r"UTKFace: set root to it"):
        PLUGIN.read(Params(root=tmp_path))
