"""Files by their content, in the stores of fsspec that need no network."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from uuid import uuid4

import fsspec
import pytest

from bias_audit.config.schema import AuditConfig
from bias_audit.errors import OutputError
from bias_audit.zoo.object_store import ObjectStore, below, inputs_of


@pytest.fixture(params=["file", "memory"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "memory":
        return f"memory://{uuid4().hex}"
    return f"file://{tmp_path / 'store'}"


def _objects(url: str) -> dict[str, bytes]:
    files, root = fsspec.core.url_to_fs(url)
    places = files.ls(f"{root}/objects", detail=False)
    return {place.rpartition("/")[2]: files.cat_file(place) for place in places}


def _some(folder: Path) -> Path:
    (folder / "faces").mkdir(parents=True)
    (folder / "labels.csv").write_text("file,race\n")
    (folder / "faces" / "1.jpg").write_bytes(b"one")
    (folder / "faces" / "again.jpg").write_bytes(b"one")
    (folder / ".lock").write_text("")
    return folder


def test_what_is_put_comes_back_and_one_content_is_kept_once(url: str, tmp_path: Path) -> None:
    files = below(_some(tmp_path / "here"))
    assert set(files) == {"labels.csv", "faces/1.jpg", "faces/again.jpg"}
    listed = ObjectStore(url).put(files)
    found = _objects(url)
    assert len(found) == 3  # two contents and the list; nothing half written
    assert all(hashlib.sha256(content).hexdigest() == name for name, content in found.items())
    ObjectStore(url).fetch(listed, tmp_path / "there", kept=tmp_path / "kept")
    fetched = below(tmp_path / "there")
    assert {name: path.read_bytes() for name, path in fetched.items()} == {
        name: path.read_bytes() for name, path in files.items()
    }
    assert ObjectStore(url).put(files) == listed
    assert _objects(url) == found


def test_what_a_node_has_is_not_fetched_again(url: str, tmp_path: Path) -> None:
    store = ObjectStore(url)
    listed = store.put(below(_some(tmp_path / "here")))
    store.fetch(listed, tmp_path / "one", kept=tmp_path / "kept")
    files, root = fsspec.core.url_to_fs(url)
    files.rm(f"{root}/objects", recursive=True)
    store.fetch(listed, tmp_path / "two", kept=tmp_path / "kept")
    assert (tmp_path / "two" / "faces" / "1.jpg").read_bytes() == b"one"
    with pytest.raises(OutputError, match="refuses"):
        store.fetch(listed, tmp_path / "three", kept=tmp_path / "other")


def test_a_damaged_object_is_refused(url: str, tmp_path: Path) -> None:
    store = ObjectStore(url)
    listed = store.put(below(_some(tmp_path / "here")))
    files, root = fsspec.core.url_to_fs(url)
    files.pipe_file(f"{root}/objects/{hashlib.sha256(b'one').hexdigest()}", b"two")
    with pytest.raises(OutputError, match="damaged"):
        store.fetch(listed, tmp_path / "there", kept=tmp_path / "kept")
    assert not (tmp_path / "there" / "faces" / "1.jpg").exists()


@pytest.mark.parametrize("name", ["/etc/one", "../one", "a/../../one"])
def test_a_list_cannot_write_outside_its_folder(url: str, tmp_path: Path, name: str) -> None:
    store = ObjectStore(url)
    store.put(below(_some(tmp_path / "here")))
    content = json.dumps({name: hashlib.sha256(b"one").hexdigest()}).encode()
    listed = hashlib.sha256(content).hexdigest()
    files, root = fsspec.core.url_to_fs(url)
    files.pipe_file(f"{root}/objects/{listed}", content)
    with pytest.raises(OutputError, match="leaves its folder"):
        store.fetch(listed, tmp_path / "deep" / "there", kept=tmp_path / "kept")
    assert not (tmp_path / "one").exists()


def test_an_unknown_protocol_names_the_setting() -> None:
    with pytest.raises(OutputError, match=r"executor\.store: 'nosuch://bucket' cannot be opened"):
        ObjectStore("nosuch://bucket")


def test_inputs_are_what_a_config_names_by_relative_paths(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(_some(tmp_path))
    absolute = tmp_path / "own.safetensors"
    absolute.write_bytes(b"weights")
    (tmp_path / "reference").mkdir()
    (tmp_path / "reference" / "r.png").write_bytes(b"r")
    Path("labels.csv").write_text(
        "file,race\n"
        + "".join(f"{name},{race}\n" for name, race in [("1.jpg", "a"), ("again.jpg", "b")])
    )
    config = AuditConfig.model_validate(
        {
            "name": "inputs",
            "data": {
                "kind": "manifest",
                "file": "labels.csv",
                "root": "faces",
                "path_column": "file",
                "attributes": {"race": ["a", "b"]},
            },
            "backbones": [
                {"kind": "checkpoint", "architecture": "resnet18", "file": str(absolute)}
            ],
            "controls": {"reference": "reference"},
            "analyses": [{"kind": "group_profiles"}],
            "output": {"folder": "faces"},
        }
    )
    assert set(inputs_of(config)) == {
        "labels.csv",
        "faces/1.jpg",
        "faces/again.jpg",
        "reference/r.png",
    }
