"""Activations that were computed elsewhere give the numbers of the network, to the last bit."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from pydantic import ValidationError
from safetensors.numpy import save_file
from safetensors.torch import save_file as torch_save_file

from bias_audit.audit.handing_over import hand_over
from bias_audit.audit.plan import make_plan
from bias_audit.audit.run import run
from bias_audit.backbones.loading import Backbone
from bias_audit.config.schema import AuditConfig
from bias_audit.errors import BackboneError, ConfigError
from bias_audit.progress import Silent
from bias_audit.results.audit import AuditResult
from tests.backbones.test_sources import load

NAMES = ("a/one.jpg", "a/two.jpg", "b/one.jpg")
ROWS: dict[str, Any] = {
    "early": np.arange(12, dtype=np.float32).reshape(3, 4),
    "late10": np.arange(6, dtype=np.float64).reshape(3, 2),
    "late9": np.ones((3, 2), dtype=np.float16),
}


def audit(folder: Path, *, name: str, backbone: dict[str, Any], **others: Any) -> AuditConfig:
    settings = {
        "name": name,
        "data": {"kind": "parametric", "split": "test"},
        "backbones": [backbone],
        "activations": {"positions": 2},
        "sampling": {"max_per_intersection": 12},
        "controls": {"random_weights": 0, "shuffles": 1, "image": False},
        "analyses": [{"kind": "linear_probe"}, {"kind": "group_profiles"}, {"kind": "erasure"}],
        "output": {"folder": folder / name, "cache": folder / f"{name}-cache"},
    }
    return AuditConfig.model_validate({**settings, **others})


def numbers(result: AuditResult) -> Any:
    """All that the analyses found."""
    left_out = {"seconds", "arrays", "contributions"}
    return [each.model_dump(exclude=left_out) for each in result.subjects[0].analyses]


@pytest.mark.slow
def test_every_number_is_that_of_the_network(tmp_path: Path) -> None:
    network = {"kind": "bundled", "layers": ["blocks.5", "bn2"], "preprocessing": {"size": 64}}
    config = audit(tmp_path, name="network", backbone=network)
    expected = run(config, command="test", progress=Silent())
    (place,) = hand_over(config, tmp_path / "handed", Silent())
    given = {"kind": "activations", "path": place}
    controls = {"random_weights": 2, "shuffles": 1, "image": False}
    other = audit(tmp_path, name="given", backbone=given, controls=controls)
    found = run(other, command="test", progress=Silent())
    assert all(each.status == "done" for each in expected.subjects[0].analyses)
    assert numbers(found) == numbers(expected)
    for analysis in zip(found.subjects[0].analyses, expected.subjects[0].analyses, strict=True):
        of_given, of_network = (
            sorted((tmp_path / name / "arrays" / each.arrays).glob("*"))
            for name, each in zip(("given", "network"), analysis, strict=True)
        )
        pairs = zip(of_given, of_network, strict=True)
        assert all(a.read_bytes() == b.read_bytes() for a, b in pairs)
    (absent,) = [each for each in found.subjects[0].controls if each.absent]
    assert absent.kind == "random weights"
    assert found.subjects[0].extraction["forward_images"] == 0


def written(folder: Path, kind: str) -> dict[str, Any]:
    folder.mkdir(exist_ok=True)
    if kind == "folder":
        for name, array in ROWS.items():
            np.save(folder / f"{name}.npy", array)
        (folder / "images.txt").write_text("\n".join(NAMES), encoding="utf-8")
        return {"path": folder}
    path = folder / f"given.{kind}"
    if kind == "npz":
        np.savez(path, images=np.array(NAMES), **ROWS)
    elif kind == "safetensors":
        save_file(ROWS, path, metadata={"images": json.dumps(NAMES)})
    else:
        columns = {name: list(array.astype(np.float32)) for name, array in ROWS.items()}
        pq.write_table(pa.table({"image": list(NAMES), **columns}), path)
    return {"path": path}


def read(**params: Any) -> Backbone:
    return load("activations", **params)


@pytest.mark.parametrize("kind", ["folder", "npz", "safetensors", "parquet"])
def test_every_kind_of_file(kind: str, tmp_path: Path) -> None:
    backbone = read(**written(tmp_path / "given", kind), layers=["early", "late*"])
    assert set(backbone.layers) == set(ROWS)
    assert backbone.layers[0] == "early"
    given = backbone.given
    assert given is not None
    rows = given.rows_of(["0" * 64, "1" * 64], ["b/one.jpg", "a/two.jpg"])
    assert rows.tolist() == [2, 1]
    for name, array in ROWS.items():
        found = given.values(name, "output", None, rows)
        assert found.dtype == np.float32
        assert np.array_equal(found, array[[2, 1]].astype(np.float32))
    assert (
        backbone.fingerprint
        != read(**written(tmp_path / "given", kind), layers=["early"]).fingerprint
    )


def test_layers_are_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    assert read(**written(tmp_path, "folder")).layers == ("early", "late9", "late10")


def _twice(folder: Path) -> None:
    (folder / "images.txt").write_text("a/one.jpg\na/one.jpg\nc.jpg", encoding="utf-8")


def _few(folder: Path) -> None:
    (folder / "images.txt").write_text("a/one.jpg\nc.jpg", encoding="utf-8")


def _unnamed(folder: Path) -> None:
    (folder / "images.txt").unlink()


def _integers(folder: Path) -> None:
    np.save(folder / "early.npy", np.ones((3, 4), dtype=np.int64))


def _maps(folder: Path) -> None:
    np.save(folder / "early.npy", np.ones((3, 4, 2, 2), dtype=np.float32))


def _objects(folder: Path) -> None:
    np.save(folder / "early.npy", np.array([{}] * 3, dtype=object), allow_pickle=True)


def _infinite(folder: Path) -> None:
    np.save(folder / "early.npy", np.full((3, 4), np.nan, dtype=np.float32))


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (_twice, "one row for each image, got several for 'a/one.jpg'"),
        (_few, r"shape \(2, n_units\), a row for each named image, got float32 of shape \(3, 4\)"),
        (_unnamed, "nothing says which row is which image"),
        (_integers, "expected floating-point numbers"),
        (_maps, r"got float32 of shape \(3, 4, 2, 2\)"),
        (_objects, "got Python objects, and to open those could run code"),
        (_infinite, "not finite in float32, such as for a/one.jpg, b/one.jpg"),
    ],
)
def test_what_is_wrong_is_said(
    change: Callable[[Path], None], expected: str, tmp_path: Path
) -> None:
    written(tmp_path, "folder")
    change(tmp_path)
    with pytest.raises(BackboneError, match=expected):
        _values(read(path=tmp_path))


def _values(backbone: Backbone) -> None:
    assert backbone.given is not None
    rows = backbone.given.rows_of(["0", "1"], ["a/one.jpg", "b/one.jpg"])
    backbone.given.values("early", "output", None, rows)


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (("a/one.jpg", "d/four.jpg"), r"1 of 2 images have no row \(such as d/four.jpg\)"),
        (("x/c.jpg", "y/c.jpg"), "some rows stand for several images"),
    ],
)
def test_images_that_do_not_match(labels: tuple[str, str], expected: str, tmp_path: Path) -> None:
    written(tmp_path, "folder")
    (tmp_path / "images.txt").write_text("a/one.jpg\na/two.jpg\nc.jpg", encoding="utf-8")
    given = read(path=tmp_path).given
    assert given is not None
    with pytest.raises(BackboneError, match=expected):
        given.rows_of(["0", "1"], labels)


def test_positions_that_were_not_given(tmp_path: Path) -> None:
    given = read(**written(tmp_path, "npz")).given
    assert given is not None
    with pytest.raises(BackboneError, match="no positions by the mean of each window"):
        given.values("early", "output", "the mean of each window", np.arange(1))


@pytest.mark.parametrize("key", ["tokens", "preprocessing", "overrides"])
def test_settings_of_a_network_are_refused(key: str, tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="activations are given as they are"):
        read(**written(tmp_path, "npz"), **{key: "all" if key == "tokens" else {}})


def test_what_needs_the_network_is_refused_before_anything_is_computed(tmp_path: Path) -> None:
    config = audit(
        tmp_path,
        name="given",
        backbone={"kind": "activations", "path": tmp_path / "none"},
        analyses=[{"kind": "linear_probe"}, {"kind": "attribution"}],
        activations={"positions": 2, "aligned": True},
    )
    with pytest.raises(ConfigError) as error:
        make_plan(config)
    text = str(error.value)
    assert "analyses.1 (attribution): it needs gradients of the network; for backbones.0" in text
    assert "activations.aligned: it needs gradients of the network" in text
    assert "none: not found" in text


@pytest.mark.parametrize(
    "names",
    [
        ("/data/a/one.jpg", r"C:\data\a\two.jpg", " b/one.jpg "),
        ("a/one.jpg", "two.jpg", "b/one.jpg"),
        ("a/one.jpg", "two", "F" * 64),
    ],
)
@pytest.mark.parametrize("suffix", ["txt", "csv"])
def test_names_as_other_tools_write_them(
    names: tuple[str, ...], suffix: str, tmp_path: Path
) -> None:
    np.save(tmp_path / "early.npy", ROWS["early"])
    ids = tmp_path / f"ids.{suffix}"
    lines = names if suffix == "txt" else ("label,image", *(f"x,{name.strip()}" for name in names))
    ids.write_text("\ufeff" + "\r\n".join(lines), encoding="utf-8")
    given = read(path=tmp_path / "early.npy", images=ids).given
    assert given is not None
    labels = ["a/one.jpg", "a/two.jpg", "b/one.jpg"]
    assert given.rows_of(["0", "1", "f" * 64], labels).tolist() == [0, 1, 2]


@pytest.mark.parametrize("lengths", [(4, 4, 3), (4, 3, 5), (4, 8, None)])
def test_lists_of_unequal_lengths_are_no_matrix(
    lengths: tuple[int | None, ...], tmp_path: Path
) -> None:
    """Also where they hold as many numbers together as a matrix would."""
    rows = [None if n is None else [float(n)] * n for n in lengths]
    pq.write_table(pa.table({"image": list(NAMES), "early": rows}), tmp_path / "given.parquet")
    with pytest.raises(BackboneError, match="column 'early': expected a list of the same length"):
        read(path=tmp_path / "given.parquet")


def test_columns_that_are_no_layers_are_left_alone_where_layers_are_named(tmp_path: Path) -> None:
    columns = {"image": list(NAMES), "early": list(ROWS["early"]), "age": [3, 4, 5]}
    pq.write_table(pa.table(columns), tmp_path / "given.parquet")
    assert read(path=tmp_path / "given.parquet", layers=["early"]).layers == ("early",)
    with pytest.raises(BackboneError, match=r"layer 'age'.*`layers` says which arrays are layers"):
        read(path=tmp_path / "given.parquet")


def test_a_type_that_numpy_has_not_is_read(tmp_path: Path) -> None:
    rows = {"early": torch.from_numpy(ROWS["early"]).bfloat16()}
    torch_save_file(rows, tmp_path / "x.safetensors", metadata={"images": json.dumps(NAMES)})
    given = read(path=tmp_path / "x.safetensors").given
    assert given is not None
    assert np.array_equal(given.values("early", "output", None, np.arange(3)), ROWS["early"])
