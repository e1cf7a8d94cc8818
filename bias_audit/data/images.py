"""From a reference to an RGB image; files are not trusted."""

from __future__ import annotations

import io
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image, ImageOps, UnidentifiedImageError

from bias_audit.data.faces import ImageReference
from bias_audit.errors import DataError

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")
MIN_SIDE = 16
"""Pixels; a face below this shows nothing a backbone could tell."""
MAX_PIXELS = 50_000_000
"""Refused from the header, before anything is decoded: 150 MB as RGB."""
MAX_BYTES = 100_000_000
_WHITE_16 = 0xFFFF


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


def read_bytes(reference: ImageReference) -> bytes:
    """The bytes of one image file or parquet row, as stored.

    Of a parquet file only the row group that holds the row is read; each thread keeps its latest.

    Raises:
        UnusableImageError: They cannot be read, or are too many.
    """
    try:
        if reference.row is None:
            size = reference.file.stat().st_size
            _refuse_large(reference, size)
            return reference.file.read_bytes()
        data = _read_row(reference.file, reference.row, reference.column or "")
    except (OSError, pa.ArrowException) as error:
        detail = f"{reference.label}: expected a readable file: {error}"
        raise UnusableImageError("unreadable file", detail) from error
    if not data:
        raise UnusableImageError("corrupt image", f"{reference.label}: no bytes in the row")
    _refuse_large(reference, len(data))
    return data


def decode(data: bytes) -> Image.Image:
    """Decode one image to upright RGB; see `decode_first`."""
    return decode_first(data).image


def decode_first(data: bytes) -> DecodedImage:
    """Decode an image, the first frame of several, to RGB.

    The EXIF orientation is applied; transparency is laid over white; 16-bit grey is scaled to
    8 bits; palettes, grey and CMYK are converted.

    Args:
        data: A JPEG, PNG, WebP, BMP, GIF or TIFF file.

    Raises:
        UnusableImageError: It is none of these, damaged, too small or too large.
    """
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            _check_size(image.width, image.height)
            n_frames = int(getattr(image, "n_frames", 1))
            image.load()
            return DecodedImage(_to_rgb(ImageOps.exif_transpose(image)), n_frames)
    except UnusableImageError:
        raise
    except UnidentifiedImageError as error:
        expected = ", ".join(FORMATS)
        got = "another kind of file" if data else "an empty file"
        detail = f"expected {expected}, got {got}"
        raise UnusableImageError("not an image", detail) from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise UnusableImageError("too large", _too_large(str(error))) from error
    except Exception as error:
        # Decoders of damaged bytes fail in every way; all of them mean this one thing.
        detail = f"expected an intact image file: {error or type(error).__name__}"
        raise UnusableImageError("corrupt image", detail) from error


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
    if image.mode in {"I", "F"} or image.mode.startswith("I;16"):
        return _from_16_bits(image)
    if image.has_transparency_data:
        pixels = image.convert("RGBA")
        white = Image.new("RGBA", pixels.size, "white")
        return Image.alpha_composite(white, pixels).convert("RGB")
    return image.convert("RGB")


def _from_16_bits(image: Image.Image) -> Image.Image:
    values = np.asarray(image)
    if not np.issubdtype(values.dtype, np.integer) or values.min() < 0 or values.max() > _WHITE_16:
        detail = f"expected grey values of 8 or 16 bits, got {values.dtype} from {values.min()}"
        raise UnusableImageError("unsupported pixels", f"{detail} to {values.max()}")
    # 65535 = 255 * 257: white stays white, which a shift by 8 bits gives too, but rounded.
    grey = np.round(values.astype(np.float64) / 257).astype(np.uint8)
    return Image.fromarray(grey).convert("RGB")


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
    value = group.values[row - group.first].as_py()
    return None if value is None else bytes(value)


def _read_group(file: Path, row: int, column: str, key: tuple[str, int, int, str]) -> _RowGroup:
    name, _, field = column.partition(".")
    with pq.ParquetFile(file) as parquet:
        index, first = _group_of(parquet.metadata, row, file)
        values = parquet.read_row_group(index, columns=[column], use_threads=False).column(name)
    if field:
        chunks: Sequence[Any] = [chunk.field(field) for chunk in values.chunks]
        values = pa.chunked_array(chunks)
    return _RowGroup(key, first, values)


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
