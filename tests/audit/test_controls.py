"""What else is probed for the same labels, and what the classification layer receives."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bias_audit.activations.extract import extract
from bias_audit.audit import controls as module
from bias_audit.audit.controls import image_controls, random_weight_controls, reference_images
from bias_audit.audit.plan import make_plan
from bias_audit.audit.run import head_of
from bias_audit.config.catalog import DATA_SOURCES
from bias_audit.config.schema import AuditConfig, Component
from bias_audit.data.faces import Faces
from bias_audit.errors import DataError
from bias_audit.progress import Silent
from tests.activations.conftest import bundled, some_faces


class Noting(Silent):
    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, message: str) -> None:
        self.said.append(message)


@pytest.fixture(scope="module")
def faces() -> Faces:
    source = DATA_SOURCES.load("parametric")
    return some_faces(source.read(source.params_type()), 12)


def config(cache: Path, **controls: Any) -> AuditConfig:
    return AuditConfig.model_validate(
        {
            "name": "x",
            "data": {"kind": "parametric"},
            "backbones": [{"kind": "bundled"}],
            "activations": {"batch_size": 4, "device": "cpu"},
            "controls": controls,
            "analyses": [{"kind": "linear_probe"}],
            "output": {"cache": str(cache)},
        }
    )


def drawn(settings: AuditConfig, faces: Faces, progress: Silent | None = None) -> Any:
    backbone, plan = bundled(["blocks.1", "bn2"]), make_plan(settings)
    return random_weight_controls(backbone, plan, faces, progress=progress or Silent())


def test_random_weights_have_the_layers_of_the_backbone(faces: Faces, tmp_path: Path) -> None:
    (one, other), _ = drawn(config(tmp_path, random_weights=2), faces)
    assert (one.name, other.name) == ("random weights, seed 1", "random weights, seed 2")
    assert one.by_layer and one.kind == other.kind == "random weights"
    assert one.fingerprint != other.fingerprint
    assert one.units("bn2").shape == (12, 1280)
    assert not np.allclose(one.units("bn2"), other.units("bn2"))


def test_an_interrupted_control_goes_on_with_the_same_numbers(
    faces: Faces, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, parts = (config(tmp_path / name, random_weights=1) for name in ("whole", "parts"))
    (expected,), _ = drawn(whole, faces)

    def interrupt(*_args: object, **_kwargs: object) -> None:
        raise KeyboardInterrupt

    for stage in ("estimate_statistics", "extract"):
        with monkeypatch.context() as patched:
            patched.setattr(module, stage, interrupt)
            with pytest.raises(KeyboardInterrupt):
                drawn(parts, faces)
    (found,), _ = drawn(parts, faces)
    np.testing.assert_array_equal(found.units("bn2"), expected.units("bn2"))


def test_a_control_that_cannot_be_had_is_told_and_recorded(
    faces: Faces, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_is_constant", lambda _units: True)
    noting = Noting()
    controls, (record,) = drawn(config(tmp_path, random_weights=1), faces, noting)
    assert controls == ()
    assert record.absent is not None and "same activations for every image" in record.absent
    assert "no control with random weights, seed 1" in noting.said[-1]


def test_constant_activations_are_noticed_and_constant_units_are_not() -> None:
    rng = np.random.default_rng(0)
    units = np.full((6, 3), 2.0, dtype=np.float32)
    assert module._is_constant(units)
    assert module._is_constant(units + 1e-6 * rng.standard_normal((6, 3)).astype(np.float32))
    units[2, 1] = 2.1
    assert not module._is_constant(units)


def test_image_controls_are_the_same_at_every_layer(faces: Faces, tmp_path: Path) -> None:
    found = image_controls(make_plan(config(tmp_path)), faces, progress=Silent())
    assert [control.kind for control in found] == ["image quality", "pixels"]
    for control in found:
        assert not control.by_layer
        assert len(control.units("any")) == len(faces)
        np.testing.assert_array_equal(control.units("any"), control.units("other"))
    assert found[0].fingerprint != found[1].fingerprint


@pytest.mark.parametrize(
    ("controls", "kind"),
    [({"random_weights": 0, "image": False}, "linear_probe"), ({}, "group_profiles")],
)
def test_controls_that_nobody_asks_for_are_not_made(
    faces: Faces, tmp_path: Path, controls: dict[str, Any], kind: str
) -> None:
    settings = config(tmp_path, **controls)
    settings = settings.model_copy(update={"analyses": (Component(kind=kind),)})
    assert drawn(settings, faces) == ((), ())
    assert image_controls(make_plan(settings), faces, progress=Silent()) == ()


def test_reference_images_pass_through_the_head_alone(faces: Faces, tmp_path: Path) -> None:
    folder = tmp_path / "others"
    folder.mkdir()
    for face in faces.table.references[3:7]:
        shutil.copy(face.file, folder)
    shutil.copy(faces.table.references[3].file, folder / "copy.jpg")
    (folder / "damaged.png").write_bytes(b"no image")
    settings = config(tmp_path / "cache", reference=str(folder))
    noting = Noting()
    reference = reference_images(settings, progress=noting)
    assert reference is not None and len(reference) == 4
    assert "2 cannot be used or are exact duplicates" in noting.said[-1]
    backbone, cache = bundled(["bn2"]), settings.output.cache
    stored = extract(
        backbone, faces, settings.activations, cache=cache, progress=Silent(), with_head=True
    ).activations
    head = head_of(backbone, stored, reference, settings, progress=Silent())
    assert head is not None and head.reference is not None
    places = [faces.sha256.index(sha256) for sha256 in reference.sha256]
    np.testing.assert_allclose(head.reference, head.inputs[places], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("make", "message"), [(False, "a folder of images"), (True, "no image")])
def test_a_reference_that_is_none_is_refused(tmp_path: Path, make: bool, message: str) -> None:
    folder = tmp_path / "reference"
    if make:
        folder.mkdir()
    with pytest.raises(DataError, match=message):
        reference_images(config(tmp_path, reference=str(folder)), progress=Silent())
