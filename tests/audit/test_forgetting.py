"""People who withdraw consent leave the cache, and the audits that rest on them are named."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest

from bias_audit.audit.forgetting import forget, subjects_of
from bias_audit.audit.plan import find_faces, make_plan
from bias_audit.config.load import is_zoo_config, load_config
from bias_audit.config.schema import AuditConfig, Component
from bias_audit.data.faces import Faces
from bias_audit.data.forgetting import forget_identities
from bias_audit.errors import DataError
from bias_audit.files import read_arrays, write_text
from bias_audit.finished import _faces
from bias_audit.progress import Silent
from bias_audit.results.store import write_audit
from tests.data.conftest import encoded, picture
from tests.report.synthetic import make_audit

CONFIG = """
name: audit
data:
  kind: manifest
  file: {folder}/faces.csv
  attributes: {{group: [a, b]}}
  {identity}
small_groups: {{suppress_below: 2}}
backbones: [{{kind: bundled, name: tf_efficientnet_lite0}}]
analyses: [{{kind: linear_probe, folds: 3}}]
output: {{folder: {folder}/runs/audit, cache: {folder}/cache}}
"""


def config_in(folder: Path, identity: str = "identity_column: person") -> AuditConfig:
    lines = ["path,group,person"]
    for number in range(12):
        (folder / f"{number}.png").write_bytes(encoded(picture(number), "PNG"))
        lines.append(f"{number}.png,{'ab'[number % 2]},Person {number // 2}")
    (folder / "faces.csv").write_text("\n".join(lines) + "\n")
    (folder / "audit.yaml").write_text(CONFIG.format(folder=folder, identity=identity))
    return load_config(folder / "audit.yaml")


def found(config: AuditConfig) -> Faces:
    return find_faces(make_plan(config), progress=Silent())


def audited(config: AuditConfig, name: str, images: list[str]) -> Path:
    """What an audit of some images leaves behind: activations, and a run folder."""
    activations = config.output.cache / "activations" / name
    activations.mkdir(parents=True)
    write_text(activations / "images.txt", "\n".join(["maker", *images]) + "\n")
    folder = config.folder.parent / name
    folder.mkdir(parents=True)
    result = make_audit().result
    seen = sha256("\n".join(sorted(images)).encode()).hexdigest()
    data = result.data.model_copy(update={"images_sha256": seen})
    write_audit(folder, result.model_copy(update={"data": data}))
    return folder


def test_people_who_withdraw_leave_the_cache_and_later_audits(tmp_path: Path) -> None:
    config = config_in(tmp_path)
    faces, cache = found(config), config.output.cache
    assert faces.table.identities is not None
    theirs = np.array(faces.table.identities) == "person 1"
    images = np.array(faces.sha256)
    with_them = audited(config, "with", images.tolist())
    without = audited(config, "without", images[~theirs].tolist())
    ledger = '"image","reason"\n"{}/2.png","near duplicate"\n"{}/9.png","near duplicate"\n'
    write_text(with_them / "exclusions.csv", ledger.format(tmp_path.name, tmp_path.name))
    (cache / "intermediate").mkdir()
    (cache / "intermediate" / "kept.npz").write_bytes(b"of unknown images")

    lines = list(forget([config], ["  Person  1 "], config.folder.parent, Silent()))

    assert "1 subject with 2 images to forget" in lines
    stale = [line for line in lines if "is stale" in line]
    assert len(stale) == 1
    assert stale[0].startswith(f"{with_them}: rests on 2 images")
    assert not any(str(without) in line for line in lines)
    assert not (cache / "activations" / "with").exists()
    assert (cache / "activations" / "without" / "images.txt").exists()
    assert not list((cache / "intermediate").iterdir())
    kept = [read_arrays(file) or {} for file in (cache / "scan").glob("*.npz")]
    opened = {sha.decode() for arrays in kept for sha in arrays["records"]["sha256"].tolist()}
    assert opened == {*images[~theirs]}
    assert (with_them / "exclusions.csv").read_text().count("near duplicate") == 1
    everything = b"".join(file.read_bytes() for file in cache.rglob("*") if file.is_file())
    assert not any(sha.encode() in everything for sha in images[theirs])
    assert b"erson 1" not in everything

    later = found(config)
    assert {*later.sha256} == {*images[~theirs]}
    reasons = [entry.reason for entry in later.table.exclusions]
    assert reasons.count("consent withdrawn") == 2
    assert list(forget([config], ["Person 1"], config.folder.parent, Silent()))  # once more


def test_unknown_people_and_unnamed_people_are_refused(tmp_path: Path) -> None:
    config = config_in(tmp_path)
    with pytest.raises(DataError, match="got nobody we know, whom they do not"):
        list(forget([config], ["person 1", "nobody we know"], tmp_path, Silent()))
    assert not (config.output.cache / "forgotten.txt").exists()
    without = config_in(tmp_path, identity="")
    with pytest.raises(DataError, match="says who is shown"):
        list(forget([without], ["person 1"], tmp_path, Silent()))


def test_people_whom_a_config_leaves_out_are_forgotten_as_well(tmp_path: Path) -> None:
    config = config_in(tmp_path)
    labels = tmp_path / "faces.csv"
    images = {name: found(config).sha256[int(name)] for name in ("2", "3", "4")}
    text = labels.read_text().replace("2.png,a", "2.png,unclear").replace("3.png,b", "3.png,")
    labels.write_text(text.replace("\n4.png", "\ngone.png"))
    assert not {*images.values()} & {*found(config).sha256}
    other = audited(config, "other", [*images.values()])
    write_text(other / "exclusions.csv", f'"{tmp_path.name}/2.png"\n"{tmp_path.name}/2.png2"\n')
    lines = list(forget([config], ["person 1"], config.folder.parent, Silent()))
    assert "1 subject with 2 images to forget" in lines
    assert any(line.startswith(f"{other}: rests on 2 images") for line in lines)
    assert (other / "exclusions.csv").read_text() == f'"{tmp_path.name}/2.png2"\n'
    ledger = found(config).table.exclusions
    assert [each.reason for each in ledger].count("consent withdrawn") == 2
    assert not any(each.reference == "2.png" for each in ledger)
    lines = list(forget([config], ["person 2"], config.folder.parent, Silent()))
    assert any(line.startswith("1 image of them cannot be opened") for line in lines)


def test_a_data_set_without_names_beside_stops_nothing(tmp_path: Path) -> None:
    config = config_in(tmp_path)
    data = Component(**{**config.data.model_dump(), "identity_column": None})
    configs = [config.model_copy(update={"data": data}), config]
    assert "1 subject with 2 images to forget" in forget(
        configs, ["person 1"], config.folder.parent, Silent()
    )
    with pytest.raises(DataError, match="says who is shown"):
        list(forget(configs[:1], ["person 1"], config.folder.parent, Silent()))


def test_audits_of_a_zoo_beside_are_named(tmp_path: Path) -> None:
    config = config_in(tmp_path)
    own = audited(config, "own", list(found(config).sha256))
    folder = own.parent / "zoo" / "audits" / "faces" / "net" / "2026"
    folder.parent.mkdir(parents=True)
    own.rename(folder)
    lines = list(forget([config], ["person 1"], config.folder.parent, Silent()))
    assert any(line.startswith(f"{folder}: rests on 2 images") for line in lines)


def test_what_stands_is_without_the_forgotten_and_with_the_same_boxes(tmp_path: Path) -> None:
    config = config_in(tmp_path)
    before = _faces(config)
    assert before == _faces(config)
    forget_identities(config.output.cache, ["person 1"])
    assert before != _faces(config)
    header, *rows = (tmp_path / "faces.csv").read_text().splitlines()
    data = Component(kind="manifest", **config.data.params, box_columns=["box"])
    seen = set()
    for box in ("0 0 20 20", "0 0 20 21"):
        lines = [f"{header},box", *(f"{row},{box}" for row in rows)]
        (tmp_path / "faces.csv").write_text("\n".join(lines))
        seen.add(_faces(config.model_copy(update={"data": data})))
    assert len(seen) == 2


def test_subjects_are_named_or_listed_in_files(tmp_path: Path) -> None:
    file = tmp_path / "left.txt"
    file.write_text("one\n\n two \n")
    assert subjects_of(["zero", str(file)]) == ["zero", "one", "two"]
    for encoding in ("utf-8-sig", "utf-16"):
        file.write_text("one\r\n\r\ntwo\r\n", encoding)
        assert subjects_of([str(file)]) == ["one", "two"]
    file.write_text("\n")
    with pytest.raises(DataError, match="expected subjects, one a line, got none"):
        subjects_of([str(file)])
    config_in(tmp_path)
    assert not is_zoo_config(tmp_path / "audit.yaml")
    (tmp_path / "zoo.yaml").write_text("datasets: []\n")
    assert is_zoo_config(tmp_path / "zoo.yaml")
