"""From bytes to RGB: formats, damage, more than 8 bits, and files that are something else."""

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
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageFile

from bias_audit.data import images
from bias_audit.data.faces import ImageReference
from bias_audit.data.image_features import describe
from bias_audit.data.images import UnusableImageError, decode, decode_first, read_bytes
from bias_audit.data.sampling import clustered
from bias_audit.data.scan import scan
from bias_audit.errors import DataError
from bias_audit.progress import Silent
from tests.data.conftest import encoded, picture, table_of

Save = Callable[[str, bytes], Path]


def reason_of(data: bytes) -> str:
    with pytest.raises(UnusableImageError) as caught:
        decode(data)
    assert isinstance(caught.value, DataError)
    return caught.value.reason


@pytest.mark.parametrize("kind", images.FORMATS)
def test_every_allowed_format_becomes_rgb(kind: str) -> None:
    image = decode(encoded(picture(1), kind))
    assert (image.mode, image.size) == ("RGB", (64, 64))
    if kind in {"PNG", "BMP", "TIFF"}:
        assert np.array_equal(np.asarray(image), np.asarray(picture(1)))


@pytest.mark.parametrize("kind", ["PPM", "ICO", "TGA", "PCX"])
def test_other_formats_are_refused(kind: str) -> None:
    assert reason_of(encoded(picture(1), kind)) == "not an image"


def test_truncated_jpeg(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)  # as after printing a report
    data = encoded(picture(1, 128), "JPEG")
    assert reason_of(data[: len(data) // 2]) == "corrupt image"


@given(st.integers(0, 2000), st.binary(min_size=1, max_size=40))
def test_damaged_bytes_decode_or_are_refused_with_a_reason(place: int, noise: bytes) -> None:
    data = bytearray(encoded(picture(3, 32), "PNG"))
    data[place % len(data) : place % len(data) + len(noise)] = noise
    try:
        outcome = decode(bytes(data)).mode
    except UnusableImageError as error:
        outcome = error.reason
    assert outcome in {"RGB", "corrupt image", "not an image", "too small", "too large"}


@pytest.mark.parametrize("size", [(1, 1), (15, 200), (200, 15)])
def test_too_small(size: tuple[int, int]) -> None:
    assert reason_of(encoded(Image.new("RGB", size), "PNG")) == "too small"


def png_of(header: bytes, rows: bytes) -> bytes:
    parts = {b"IHDR": header, b"IDAT": zlib.compress(rows), b"IEND": b""}
    checks = {kind: struct.pack(">I", zlib.crc32(kind + body)) for kind, body in parts.items()}
    sizes = {kind: struct.pack(">I", len(body)) for kind, body in parts.items()}
    chunks = [sizes[kind] + kind + body + checks[kind] for kind, body in parts.items()]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def bomb(width: int, height: int) -> bytes:
    """A valid PNG header that declares an enormous image, with next to no data."""

    return png_of(struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0), b"\0" * 1000)


@pytest.mark.parametrize("side", [7_100, 12_000, 60_000])
def test_decompression_bomb_is_refused_from_its_header(
    side: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object) -> None:
        raise AssertionError("decoding began")

    monkeypatch.setattr(Image.Image, "load", never)
    assert reason_of(bomb(side, side)) == "too large"


def test_an_image_just_within_the_limit_passes() -> None:
    data = encoded(Image.new("L", (5_000, 10_000)), "PNG")
    assert decode(data).size == (5_000, 10_000)


def test_transparency_is_laid_over_white() -> None:
    image = Image.new("RGBA", (32, 32), (255, 0, 0, 0))
    image.paste((0, 0, 255, 255), (0, 0, 16, 32))
    palette = Image.new("P", (32, 32), 0)
    palette.putpalette([10, 20, 30, 0, 0, 255])
    palette.paste(1, (0, 0, 16, 32))
    for data in (encoded(image), encoded(palette, "PNG", transparency=0)):
        pixels = np.asarray(decode(data))
        assert (pixels[:, :16] == (0, 0, 255)).all()
        assert (pixels[:, 16:] == 255).all()


@pytest.mark.parametrize("mode", ["L", "1", "LA", "P"])
def test_grey_and_palette(mode: str) -> None:
    image = decode(encoded(picture(2).convert("L").convert(mode)))
    assert image.mode == "RGB"
    assert np.ptp(np.asarray(image), axis=2).max() == 0


def test_cmyk_keeps_its_colours() -> None:
    red = Image.new("RGB", (32, 32), (200, 30, 30))
    pixels = np.asarray(decode(encoded(red.convert("CMYK"), "JPEG", quality=95))).astype(int)
    assert np.abs(pixels - (200, 30, 30)).max() < 12


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bits_are_scaled_not_clipped(kind: str) -> None:
    values = np.linspace(0, 65535, 32 * 32).astype(np.uint16).reshape(32, 32)
    pixels = np.asarray(decode(encoded(Image.fromarray(values), kind)))[..., 0]
    assert np.array_equal(pixels, np.round(values / 257).astype(np.uint8))
    assert (pixels.min(), pixels.max()) == (0, 255)


def test_exif_orientation_is_applied() -> None:
    image = picture(5, 48).crop((0, 0, 48, 32))
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: show it rotated by 90 degrees
    upright = decode(encoded(image, "PNG", exif=exif))
    assert np.array_equal(np.asarray(upright), np.rot90(np.asarray(image), -1))


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "TIFF"])
def test_of_several_frames_the_first_is_used_and_counted(kind: str) -> None:
    frames = [Image.new("RGB", (32, 32), colour) for colour in ("red", "blue")]
    data = encoded(frames[0], kind, save_all=True, append_images=frames[1:])
    decoded = decode_first(data)
    assert decoded.n_frames == 2
    assert np.asarray(decoded.image)[16, 16, 0] > 200


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    file = tmp_path / "huge.jpg"
    with file.open("wb") as stream:
        stream.truncate(images.MAX_BYTES + 1)  # sparse: takes no disk
    gone = tmp_path / "none.jpg"
    for path, why in (
        (gone, "unreadable file"),
        (tmp_path, "unreadable file"),
        (file, "too large"),
    ):
        with pytest.raises(UnusableImageError, match=why):
            read_bytes(ImageReference(path))


