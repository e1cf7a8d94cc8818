"""From a reference to an RGB image; files are not trusted."""

from __future__ import annotations

import importlib
import io
import stat
import threading
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import ExifTags, Image, ImageFile, ImageOps, UnidentifiedImageError, features

from bias_audit.contents import DAMAGED_OR_RARE, PLUGGED, recognise
from bias_audit.data.deep_pixels import (
    WHITE_16,
    Deep,
    UnknownRangeError,
    is_deep,
    low_bytes,
    read_deep,
)
from bias_audit.data.faces import ImageReference
from bias_audit.data.parquet import image_bytes
from bias_audit.data.text import some
from bias_audit.errors import DataError

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")
MIN_SIDE = 16
"""Pixels; a face below this shows nothing a backbone could tell."""
MAX_PIXELS = 50_000_000
"""Refused from the header, before anything is decoded: 150 MB as RGB."""
MAX_BYTES = 100_000_000
_ORIENTATION = ExifTags.Base.Orientation
NOT_INSTALLED = "format not installed"
"""Reason of images that could be read after the installation of a package."""
NOT_FETCHED = "content not fetched"
"""Reason of pointers to content that is elsewhere."""


class UnusableImageError(DataError):
    """One image cannot be used.

    Attributes:
        reason: A short class to count by, such as "corrupt image".
    """

    def __init__(self, reason: str, detail: str) -> None:
        """Keep the class apart from the detail."""
        self.reason = reason
        self.detail = detail
        super().__init__(f"{reason}: {detail}")


@dataclass(frozen=True)
class DecodedImage:
    """An image as pixels."""

    image: Image.Image
    """RGB, upright."""
    n_frames: int
    """Frames or pages in the file; only the first is in `image`."""
    white: int = 0
    """Value taken for white where the file is deeper than 8 bits; 0 where it is not."""
    is_white_stated: bool = True
    """Whether the file itself says so, and no other image matters."""


@cache
def formats() -> tuple[str, ...]:
    """What Pillow reads here: FORMATS, and those of which it has the codec or a plug-in."""
    found = [*FORMATS]
    if features.check("avif"):
        found.append("AVIF")
    for package, kind in (("pillow_heif", "HEIF"), ("pillow_jxl", "JXL")):
        try:
            module = importlib.import_module(package)
        except ImportError:
            continue
        if kind == "HEIF":
            module.register_heif_opener()
        if kind in Image.OPEN:
            found.append(kind)
    return tuple(found)


def read_bytes(reference: ImageReference) -> bytes:
    """The bytes of one image file or parquet row, as stored.

    Of a parquet file only the row group that holds the row is read; each thread keeps its latest.

    Raises:
        UnusableImageError: They cannot be read, or are too many.
    """
    try:
        if reference.row is None:
            status = reference.file.stat()
            if not stat.S_ISREG(status.st_mode):
                detail = f"{reference.label}: expected a file, got a pipe, a device or a folder"
                raise UnusableImageError("unreadable file", detail)
            _refuse_large(reference, status.st_size)
            return reference.file.read_bytes()
        data = _read_row(reference.file, reference.row, reference.column or "")
    except (OSError, pa.ArrowException) as error:
        got = getattr(error, "strerror", None) or "a damaged parquet file"
        detail = f"{reference.label}: expected a readable file, got: {got}"
        raise UnusableImageError("unreadable file", detail) from error
    if not data:
        raise UnusableImageError("corrupt image", f"{reference.label}: no bytes in the row")
    _refuse_large(reference, len(data))
    return data


def decode(data: bytes, white: int = 0) -> Image.Image:
    """Decode one image to upright RGB; see `decode_first`."""
    return decode_first(data, white).image


def decode_first(data: bytes, white: int = 0) -> DecodedImage:
    """Decode an image, the first frame of several, to RGB.

    The EXIF orientation is applied; transparency is laid over white; palettes, grey and CMYK are
    converted. What is deeper than 8 bits is scaled by the range that the file states, else by the
    smallest usual one (8, 10, 12, 14, 16 bits, ...) that holds all its values.

    Args:
        data: A file in one of `formats`.
        white: Of most images of the data set; used where it is more than the image's own, so
            that a dark picture stays dark.

    Raises:
        UnusableImageError: It is none of these, damaged, too small or too large.
    """
    kind: str | None = "JPEG, PNG or other"
    # Other libraries (WeasyPrint) let half a file pass for a whole one, for the whole process.
    ImageFile.LOAD_TRUNCATED_IMAGES = False
    try:
        with Image.open(io.BytesIO(data), formats=formats()) as image:
            _check_size(image.width, image.height)
            n_frames = int(getattr(image, "n_frames", 1))
            kind, was_deep = image.format, is_deep(image)
            deep = _read_deep(image, data) if was_deep else None
            image.load()
            if deep is None:
                rgb = _to_rgb(ImageOps.exif_transpose(image))
                return DecodedImage(rgb, n_frames, WHITE_16 * was_deep, not was_deep)
            shallow = deep.scaled(white)
            shallow.getexif()[_ORIENTATION] = image.getexif().get(_ORIENTATION, 1)
            upright = _to_rgb(ImageOps.exif_transpose(shallow))
            return DecodedImage(upright, n_frames, int(deep.white), deep.is_stated)
    except UnusableImageError:
        raise
    except UnidentifiedImageError as error:
        raise _not_an_image(data) from error
    except UnknownRangeError as error:
        raise UnusableImageError("unsupported pixels", str(error)) from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise UnusableImageError("too large", _too_large(str(error))) from error
    except Exception as error:
        # Decoders of damaged bytes fail in every way; all of them mean this one thing.
        detail = f"expected an intact {kind} image, got a damaged or an incomplete one"
        raise UnusableImageError("corrupt image", detail) from error


