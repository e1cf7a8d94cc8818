from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from bias_audit.config.load import load_config
from bias_audit.data.sources.manifest import PLUGIN, Params
from bias_audit.errors import ConfigError, DataError
from bias_audit.groups import Group

LEVELS = {"group": ["a", "b"]}


def written(folder: Path, text: str, name: str = "faces.csv") -> Path:
    folder.mkdir(exist_ok=True)
    for image in ("1.jpg", "2.jpg", "3.jpg"):
        (folder / image).write_bytes(b"never opened")
    file = folder / name
    file.write_text(text, encoding="utf-8")
    return file


def params(file: Path, **more: Any) -> Params:
    return Params.model_validate({"file": file, "attributes": LEVELS, **more})


def test_declared_order_is_kept_and_rows_keep_theirs(tmp_path: Path) -> None:
    file = written(tmp_path, "path,group\n2.jpg,b\n1.jpg,a\n")
    table = PLUGIN.read(params(file, attributes={"group": ["b", "never seen", "a"]}))
    assert table.attributes[0].levels == ("b", "never seen", "a")
    assert table.codes.tolist() == [[0], [2]]
    assert [reference.file.name for reference in table.references] == ["2.jpg", "1.jpg"]


def test_values_are_read_as_text(tmp_path: Path) -> None:
    file = written(tmp_path, "path,group\n1.jpg,NA\n2.jpg,010\n3.jpg,null\n")
    table = PLUGIN.read(params(file, attributes={"group": ["010", "NA", "null"]}))
    assert table.codes[:, 0].tolist() == [1, 0, 2]


def test_labels_with_markup_or_formulas_stay_text(tmp_path: Path) -> None:
    levels = ['<script>alert("x")</script>', "=1+1", "{{ 7 * 7 }}"]
    quoted = [level.replace('"', '""') for level in levels]
    rows = "".join(f'{i + 1}.jpg,"{level}"\n' for i, level in enumerate(quoted))
    table = PLUGIN.read(
        params(written(tmp_path, "path,group\n" + rows), attributes={"group": levels})
    )
    assert table.attributes[0].levels == tuple(levels)
    assert table.codes[:, 0].tolist() == [0, 1, 2]


def test_bad_rows_are_left_out_each_with_its_reason(tmp_path: Path) -> None:
    (tmp_path / "outside.jpg").write_bytes(b"outside")
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "link.jpg").symlink_to("../outside.jpg")
    (folder / "loop.jpg").symlink_to("loop.jpg")
    file = written(
        folder,
        "path,group\n1.jpg,a\n2.jpg,c\n3.jpg,\n4.jpg,a\n../outside.jpg,a\nlink.jpg,a\n"
        f"{tmp_path}/else/1.jpg,a\nloop.jpg,a\n\n1.jpg,a,b\n",
    )
    table = PLUGIN.read(params(file))
    assert len(table) == 1
    assert {entry.reference: entry.reason for entry in table.exclusions} == {
        "2.jpg": "unknown label",
        "3.jpg": "empty field",
        "4.jpg": "missing file",
        "../outside.jpg": "path leaves the folder",
        "link.jpg": "path leaves the folder",
        f"{tmp_path}/else/1.jpg": "absolute path",
        "loop.jpg": "missing file",
        "faces.csv row 10": "malformed row",
    }


def test_a_link_inside_the_folder_is_followed(tmp_path: Path) -> None:
    file = written(tmp_path, "path,group\nlink.jpg,a\n")
    (tmp_path / "link.jpg").symlink_to("1.jpg")
    assert len(PLUGIN.read(params(file))) == 1


def test_missing_columns_name_the_nearest(tmp_path: Path) -> None:
    file = written(tmp_path, "Path,groups\n1.jpg,a\n")
    with pytest.raises(DataError, match="'path'; did you mean 'Path'"):
        PLUGIN.read(params(file))
    with pytest.raises(DataError, match="'group'; did you mean 'groups'"):
        PLUGIN.read(params(file, path_column="Path"))


