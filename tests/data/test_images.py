from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageFile

from bias_audit.data import images
from bias_audit.data.faces import ImageReference
from bias_audit.data.images import UnusableImageError, decode, decode_first, read_bytes
from bias_audit.errors import DataError
from tests.data.conftest import encoded, picture

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


def test_text_named_jpg_and_nothing_at_all() -> None:
    assert reason_of(b"GIF, they said, but it is text") == "not an image"
    assert reason_of(b"") == "not an image"


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


def bomb(width: int, height: int) -> bytes:
    """A valid PNG header that declares an enormous image, with next to no data."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = chunk(b"IDAT", zlib.compress(b"\0" * 1000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + body + chunk(b"IEND", b"")


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
    pixels = np.asarray(decode(encoded(image)))
    assert (pixels[:, :16] == (0, 0, 255)).all()
    assert (pixels[:, 16:] == 255).all()


def test_palette_with_a_transparent_colour() -> None:
    image = Image.new("P", (32, 32), 0)
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.paste(1, (0, 0, 16, 32))
    pixels = np.asarray(decode(encoded(image, "PNG", transparency=0)))
    assert (pixels[:, :16] == (200, 100, 50)).all()
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
    for path in (tmp_path / "none.jpg", tmp_path):
        with pytest.raises(UnusableImageError, match="unreadable file"):
            read_bytes(ImageReference(path))


def test_a_file_too_large_is_not_read(tmp_path: Path) -> None:
    file = tmp_path / "huge.jpg"
    with file.open("wb") as stream:
        stream.truncate(images.MAX_BYTES + 1)  # sparse: takes no disk
    with pytest.raises(UnusableImageError, match="too large"):
        read_bytes(ImageReference(file))


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
