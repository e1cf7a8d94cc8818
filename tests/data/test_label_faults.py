"""What real tables make ambiguous: read one way for a whole column, or left out and said."""

from __future__ import annotations

import base64
import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bias_audit.data.faces import Exclusion, FaceTable, ImageReference
from bias_audit.data.finding import ImageFinder
from bias_audit.data.identities import read_identities
from bias_audit.data.images import UnusableImageError, read_bytes
from bias_audit.data.sources.manifest import PLUGIN, Params
from bias_audit.errors import DataError
from tests.data.conftest import encoded, picture
from tests.data.test_manifest import read, reasons
from tests.data.test_parquet import BYTES
from tests.data.test_parquet import read as read_parquet


def read_labels(folder: Path, header: str, rows: list[str], **more: Any) -> FaceTable:
    text = "".join(f"1.jpg;{row}\n" for row in rows)
    return read(folder, f"path;{header}\n{text}", **more)


def read_classes(
    folder: Path, names: list[str], levels: list[str], values: list[Any]
) -> FaceTable:
    metadata = {"info": {"features": {"group": {"names": names, "_type": "ClassLabel"}}}}
    columns = {"image": pa.array(BYTES[: len(values)]), "group": values}
    return read_parquet(folder, columns, metadata=metadata, attributes={"group": levels})


# Classes.


@pytest.mark.parametrize(
    ("names", "levels", "codes"),
    [
        (["1", "2"], ["0", "1"], [0, 1]),
        (["1", "2"], ["1", "2"], [0, 1]),
        (["1", "0"], ["1", "0"], [0, 1]),
        (["male", "female"], ["0", "1"], [0, 1]),
        (["male", "female"], ["female", "male", "other"], [1, 0]),
    ],
)
@pytest.mark.parametrize("values", [[0, 1], [0.0, 1.0, None]])
def test_numbers_of_classes_and_names_that_are_numbers(
    tmp_path: Path, names: list[str], levels: list[str], codes: list[int], values: list[Any]
) -> None:
    assert read_classes(tmp_path, names, levels, values).codes[:, 0].tolist() == codes


@pytest.mark.parametrize("levels", [["1", "2"], ["0", "female"], ["male", "1"]])
def test_names_and_numbers_of_classes_are_not_mixed(tmp_path: Path, levels: list[str]) -> None:
    with pytest.raises(DataError, match="all names, male, female, or all numbers, 0, 1; got"):
        read_classes(tmp_path, ["male", "female"], levels, [0, 1])


def test_a_vote_for_no_level_is_no_vote(tmp_path: Path) -> None:
    levels = {"attributes": {"sex": ["f", "m"]}, "annotators": {"sex": ["a", "b", "c"]}}
    rows = [*["f;f;nan"] * 60, "f;m;unknown", "nan;NA;?", ";;"]
    table = read_labels(tmp_path, "a;b;c", rows, **levels)
    assert table.codes[:, 0].tolist() == [0] * 60
    # 60 x 0, and the tied row: 1/2
    assert table.disagreement["sex"].overall == pytest.approx(0.5 / 61)
    assert reasons(table) == ["annotators tied", "unknown label", "empty field"]
    notice = (
        "sex: 64 votes of annotators were not counted, for values that are not levels: nan (61)"
    )
    assert [text for text in table.notices if "votes" in text] == [notice]


# Numbers.

INCOME: dict[str, Any] = {
    "attributes": {"income": ["0-999", "1000-1999", "2000-99999"]},
    "binned": ["income"],
}
AGES: dict[str, Any] = {"attributes": {"age": ["0-9", "10-19", "20-29", "70+"]}, "binned": ["age"]}


@pytest.mark.parametrize(
    ("rows", "codes"),
    [
        (["1.234", "55.000", "1,500"], [None, None, None]),
        (["1.234", "55.000", "1.234.567,5", "200"], [1, 2, None, 0]),
        (["1,500", "12,345.5"], [1, 2]),
        (["1.234", "55.5"], [0, 0]),
        (["1,500", "1,5"], [0, 0]),
        (["1.500", "1.5", "1.500.000"], [None, 0, None]),
        (["0.500", "1500.250", "01.500"], [0, 1, 0]),
    ],
)
def test_marks_of_thousands_are_read_as_the_column_has_them(
    tmp_path: Path, rows: list[str], codes: list[int | None]
) -> None:
    table = read_labels(tmp_path, "income", ["7", *rows], **INCOME)
    assert table.codes[:, 0].tolist() == [0, *(code for code in codes if code is not None)]
    assert any("with thousands" in notice for notice in table.notices) == (codes[0] in (1, 2))


def test_ambiguous_numbers_are_said(tmp_path: Path) -> None:
    table = read_labels(tmp_path, "income", ["7", *["1.500"] * 5], **INCOME)
    assert reasons(table) == ["ambiguous number"] * 5
    assert "1.500 may be 1500, or 1.5" in table.exclusions[0].detail


