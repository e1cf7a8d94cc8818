"""Manifests: tables as spreadsheets and exporters write them, and what a config says of them."""

from __future__ import annotations

import unicodedata
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from bias_audit.data.faces import FaceTable
from bias_audit.data.sources.manifest import PLUGIN, Params
from bias_audit.data.texts import comparable
from bias_audit.errors import DataError
from bias_audit.groups import Group
from tests.data.test_parquet import BYTES
from tests.data.test_parquet import read as read_parquet

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


def params(**more: Any) -> Params:
    return Params.model_validate({"file": "x.csv", "attributes": LEVELS, **more})


def test_declared_order_is_kept_and_rows_keep_theirs(tmp_path: Path) -> None:
    levels = {"group": ["b", "never seen", "a"]}
    table = read(tmp_path, "path,group\n2.jpg,b\n1.jpg,a\n", attributes=levels)
    assert table.attributes[0].levels == ("b", "never seen", "a")
    assert table.codes.tolist() == [[0], [2]]
    assert [reference.file.name for reference in table.references] == ["2.jpg", "1.jpg"]


def test_values_are_read_as_text_also_markup_and_formulas(tmp_path: Path) -> None:
    levels = ["010", "NA", "null", '<script>alert("x")</script>', "=1+1", "{{ 7 * 7 }}"]
    quoted = [level.replace('"', '""') for level in levels]
    rows = "".join(f'1.jpg,"{level}"\n' for level in quoted)
    table = read(tmp_path, f"path,group\n{rows}", attributes={"group": levels})
    assert table.attributes[0].levels == tuple(levels)
    assert table.codes[:, 0].tolist() == [0, 1, 2, 3, 4, 5]


def test_identities_splits_and_what_the_user_states(tmp_path: Path) -> None:
    text = "path,group,who,part\n1.jpg,a,p1,test\n2.jpg,b,,test\n3.jpg,a,p1,dev\n"
    own = {"label_origin": "self-reported", "licence": "by consent", "cautions": ["small"]}
    more = {"identity_column": "who", "split_column": "part", **own}
    table = read(tmp_path, text, split="test", **more)
    assert table.identities == ("p1", "")
    assert table.splits == ("test", "test")
    assert (table.label_origin, table.licence) == ("self-reported", "by consent")
    assert table.cautions == ("small",)
    assert "1 rows of other splits were not read" in table.notices
    assert any("do not say who is shown" in notice for notice in table.notices)
    with pytest.raises(DataError, match=r"expected rows of split 'train'.*got 2 other values"):
        read(tmp_path, text, split="train", **more)


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        *(({"group": [level]}, "put quotes") for level in (True, False, None, 1.5, ["x"])),
        ({}, "at least 1 item"),
        *(({"group": levels}, "levels that are not empty") for levels in ([], [""], ["a", " "])),
        *(({"group": levels}, "expected each level once") for levels in (["a", "a"], [1, "1 "])),
        *(({name: ["a", "b"]}, "got a blank one") for name in ("", "  ")),
        ({"intersection": ["a", "b"]}, "rename the column"),
    ],
)
def test_attributes_that_cannot_be(attributes: object, expected: str) -> None:
    with pytest.raises(ValidationError, match=expected):
        params(attributes=attributes)


def test_whole_numbers_that_became_floats_match_their_level(tmp_path: Path) -> None:
    columns = {"image": pa.array(BYTES), "group": [1.0, 2.0, 1.5]}
    table = read_parquet(tmp_path, columns, attributes={"group": [1, 2]})
    assert table.codes[:, 0].tolist() == [0, 1]
    assert reasons(table) == ["unknown label"]
    assert table.notices == (
        "2 labels of group written in another form were read as declared: 1.0 -> 1 (1), "
        "2.0 -> 2 (1)",
    )


def test_a_level_declared_with_decimals_is_taken_as_it_is(tmp_path: Path) -> None:
    text = "path,group\n1.jpg,1.0\n2.jpg,1\n3.jpg,2.00\n"
    table = read(tmp_path, text, attributes={"group": ["1", "1.0", "2"]})
    assert table.codes[:, 0].tolist() == [1, 0, 2]


def test_too_many_intersections_are_refused_at_once(tmp_path: Path) -> None:
    text = f"path,{','.join('abcde')}\n1.jpg{',0' * 5}\n"
    ten = [str(n) for n in range(10)]
    with pytest.raises(DataError, match=r"make 100000 intersections, expected at most 10000"):
        read(tmp_path, text, attributes=dict.fromkeys("abcde", ten))
    assert len(read(tmp_path, text, attributes=dict.fromkeys("abcd", ten))) == 1


SIDES = {**LEVELS, "side": ["l", "r"]}
VOTES: dict[str, Any] = {"attributes": SIDES, "annotators": {"group": ["one", "two", "three"]}}


