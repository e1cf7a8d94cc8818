"""From a reference to an RGB image; files are not trusted."""

from __future__ import annotations

import importlib
import io
import stat
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, ImageFile, ImageOps, UnidentifiedImageError, features

from bias_audit.arrays import IntArray
from bias_audit.contents import DAMAGED_OR_RARE, PLUGGED, recognise
from bias_audit.deferred import pyarrow as pa
from bias_audit.deferred import pyarrow_parquet as pq
from bias_audit.errors import DataError, some

if TYPE_CHECKING:  # what is only named here takes no part in fingerprints of activations
    from bias_audit.data.faces import ImageReference

Values = npt.NDArray[np.float64]
Box = tuple[int, int, int, int]
"""Left, top, right and bottom, in pixels."""
WHITE_16 = 65535
WHITES = (255, 1023, 4095, 16383, WHITE_16, 2**20 - 1, 2**24 - 1, 2**31 - 1, 2**32 - 1)
"""White of the depths that cameras and scanners have: 8, 10, 12, 14, 16 bits and more."""
_GREY_ALPHA = "LA;16B"
_OTHER_BYTE = {
    "RGB;16B": "RGB;16L",
    "RGB;16L": "RGB;16B",
    "RGB;16N": "RGB;16B" if sys.byteorder == "little" else "RGB;16L",
    "RGBA;16B": "RGBA;16L",
    "RGBA;16L": "RGBA;16B",
    "RGBA;16N": "RGBA;16B" if sys.byteorder == "little" else "RGBA;16L",
    _GREY_ALPHA: "RGBA",
}
"""How Pillow reads the low byte of each 16-bit value, where it otherwise reads the high one; of
grey with transparency, all four bytes."""
_BITS, _WHITE_IS_ZERO, _LARGEST, _FORMAT, _LARGEST_OF_FORMAT = 258, 262, 281, 339, 341
"""TIFF tags: BitsPerSample, PhotometricInterpretation, MaxSampleValue, SampleFormat and
SMaxSampleValue (TIFF 6.0, sections 8 and 19)."""
_SIGNED, _FLOATING = 2, 3


_LARGEST_FLOAT = 3e38
_FRACTIONS_END = 2
"""Floating-point values below are fractions of white, which resampling may exceed a little."""
_OVERSHOOT = 1.02
"""So much more than white floating-point values may be, and as little below 0."""


FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")
MIN_SIDE = 16
"""Pixels; in a smaller image of a face there is nothing that a backbone could recognise."""
MAX_PIXELS = 50_000_000
"""Refused from the header, before anything is decoded: 150 MB as RGB."""
_TOO_LARGE = f"expected at most {MAX_PIXELS} pixels, got {{}}; not decoded"
MAX_BYTES = 100_000_000
_ORIENTATION = ExifTags.Base.Orientation
NOT_INSTALLED = "format not installed"
"""Reason of images that could be read after the installation of a package."""
NOT_FETCHED = "content not fetched"
"""Reason of pointers to content that is elsewhere."""


class UnusableImageError(DataError):
    """One image cannot be used; its reason is a short class to count by."""

    def __init__(self, reason: str, detail: str) -> None:
        """Keep the class apart from the detail."""
        self.reason = reason
        self.detail = detail
        super().__init__(f"{reason}: {detail}")


@dataclass(frozen=True)
class Deep:
    """An image whose values are deeper than 8 bits."""

    values: Values
    """Grey, or red, green, blue and perhaps alpha last, from 0 upwards."""
    white: float
    """The value of white: as the file says, else the smallest of WHITES that holds all."""
    is_stated: bool
    """Whether the file says so, or the values are fractions, so that no other image matters."""

    def scaled(self, white: float) -> Image.Image:
        """The picture in 8 bits, where `white` or the image's own white is white."""
        used = self.white if self.is_stated else max(self.white, white)
        levels = np.round(np.clip(self.values, 0, used) * (255 / used)).astype(np.uint8)
        return Image.fromarray(levels)


def is_deep(image: ImageFile.ImageFile) -> bool:
    """Whether an image, opened but not yet loaded, has more than 8 bits a channel."""
    return image.mode in {"I", "F"} or image.mode.startswith("I;16") or _raw_mode(image) != ""


