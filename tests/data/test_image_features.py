from __future__ import annotations

import dataclasses
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter

from bias_audit.arrays import Float32Array
from bias_audit.data import image_features as features
from bias_audit.data.faces import Faces
from bias_audit.data.image_features import QUALITIES, SIDE, quality, thumbnail
from bias_audit.errors import DataError
from bias_audit.files import sha256_of
from bias_audit.progress import Silent
from tests.data.conftest import table_of


def textured(seed: int = 0, width: int = 64, height: int = 48) -> Image.Image:
    rng = np.random.default_rng(seed)
    return Image.fromarray(rng.integers(60, 196, (height, width, 3), dtype=np.uint8))


def of(image: Image.Image, n_bytes: int = 1000) -> dict[str, float]:
    return dict(zip(QUALITIES, quality(image, n_bytes).tolist(), strict=True))


def test_a_flat_image_has_its_colour_and_nothing_else() -> None:
    found = of(Image.new("RGB", (40, 20), (255, 0, 51)), n_bytes=10)
    assert found["mean red"] == pytest.approx(1)
    assert found["mean green"] == pytest.approx(0)
    assert found["mean blue"] == pytest.approx(0.2, rel=1e-4)
    for nothing in ("contrast", "deviation of red", "log blockiness"):
        assert found[nothing] == pytest.approx(0, abs=1e-6), nothing
    assert found["saturation"] == pytest.approx(1)
    assert (found["width"], found["height"]) == (40, 20)
    assert found["log aspect ratio"] == pytest.approx(np.log(2))
    assert found["log bytes"] == pytest.approx(np.log(10))


def test_each_quality_moves_with_what_it_is_named_for() -> None:
    image = textured()
    plain = of(image)
    darker = of(image.point(lambda value: value // 2))
    assert darker["brightness"] == pytest.approx(plain["brightness"] / 2, rel=0.02)
    assert darker["contrast"] == pytest.approx(plain["contrast"] / 2, rel=0.02)
    blurred = of(image.filter(ImageFilter.GaussianBlur(2)))
    assert blurred["log sharpness"] < plain["log sharpness"] - 2
    assert blurred["brightness"] == pytest.approx(plain["brightness"], abs=0.01)
    grey = of(image.convert("L").convert("RGB"))
    assert grey["saturation"] == 0 < plain["saturation"]


def test_hard_compression_shows_as_blocks() -> None:
    smooth = textured(width=8, height=8).resize((128, 128), Image.Resampling.BICUBIC)
    buffer = io.BytesIO()
    smooth.save(buffer, "JPEG", quality=3)
    assert of(Image.open(buffer).convert("RGB"))["log blockiness"] > 1
    assert abs(of(smooth)["log blockiness"]) < 0.3


@pytest.mark.parametrize("size", [(16, 16), (16, 1000), (17, 23)])
def test_every_usable_image_has_finite_qualities(size: tuple[int, int]) -> None:
    for image in (Image.new("RGB", size), textured(width=size[0], height=size[1])):
        assert np.isfinite(quality(image, 1)).all()
        assert thumbnail(image).shape == (SIDE, SIDE, 3)


@pytest.fixture
def faces(tmp_path: Path) -> Faces:
    files = []
    for index in range(50):
        files.append(tmp_path / f"{index}.png")
        textured(index).save(files[-1])
    table = table_of(files)
    sha256 = tuple(sha256_of(file) for file in files)
    return Faces(table, np.array([50, 0, 0, 0]), np.arange(50), sha256)


def run(faces: Faces, cache: Path) -> features.ImageFeatures:
    return features.image_features(faces, workers=2, cache=cache, progress=Silent())


def counted(monkeypatch: pytest.MonkeyPatch, stop_after: float = np.inf) -> Callable[[], int]:
    real, calls = quality, [0]

    def counting(image: Image.Image, n_bytes: int) -> Float32Array:
        calls[0] += 1
        if calls[0] > stop_after:
            raise KeyboardInterrupt
        return real(image, n_bytes)

    monkeypatch.setattr(features, "quality", counting)
    return lambda: calls[0]


def test_rows_are_those_of_the_faces(faces: Faces, tmp_path: Path) -> None:
    found = run(faces, tmp_path / "cache")
    file = faces.table.references[7].file
    expected = quality(Image.open(file), file.stat().st_size)
    np.testing.assert_array_equal(found.quality[7], expected)
    np.testing.assert_array_equal(found.thumbnails[7], thumbnail(Image.open(file)))
    assert found.pixels().shape == (50, SIDE * SIDE * 3)
    assert found.pixels().max() <= 1


def test_an_interrupted_pass_goes_on_and_a_finished_one_is_recalled(
    faces: Faces, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run(faces, tmp_path / "whole")
    with monkeypatch.context() as patched:
        counted(patched, stop_after=20)
        with pytest.raises(KeyboardInterrupt):
            run(faces, tmp_path / "parts")
    calls = counted(monkeypatch)
    resumed = run(faces, tmp_path / "parts")
    assert 0 < calls() <= 30
    np.testing.assert_array_equal(resumed.quality, whole.quality)
    np.testing.assert_array_equal(resumed.thumbnails, whole.thumbnails)
    before = calls()
    run(faces, tmp_path / "parts")
    assert calls() == before


def test_other_images_are_other_features(faces: Faces, tmp_path: Path) -> None:
    turned = dataclasses.replace(faces, sha256=faces.sha256[::-1])
    assert run(faces, tmp_path).fingerprint != run(turned, tmp_path).fingerprint


def test_a_damaged_cache_is_computed_again(faces: Faces, tmp_path: Path) -> None:
    whole = run(faces, tmp_path / "c")
    (file,) = (tmp_path / "c").rglob("*.npz")
    file.write_bytes(file.read_bytes()[:300])
    np.testing.assert_array_equal(run(faces, tmp_path / "c").quality, whole.quality)


def test_an_image_that_is_gone_is_told(faces: Faces, tmp_path: Path) -> None:
    faces.table.references[3].file.unlink()
    with pytest.raises(DataError, match="expected a readable file"):
        run(faces, tmp_path / "c")