def test_missing_file_says_so(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no such file"):
        PLUGIN.read(params(tmp_path / "none.csv"))


def test_identities_splits_and_what_the_user_states(tmp_path: Path) -> None:
    file = written(
        tmp_path, "path,group,who,part\n1.jpg,a,p1,test\n2.jpg,b,,test\n3.jpg,a,p1,dev\n"
    )
    table = PLUGIN.read(
        params(
            file,
            identity_column="who",
            split_column="part",
            split="test",
            label_origin="self-reported",
            licence="by consent",
            cautions=["small"],
        )
    )
    assert table.identities == ("p1", "")
    assert table.splits == ("test", "test")
    assert (table.label_origin, table.licence) == ("self-reported", "by consent")
    assert table.cautions == ("small",)
    assert "1 rows of other splits were not read" in table.notices
    assert any("do not say who is shown" in notice for notice in table.notices)
    with pytest.raises(DataError, match=r"expected rows of split 'train'.*got 2 other values"):
        PLUGIN.read(params(file, split_column="part", split="train"))


def test_parquet_manifest(tmp_path: Path) -> None:
    written(tmp_path, "")
    file = tmp_path / "faces.parquet"
    rows = {"path": ["1.jpg", "2.jpg", "3.jpg"], "group": [1, 2, None]}
    pq.write_table(pa.table(rows), file)
    table = PLUGIN.read(params(file, attributes={"group": [1, 2]}))
    assert table.codes[:, 0].tolist() == [0, 1]
    assert [entry.reason for entry in table.exclusions] == ["empty field"]


@pytest.mark.parametrize("level", [True, False, None, 1.5, ["x"]])
def test_levels_that_yaml_changed_get_advice(level: object) -> None:
    with pytest.raises(ValidationError, match="put quotes"):
        params(Path("x.csv"), attributes={"group": [level]})


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ({}, "at least 1 item"),
        ({"group": []}, "expected levels that are not empty"),
        ({"group": [""]}, "expected levels that are not empty"),
        ({"group": ["a", " "]}, "expected levels that are not empty"),
        ({"group": ["a", "a"]}, "expected each level once"),
        ({"group": [1, "1 "]}, "expected each level once"),
        ({"": ["a", "b"]}, "got a blank one"),
        ({"  ": ["a", "b"]}, "got a blank one"),
        ({"intersection": ["a", "b"]}, "rename the column"),
    ],
)
def test_attributes_that_cannot_be(attributes: object, expected: str) -> None:
    with pytest.raises(ValidationError, match=expected):
        params(Path("x.csv"), attributes=attributes)


def test_split_without_its_column() -> None:
    with pytest.raises(ValidationError, match="expected split_column"):
        params(Path("x.csv"), split="test")


def test_unquoted_no_in_a_config_is_explained(tmp_path: Path) -> None:
    file = tmp_path / "audit.yaml"
    file.write_text(
        "name: x\ndata:\n  kind: manifest\n  file: f.csv\n  attributes: {glasses: [yes, no]}\n"
        "backbones: [{kind: bundled}]\nanalyses: [{kind: linear_probe}]\n"
    )
    with pytest.raises(ConfigError, match=r'glasses: expected levels as text.*put quotes, "no"'):
        load_config(file)


def test_whole_numbers_that_became_floats_match_their_level(tmp_path: Path) -> None:
    written(tmp_path, "")
    file = tmp_path / "faces.parquet"
    pq.write_table(pa.table({"path": ["1.jpg", "2.jpg", "3.jpg"], "group": [1.0, 2.0, 1.5]}), file)
    table = PLUGIN.read(params(file, attributes={"group": [1, 2]}))
    assert table.codes[:, 0].tolist() == [0, 1]
    assert [entry.reason for entry in table.exclusions] == ["unknown label"]
    assert table.notices == (
        "2 labels of group written in another form were read as declared: 1.0 -> 1 (1), "
        "2.0 -> 2 (1)",
    )


def test_a_level_declared_with_decimals_is_taken_as_it_is(tmp_path: Path) -> None:
    file = written(tmp_path, "path,group\n1.jpg,1.0\n2.jpg,1\n3.jpg,2.00\n")
    table = PLUGIN.read(params(file, attributes={"group": ["1", "1.0", "2"]}))
    assert table.codes[:, 0].tolist() == [1, 0, 2]


