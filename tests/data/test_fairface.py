from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bias_audit.data.sources.fairface import HUB_CLASSES, PLUGIN, Params
from bias_audit.errors import DataError
from tests.data.conftest import encoded, picture

HEADER = "file,age,gender,race,service_test\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "fairface"
    (folder / "train").mkdir(parents=True)
    for name in ("1.jpg", "2.jpg", "3.jpg"):
        (folder / "train" / name).write_bytes(b"never opened")
    return folder


def write_labels(root: Path, *rows: str) -> None:
    (root / "fairface_label_train.csv").write_text(HEADER + "\n".join(rows) + "\n")


def reasons(root: Path, *rows: str) -> dict[str, str]:
    write_labels(root, *rows)
    table = PLUGIN.read(Params(root=root))
    return {exclusion.reference: exclusion.reason for exclusion in table.exclusions}


@pytest.mark.parametrize(("split", "expected"), [("train", 5226), ("val", 483), ("all", 5709)])
def test_real_labels_are_all_read(shared: Path, split: str, expected: int) -> None:
    table = PLUGIN.read(Params.model_validate({"root": shared / "data/fairface", "split": split}))
    assert len(table) == expected
    assert table.exclusions == ()
    counts = np.bincount(table.cells, minlength=table.n_cells)
    assert len(counts) == 126
    assert (counts == 0).sum() == (1 if split == "val" else 0)
    assert table.splits is not None
    assert set(table.splits) == ({split} if split != "all" else {"train", "val"})


def test_real_ages_that_a_spreadsheet_mangled_are_repaired_and_counted(shared: Path) -> None:
    table = PLUGIN.read(Params(root=shared / "data/fairface"))
    by_age = np.bincount(table.codes[:, 0], minlength=9)
    assert by_age.tolist() == [550, 616, 616, 616, 616, 616, 616, 597, 383]
    assert any(text.startswith("1232 labels of age that a spreadsheet") for text in table.notices)


def test_spelling_is_tolerated_and_repair_is_counted(root: Path) -> None:
    write_labels(
        root,
        "train/1.jpg, 9-Mar ,male,latino hispanic,False",
        "train/2.jpg,More Than 70,FEMALE,East  Asian,True",
        "train/3.jpg,Oct-19,Male,White,True",
    )
    table = PLUGIN.read(Params(root=root))
    levels = [
        tuple(a.levels[code] for a, code in zip(table.attributes, row, strict=True))
        for row in table.codes
    ]
    assert levels == [
        ("3-9", "Latino_Hispanic", "Male"),
        ("more than 70", "East Asian", "Female"),
        ("10-19", "White", "Male"),
    ]
    assert any(notice.startswith("2 labels of age") for notice in table.notices)


def test_bad_rows_are_left_out_each_with_its_reason(root: Path, tmp_path: Path) -> None:
    (tmp_path / "secret.jpg").write_bytes(b"outside")
    (root / "train/link.jpg").symlink_to(tmp_path / "secret.jpg")
    paths = {
        "train/none.jpg": "missing file",
        "../secret.jpg": "path leaves the folder",
        "train/link.jpg": "path leaves the folder",
        f"{tmp_path}/secret.jpg": "absolute path",
        "C:\\faces\\1.jpg": "absolute path",
        "train": "missing file",
        "train/a\0b.jpg": "missing file",
        f"train/{'x' * 400}.jpg": "missing file",
    }
    rows = ["train/2.jpg,20-29,Male,Martian,1", "train/3.jpg,,Male,White,1", "train/1.jpg,20-29"]
    rows += [f"{path},20-29,Male,White,1" for path in ("train/1.jpg", "", *paths)]
    assert reasons(root, *rows) == {
        **{path.replace("\0", "\ufffd"): reason for path, reason in paths.items()},
        "train/2.jpg": "unknown label",
        "train/3.jpg": "empty field",
        "fairface_label_train.csv row 3": "malformed row",
        "fairface_label_train.csv row 5": "empty field",
    }


def test_nothing_usable_is_an_error_with_the_reasons(root: Path) -> None:
    with pytest.raises(DataError, match=r"none of the 2 listed is usable \(2 x missing file\)"):
        reasons(root, "train/8.jpg,0-2,Male,White,1", "train/9.jpg,0-2,Male,White,1")
    with pytest.raises(DataError, match="found none listed"):
        reasons(root)


