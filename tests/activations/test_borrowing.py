"""Images that a backbone has seen in another set of images do not pass again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bias_audit.activations.extract import Extraction, extract
from bias_audit.activations.store import subset
from bias_audit.backbones.loading import Backbone
from bias_audit.config.schema import Activations
from bias_audit.data.faces import Faces, FaceTable
from bias_audit.progress import Silent
from tests.activations.conftest import some_faces
from tests.activations.test_extract import StopAfter

SETTINGS = Activations(batch_size=4, device="cpu")


@pytest.fixture(scope="module")
def faces(table: FaceTable) -> Faces:
    return some_faces(table, 18)


def run(backbone: Backbone, faces: Faces, cache: Path) -> Extraction:
    return extract(backbone, faces, SETTINGS, cache=cache, progress=Silent(), with_head=True)


def part(faces: Faces, places: object) -> Faces:
    return subset(faces, np.asarray(places, dtype=np.int64))


def assert_same(one: Extraction, other: Extraction) -> None:
    assert one.activations.fingerprint == other.activations.fingerprint
    for layer in one.activations.layers:
        np.testing.assert_array_equal(one.activations.units(layer), other.activations.units(layer))
        mine, theirs = one.activations.moments(layer), other.activations.moments(layer)
        np.testing.assert_array_equal(mine.mean, theirs.mean)
        np.testing.assert_array_equal(mine.m2, theirs.m2)
    inputs, others = one.activations.head_inputs, other.activations.head_inputs
    assert inputs is not None
    assert others is not None
    np.testing.assert_array_equal(inputs, others)


def test_only_images_not_seen_before_pass(
    backbone: Backbone, faces: Faces, tmp_path: Path
) -> None:
    n = len(faces)
    seen = np.setdiff1d(np.arange(n), [0, 11, n - 1])
    run(backbone, part(faces, seen), tmp_path / "cache")
    more = run(backbone, faces, tmp_path / "cache")
    assert more.forward_images == 3
    assert_same(more, run(backbone, faces, tmp_path / "anew"))
    assert not list((tmp_path / "cache").rglob("unseen"))


def test_a_part_or_another_order_needs_no_pass(
    backbone: Backbone, faces: Faces, tmp_path: Path
) -> None:
    run(backbone, faces, tmp_path / "cache")
    fewer = part(faces, np.random.default_rng(0).permutation(len(faces))[:10])
    found = run(backbone, fewer, tmp_path / "cache")
    assert found.forward_images == 0
    assert_same(found, run(backbone, fewer, tmp_path / "anew"))


def test_rows_of_other_layers_or_of_another_backbone_are_not_taken(
    load_bundled: Callable[[list[str]], Backbone], faces: Faces, tmp_path: Path
) -> None:
    run(load_bundled(["blocks.1"]), part(faces, range(10)), tmp_path)
    assert run(load_bundled(["blocks.2"]), faces, tmp_path).forward_images == len(faces)
    other = replace(load_bundled(["blocks.1"]), fingerprint="of other weights")
    assert run(other, faces, tmp_path).forward_images == len(faces)


def test_damaged_rows_are_not_taken(backbone: Backbone, faces: Faces, tmp_path: Path) -> None:
    run(backbone, part(faces, range(10)), tmp_path / "cache")
    file = next((tmp_path / "cache").rglob("*.units.npy"))
    raw = bytearray(file.read_bytes())
    raw[-5] ^= 1
    file.write_bytes(bytes(raw))
    again = run(backbone, faces, tmp_path / "cache")
    assert again.forward_images == len(faces)
    assert_same(again, run(backbone, faces, tmp_path / "anew"))


def test_an_interruption_among_the_unseen_images_goes_on(
    load_bundled: Callable[[list[str]], Backbone],
    faces: Faces,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("bias_audit.activations.extract._CHECKPOINT_SECONDS", 0.0)
    layers = ["blocks.1", "bn2"]
    run(load_bundled(layers), part(faces, range(5)), tmp_path / "cache")
    stopped = load_bundled(layers)
    StopAfter(stopped, 2)
    with pytest.raises(KeyboardInterrupt):
        run(stopped, faces, tmp_path / "cache")
    rest = run(load_bundled(layers), faces, tmp_path / "cache")
    assert rest.forward_images == len(faces) - 5 - 2 * SETTINGS.batch_size
    assert_same(rest, run(load_bundled(layers), faces, tmp_path / "anew"))