def _read_deep(image: ImageFile.ImageFile, data: bytes) -> Deep | None:
    """The values of an image of more than 8 bits; None where Pillow's 8 bits of it are enough."""
    if image.mode not in {"RGB", "RGBA"}:
        image.load()
        return read_deep(image, None)
    with Image.open(io.BytesIO(data), formats=formats()) as again:
        image.load()
        low = low_bytes(image, again)
        return None if low is None else read_deep(image, low)


def _not_an_image(data: bytes) -> UnusableImageError:
    content = recognise(data)
    expected = some(formats())
    if content is None:
        got = "another kind of file" if data else "an empty file"
        return UnusableImageError("not an image", f"expected {expected}, got {got}")
    if content.what in DAMAGED_OR_RARE:
        detail = f"{content.what} that is damaged or of a rare kind; save it again, as PNG"
        return UnusableImageError("corrupt image", f"expected an intact image, got {detail}")
    fix = f"; {content.fix}" if content.fix else ""
    reason = NOT_FETCHED if content.is_pointer else "not an image"
    reason = NOT_INSTALLED if content.what in PLUGGED else reason
    if reason == NOT_INSTALLED and content.what in _readable():
        reason, fix = "corrupt image", ", which is damaged"
    return UnusableImageError(reason, f"expected {expected}, got {content.what}{fix}")


def _readable() -> set[str]:
    return {what for what, kind in PLUGGED.items() if kind in formats()}


def _check_size(width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise UnusableImageError("too large", _too_large(f"{width} x {height}"))
    if min(width, height) < MIN_SIDE:
        detail = f"expected sides of at least {MIN_SIDE} pixels, got {width} x {height}"
        raise UnusableImageError("too small", detail)


def _too_large(got: str) -> str:
    return f"expected at most {MAX_PIXELS} pixels, got {got}; not decoded"


def _refuse_large(reference: ImageReference, size: int) -> None:
    if size > MAX_BYTES:
        detail = f"{reference.label}: expected at most {MAX_BYTES} bytes, got {size}; not read"
        raise UnusableImageError("too large", detail)


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.has_transparency_data:
        pixels = image.convert("RGBA")
        white = Image.new("RGBA", pixels.size, "white")
        return Image.alpha_composite(white, pixels).convert("RGB")
    return image.convert("RGB")


class _RowGroup(NamedTuple):
    """The latest row group a thread has read."""

    key: tuple[str, int, int, str]
    """File, its size and time of change, and the column."""
    first: int
    values: pa.ChunkedArray


class _Latest(threading.local):
    group: _RowGroup | None = None


_LATEST = _Latest()


def _read_row(file: Path, row: int, column: str) -> bytes | None:
    status = file.stat()
    key = (str(file), status.st_size, status.st_mtime_ns, column)
    group = _LATEST.group
    if group is None or group.key != key or not 0 <= row - group.first < len(group.values):
        group = _LATEST.group = _read_group(file, row, column, key)
    return image_bytes(group.values[row - group.first].as_py())


def _read_group(file: Path, row: int, column: str, key: tuple[str, int, int, str]) -> _RowGroup:
    with pq.ParquetFile(file) as parquet:
        index, first = _group_of(parquet.metadata, row, file)
        table = parquet.read_row_group(index, columns=[column], use_threads=False)
    return _RowGroup(key, first, table.column(0))


def _group_of(metadata: Any, row: int, file: Path) -> tuple[int, int]:
    first = 0
    for index in range(metadata.num_row_groups):
        count = metadata.row_group(index).num_rows
        if row < first + count:
            return index, first
        first += count
    raise UnusableImageError(
        "unreadable file", f"{file.name}: expected row {row}, the file has {first} rows"
    )
