"""Images of more than 8 bits, and files that are something else than an image."""

from __future__ import annotations

import io
import struct
import sys
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import tifffile
from PIL import Image

from bias_audit.data import images
from bias_audit.data.image_features import describe
from bias_audit.data.images import UnusableImageError, decode, decode_first
from bias_audit.data.sampling import drawn
from bias_audit.data.scan import scan
from bias_audit.progress import Silent
from tests.data.conftest import encoded, picture, table_of

Save = Callable[[str, bytes], Path]
Array = npt.NDArray[Any]
RNG = np.random.default_rng(1)
BITS_12 = RNG.integers(0, 4096, (32, 32, 3))
BITS_12[0, 0] = 4095
EXPECTED = np.round(BITS_12 * (255 / 4095))
GREY = np.repeat(EXPECTED[..., :1], 3, axis=2)


def png(values: Array, colour_type: int) -> bytes:
    """A PNG of 16 bits a channel; Pillow writes those of grey only."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(kind + body))
        return struct.pack(">I", len(body)) + kind + body + check

    height, width = values.shape[:2]
    header = struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def tiff(values: Array, **options: Any) -> bytes:
    stream = io.BytesIO()
    kind = "rgb" if values.ndim > 2 else "minisblack"
    tifffile.imwrite(stream, values, **{"photometric": kind, **options})
    return stream.getvalue()


def opaque(values: Array, alpha: int) -> Array:
    return np.dstack([values, np.full(values.shape[:2], alpha)])


LARGEST = {"extratags": [(281, 3, 1, 4095, True)]}


@pytest.mark.parametrize(
    ("data", "expected", "white"),
    [
        (png(BITS_12[..., 0], 0), GREY, 4095),
        (png(BITS_12, 2), EXPECTED, 4095),
        (png(opaque(BITS_12, 65535), 6), EXPECTED, 4095),
        (png(opaque(BITS_12, 4095), 6), EXPECTED, 4095),
        (png(opaque(BITS_12[..., 0], 65535), 4), GREY, 4095),
        (tiff(BITS_12[..., 0].astype("u2")), GREY, 4095),
        (tiff(BITS_12.astype("u2")), EXPECTED, 4095),
        (tiff(BITS_12.astype("u2"), byteorder=">"), EXPECTED, 4095),
        (tiff(BITS_12.astype("u2"), compression="zlib"), EXPECTED, 4095),
        (tiff(BITS_12[..., 0].astype("i4")), GREY, 4095),
        (tiff(BITS_12[..., 0].astype("u4")), GREY, 4095),
        (tiff(BITS_12[..., 0].astype("i2")), GREY, 4095),
        (tiff(BITS_12[..., 0].astype("f4")), GREY, 4095),
        (tiff((BITS_12[..., 0] / 4095).astype("f4")), GREY, 1),
        (tiff((BITS_12[..., 0] / 4095 * 1.1).astype("f4")), None, 1),
        (tiff((BITS_12[..., 0] / 4095 * 258.1).astype("f4")), None, 255),
        (tiff((4095 - BITS_12[..., 0]).astype("u2"), photometric="miniswhite"), GREY, 4095),
        (tiff((BITS_12[..., 0] // 8).astype("u2"), **LARGEST), None, 4095),
        (tiff((BITS_12[..., 0] // 4).astype("u2")), None, 1023),
        (tiff((BITS_12[..., 0] * 4).astype("u2")), None, 16383),
        (tiff((BITS_12[..., 0] // 16).astype("i4")), None, 255),
        (tiff((BITS_12[..., 0] * 2**20).astype("u4")), None, 2**32 - 1),
        (tiff(np.zeros((32, 32), "u2")), np.zeros((32, 32, 3)), 255),
        (tiff(np.full((32, 32), 4095, "u2")), np.full((32, 32, 3), 255), 4095),
    ],
)
def test_values_are_scaled_by_the_range_that_they_use(
    data: bytes, expected: Array | None, white: int
) -> None:
    decoded = decode_first(data)
    pixels = np.asarray(decoded.image).astype(int)
    assert decoded.white == white
    if expected is not None:
        assert np.abs(pixels - expected).max() == 0


@pytest.mark.parametrize(
    "values",
    [
        BITS_12[..., 0].astype("i4") - 2000,
        np.full((32, 32), np.nan, "f4"),
        np.full((32, 32), np.inf, "f4"),
        -np.ones((32, 32), "f4"),
    ],
)
def test_values_below_zero_or_without_end_are_refused(values: Array) -> None:
    with pytest.raises(UnusableImageError, match="grey values from 0 upwards"):
        decode(tiff(values))


def test_a_dark_picture_stays_dark_among_brighter_ones(saved: Save) -> None:
    bright = [RNG.integers(0, 4096, (32, 32)).astype("u2") for _ in range(3)]
    dark = RNG.integers(0, 900, (32, 32)).astype("u2")
    hot = RNG.integers(0, 40_000, (32, 32)).astype("u2")
    arrays = [*bright, dark, hot]
    files = [saved(f"{i}.tif", tiff(array)) for i, array in enumerate(arrays)]
    files.append(saved("8.png", encoded(picture(1))))
    table = table_of(files, [(0, 0)] * 6)
    seen = scan(table, workers=1, near_duplicates=False, progress=Silent(), cache=None)
    assert seen.whites.tolist() == [0, 0, 0, 4095, 0, 0]
    assert seen.notices[0].startswith("5 images are deeper than 8 bits")
    assert seen.notices[0].endswith("4 by 4095, 1 by 65535")
    faces = drawn(table, seen, None, RNG)
    reference = faces.table.references[3]
    assert reference.white == 4095
    assert faces.pixels[3] != faces.sha256[3]
    assert faces.pixels[:3] == faces.sha256[:3]
    quality, _ = describe(reference)
    assert quality[0] == pytest.approx(dark.mean() / 4095, abs=0.01)


def box(kind: bytes, brand: bytes) -> bytes:
    return struct.pack(">I", 24) + kind + brand + b"\0\0\0\0" + brand + b"mif1"


@pytest.mark.parametrize(
    ("data", "reason", "said"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid", "content not fetched", "git lfs"),
        (b"/annex/objects/SHA256E-s12--abc.jpg\n", "content not fetched", "git annex get"),
        (b"../../.git/annex/objects/a/b", "content not fetched", "git annex get"),
        (b"outs:\n- md5: 0123\n", "content not fetched", "dvc pull"),
        (b"\n<!DOCTYPE html>\n<html>", "not an image", "a web page (HTML)"),
        (b"\xef\xbb\xbf<html lang='en'>", "not an image", "a web page (HTML)"),
        (b"<?xml version='1.0'?>\n<!-- x -->\n<svg xmlns='a'>", "not an image", "SVG"),
        (box(b"ftyp", b"heic"), "format not installed", "pillow-heif"),
        (box(b"ftyp", b"avif"), "format not installed", "AVIF"),
        (b"\xff\x0a" + bytes(30), "format not installed", "pillow-jxl-plugin"),
        (b"\0\0\0\x0cJXL \r\n\x87\n", "format not installed", "pillow-jxl-plugin"),
        (b"%PDF-1.7", "not an image", "a PDF document"),
        (b"", "not an image", "an empty file"),
        (b"some text", "not an image", "another kind of file"),
    ],
)
def test_files_that_are_no_images_say_what_they_are(
    data: bytes, reason: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(images, "formats", lambda: images.FORMATS)
    with pytest.raises(UnusableImageError) as caught:
        decode(data)
    assert caught.value.reason == reason
    assert said in caught.value.detail


@pytest.fixture
def plugged(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Stand-ins for the plug-ins, which are not installed here: they open PNG by another name."""

    def register() -> None:
        accept: Any = lambda prefix: prefix.startswith(b"\x89PNG")  # noqa: E731
        Image.register_open("HEIF", Image.OPEN["PNG"][0], accept)

    heif = ModuleType("pillow_heif")
    heif.register_heif_opener = register  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pillow_heif", heif)
    monkeypatch.setitem(sys.modules, "pillow_jxl", ModuleType("pillow_jxl"))
    images.formats.cache_clear()
    yield
    Image.OPEN.pop("HEIF", None)
    images.formats.cache_clear()