def test_missing_folder_and_missing_labels(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="expected a folder"):
        PLUGIN.read(Params(root=tmp_path / "nowhere"))
    with pytest.raises(DataError, match=r"fairface_label_train\.csv.*parquet"):
        PLUGIN.read(Params(root=tmp_path))


def test_explicit_labels_win_over_the_split(root: Path, tmp_path: Path) -> None:
    labels = tmp_path / "mine.csv"
    labels.write_text(HEADER + "train/2.jpg,0-2,Male,White,1\n")
    table = PLUGIN.read(Params(root=root, split="val", labels=labels))
    assert [reference.file.name for reference in table.references] == ["2.jpg"]
    assert table.splits == ("train",)


def test_padding_may_be_a_number() -> None:
    assert Params.model_validate({"root": ".", "padding": 1.25}).padding == "1.25"


# The hub's parquet layout.


def write_shard(file: Path, rows: list[Mapping[str, Any]], *, names: bool) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    table = pa.Table.from_pylist([dict(row) for row in rows])
    if names:
        features = {
            column: {"names": list(levels), "_type": "ClassLabel"}
            for column, levels in HUB_CLASSES.items()
        }
        info = json.dumps({"info": {"features": {**features, "image": {"_type": "Image"}}}})
        table = table.replace_schema_metadata({b"huggingface": info.encode()})
    pq.write_table(table, file, row_group_size=2)
    return file


def hub_rows(n: int) -> list[Mapping[str, Any]]:
    images = [{"bytes": encoded(picture(i)), "path": f"{i}.jpg"} for i in range(n)]
    return [
        {"image": image, "age": i % 9, "race": i % 7, "gender": i % 2, "service_test": False}
        for i, image in enumerate(images)
    ]


@pytest.mark.parametrize("folder", ["0.25", ".", "data"])
@pytest.mark.parametrize("names", [True, False])
def test_hub_classes_get_their_names(tmp_path: Path, folder: str, names: bool) -> None:
    file = tmp_path / folder / "train-00000-of-00001.parquet"
    write_shard(file, hub_rows(14), names=names)
    table = PLUGIN.read(Params(root=tmp_path))
    assert len(table) == 14
    for i, row in enumerate(table.codes):
        labels = {a.name: a.levels[code] for a, code in zip(table.attributes, row, strict=True)}
        expected = {name: levels[i % len(levels)] for name, levels in HUB_CLASSES.items()}
        assert labels == expected
    assumed = any("is assumed" in notice for notice in table.notices)
    assert assumed is (not names)


def test_hub_splits_missing_shards_and_bad_classes(tmp_path: Path) -> None:
    rows = [*hub_rows(3), {**hub_rows(1)[0], "age": -1}, {**hub_rows(1)[0], "race": 7}]
    write_shard(tmp_path / "0.25/train-00001-of-00002.parquet", rows, names=True)
    write_shard(tmp_path / "0.25/validation-00000-of-00001.parquet", hub_rows(2), names=True)
    table = PLUGIN.read(Params(root=tmp_path, split="all"))
    assert table.splits == ("train",) * 3 + ("val",) * 2
    assert Counter(e.reason for e in table.exclusions) == {"unknown label": 2}
    assert "1 of 2 parquet files of split train are missing" in table.notices


def test_hub_labels_as_text(tmp_path: Path) -> None:
    row = {**hub_rows(1)[0], "age": "Sep-03", "race": "Indian", "gender": "Female"}
    write_shard(tmp_path / "train.parquet", [row], names=False)
    table = PLUGIN.read(Params(root=tmp_path))
    assert table.codes.tolist() == [[1, 5, 1]]
    assert not any("assumed" in notice for notice in table.notices)


def test_hub_padding_that_is_not_there_names_the_other(tmp_path: Path) -> None:
    write_shard(tmp_path / "1.25/train-00000-of-00001.parquet", hub_rows(1), names=True)
    with pytest.raises(DataError, match=r'there are some for padding "1\.25"'):
        PLUGIN.read(Params(root=tmp_path))