def test_numbers_of_parquet_have_no_thousands(tmp_path: Path) -> None:
    columns = {"image": pa.array(BYTES), "income": [1.234, 55.125, 1500.0]}
    assert read_parquet(tmp_path, columns, **INCOME).codes[:, 0].tolist() == [0, 0, 1]


@pytest.mark.parametrize(
    ("text", "code"),
    [
        *((f"25{unit}", 2) for unit in (" years", " ans", " лет", "歳", ".", ",5 Jahre")),
        ("70 oder älter", 3),  # codespell:ignore oder
        *(('="10-19"', 1), ("'10-19", 1), ("'12", 1), ('=""', None), ('="7"', 0)),
        *(("9.500", 0), ("12,250", 1)),  # thousands would fit no bin
    ],
)
def test_units_and_guards_around_numbers(tmp_path: Path, text: str, code: int | None) -> None:
    table = read_labels(tmp_path, "age", ["7", text], **AGES)
    assert table.codes[:, 0].tolist() == [0, code][: 1 + (code is not None)]


@pytest.mark.parametrize(
    ("levels", "text"),
    [
        (["true", "false"], "WAHR"),
        (["TRUE", "FALSE"], "vrai"),
        (["1,5", "2,5"], "1.5"),
        (["1.5", "2.5"], "1,5"),
        (["3-9", "10-19"], '="3-9"'),
    ],
)
def test_labels_in_the_language_of_a_spreadsheet(
    tmp_path: Path, levels: list[str], text: str
) -> None:
    table = read_labels(tmp_path, "group", [text], attributes={"group": levels})
    assert table.codes.tolist() == [[0]]


def test_a_label_in_thousands_is_not_a_whole_number(tmp_path: Path) -> None:
    levels = {"attributes": {"group": ["1", "1000"]}}
    table = read_labels(tmp_path, "group", ["1", "1.000", "1000", "1.0"], **levels)
    assert table.codes[:, 0].tolist() == [0, 1, 0]


# Identities.


@pytest.mark.parametrize("other", ["12.001", "1.500"])
def test_thousands_of_identities_stay(other: str) -> None:
    identities, notices = read_identities(["12", "12.000", other, "12.0"])
    assert identities == ("12", "12.000", other, "12")
    assert notices[0].endswith("each read as one person: 1")


def test_numbers_that_a_spreadsheet_rounded_are_said() -> None:
    identities, notices = read_identities(["4,01235E+12", "4,01235E+12", "4,01236E+12", "1e3"])
    assert len(set(identities)) == 3
    assert notices[0].startswith("2 rows share an identity such as 1.23E+12")
    assert "export the column as text" in notices[0]


# Files.


def test_splits_read_together_are_said(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    for name in ("train-00000-of-00001", "test-00000-of-00001"):
        pq.write_table(pa.table({"image": BYTES[:1], "group": ["a"]}), folder / f"{name}.parquet")
    for file in (folder, tmp_path):
        settings = {"file": file, "path_column": "image", "attributes": {"group": ["a"]}}
        table = PLUGIN.read(Params.model_validate(settings))
        assert len(table) == 2
        assert table.notices == (
            "read the splits test, train together; for one, set data.file: data/train-*.parquet",
        )


@pytest.mark.parametrize("encoding", ["windows-1252", "latin-1", "cp1251"])
def test_utf8_that_is_declared_otherwise_is_refused(tmp_path: Path, encoding: str) -> None:
    with pytest.raises(DataError, match=r"the file is UTF-8.*remove data\.encoding"):
        read(tmp_path, "path,group\n1.jpg,männlich\n", encoding=encoding)


def test_text_that_is_not_utf8_names_the_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"line 3 is in another.*windows-1254") as caught:
        read(tmp_path, b"path,group\n1.jpg,a\n2.jpg,\xfd\n")
    assert "0xfd" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("1.jpg,Anna Meier\n2.jpg,a\n", "the first line looks like data"),
        ("17,Anna Meier\n18,Bo\n", "found none of the columns in the first line"),
        ("Faces 2024\npath,group\n1.jpg,a\n", "expected the header in the first line"),
        ("# made by x\n\npath,group\n1.jpg,a\n", "expected the header in the first line"),
        ("path,group\n1,1.jpg,a\n2,2.jpg,b\n", "got one name fewer"),
        ('"path" "group"\n"1" "1.jpg" "a"\n', "got blanks; save it as CSV"),
        ("path,group,group\n1.jpg,a,a\n", "rename the others"),
        ('{"path": "1.jpg", "group": "a"}\n', "JSON text; convert it to CSV"),
    ],
)
def test_tables_with_another_beginning_get_the_fix(
    tmp_path: Path, content: str, message: str
) -> None:
    with pytest.raises(DataError, match=message) as caught:
        read(tmp_path, content)
    assert "Anna" not in str(caught.value)