def read_deep(image: ImageFile.ImageFile, data: bytes) -> Deep | None:
    """The values of an image of more than 8 bits; None where Pillow's 8 bits are enough."""
    if image.mode in {"RGB", "RGBA"}:
        return _deep_colours(image, data)
    image.load()
    tags = getattr(image, "tag_v2", {})
    whole = np.asarray(image)
    is_floating = whole.dtype.kind == "f"
    if whole.dtype == np.int32 and tags and _first(tags.get(_FORMAT)) != _SIGNED:
        whole = whole.view(np.uint32)
    values = whole.astype(np.float64)
    undershoot = (_OVERSHOOT - 1) * max(values.max(), 0) if is_floating else 0
    got = f"{values.min():g} to {values.max():g}" if values.min() < -undershoot else ""
    if not np.isfinite(values).all():
        got = "some that are infinite or no number"
    if got:
        detail = f"expected grey values from 0 upwards, got {got}"
        raise UnusableImageError("unsupported pixels", detail)
    deep = _with_white(values, tags, is_floating=is_floating)
    if tags and tags.get(_WHITE_IS_ZERO) == 0:
        return Deep(deep.white - values, deep.white, deep.is_stated)
    return deep


def _deep_colours(image: ImageFile.ImageFile, data: bytes) -> Deep | None:
    """Colours of 16 bits, of which Pillow keeps the high bytes: the low ones are read beside."""
    with Image.open(io.BytesIO(data), formats=formats()) as again:
        image.load()
        if np.asarray(image)[..., :3].max() >= 64:  # noqa: PLR2004 - more than 14 bits are in use
            return None
        raw = _raw_mode(again)
        other = _OTHER_BYTE[raw]
        again.tile = [
            tile._replace(args=(other, *tile.args[1:]) if isinstance(tile.args, tuple) else other)
            for tile in again.tile
        ]
        low = np.asarray(again)
    low = low[..., [1, 1, 1, 3]] if raw == _GREY_ALPHA else low
    values = 256 * np.asarray(image).astype(np.float64) + low
    colours, alpha = values[..., :3], values[..., 3:]
    if alpha.size:
        # transparency is a share of its own range
        alpha[...] = alpha / _white_of(alpha) * _white_of(colours)
    return Deep(values, _white_of(colours), is_stated=False)


def _with_white(values: Values, tags: Mapping[int, object], *, is_floating: bool) -> Deep:
    largest = float(values.max())
    stated = _first(tags.get(_LARGEST_OF_FORMAT)) or _first(tags.get(_LARGEST))
    bits = int(_first(tags.get(_BITS)))
    is_signed = _first(tags.get(_FORMAT)) == _SIGNED
    whole_range = {2.0**bits - 1, 2.0 ** (bits - 1) - 1 if is_signed else 0}
    if stated in whole_range or stated >= _LARGEST_FLOAT:
        stated = 0  # what the standard assumes where nothing is said
    if is_floating:
        if largest < _FRACTIONS_END:
            return Deep(values, 1.0, is_stated=True)
        largest /= _OVERSHOOT
    if stated >= largest > 0:
        white = stated if is_floating else _white_of(np.array(stated))
        return Deep(values, white, is_stated=True)
    if bits % 8 and 2**bits > largest:
        return Deep(values, 2**bits - 1, is_stated=True)
    return Deep(values, _white_of(np.array(largest)), is_stated=False)


def _white_of(values: Values) -> int:
    largest = values.max()
    return next((white for white in WHITES if largest <= white), int(np.ceil(largest)))


def _raw_mode(image: ImageFile.ImageFile) -> str:
    """How the pixels of 16-bit colours are read; empty for all others."""
    if not image.tile:
        return ""
    args = image.tile[0].args
    raw = args[0] if isinstance(args, tuple) and args else args
    return raw if isinstance(raw, str) and raw in _OTHER_BYTE else ""


def _first(value: object) -> float:
    """The smallest number of a tag that may have one for each channel; 0 where there is none."""
    numbers = value if isinstance(value, tuple) else (value,)
    known = [float(n) for n in numbers if isinstance(n, int | float)]
    return min(known, default=0.0)


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


def decode(data: bytes, white: int = 0, box: Box | None = None) -> Image.Image:
    """Decode one image to upright RGB, and cut out a box; see `decode_first`."""
    return cut_out(decode_first(data, white).image, box)


def cut_out(image: Image.Image, box: Box | None) -> Image.Image:
    """What a box holds of an upright image; the whole without a box.

    Raises:
        UnusableImageError: Too little of the box is inside of the image.
    """
    if box is None:
        return image
    middle = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    if not (0 <= middle[0] <= image.width and 0 <= middle[1] <= image.height):
        where = ", ".join(map("{:g}".format, middle))
        raise UnusableImageError(
            "box outside the picture",
            f"expected a box with its middle inside of {image.width} x {image.height} pixels, got "
            f"{where}; if its last two numbers say where it ends, set box_form: xyxy",
        )
    left, top = max(0, box[0]), max(0, box[1])
    right, bottom = min(image.width, box[2]), min(image.height, box[3])
    _refuse_size(max(0, right - left), max(0, bottom - top))
    return image.crop((left, top, right, bottom))