def test_the_majority_of_annotators_decides_and_ties_are_left_out(tmp_path: Path) -> None:
    rows = ["1.jpg,a,a,b,l", "2.jpg,b,a,,r", "3.jpg,b,b,b,r", "1.jpg,,,,l", "1.jpg,a,,,l"]
    table = read(tmp_path, "\n".join(["path,one,two,three,side", *rows]), **VOTES)
    assert table.codes.tolist() == [[0, 0], [1, 1], [0, 0]]
    assert [(e.reference, e.reason) for e in table.exclusions] == [
        ("2.jpg", "annotators tied"),
        ("1.jpg", "empty field"),
    ]
    # one of three, half of two, none of three; too few images for rates of levels
    assert table.disagreement["group"].overall == pytest.approx((1 / 3 + 1 / 2 + 0) / 3)
    assert not table.disagreement["group"].by_level
    assert any("27.8 % of labels, over 3 images" in notice for notice in table.notices)


def test_one_vote_of_each_row_is_drawn_each_as_often_as_the_others(tmp_path: Path) -> None:
    rows = [*["1.jpg,a,a,b,l"] * 60, "1.jpg,b,b,b,r", "1.jpg,a,,,r"]
    table = read(tmp_path, "\n".join(["path,one,two,three,side", *rows]), **VOTES)
    assert table.label_sets is not None
    assert table.label_sets.shape == (6, 62, 2)
    assert (table.label_sets[:, :60, 0].sum(axis=0) == 2).all()
    assert table.label_sets[0, :60, 0].mean() == pytest.approx(1 / 3, abs=0.15)
    assert (table.label_sets[:, 60:] == table.codes[60:]).all()
    assert (table.label_sets[..., 1] == table.codes[:, 1]).all()
    some = table.only(np.array([61, 3]))
    assert some.label_sets is not None
    assert (some.label_sets == table.label_sets[:, [61, 3]]).all()
    assert some.label_bytes != replace(some, label_sets=None).label_bytes
    agreed = "\n".join(["path,one,two,three,side", "1.jpg,a,a,,l", "2.jpg,b,b,b,r"])
    assert read(tmp_path, agreed, **VOTES).label_sets is None


def test_disagreement_is_measured_by_level_where_images_are_enough(tmp_path: Path) -> None:
    rows = [f"1.jpg,a,{'b' if i < 20 else 'a'},a,{'l' if i < 100 else 'r'}" for i in range(150)]
    text = "\n".join(["path,one,two,three,side", *rows, "1.jpg,b,b,b,r"])
    by_level = read(tmp_path, text, **VOTES).disagreement["group"].by_level
    assert by_level["side", "l"] == pytest.approx(20 / 3 / 100)
    assert by_level["side", "r"] == 0
    assert ("group", "b") not in by_level


def test_an_annotators_column_may_have_the_name_of_its_attribute(tmp_path: Path) -> None:
    text = "path,group,two,three\n1.jpg,a,b,b\n2.jpg,a,a,b\n"
    table = read(tmp_path, text, annotators={"group": ["group", "two", "three"]})
    assert table.codes[:, 0].tolist() == [1, 0]
    assert table.disagreement["group"].overall == pytest.approx(1 / 3)


def test_a_declared_disagreement_holds_within_the_groups_it_names(tmp_path: Path) -> None:
    rates = {"group": {"all": 0.02, "side=l": 0.05}, "side": 0.01}
    text = "path,group,side\n1.jpg,a,l\n2.jpg,b,r\n"
    table = read(tmp_path, text, attributes=SIDES, disagreement=rates)
    inside = [Group((("side", level),)) for level in "lr"]
    assert [table.disagreement_within(group, "group") for group in inside] == [0.05, 0.02]
    assert [table.disagreement_within(group, "side") for group in inside] == [0.01, 0.01]
    assert any("2.0 % of labels" in notice for notice in table.notices)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"split": "test"}, "expected split_column"),
        ({"disagreement": {"team": 0.1}}, "expected one of the attributes group, got 'team'"),
        ({"disagreement": {"group": {"group=a": 0.1}}}, "expected a rate for all"),
        ({"disagreement": {"group": {"all": 0, "group=c": 0.1}}}, "got 'group=c'"),
        ({"disagreement": {"group": 1.0}}, "less than 1"),
        ({"annotators": {"team": ["one", "two"]}}, "expected one of the attributes group"),
        ({"annotators": {"group": ["one", "one"]}}, "expected different columns"),
        ({"annotators": {"group": ["1", "2"]}, "disagreement": {"group": 0.1}}, "remove it here"),
    ],
)
def test_keys_must_fit_the_attributes(more: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        params(**more)
