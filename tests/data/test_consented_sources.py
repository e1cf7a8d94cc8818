"""FHIBE, Casual Conversations, FACET, CelebA and RFW, as small folders in their layouts."""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bias_audit.config.schema import Sampling
from bias_audit.data.images import decode, read_bytes
from bias_audit.data.sampling import prepare
from bias_audit.data.sources import casual_conversations, celeba, facet, fhibe, rfw
from bias_audit.errors import DataError
from bias_audit.progress import Silent
from tests.data.conftest import encoded, picture

FHIBE_LIKE = Path(__file__).parents[3] / "shared" / "data" / "fhibe_like"
HEADER = (
    "filepath,subject_id,consent,age,ancestry,pronoun,natural_skin_color,"
    "apparent_skin_color,face_bbox"
)
ABOUT = "\"['0. Africa', '17. Europe']\",['5. Prefer not to say'],\"2. [164, 131, 103]\","
FHIBE_ROWS = [
    f'data/raw/1.png,p1,True,29,{ABOUT}"0. [102, 78, 65]","[10, 10, 20, 20]"',
    f'data/raw/2.png,p1,True,30,{ABOUT}"1. [136, 105, 81]","[40, 30, 20, 30]"',
    f'data/raw/3.png,p2,False,61,{ABOUT}"5. [198, 180, 157]","[0, 0, 20, 20]"',
]


def jpeg(seed: int) -> bytes:
    return encoded(picture(seed, 90), "JPEG")


def fhibe_folder(folder: Path, name: str = "fhibe_face_crop_align") -> Path:
    root = folder / "fhibe.20250716.u.gT5_rFTA_downsampled_public"
    processed = root / "data" / "processed" / name
    processed.mkdir(parents=True)
    (root / "data" / "raw").mkdir()
    for number in (1, 2, 3):
        image = Image.new("RGB", (80, 80), (number, 0, 0))
        image.paste((0, 200, number), (40, 30, 60, 60))
        image.save(root / "data" / "raw" / f"{number}.png")
    (processed / f"{name}.csv").write_text("\n".join([HEADER, *FHIBE_ROWS]) + "\n")
    return root


def test_fhibe_is_read_as_it_unpacks(tmp_path: Path) -> None:
    root = fhibe_folder(tmp_path)
    table = fhibe.read(fhibe.Params(root=root))
    assert table.name == "FHIBE 20250716.u.gT5_rFTA, faces"
    assert table.identities == ("p1",) * 4
    assert [entry.reason for entry in table.exclusions] == ["no consent"]
    labels = [
        [a.levels[c] for a, c in zip(table.attributes, row, strict=True)] for row in table.codes
    ]
    withheld = "prefer not to say"
    assert labels[0] == ["18-29", "Africa", withheld]
    assert labels[1:] == [
        ["18-29", "Europe", withheld],
        ["30-39", "Africa", withheld],
        ["30-39", "Europe", withheld],
    ]
    colours = ("natural_skin_color", "apparent_skin_color")
    table = fhibe.read(fhibe.Params(root=root, attributes=colours, version="mine"))
    types = [[table.attributes[0].levels[code] for code in row] for row in table.codes]
    assert types == [["type IV", "type VI"], ["type IV", "type V"]]
    assert "version of the download: mine" in table.notices


def test_faces_are_cut_out_of_whole_images(tmp_path: Path) -> None:
    root = fhibe_folder(tmp_path, "fhibe_downsampled")
    table = fhibe.read(fhibe.Params(root=root, images="whole", margin=0.0))
    reference = table.references[2]
    assert reference.box == (40, 30, 60, 60)
    cut = decode(read_bytes(reference), reference.white, reference.box)
    assert np.asarray(cut).reshape(-1, 3).tolist() == [[0, 200, 2]] * 600
    assert any("margin 0" in notice for notice in table.notices)
    with pytest.raises(DataError, match="expected data/processed/fhibe_face_crop_align"):
        fhibe.read(fhibe.Params(root=root))


@pytest.mark.skipif(not FHIBE_LIKE.is_dir(), reason="needs ../shared, which a public clone lacks")
def test_every_row_of_the_example_is_read() -> None:
    for attributes in (("age", "ancestry", "pronoun"), tuple(fhibe.ATTRIBUTES)[4:6]):
        table = fhibe.read(fhibe.Params(root=FHIBE_LIKE, attributes=attributes))
        assert table.n_images == 60
        assert not table.exclusions
        assert len({*(table.identities or ())}) == 50