def test_too_many_intersections_are_refused_at_once(tmp_path: Path) -> None:
    names = [f"a{n}" for n in range(5)]
    file = written(tmp_path, f"path,{','.join(names)}\n1.jpg{',0' * 5}\n")
    ten = [str(n) for n in range(10)]
    with pytest.raises(DataError, match=r"make 100000 intersections, expected at most 10000"):
        PLUGIN.read(params(file, attributes=dict.fromkeys(names, ten)))
    assert len(PLUGIN.read(params(file, attributes=dict.fromkeys(names[:4], ten)))) == 1


def test_the_majority_of_annotators_decides_and_ties_are_left_out(tmp_path: Path) -> None:
    file = written(
        tmp_path,
        "path,one,two,three,side\n1.jpg,a,a,b,l\n2.jpg,b,a,,r\n3.jpg,b,b,b,r\n1.jpg,,,,l\n1.jpg,a,,,l\n",
    )
    levels = {**LEVELS, "side": ["l", "r"]}
    table = PLUGIN.read(
        params(file, attributes=levels, annotators={"group": ["one", "two", "three"]})
    )
    assert table.codes.tolist() == [[0, 0], [1, 1], [0, 0]]
    assert [(e.reference, e.reason) for e in table.exclusions] == [
        ("2.jpg", "annotators tied"),
        ("1.jpg", "empty field"),
    ]
    # one of three, half of two, none of three; too few images for rates of levels
    assert table.disagreement["group"].overall == pytest.approx((1 / 3 + 1 / 2 + 0) / 3)
    assert not table.disagreement["group"].by_level
    assert any("27.8 % of labels, over 3 images" in notice for notice in table.notices)


def test_disagreement_is_measured_by_level_where_images_are_enough(tmp_path: Path) -> None:
    rows = [f"1.jpg,a,{'b' if i < 20 else 'a'},a,{'l' if i < 100 else 'r'}" for i in range(150)]
    file = written(tmp_path, "path,one,two,three,side\n" + "\n".join(rows) + "\n1.jpg,b,b,b,r\n")
    levels = {**LEVELS, "side": ["l", "r"]}
    annotators = {"group": ["one", "two", "three"]}
    found = PLUGIN.read(params(file, attributes=levels, annotators=annotators)).disagreement
    assert found["group"].by_level["side", "l"] == pytest.approx(20 / 3 / 100)
    assert found["group"].by_level["side", "r"] == 0
    assert ("group", "b") not in found["group"].by_level


def test_a_declared_disagreement_holds_within_the_groups_it_names(tmp_path: Path) -> None:
    file = written(tmp_path, "path,group,side\n1.jpg,a,l\n2.jpg,b,r\n")
    levels = {**LEVELS, "side": ["l", "r"]}
    rates = {"group": {"all": 0.02, "side=l": 0.05}, "side": 0.01}
    table = PLUGIN.read(params(file, attributes=levels, disagreement=rates))
    inside = [Group((("side", level),)) for level in "lr"]
    assert [table.disagreement_within(group, "group") for group in inside] == [0.05, 0.02]
    assert [table.disagreement_within(group, "side") for group in inside] == [0.01, 0.01]
    assert any("2.0 % of labels" in notice for notice in table.notices)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"disagreement": {"team": 0.1}}, "expected one of the attributes group, got 'team'"),
        ({"disagreement": {"group": {"group=a": 0.1}}}, "expected a rate for all"),
        ({"disagreement": {"group": {"all": 0, "group=c": 0.1}}}, "got 'group=c'"),
        ({"disagreement": {"group": 1.0}}, "less than 1"),
        ({"annotators": {"team": ["one", "two"]}}, "expected one of the attributes group"),
        ({"annotators": {"group": ["one", "one"]}}, "at least two different columns"),
        (
            {"annotators": {"group": ["one", "two"]}, "disagreement": {"group": 0.1}},
            "remove it here or there",
        ),
    ],
)
def test_disagreement_and_annotators_must_fit_the_attributes(
    more: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValidationError, match=message):
        params(Path("x.csv"), **more)
