"""Parquet manifests: what the `datasets` library, pandas and other writers make of them."""

from __future__ import annotations

import datetime
import decimal
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bias_audit.data.faces import FaceTable
from bias_audit.data.images import decode, read_bytes
from bias_audit.data.sources.manifest import PLUGIN, Params
from bias_audit.errors import DataError
from tests.data.conftest import encoded, picture

BYTES = [encoded(picture(i)) for i in range(3)]
STRUCT = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
LARGE = pa.struct([("bytes", pa.large_binary()), ("path", pa.large_string())])


def read(folder: Path, columns: dict[str, Any], *, metadata: Any = None, **more: Any) -> FaceTable:
    table = pa.table(columns)
    if metadata is not None:
        table = table.replace_schema_metadata({"huggingface": json.dumps(metadata)})
    file = folder / "faces.parquet"
    pq.write_table(table, file, row_group_size=2)
    settings = {"file": file, "path_column": "image", "attributes": {"group": ["a", "b"]}}
    return PLUGIN.read(Params.model_validate({**settings, **more}))


def pictures(table: FaceTable) -> list[int]:
    """Which of the pictures each image of a table is."""
    known = [np.asarray(picture(i)).tobytes() for i in range(3)]
    images = [decode(read_bytes(reference)) for reference in table.references]
    return [known.index(np.asarray(image).tobytes()) for image in images]


def reasons(table: FaceTable) -> list[str]:
    return [entry.reason for entry in table.exclusions]


@pytest.mark.parametrize(
    "images",
    [
        pa.array([{"bytes": data, "path": None} for data in BYTES], STRUCT),
        pa.array([{"bytes": data, "path": "x.png"} for data in BYTES], LARGE),
        pa.array([{"bytes": data} for data in BYTES], pa.struct([("bytes", pa.binary())])),
        pa.array(BYTES, pa.binary()),
        pa.array(BYTES, pa.large_binary()),
        pa.array(BYTES, pa.binary()).dictionary_encode(),
        pa.array([[data] for data in BYTES], pa.list_(pa.binary())),
        pa.array([[{"bytes": data, "path": None}] for data in BYTES], pa.list_(STRUCT)),
        pa.array([[{"bytes": data, "path": None}] for data in BYTES], pa.large_list(LARGE)),
    ],
)
@pytest.mark.parametrize("name", ["image", "my.image", "photo.bytes"])
def test_images_inside_of_the_file_are_read(tmp_path: Path, images: pa.Array, name: str) -> None:
    table = read(tmp_path, {name: images, "group": ["a", "b", "a"]}, path_column=name)
    assert table.codes[:, 0].tolist() == [0, 1, 0]
    assert pictures(table) == [0, 1, 2]
    assert not table.exclusions


def test_rows_without_bytes_are_looked_up_by_path(tmp_path: Path) -> None:
    (tmp_path / "there.png").write_bytes(BYTES[2])
    values = [
        {"bytes": BYTES[0], "path": None},
        {"bytes": None, "path": "there.png"},
        {"bytes": None, "path": "gone.png"},
        {"bytes": None, "path": None},
        {"bytes": b"", "path": None},
        None,
    ]
    table = read(tmp_path, {"image": pa.array(values, STRUCT), "group": ["a"] * 6})
    assert pictures(table) == [0, 2]
    assert reasons(table) == ["missing file", *["empty field"] * 3]


def test_a_row_holds_one_image(tmp_path: Path) -> None:
    values = [[BYTES[0]], BYTES[:2], [], None]
    table = read(tmp_path, {"image": pa.array(values, pa.list_(pa.binary())), "group": ["a"] * 4})
    assert pictures(table) == [0]
    assert reasons(table) == ["several images in a row", "several images in a row", "empty field"]


@pytest.mark.parametrize(
    "paths",
    [
        pa.array(["1.png", "2.png"], pa.large_string()),
        pa.array(["1.png", "2.png"]).dictionary_encode(),
        pa.array([b"1.png", b"2.png"], pa.binary()),
        pa.array([["1.png"], ["2.png"]], pa.list_(pa.string())),
        pa.array([{"path": "1.png"}, {"path": "2.png"}], pa.struct([("path", pa.string())])),
    ],
)
def test_paths_of_every_kind(tmp_path: Path, paths: pa.Array) -> None:
    for i in (1, 2):
        (tmp_path / f"{i}.png").write_bytes(BYTES[i])
    assert pictures(read(tmp_path, {"image": paths, "group": ["a", "b"]})) == [1, 2]


