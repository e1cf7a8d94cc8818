"""What people answer: several levels, numbers, scales, finer options, and no answer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from bias_audit.config.schema import Sampling
from bias_audit.data.answers import NO_ANSWER, NOT_SAID, SCALES, SEVERAL, AnswerReader, Answers
from bias_audit.data.faces import FaceTable, data_record
from bias_audit.data.sampling import prepare
from bias_audit.data.sources.manifest import PLUGIN, Params
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
        ("['Asia', 'Prefer not to say']", ["Asia"]),
        ("['5. Prefer not to say']", [NOT_SAID]),
        ("['Mars']", ["['Mars']"]),
        ("", [""]),
        ("[]", [""]),
    ],
)
def test_cells_are_read_as_the_levels_they_name(cell: str, levels: list[str]) -> None:
    assert reader(**ANCESTRY).read(cell).split(SEVERAL) == levels


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
    assert read.record().is_ordered


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
    assert table.codes.tolist() == [[0, 0], [2, 0], [0, 0], [1, 1], [1, 0], [2, 1], [2, 0], [2, 1]]
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
