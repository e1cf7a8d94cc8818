"""What people answer: several levels, numbers, scales, finer options, and no answer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError

from bias_audit.config.schema import Sampling
from bias_audit.data.answers import NO_ANSWER, NOT_SAID, SCALES, SEVERAL, AnswerReader, Answers
from bias_audit.data.boxes import Form, box_of, listed_sides, with_box
from bias_audit.data.faces import Exclusion, FaceTable, data_record
from bias_audit.data.images import UnusableImageError, cut_out
from bias_audit.data.labels import LevelReader
from bias_audit.data.rows import PLACE
from bias_audit.data.sampling import prepare
from bias_audit.data.sources.manifest import PLUGIN, Params
from bias_audit.errors import DataError
from bias_audit.progress import Silent
from tests.data.conftest import encoded, picture

REGIONS = {"Africa": ["Western Africa", "Eastern Africa"], "Asia": ["Southern Asia"]}
ANCESTRY = {"levels": ["Africa", "Asia", "Europe"], "several": True, "options": REGIONS}


def reader(**settings: Any) -> AnswerReader:
    return AnswerReader("attribute", Answers.model_validate(settings), ["30"])


@pytest.mark.parametrize(
    ("cell", "levels"),
    [
        ("['0. Africa', '5. Western Africa']", ["Africa"]),
        ('["11. Asia", "17. Europe"]', ["Asia", "Europe"]),
        ("Southern Asia; europe", ["Asia", "Europe"]),
        ("Eastern Africa|Africa", ["Africa"]),
        ("[Africa, Asia]", ["Africa", "Asia"]),
        ('("Africa", "Asia")', ["Africa", "Asia"]),
        ("Asia, Africa", ["Africa", "Asia"]),
        ("Asia / Western Africa & Europe", ["Africa", "Asia", "Europe"]),
        ("Asia, not Southern", ["Asia, not Southern"]),
        ("Asia; ; n/a", ["Asia"]),
        ("['Asia', 'Prefer not to say']", ["Asia"]),
        ("['5. Prefer not to say']", [NOT_SAID]),
        ("['Mars']", ["['Mars']"]),
        ("", [""]),
        ("[]", [""]),
        ("N/A", [""]),
        (" nan ", [""]),
        ("none", ["none"]),
    ],
)
def test_cells_are_read_as_the_levels_they_name(cell: str, levels: list[str]) -> None:
    assert reader(**ANCESTRY).read(cell).split(SEVERAL) == levels


@pytest.mark.parametrize(
    "text",
    [
        "Prefer not to say.",
        "I'd rather not answer",
        "prefer_not_to_disclose",
        "DO NOT WISH TO SAY",
        "Declined to state",
        "keine Angabe",
        "Prefiero no decirlo",
        "je préfère ne pas répondre",
        "7. Not disclosed",
    ],
)
def test_people_decline_in_their_own_words(text: str) -> None:
    assert reader(**ANCESTRY).read(text) == NOT_SAID
    assert reader(levels=[text, "other"], several=True).read(text) == text


def test_what_the_config_names_comes_before_what_words_usually_mean() -> None:
    assert reader(edges=[18, 60], not_said=["99"]).read("99.0") == "60+"
    assert reader(edges=[18, 60], not_said=[99]).read("99") == NOT_SAID
    assert "60+ ends at 116" in reader(edges=[18, 60]).problem("150", 9)[1]
    assert reader(levels=["None", "Wavy"]).read("none") == "None"
    assert reader(scale="monk", ignored=["0"]).read("0") == ""


def test_levels_may_hold_separators() -> None:
    read = reader(levels=["Latin; Hispanic", "Native, Pacific", "White"], several=True).read
    assert read("latin;  Hispanic; White").split(SEVERAL) == ["Latin; Hispanic", "White"]
    assert read("White|Native, Pacific").split(SEVERAL) == ["Native, Pacific", "White"]
    assert read("Latin; Hispanics") == "Latin; Hispanics"


def test_one_answer_is_not_made_of_several() -> None:
    read = reader(levels=["a", "b"])
    assert read.read("['0. a']") == "a"
    assert read.read("a; b") == "a; b"
    assert "several: true" in read.problem("a; b", 9)[1]
    assert "did you mean 'a'" in LevelReader("x", ["a", "b"]).problem("A", 9)[1]


@pytest.mark.parametrize(
    "text", ["[164, 131,103]", "164,131,103", "rgb(164, 131, 103)", "#A48367", "2. [164 131 103]"]
)
def test_a_colour_is_its_three_numbers(text: str) -> None:
    colours = {"type IV": ["[164, 131, 103]"]}
    for several in (False, True):
        read = reader(scale="fitzpatrick", options=colours, several=several)
        assert read.read(text) == "type IV"
        assert read.read("#a48368") == "#a48368"


@pytest.mark.parametrize(
    ("scale", "text"),
    [("monk", "IV"), ("monk", "Fitzpatrick 4"), ("fitzpatrick", "monk 4"), ("monk", "5-6")],
)
def test_steps_of_another_scale_are_none(scale: str, text: str) -> None:
    assert reader(scale=scale).read(text) == text


def test_a_scale_that_counts_from_0_is_refused() -> None:
    with pytest.raises(DataError, match=r"monk from 1 on, got 0; .*ordered: true"):
        reader(scale="monk").read("0.0")


@pytest.mark.parametrize(
    ("text", "level"),
    [("30-39", "30-59"), ("31 to 40 years", "30-59"), ("65+", "60+"), ("over 64", "60+")],
)
def test_a_range_inside_of_a_bin_is_in_it(text: str, level: str) -> None:
    read = reader(edges=[18, 30, 60])
    assert read.read(text) == level
    assert read.read("25-34") == "25-34"
    assert "a range inside one of 18-29" in read.problem("25-34", 9)[1]
    assert any("ranges inside of a bin" in notice for notice in read.notices())


@pytest.mark.parametrize(
    ("scale", "texts"),
    [
        ("fitzpatrick", ["type iv", "IV", "4", "Fitzpatrick Type IV", "4.0", "Skin type: 4"]),
        ("monk", ["scale 4", "4", "MST-4", "Monk 4", "tone 4", "monk_skin_tone_4"]),
    ],
)
def test_steps_of_a_scale_are_read_in_its_order(scale: str, texts: list[str]) -> None:
    read = reader(scale=scale)
    assert {read.read(text) for text in texts} == {SCALES[scale][3]}
    assert read.read("40") not in read.levels
    assert read.record(0, 0).is_ordered


def test_numbers_fall_in_bins_that_begin_at_the_edges() -> None:
    read = reader(edges=[18, 30, 40, 41, 60])
    assert read.levels == ("18-29", "30-39", "40", "41-59", "60+")
    ages = ["18", "29.9", "30", "40", "59", "60", "99"]
    assert [read.read(age) for age in ages] == [*read.levels[:1] * 2, *read.levels[1:], "60+"]
    assert read.problem("17", 1)[0] == "number in no bin"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "expected one of levels, edges and scale, got none"),
        ({"levels": ["a"], "edges": [1, 2]}, "got levels and edges"),
        ({"edges": [30, 18]}, "expected ascending numbers"),
        ({"levels": ["a"], "options": {"b": ["c"]}}, "expected one of the levels a, got 'b'"),
        ({"levels": ["a", "A"]}, "expected each level once"),
        ({"levels": ["Prefer not to say"], "when_not_said": "group"}, "each level once"),
        ({"levels": ["a", "b"], "options": {"a": ["x"], "b": ["X"]}}, "'X' to mean one thing"),
        ({"levels": ["a", "b"], "options": {"a": ["b"]}}, "'b' to mean one thing"),
        ({"edges": [-5, 5]}, "greater than or equal to 0"),
        ({"levels": ["a"], "not_said": ["A"]}, "'a' to mean one thing"),
    ],
)
def test_unclear_answers_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Answers.model_validate(settings)


ROWS = [
    "1.png;A;['Africa', 'Europe'];woman",
    "2.png;A;['Africa'];woman",
    "3.png;B;['Asia', 'Southern Asia', 'Europe'];man|woman",
    "4.png;C;['Prefer not to say'];man",
    "5.png;D;;man",
    "6.png;E;['Europe', 'Oceania'];man",
]


def table_of(folder: Path, **ancestry: Any) -> FaceTable:
    for number in range(1, len(ROWS) + 1):
        (folder / f"{number}.png").write_bytes(encoded(picture(number), "PNG"))
    file = folder / "faces.csv"
    file.write_text("\n".join(["path;person;region;gender", *ROWS]) + "\n")
    attributes = {
        "ancestry": {"column": "region", **ANCESTRY, **ancestry},
        "gender": {"levels": ["woman", "man"], "several": True},
    }
    params = {"file": file, "attributes": attributes, "identity_column": "person"}
    return PLUGIN.read(Params.model_validate(params))


def test_a_face_has_a_row_for_each_combination_and_counts_once(tmp_path: Path) -> None:
    table = table_of(tmp_path)
    assert table.pictures is not None
    assert table.pictures.tolist() == [0, 0, 1, 2, 2, 2, 2, 3]
    assert table.codes.tolist() == [[0, 0], [2, 0], [0, 0], [1, 0], [1, 1], [2, 0], [2, 1], [2, 1]]
    assert [entry.reason for entry in table.exclusions] == ["prefers not to say", "empty field"]
    assert any("1 images have further answers" in notice for notice in table.notices)
    faces = prepare(table, Sampling(), workers=1, seed=0, cache=None, progress=Silent())
    assert len(faces) == 8
    assert len(np.unique(faces.clusters)) == 3  # people, however many answers they gave
    assert len({*faces.sha256}) == faces.table.n_images == faces.n_usable == 4
    assert not any(entry.reason == "near duplicate" for entry in faces.table.exclusions)
    record = data_record(faces, "manifest")
    ancestry, gender = record.attributes
    assert (record.n_images, record.n_usable, record.n_identities) == (4, 4, 3)
    assert ancestry.images == (2, 1, 3)
    assert gender.images == (3, 2)
    assert (ancestry.several, gender.several) == (2, 1)
    assert (ancestry.withheld, ancestry.missing) == (1, 1)


def test_those_who_do_not_answer_are_a_group_where_the_config_says_so(tmp_path: Path) -> None:
    table = table_of(tmp_path, when_not_said="group", when_missing="group")
    assert table.attributes[0].levels == ("Africa", "Asia", "Europe", NOT_SAID, NO_ANSWER)
    assert not table.exclusions
    assert table.n_images == 6
    assert table.once.codes[3:5, 0].tolist() == [3, 4]


def test_the_draw_keeps_all_answers_of_an_image(tmp_path: Path) -> None:
    sampling = Sampling(max_per_intersection=1)
    faces = prepare(table_of(tmp_path), sampling, workers=1, seed=0, cache=None, progress=Silent())
    assert faces.table.pictures is not None
    kept = dict(zip(*np.unique(faces.table.pictures, return_counts=True), strict=True))
    assert kept in ({0: 2, 2: 4, 3: 1}, {1: 1, 2: 4, 3: 1})


def manifest(folder: Path, rows: list[str], attributes: dict[str, Any], **more: Any) -> FaceTable:
    for number in range(1, 7):
        (folder / f"{number}.png").write_bytes(encoded(picture(number), "PNG"))
    (folder / "faces.csv").write_text("\n".join(["path,person,a,b,c", *rows]) + "\n")
    settings = {"file": folder / "faces.csv", "identity_column": "person", **more}
    return PLUGIN.read(Params.model_validate({**settings, "attributes": attributes}))


def labels_of(table: FaceTable) -> list[str]:
    return [table.attributes[0].levels[code] for code in table.codes[:, 0]]


def test_rows_of_one_face_are_its_answers(tmp_path: Path) -> None:
    rows = ["1.png,p,x,,", "2.png,q,y,,", "1.png,p,z,,", "1.png,p,x,,", "2.png,q,refused,,"]
    levels = {"levels": ["z", "y", "x"]}
    table = manifest(tmp_path, rows, {"a": {**levels, "several": True}})
    assert labels_of(table) == ["z", "x", "y"]
    assert table.n_images == 2
    assert "3 rows were read as further labels of faces with several rows" in table.notices
    alone = manifest(tmp_path, rows, {"a": levels})
    assert any("set several: true" in notice for notice in alone.notices)


@pytest.mark.parametrize("policy", ["leave out", "group"])
def test_annotators_may_have_a_row_each_and_no_answer_is_no_vote(
    tmp_path: Path, policy: str
) -> None:
    attributes = {"a": {"levels": ["x", "y"], "when_missing": policy}}
    votes = {"1": "x,x,y", "2": "y,,n/a", "3": ",,", "4": "x,y,"}
    wide = [f"{number}.png,p,{own}" for number, own in votes.items()]
    long = [f"{n}.png,p,{vote},," for n, own in votes.items() for vote in own.split(",")]
    in_columns = manifest(tmp_path, wide, attributes, annotators={"a": ["a", "b", "c"]})
    in_rows = manifest(tmp_path, long, attributes, annotators={"a": ["a"]})
    for table in (in_columns, in_rows):
        assert labels_of(table) == ["x", "y", NO_ANSWER][: 3 if policy == "group" else 2]
        assert "annotators tied" in [entry.reason for entry in table.exclusions]
        assert table.disagreement["a"].overall == pytest.approx((1 / 3 + 1 / 2) / 2)
        assert table.answers[0].missing == 1  # images, however many fields


def test_copies_agree_if_all_of_their_answers_do(tmp_path: Path) -> None:
    several = {"a": {"levels": ["x", "y"], "several": True}}
    rows = ["1.png,p,x;y,,", "2.png,q,y;x,,", "3.png,r,x;y,,", "4.png,s,x,,"]
    table = manifest(tmp_path, rows, several)
    for copy, original in (("2", "1"), ("4", "3")):
        (tmp_path / f"{copy}.png").write_bytes((tmp_path / f"{original}.png").read_bytes())
    faces = prepare(table, Sampling(), workers=1, seed=0, cache=None, progress=Silent())
    reasons = [entry.reason for entry in faces.table.exclusions]
    assert reasons.count("exact duplicate") == 1
    assert reasons.count("exact duplicates with conflicting labels") == 2
    assert faces.table.n_images == 1


@pytest.mark.parametrize(
    ("form", "cell"),
    [
        ("xywh", "[10, 20, 30, 40]"),
        ("xywh", "10 20 30.0 40"),
        ("xywh", "{'x': 10.0, 'y': 20, 'width': 30, 'height': 40, 'ok': True, 'more': {}}"),
        ("xywh", '{"height": 40, "width": 30, "top": 20, "left": 10, "ok": true}'),
        ("xyxy", "(10,20,40,60)"),
        ("xyxy", "{'xmin': 10, 'ymin': 20, 'xmax': 40, 'ymax': 60}"),
    ],
)
def test_a_box_is_read_as_people_write_it(form: Form, cell: str) -> None:
    boxed = with_box({PLACE: "row 1"}, listed_sides(cell, form), 0.0, form)
    assert isinstance(boxed, dict)
    assert box_of(boxed) == (10, 20, 40, 60)


@pytest.mark.parametrize(
    ("sides", "got"),
    [
        (["0.1", "0.2", "0.3", "0.4"], "got 0.1, 0.2, 0.3, 0.4"),
        (["5", "5", "0", "9"], "got 5, 5, 0, 9"),
        (["Jane", "", "", ""], "got no number"),
    ],
)
def test_what_is_no_box_says_what_came(sides: list[str], got: str) -> None:
    left_out = with_box({PLACE: "row 1"}, sides, 0.0)
    assert isinstance(left_out, Exclusion)
    assert left_out.detail.endswith(got)


def test_boxes_of_corners_are_not_taken_for_sides() -> None:
    columns = {"box_columns": ["x1", "y1", "x2", "y2"], "attributes": {"a": ["x"]}}
    with pytest.raises(ValidationError, match="set box_form: xyxy"):
        Params.model_validate({"file": "x.csv", **columns})
    Params.model_validate({"file": "x.csv", **columns, "box_form": "xyxy"})
    with pytest.raises(UnusableImageError, match=r"400 x 300 pixels, got 420, 305"):
        cut_out(Image.new("RGB", (400, 300)), (280, 210, 560, 400))
    assert cut_out(Image.new("RGB", (40, 30)), (-30, -30, 35, 35)).size == (35, 30)