@pytest.mark.parametrize(
    ("labels", "levels", "codes"),
    [
        (pa.array(["a", "b", None]), ["a", "b"], [0, 1]),
        (pa.array(["a", "b", None], pa.large_string()), ["a", "b"], [0, 1]),
        (pa.array(["a", "b", None]).dictionary_encode(), ["a", "b"], [0, 1]),
        (pa.array([b"a", b"b", None], pa.binary()), ["a", "b"], [0, 1]),
        (pa.array([1, 2, None], pa.int8()), [1, 2], [0, 1]),
        (pa.array([1.0, 2.0, None]), [1, 2], [0, 1]),
        (pa.array([1.0, 2.0, float("nan")]), [1, 2], [0, 1]),
        (pa.array([True, False, None]), ["false", "true"], [1, 0]),
        (pa.array([True, False, None]), ["False", "True"], [1, 0]),
        (pa.array([decimal.Decimal("1.00"), decimal.Decimal("2.00"), None]), [1, 2], [0, 1]),
        (pa.array([datetime.date(2023, 9, 3), None, None]), ["3-9", "10-19"], [0]),
        (pa.array([datetime.datetime(2023, 9, 3), None, None]), ["3-9", "10-19"], [0]),  # noqa: DTZ001
    ],
)
def test_labels_of_every_kind(
    tmp_path: Path, labels: pa.Array, levels: list[object], codes: list[int]
) -> None:
    columns = {"image": pa.array(BYTES), "group": labels}
    table = read(tmp_path, columns, attributes={"group": levels})
    assert table.codes[:, 0].tolist() == codes
    assert set(reasons(table)) == {"empty field"}


@pytest.mark.parametrize("levels", [["f", "m"], [0, 1]])
def test_integer_classes_are_named_by_the_file(tmp_path: Path, levels: list[object]) -> None:
    metadata = {"info": {"features": {"group": {"names": ["f", "m"], "_type": "ClassLabel"}}}}
    columns = {"image": pa.array([*BYTES, BYTES[0]]), "group": [1, 0, -1, 7]}
    table = read(tmp_path, columns, metadata=metadata, attributes={"group": levels})
    assert table.codes[:, 0].tolist() == [1, 0]
    assert reasons(table) == ["unknown label"] * 2


@pytest.mark.parametrize("metadata", ["x", [], {"info": None}, {"info": {"features": [1]}}, 7])
def test_damaged_metadata_names_nothing(tmp_path: Path, metadata: object) -> None:
    columns = {"image": pa.array(BYTES[:1]), "group": ["a"]}
    assert len(read(tmp_path, columns, metadata=metadata)) == 1


@pytest.mark.parametrize(
    ("columns", "more", "message"),
    [
        ({"image": BYTES, "group": BYTES}, {}, "expected text in column 'group', got bytes"),
        ({"image": BYTES, "group": [[b"a"]] * 3}, {}, "expected text or numbers .* got lists"),
        ({"image": BYTES, "group": [["a"]] * 3}, {}, "declare levels: .*several: true"),
        ({"image": [{"x": 1}] * 3, "group": ["a"] * 3}, {}, "got a struct of x"),
        ({"image": BYTES, "group": ["a"] * 3}, {"path_column": "path"}, "did you mean 'image'"),
    ],
)
def test_columns_of_other_kinds_say_what_they_are(
    tmp_path: Path, columns: dict[str, Any], more: dict[str, Any], message: str
) -> None:
    with pytest.raises(DataError, match=message) as caught:
        read(tmp_path, columns, **more)
    assert "PNG" not in str(caught.value)


def test_lists_are_several_answers_and_structs_are_boxes(tmp_path: Path) -> None:
    columns = {
        "image": pa.array(BYTES),
        "group": pa.array([["b", "a"], ["b", None], []]),
        "box": [{"x": 1, "y": 2.5, "width": 3, "height": 4}] * 3,
    }
    answers = {"group": {"levels": ["a", "b"], "several": True, "when_missing": "group"}}
    table = read(tmp_path, columns, attributes=answers, box_columns=["box"])
    assert table.codes[:, 0].tolist() == [0, 1, 1, 2]
    assert {reference.box for reference in table.references} == {(1, 2, 4, 7)}


def test_shards_are_read_as_one_and_missing_ones_are_said(tmp_path: Path) -> None:
    for i in (0, 2):
        rows = {"image": pa.array(BYTES[i : i + 1]), "group": ["ab"[i // 2]]}
        pq.write_table(pa.table(rows), tmp_path / f"train-0000{i}-of-00003.parquet")
    for file in (tmp_path, tmp_path / "train-*.parquet"):
        settings = {"file": file, "path_column": "image", "attributes": {"group": ["a", "b"]}}
        table = PLUGIN.read(Params.model_validate(settings))
        assert pictures(table) == [0, 2]
        assert table.codes[:, 0].tolist() == [0, 1]
        assert table.notices == ("1 of 3 parquet files of split train are missing",)
    with pytest.raises(DataError, match="there is no such file"):
        PLUGIN.read(Params.model_validate({**settings, "file": tmp_path / "val-*.parquet"}))