def casual_conversations_folder(folder: Path) -> Path:
    entries = [
        {
            "subject_id": f"000{number}",
            "video_name": f"{number}.mp4",
            "age": age,
            "gender": gender,
            "monk_skin_tone": {"scale": f"scale {number}", "confidence": "high"},
            "fitzpatrick_skin_tone": {"type": "type iii", "confidence": "low"},
        }
        for number, age, gender in ((1, "33", "cis man"), (2, "prefer not to say", "non-binary"))
    ]
    entries.append({**entries[0], "video_name": "1b.mp4"})
    (folder / "annotations").mkdir(parents=True)
    (folder / "annotations" / "CasualConversationsV2.json").write_text(json.dumps(entries))
    for person in ("0001", "0002"):
        (folder / "frames" / person).mkdir(parents=True)
        for frame in range(8):
            (folder / "frames" / person / f"{frame}.jpg").write_bytes(jpeg(frame))
    return folder


def test_casual_conversations_reads_frames_of_people(tmp_path: Path) -> None:
    casual_conversations_folder(tmp_path)
    read = casual_conversations.read
    params = casual_conversations.Params(root=tmp_path, per_person=3, attributes=("age", "monk"))
    table = read(params)
    assert [reference.file.name for reference in table.references] == ["0.jpg", "3.jpg", "7.jpg"]
    assert table.identities == ("0001",) * 3
    assert [table.attributes[0].levels[code] for code in table.codes[:, 0]] == ["30-39"] * 3
    assert {entry.reason for entry in table.exclusions} == {"prefers not to say"}
    file = tmp_path / "annotations" / "CasualConversationsV2.json"
    text = file.read_text().replace("0001", "a-1[x]").replace("0002", "../0002")
    file.write_text(text, "utf-8-sig")
    (tmp_path / "frames" / "0001").rename(tmp_path / "frames" / "a-1[x]")
    assert {*(read(params).identities or ())} == {"a-1[x]"}
    file.write_text(text.replace("a-1[x]", "0001").replace("../0002", "0002"))
    (tmp_path / "frames" / "a-1[x]").rename(tmp_path / "frames" / "0001")
    tones = params.model_copy(update={"attributes": ("gender", "fitzpatrick")})
    assert read(tones).codes.tolist() == [[1, 2]] * 3 + [[4, 2]] * 3


def facet_folder(folder: Path) -> Path:
    columns = [c for own in facet._COLUMNS.values() for c in own.values()]
    rows = []
    for number, (tone, other) in enumerate([(3, 1), (2, 2)]):
        votes = dict.fromkeys(columns, 0) | {
            "age_presentation_middle": 1,
            "gender_presentation_fem": 1,
            "skin_tone_4": tone,
            "skin_tone_5": other,
        }
        box = f"\"{{'x': {10 * number}.0, 'y': 5, 'width': 30, 'height': 40}}\""
        rows.append(",".join(["a.jpg", box, "1", *map(str, votes.values())]))
    rows.append(",".join(["a.jpg", '""', "0", *"0" * len(columns)]))
    header = ",".join(["filename", "bounding_box", "visible_face", *columns])
    (folder / "annotations").mkdir(parents=True)
    (folder / "annotations" / "annotations.csv").write_text("\n".join([header, *rows]) + "\n")
    (folder / "imgs_1").mkdir()
    (folder / "imgs_1" / "a.jpg").write_bytes(jpeg(3))
    return folder


def test_facet_counts_votes_and_cuts_people_out(tmp_path: Path) -> None:
    facet_folder(tmp_path)
    table = facet.read(facet.Params(root=tmp_path))
    assert table.codes.tolist() == [[1, 1], [1, 1]]
    assert [r.box for r in table.references] == [(0, 5, 30, 45), (10, 5, 40, 45)]
    faces = prepare(table, Sampling(), workers=1, seed=0, cache=tmp_path, progress=Silent())
    assert len({*faces.sha256}) == 2  # two people of one photograph are two images
    assert [entry.reason for entry in table.exclusions] == ["no visible face"]
    table = facet.read(facet.Params(root=tmp_path, attributes=("skin tone",)))
    assert table.codes.tolist() == [[3]]
    assert table.disagreement["skin tone"].overall == pytest.approx((1 / 4 + 1 / 2) / 2)
    assert "annotators tied" in [entry.reason for entry in table.exclusions]