def test_blank_lines_above_the_header_are_nothing(tmp_path: Path) -> None:
    assert len(read(tmp_path, "\n  \r\n;;\npath;group\n1.jpg;a\n")) == 1


def test_rare_values_are_not_shown(tmp_path: Path) -> None:
    table = read_labels(tmp_path, "group", ["a", "Anna Meier", *["c"] * 5])
    details = [entry.detail for entry in table.exclusions]
    assert details[0] == "group: expected one of a, b; got a value that fewer than 5 rows have"
    assert details[1] == "group: expected one of a, b; got 'c'"
    split = {"split_column": "who", "split": "train"}
    with pytest.raises(DataError, match=r"got 'test'$"):
        read_labels(tmp_path, "group;who", ["a;Anna Meier", *["a;test"] * 5], **split)


# Paths.


def refused(finder: ImageFinder, name: str) -> Exclusion:
    exclusion = finder.find(name)
    assert isinstance(exclusion, Exclusion)
    return exclusion


def test_results_name_no_folder_of_this_machine(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "sub").mkdir(parents=True)
    (root / "broken.jpg").symlink_to("nowhere")
    (root / "out.jpg").symlink_to(tmp_path)
    os.mkfifo(root / "pipe.jpg")
    finder = ImageFinder(root)
    for name in ("none.jpg", "sub", "broken.jpg", "out.jpg", "../x.jpg", ".", "pipe.jpg"):
        assert str(tmp_path) not in refused(finder, name).detail


def test_a_pipe_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "link.jpg").symlink_to("pipe.jpg")
    for name in ("pipe.jpg", "link.jpg"):
        assert refused(ImageFinder(tmp_path), name).reason == "missing file"
    with pytest.raises(UnusableImageError, match="expected a file, got a pipe"):
        read_bytes(ImageReference(tmp_path / "pipe.jpg"))


def test_a_file_that_exists_elsewhere_is_not_taken_for_one_inside(tmp_path: Path) -> None:
    for name in ("root/0.png", "other/0.png"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_bytes(b"never opened")
    detail = refused(ImageFinder(tmp_path / "root"), f"{tmp_path}/other/0.png").detail
    assert "outside of data.root" in detail
    assert "write" not in detail


@pytest.mark.parametrize("name", ["file://{root}/a b.png", "a%20b.png", "root/a b.png"])
def test_other_ways_to_write_a_path_get_the_fix(tmp_path: Path, name: str) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (root / "a b.png").write_bytes(b"never opened")
    finder = ImageFinder(root)
    assert refused(finder, name.format(root=root)).detail.endswith("write 'a b.png'")
    assert not list(finder.notices())


# Images in columns.


def test_images_in_base64_are_recognised_and_not_shown(tmp_path: Path) -> None:
    texts = [base64.b64encode(encoded(picture(1), kind)).decode() for kind in ("PNG", "JPEG")]
    texts.append(f"data:image/png;base64,{texts[0]}")
    columns = {"image": [*texts, "", "1.png"], "group": ["a"] * 5}
    (tmp_path / "1.png").write_bytes(b"never opened")
    table = read_parquet(tmp_path, columns)
    assert [(e.reference, e.reason) for e in table.exclusions] == [
        *((f"faces.parquet row {i}", "image as text") for i in range(3)),
        ("faces.parquet row 3", "empty field"),
    ]
    assert all(len(entry.detail) < 200 for entry in table.exclusions)


@pytest.mark.parametrize(
    "column",
    [
        pa.array([list(BYTES[0])], pa.list_(pa.uint8())),
        pa.FixedShapeTensorArray.from_numpy_ndarray(np.zeros((1, 4, 4, 3), np.uint8)),
    ],
)
def test_lists_of_numbers_are_no_images(tmp_path: Path, column: pa.Array) -> None:
    with pytest.raises(DataError, match="got lists of numbers; save the bytes"):
        read_parquet(tmp_path, {"image": column, "group": ["a"]})


def test_folders_without_parquet_say_what_they_hold(tmp_path: Path) -> None:
    for name, message in (("state.arrow", "to_parquet"), ("a/b.parquet", "there are some in")):
        folder = tmp_path / name[:1]
        (folder / name).parent.mkdir(parents=True)
        (folder / name).write_bytes(b"")
        with pytest.raises(DataError, match=message):
            PLUGIN.read(Params.model_validate({"file": folder, "attributes": {"group": ["a"]}}))


@pytest.mark.parametrize(
    ("columns", "attributes", "message"),
    [
        ({"group": [0, 1, 1]}, {"group": ["a"]}, "numbers instead of names, declare these: 0, 1"),
        ({"note": ["x"] * 3}, {"sex": ["f"]}, r"column 'sex' \(columns: image, note\)$"),
    ],
)
def test_label_columns_that_do_not_fit(
    tmp_path: Path, columns: dict[str, Any], attributes: dict[str, Any], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        read_parquet(tmp_path, {"image": BYTES, **columns}, attributes=attributes)
