"""Label tables as spreadsheets, exporters and other systems write them."""

from __future__ import annotations

import unicodedata
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from bias_audit.data.faces import FaceTable
from bias_audit.data.sources.manifest import PLUGIN, Params
from bias_audit.data.texts import comparable
from bias_audit.errors import DataError

LEVELS = {"group": ["a", "b"]}


def read(folder: Path, content: bytes | str, **more: Any) -> FaceTable:
    for image in ("1.jpg", "2.jpg", "3.jpg", "4.jpg"):
        (folder / image).write_bytes(b"never opened")
    file = folder / "faces.csv"
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    return PLUGIN.read(Params.model_validate({"file": file, "attributes": LEVELS, **more}))


def reasons(table: FaceTable) -> list[str]:
    return [entry.reason for entry in table.exclusions]


TEXT = "path,group\n1.jpg,a\n2.jpg,b\n"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (TEXT.replace(",", ";").encode(), "by semicolons"),
        (TEXT.replace(",", "\t").encode(), "by tabs"),
        (TEXT.replace(",", "|").encode(), "by vertical bars"),
        (b"sep=;\r\n" + TEXT.replace(",", ";").replace("\n", "\r\n").encode(), "by semicolons"),
        (b"\xef\xbb\xbfsep=\t\n" + TEXT.replace(",", "\t").encode(), "by tabs"),
        (b"sep=,\n" + TEXT.encode(), ""),
        (TEXT.replace("\n", "\r").encode(), ""),
        (TEXT.encode("utf-16"), "as utf-16"),
        (b"\xfe\xff" + TEXT.encode("utf-16-be"), "as utf-16"),
        (TEXT.encode("utf-8-sig"), ""),
        (b'"path", "group"\n"1.jpg", a\n2.jpg ,"b"\n', ""),
        (b"note;x,path,group\n,1.jpg,a\n,2.jpg,b\n", ""),
        (b"path,group,,\n1.jpg,a,,\n2.jpg,b\n", ""),
        (b"path,group\n1.jpg,a,,\n2.jpg,b\n,,\n", "1 rows have more fields"),
        ("\ufeff path\xa0,gr\u200boup\n1.jpg,a\n2.jpg,b\n".encode(), "2 column names"),
    ],
)
def test_tables_are_read_however_they_are_saved(tmp_path: Path, content: bytes, said: str) -> None:
    table = read(tmp_path, content)
    assert table.codes[:, 0].tolist() == [0, 1]
    assert not table.exclusions
    assert [said in notice for notice in table.notices] == ([True] if said else [])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("path,group\n1.jpg,ä\n".encode("windows-1252"), "set data.encoding to what"),
        (TEXT.encode("utf-16-le"), "set data.encoding: utf-16-le"),
        (b"\xff\xfep", "damaged text"),
        (b"PK\x03\x04 xl/workbook.xml", "got an Excel workbook; save it as"),
        (b"<!DOCTYPE html><html>", r"got a web page \(HTML\)"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        (b"PAR1 and then nothing", "readable parquet file"),
        (b"Path;Group\n1.jpg;a\n", "'path'; did you mean 'Path'"),
        (b'path,group\n1.jpg,"a\n', "quotes doubled inside"),
        (b",,\n", "empty file"),
    ],
)
def test_what_is_no_table_says_what_it_is(tmp_path: Path, content: bytes, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        read(tmp_path, content)
    assert "\\x" not in str(caught.value)


def test_another_encoding_is_read_when_it_is_named(tmp_path: Path) -> None:
    content = "path,group\n1.jpg,ä\n".encode("windows-1252")
    table = read(tmp_path, content, attributes={"group": ["ä", "ö"]}, encoding="windows-1252")
    assert table.codes.tolist() == [[0]]
    for encoding in ("no such", "zip", "hex"):
        with pytest.raises(ValidationError, match="expected an encoding such as"):
            Params.model_validate({"file": "x", "attributes": LEVELS, "encoding": encoding})


ACCENTED = ["ä é", "ñandú-x", "다섯", "plain text", "it's"]
FORMS = st.sampled_from(["NFC", "NFD", "NFKC", "NFKD"])


@given(
    text=st.sampled_from(ACCENTED),
    form=FORMS,
    inserted=st.sampled_from(["", "\u200b", "\u200d", "\ufeff", "\u2060", "\xad"]),
    place=st.integers(0, 3),
    blank=st.sampled_from([" ", "\xa0", "\u3000", "\u2009", "\u202f", "  ", "\t"]),
    around=st.sampled_from(["", " ", "\xa0", "\u200b ", "\ufeff"]),
)
def test_what_looks_alike_compares_equal(
    text: str, form: Any, inserted: str, place: int, blank: str, around: str
) -> None:
    written = text.replace(" ", blank).replace("'", "\u2019").replace("-", "\u2011")
    written = unicodedata.normalize(form, written[:place] + inserted + written[place:])
    key = comparable(around + written + around)
    assert key == comparable(text) == comparable(key)


def test_labels_of_every_unicode_form_are_read_as_declared_and_counted(tmp_path: Path) -> None:
    level = unicodedata.normalize("NFC", "né à l'Est")
    forms = [
        level,
        unicodedata.normalize("NFD", level),
        level.replace(" ", "\xa0") + "\u200b",
        level.replace("'", "\u2019"),
    ]
    rows = "".join(f"{i + 1}.jpg,{form}\n" for i, form in enumerate(forms))
    table = read(tmp_path, "path,group\n" + rows, attributes={"group": [level, "x"]})
    assert table.codes[:, 0].tolist() == [0] * 4
    assert table.attributes[0].levels == (level, "x")
    assert any(notice.startswith("3 labels of group in another") for notice in table.notices)


@pytest.mark.parametrize(
    "levels", [["\xe9", "e\u0301"], ["a b", "a\xa0b"], ["a-b", "a\u2013b"], ["x", "x\u200b"]]
)
def test_levels_that_look_alike_are_refused(levels: list[str]) -> None:
    with pytest.raises(ValidationError, match="expected each level once"):
        Params.model_validate({"file": "x.csv", "attributes": {"group": levels}})


def test_splits_and_identities_compare_whatever_their_form(tmp_path: Path) -> None:
    rows = "path,group,who,part\n1.jpg,a,Zoë,e\u0301t\u00e9\n2.jpg,b,Zoe\u0308,\u00e9te\u0301\n"
    table = read(tmp_path, rows, identity_column="who", split_column="part", split="été")
    assert len(table) == 2
    assert table.identities is not None
    assert len(set(table.identities)) == 1
    assert table.splits == ("été", "été")


BINNED = {"attributes": {"age": ["0-9", "10-19", "70+"]}, "binned": ["age"]}


def test_numbers_are_put_into_bins(tmp_path: Path) -> None:
    ages = {
        "9": 0, "9.0": 0, "9.9": 0, '"9,5"': 0, "10": 1, "19.99": 1, "70": 2, "116": 2,
        "10-19": 1, "\uff12\uff15": None,
    }  # fmt: skip
    bad = {
        "-1": "negative number", "25": "number in no bin", "999": "number in no bin",
        "old": "not a number", "": "empty field", "nan": "not a number",
    }  # fmt: skip
    rows = "".join(f"1.jpg,{age}\n" for age in [*ages, *bad])
    table = read(tmp_path, "path,age\n" + rows, **BINNED)
    assert table.codes[:, 0].tolist() == [code for code in ages.values() if code is not None]
    assert reasons(table) == ["number in no bin", *bad.values()]


def test_decimal_commas_between_semicolons(tmp_path: Path) -> None:
    table = read(tmp_path, "path;age\n1.jpg;9,5\n2.jpg;70,0\n3.jpg;1,0\n", **BINNED)
    assert table.codes[:, 0].tolist() == [0, 2, 0]


def test_numbers_without_bins_get_the_key(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"set data.binned: \[age\]"):
        read(tmp_path, "path,age\n1.jpg,25\n", attributes=BINNED["attributes"])


@pytest.mark.parametrize(
    ("levels", "name", "message"),
    [
        (["0-9", "5-19"], "age", "without overlap"),
        (["young", "old"], "age", "expected a bin such as"),
        (["0-9", "10+"], "ages", "expected one of the attributes age, got 'ages'"),
    ],
)
def test_bins_that_cannot_be(levels: list[str], name: str, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Params.model_validate({"file": "x", "attributes": {"age": levels}, "binned": [name]})


def test_dates_and_ranges_of_a_manifest_are_repaired_and_counted(tmp_path: Path) -> None:
    rows = "path,age\n1.jpg,2023-09-03\n2.jpg,10 \u2013 19\n3.jpg,>=70\n4.jpg,2023-05-06\n"
    table = read(tmp_path, rows, attributes={"age": ["3-9", "10-19", "70+"]})
    assert table.codes[:, 0].tolist() == [0, 1, 2]
    assert reasons(table) == ["unknown label"]
    assert any("1 labels of age that a spreadsheet had turned" in n for n in table.notices)
