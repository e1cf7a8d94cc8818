"""Image quality and pixels of all images of a data set, with a memory of what was seen."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy.ndimage import laplace

from bias_audit.arrays import Float32Array
from bias_audit.cache import Cache, CacheEntry
from bias_audit.data.faces import Faces, ImageReference
from bias_audit.data.images import decode, in_threads, read_bytes
from bias_audit.files import digest
from bias_audit.progress import Progress

Thumbnail = npt.NDArray[np.uint8]
QUALITIES = (
    "brightness",
    "contrast",
    "log sharpness",
    *(f"mean {colour}" for colour in ("red", "green", "blue")),
    *(f"deviation of {colour}" for colour in ("red", "green", "blue")),
    "saturation",
    "width",
    "height",
    "log aspect ratio",
    "log bytes",
    "log blockiness",
)
"""In the order of `quality`."""
SIDE = 16
"""Of the thumbnail."""
_BLOCK = 8
"""Side of the blocks that JPEG compresses one by one."""
_WHITE = np.float32(255)
_FLOOR = 1e-6
"""Keeps logarithms finite on flat images; far below one step of 8 bits squared."""


def quality(image: Image.Image, n_bytes: int) -> Float32Array:
    """Describe an image as a photographer would, shape (len(QUALITIES),).

    Brightness and contrast are mean and standard deviation of the grey values, sharpness is the
    variance of their Laplacian, blockiness how much larger steps across the borders of JPEG's
    blocks are than other steps. Grey values, colours and saturation run from 0 to 1, width and
    height are in pixels, logarithms are natural.

    Args:
        image: RGB, as decoded: neither cropped nor resized.
        n_bytes: Size of its file.
    """
    grey = np.asarray(image.convert("L"), dtype=np.float32) / _WHITE
    colours = np.asarray(image, dtype=np.float32).reshape(-1, 3) / _WHITE
    saturation = np.asarray(image.convert("HSV").getchannel("S"), dtype=np.float32)
    return np.array(
        [
            grey.mean(),
            grey.std(),
            math.log(float(laplace(grey).var()) + _FLOOR),
            *colours.mean(axis=0),
            *colours.std(axis=0),
            saturation.mean() / _WHITE,
            image.width,
            image.height,
            math.log(image.width / image.height),
            math.log(n_bytes),
            _log_blockiness(grey),
        ],
        dtype=np.float32,
    )


def _log_blockiness(grey: Float32Array) -> float:
    borders, others = [], []
    for lines in (grey, grey.T):
        steps = np.abs(np.diff(lines, axis=0)).mean(axis=1)
        at_border = np.arange(1, len(lines)) % _BLOCK == 0
        if not at_border.any() or at_border.all():
            return 0.0  # too small to tell
        borders.append(float(steps[at_border].mean()))
        others.append(float(steps[~at_border].mean()))
    return math.log((sum(borders) + _FLOOR) / (sum(others) + _FLOOR))


def thumbnail(image: Image.Image) -> Thumbnail:
    """The whole image at SIDE x SIDE, shape (SIDE, SIDE, 3)."""
    return np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BOX), dtype=np.uint8)


@dataclass(frozen=True)
class ImageFeatures:
    """What every image looks like, without a backbone; rows are those of the faces."""

    fingerprint: str
    """Changes with the images, their order, and what is computed of them."""
    quality: npt.NDArray[np.float32]
    """Shape (n_images, len(QUALITIES)), columns as `QUALITIES` names them."""
    thumbnails: npt.NDArray[np.uint8]
    """Shape (n_images, SIDE, SIDE, 3)."""

    def pixels(self) -> npt.NDArray[np.float32]:
        """The thumbnails laid out in rows, from 0 to 1, shape (n_images, SIDE * SIDE * 3)."""
        rows = self.thumbnails.reshape(len(self.thumbnails), -1)
        return rows.astype(np.float32) / np.float32(255)


def image_features(
    faces: Faces, *, workers: int, cache: Path, progress: Progress
) -> ImageFeatures:
    """Describe every image, or load what was computed before; resumes after an interruption.

    Raises:
        DataError: An image that was readable when scanned is no longer.
    """
    pictures = faces.table.pictures
    if pictures is not None:
        once = image_features(faces.once, workers=workers, cache=cache, progress=progress)
        places = np.unique(pictures, return_inverse=True)[1]
        fingerprint = digest(once.fingerprint, places.tobytes())
        return ImageFeatures(fingerprint, once.quality[places], once.thumbnails[places])
    kept = CacheEntry(Cache(cache / "images"), "image features", faces.pixels, describe)
    n = len(faces)
    table: dict[str, npt.NDArray[Any]] = {
        "quality": np.zeros((n, len(QUALITIES)), dtype=np.float32),
        "thumbnails": np.zeros((n, SIDE, SIDE, 3), dtype=np.uint8),
        "done": np.zeros(n, dtype=np.bool_),
    }
    stored = kept.read() or {}
    if _kinds(stored) == _kinds(table):
        table = stored
    missing = np.flatnonzero(~table["done"])

    def work(row: int) -> None:
        table["quality"][row], table["thumbnails"][row] = describe(faces.table.references[row])
        table["done"][row] = True

    if len(missing):
        try:
            with progress.step("Image quality and pixels", total=n, unit="image") as step:
                step.advance(n - len(missing))
                in_threads(missing, work, workers=workers, done=step.advance)
        finally:  # what was computed is kept, also after an interruption
            kept.write(table)
    return ImageFeatures(kept.fingerprint, table["quality"], table["thumbnails"])


def _kinds(arrays: Mapping[str, npt.NDArray[Any]]) -> dict[str, tuple[object, ...]]:
    return {name: (array.shape, array.dtype) for name, array in arrays.items()}


def describe(reference: ImageReference) -> tuple[Float32Array, Thumbnail]:
    """Quality and thumbnail of one image; see `quality`.

    Raises:
        DataError: It cannot be read.
    """
    data = read_bytes(reference)
    image = decode(data, reference.white, reference.box)
    return quality(image, len(data)), thumbnail(image)