def celeba_folder(folder: Path, kind: str = "csv") -> Path:
    comma = "," if kind == "csv" else "  "
    lines = {
        "list_attr_celeba": [["image_id"] * (kind == "csv") + ["Male", "Smiling", "Young"]],
        "identity_CelebA": [],
        "list_eval_partition": [],
    }
    (folder / "img_align_celeba").mkdir(parents=True)
    for number in range(1, 5):
        name = f"00000{number}.jpg"
        (folder / "img_align_celeba" / name).write_bytes(jpeg(number))
        lines["list_attr_celeba"].append([name, "-1" if number % 2 else "1", "1", "1"])
        lines["identity_CelebA"].append([name, str(number // 3)])
        lines["list_eval_partition"].append([name, "2" if number > 1 else "0"])
    for name, rows in lines.items():
        first = ["4"] if kind == "txt" and name == "list_attr_celeba" else []
        text = "\n".join([*first, *(comma.join(row) for row in rows)])
        (folder / f"{name}.{kind}").write_text(text + "\n")
    return folder


def test_facet_counts_all_votes(tmp_path: Path) -> None:
    file = facet_folder(tmp_path) / "annotations" / "annotations.csv"
    header, row, *_ = file.read_text().splitlines()
    row = row.replace("{'x': 0.0,", '{""x"": 0.0, ""ok"": true,')
    names, cells = header.split(","), row.split(",")
    for tone, n in ((1, 4), (2, 5), (9, 8)):
        cells[names.index(f"skin_tone_{tone}") - len(names)] = f"{n}.0"
    file.write_text("\n".join([header, ",".join(cells)]) + "\n")
    table = facet.read(facet.Params(root=tmp_path, attributes=("skin tone",)))
    assert table.codes.tolist() == [[8]]


@pytest.mark.parametrize("kind", ["txt", "csv"])
def test_celeba_is_read_from_either_kind_of_list(tmp_path: Path, kind: str) -> None:
    celeba_folder(tmp_path, kind)
    table = celeba.read(celeba.Params(root=tmp_path))
    assert table.attributes[0].levels == ("not Male", "Male")
    assert table.codes.tolist() == [[1, 1], [0, 1], [1, 1]]
    assert table.identities == ("0", "1", "1")
    assert table.splits == ("test",) * 3
    with pytest.raises(DataError, match="did you mean 'Young'"):
        celeba.read(celeba.Params(root=tmp_path, attributes=("young",)))


@pytest.mark.parametrize(
    ("written", "encoding"), [(("0.0", "1.0"), "utf-8"), (("False", "True"), "utf-16")]
)
def test_celeba_is_read_without_identities_and_as_other_software_writes_it(
    tmp_path: Path, written: tuple[str, str], encoding: str
) -> None:
    celeba_folder(tmp_path)
    (tmp_path / "identity_CelebA.csv").unlink()
    (tmp_path / "list_eval_partition.csv").unlink()
    file = tmp_path / "list_attr_celeba.csv"
    text = file.read_text().replace("-1", written[0]).replace(",1", f",{written[1]}")
    file.write_text(text.replace("\n", "\r\n"), encoding)
    table = celeba.read(celeba.Params(root=tmp_path, split="all"))
    assert table.codes.tolist() == [[0, 1], [1, 1], [0, 1], [1, 1]]
    assert table.identities is None
    with pytest.raises(DataError, match="expected list_eval_partition"):
        celeba.read(celeba.Params(root=tmp_path))
    file.write_bytes(b"\xe4" + text.encode())
    with pytest.raises(DataError, match="expected UTF-8 text"):
        celeba.read(celeba.Params(root=tmp_path, split="all"))


def rfw_folder(folder: Path) -> Path:
    for seed, (race, person) in enumerate(product(rfw.RACE.levels, ("m.01", "m.02"))):
        (folder / race / person).mkdir(parents=True)
        (folder / race / person / f"{person}_0001.jpg").write_bytes(jpeg(seed))
    return folder


def test_rfw_is_read_from_its_folders(tmp_path: Path) -> None:
    rfw_folder(tmp_path / "data")
    table = rfw.read(rfw.Params(root=tmp_path / "data"))
    assert table.codes[:, 0].tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    assert table.identities == ("m.01", "m.02") * 4
    with pytest.raises(DataError, match=r"set root to .*data"):
        rfw.read(rfw.Params(root=tmp_path))
    for path in (tmp_path / "data").rglob("*.jpg"):
        path.rename(path.with_suffix(".PNG"))
    assert len(rfw.read(rfw.Params(root=tmp_path / "data"))) == 8
    for path in (tmp_path / "data").rglob("*.PNG"):
        path.rename(path.parents[1] / path.name)
    with pytest.raises(DataError, match="a folder for each person"):
        rfw.read(rfw.Params(root=tmp_path / "data"))