def decode_first(data: bytes, white: int = 0) -> DecodedImage:
    """Decode an image, the first frame of several, to RGB.

    The EXIF orientation is applied; transparency is laid over white; palettes, grey and CMYK are
    converted. What is deeper than 8 bits is scaled by the range that the file states, else by the
    smallest usual one (8, 10, 12, 14, 16 bits, ...) that holds all its values, or by `white`, that
    of most images of the data set, where it is more: so a dark picture stays dark.

    Raises:
        UnusableImageError: It is in none of `formats`, damaged, too small or too large.
    """
    kind: str | None = "JPEG, PNG or other"
    # Other libraries (WeasyPrint) let half a file pass for a whole one, for the whole process.
    ImageFile.LOAD_TRUNCATED_IMAGES = False
    try:
        with Image.open(io.BytesIO(data), formats=formats()) as image:
            _refuse_size(*image.size)
            n_frames = int(getattr(image, "n_frames", 1))
            kind, was_deep = image.format, is_deep(image)
            deep = read_deep(image, data) if was_deep else None
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
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise UnusableImageError("too large", _TOO_LARGE.format(error)) from error
    except Exception as error:
        # Decoders of damaged bytes fail in every way; all of them mean this one thing.
        detail = f"expected an intact {kind} image, got a damaged or an incomplete one"
        raise UnusableImageError("corrupt image", detail) from error


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
    if PLUGGED.get(content.what) in formats():
        reason, fix = "corrupt image", ", which is damaged"
    return UnusableImageError(reason, f"expected {expected}, got {content.what}{fix}")


def _refuse_size(width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise UnusableImageError("too large", _TOO_LARGE.format(f"{width} x {height}"))
    if min(width, height) < MIN_SIDE:
        detail = f"expected sides of at least {MIN_SIDE} pixels, got {width} x {height}"
        raise UnusableImageError("too small", detail)


def _refuse_large(reference: ImageReference, size: int) -> None:
    if size > MAX_BYTES:
        most, got = (f"{number / 1e6:.0f} MB" for number in (MAX_BYTES, size))
        detail = f"{reference.label}: expected at most {most}, got {got}; not read"
        raise UnusableImageError("too large", detail)


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.has_transparency_data:
        pixels = image.convert("RGBA")
        white = Image.new("RGBA", pixels.size, "white")
        return Image.alpha_composite(white, pixels).convert("RGB")
    return image.convert("RGB")


def image_bytes(value: object) -> bytes | None:
    """The bytes of one value of an image column."""
    if isinstance(value, list):
        value = value[0] if len(value) == 1 else None
    if isinstance(value, dict):
        value = value.get("bytes")
    return value if isinstance(value, bytes) else None


class _Latest(threading.local):
    """The latest row group that a thread has read."""

    key: tuple[str, int, int, str] | None = None
    """File, its size and time of change, and the column."""
    first = 0
    values: Sequence[Any] = ()


_LATEST = _Latest()


def _read_row(file: Path, row: int, column: str) -> bytes | None:
    status, latest = file.stat(), _LATEST
    key = (str(file), status.st_size, status.st_mtime_ns, column)
    if latest.key != key or not 0 <= row - latest.first < len(latest.values):
        with pq.ParquetFile(file) as parquet:
            counts = [
                parquet.metadata.row_group(i).num_rows for i in range(parquet.num_row_groups)
            ]
            ends = np.cumsum(counts)
            group = int(np.searchsorted(ends, row, side="right"))
            if group == len(counts):
                detail = f"{file.name}: expected row {row}, the file has {sum(counts)} rows"
                raise UnusableImageError("unreadable file", detail)
            table = parquet.read_row_group(group, columns=[column], use_threads=False)
        latest.key, latest.first = key, int(ends[group]) - counts[group]
        latest.values = table.column(0)
    return image_bytes(latest.values[row - latest.first].as_py())


_CHUNK = 16
"""Images per task of the pool."""


def in_threads(
    rows: IntArray, work: Callable[[int], None], *, workers: int, done: Callable[[int], object]
) -> None:
    """Do some work for every row in threads; what stops one of them stops all.

    `done` is called here, with the number of rows that are done since its last call.
    """
    stop = threading.Event()

    def work_through(chunk: IntArray) -> int:
        for row in chunk:
            if stop.is_set():
                break
            work(row)
        return len(chunk)

    pool = ThreadPoolExecutor(workers, thread_name_prefix="image")
    try:
        chunks = [rows[start : start + _CHUNK] for start in range(0, len(rows), _CHUNK)]
        for future in as_completed([pool.submit(work_through, chunk) for chunk in chunks]):
            done(future.result())
    finally:
        stop.set()
        pool.shutdown(wait=True, cancel_futures=True)