def test_plug_ins_are_used_where_they_are_installed(plugged: None) -> None:
    assert "HEIF" in images.formats()
    assert "JXL" not in images.formats()  # it registered nothing
    with pytest.raises(UnusableImageError, match="a HEIC image, which is damaged"):
        decode(box(b"ftyp", b"heic"))


def test_avif_is_read_where_pillow_has_its_codec() -> None:
    if "AVIF" not in images.formats():
        pytest.skip("this Pillow has no AVIF")
    assert decode(encoded(picture(1), "AVIF")).size == (64, 64)


@pytest.mark.parametrize(
    ("values", "tag"),
    [
        (BITS_12[..., 0].astype("u2"), (281, 3, 1, 65535, True)),
        (BITS_12[..., 0].astype("i2"), (341, 8, 1, 32767, True)),
        (BITS_12[..., 0].astype("f4"), (341, 11, 1, 3.4028234663852886e38, True)),
    ],
)
def test_a_stated_range_that_is_only_the_default_is_none(values: Array, tag: Any) -> None:
    decoded = decode_first(tiff(values, extratags=[tag]))
    assert decoded.white == 4095
    assert np.array_equal(np.asarray(decoded.image), GREY)


def test_resampling_may_fall_short_of_zero_a_little() -> None:
    values = (BITS_12[..., 0] / 4095).astype("f4")
    values[3, 3] = -0.001
    pixels = np.asarray(decode(tiff(values)))
    assert pixels[3, 3].tolist() == [0, 0, 0]
    with pytest.raises(UnusableImageError, match="infinite or no number"):
        decode(tiff(np.full((32, 32), np.nan, "f4")))


@pytest.mark.parametrize(
    ("data", "reason", "said"),
    [
        (b"II*\0" + bytes(30), "corrupt image", "a TIFF image that is damaged or of a rare kind"),
        (b"RIFF\0\0\0\0WEBPxxxx", "corrupt image", "a WebP image that is damaged"),
        (b"../other/0.png\n", "content not fetched", "a link that a copy has turned into text"),
        (b"some text", "not an image", "expected JPEG, PNG, WEBP, BMP, GIF and"),
    ],
)
def test_images_of_rare_kinds_and_links_are_named(data: bytes, reason: str, said: str) -> None:
    with pytest.raises(UnusableImageError) as caught:
        decode(data)
    assert caught.value.reason == reason
    assert said in caught.value.detail