def test_only_the_row_group_needed_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "images.parquet"
    values = [f"row {i}".encode() for i in range(9)]
    pq.write_table(pa.table({"image": values}), file, row_group_size=3)
    groups: list[int] = []
    original = pq.ParquetFile.read_row_group

    def counted(self: pq.ParquetFile, index: int, **options: object) -> pa.Table:
        groups.append(index)
        return original(self, index, **options)

    monkeypatch.setattr(pq.ParquetFile, "read_row_group", counted)
    order = [0, 1, 2, 4, 3, 8]
    assert [read_bytes(ImageReference(file, i, "image")) for i in order] == [
        values[i] for i in order
    ]
    assert groups == [0, 1, 2]


def test_parquet_rows_without_bytes_or_beyond_the_end(tmp_path: Path) -> None:
    file = tmp_path / "images.parquet"
    rows = [{"bytes": None, "path": "elsewhere.jpg"}, None]
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    pq.write_table(pa.table({"image": pa.array(rows, kind)}), file)
    for row, message in ((0, "no bytes"), (1, "no bytes"), (2, "the file has 2 rows")):
        with pytest.raises(UnusableImageError, match=message):
            read_bytes(ImageReference(file, row, "image.bytes"))


def test_a_replaced_parquet_file_is_read_anew(tmp_path: Path) -> None:
    file = tmp_path / "images.parquet"
    for value in (b"first", b"second, longer"):
        pq.write_table(pa.table({"image": [value]}), file)
        assert read_bytes(ImageReference(file, 0, "image")) == value


def test_decoding_leaves_the_limit_of_other_code_alone() -> None:
    before = Image.MAX_IMAGE_PIXELS
    decode(encoded(picture(1)))
    assert before == Image.MAX_IMAGE_PIXELS


Array = npt.NDArray[Any]
RNG = np.random.default_rng(1)
BITS_12 = RNG.integers(0, 4096, (32, 32, 3))
BITS_12[0, 0] = 4095
EXPECTED = np.round(BITS_12 * (255 / 4095))
GREY = np.repeat(EXPECTED[..., :1], 3, axis=2)


def png(values: Array, colour_type: int) -> bytes:
    """A PNG of 16 bits a channel; Pillow writes those of grey only."""
    height, width = values.shape[:2]
    header = struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    return png_of(header, rows)


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
    table = table_of(files)
    seen = scan(table, workers=1, near_duplicates=False, progress=Silent(), cache=None)
    assert seen.whites.tolist() == [0, 0, 0, 4095, 0, 0]
    assert seen.notices[0].startswith("5 images are deeper than 8 bits")
    assert seen.notices[0].endswith("4 by 4095, 1 by 65535")
    faces = clustered(table, seen)
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
        (b"some text", "not an image", "expected JPEG, PNG, WEBP, BMP, GIF and"),
        (b"II*\0" + bytes(30), "corrupt image", "a TIFF image that is damaged or of a rare kind"),
        (b"RIFF\0\0\0\0WEBPxxxx", "corrupt image", "a WebP image that is damaged"),
        (b"../other/0.png\n", "content not fetched", "a link that a copy has turned into text"),
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
