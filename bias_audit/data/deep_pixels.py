"""Pixels of more than 8 bits, scaled to 8 by the range that they really use."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFile

Values = npt.NDArray[np.float64]
Bytes = npt.NDArray[np.uint8]
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


class UnknownRangeError(ValueError):
    """Values that are no grey values from 0 upwards."""


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


def read_deep(image: ImageFile.ImageFile, low: Bytes | None) -> Deep:
    """The values of an image.

    Args:
        image: Loaded.
        low: Of colours, the low bytes, see `low_bytes`.

    Raises:
        UnknownRangeError: Some are negative, infinite or no number.
    """
    if low is not None:
        high = np.asarray(image).astype(np.float64)
        values = 256 * high + low
        colours = values[..., :3]
        if values.shape[-1] > colours.shape[-1]:
            # transparency is a share of its own range
            alpha = values[..., 3]
            values[..., 3] = alpha / _white_of(alpha) * _white_of(colours)
        return Deep(values, _white_of(colours), is_stated=False)
    tags = getattr(image, "tag_v2", {})
    whole = np.asarray(image)
    if whole.dtype == np.int32 and tags and _first(tags.get(_FORMAT)) != _SIGNED:
        whole = whole.view(np.uint32)
    values = whole.astype(np.float64)
    if not np.isfinite(values).all():
        raise UnknownRangeError(
            "expected grey values from 0 upwards, got some that are infinite or no number"
        )
    undershoot = (_OVERSHOOT - 1) * max(values.max(), 0) if whole.dtype.kind == "f" else 0
    if values.min() < -undershoot:
        got = f"{values.min():g} to {values.max():g}"
        raise UnknownRangeError(f"expected grey values from 0 upwards, got {got}")
    deep = _with_white(values, tags, is_floating=whole.dtype.kind == "f")
    if tags and tags.get(_WHITE_IS_ZERO) == 0:
        return Deep(deep.white - values, deep.white, deep.is_stated)
    return deep


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


def low_bytes(image: ImageFile.ImageFile, again: ImageFile.ImageFile) -> Bytes | None:
    """The low bytes of 16-bit colours, of which Pillow keeps the high ones.

    Args:
        image: Loaded; where its values reach a quarter of the range, the high bytes are enough.
        again: The same image, opened but not yet loaded.
    """
    if np.asarray(image)[..., :3].max() >= 64:  # noqa: PLR2004 - more than 14 bits are in use
        return None
    raw = _raw_mode(again)
    again.tile = [
        tile._replace(args=_with_raw_mode(tile.args, _OTHER_BYTE[raw])) for tile in again.tile
    ]
    found = np.asarray(again)
    return found[..., [1, 1, 1, 3]] if raw == _GREY_ALPHA else found


def common_white(whites: Sequence[int]) -> int:
    """The white of most images of a data set: the smallest that holds at least half of them."""
    return sorted(whites)[(len(whites) - 1) // 2] if whites else 0


def _white_of(values: Values) -> int:
    largest = values.max()
    return next((white for white in WHITES if largest <= white), int(np.ceil(largest)))


def _raw_mode(image: ImageFile.ImageFile) -> str:
    """How the pixels of 16-bit colours are read; empty for all others."""
    if not image.tile:
        return ""
    args = image.tile[0].args
    raw = args if isinstance(args, str) else args[0] if isinstance(args, tuple) and args else ""
    return raw if raw in _OTHER_BYTE else ""


def _with_raw_mode(args: object, raw: str) -> Any:
    return (raw, *args[1:]) if isinstance(args, tuple) else raw


def _first(value: object) -> float:
    """The smallest number of a tag that may have one for each channel; 0 where there is none."""
    numbers = value if isinstance(value, tuple) else (value,)
    known = [float(n) for n in numbers if isinstance(n, int | float)]
    return min(known, default=0.0)
